#include "layer_sum.h"

namespace emoframe {

LayerSum::LayerSum(const HubertShape &shape, Parameters &parameters)
    : layers_(shape.layers), hidden_(shape.hiddenSize), weights_(parameters.add("layer_weights", {shape.layers + 1})) {}

void LayerSum::forward(const Context &context, Transformer &transformer, const Packing &packing, const View &embedded,
                       Saved &saved, const View &sum) const {
  Workspace &workspace = context.workspace;
  const int64_t rows = sum.rows;
  saved.softmax = workspace.tensor(DType::f32, 1, layers_ + 1);
  saved.factors = workspace.tensor(DType::f32, layers_ + 1, hidden_);
  const View ones = workspace.tensor(DType::f32, 1, hidden_);
  context.run(SoftmaxRows{context.parameters.master(weights_), saved.softmax});
  context.run(Fill{ones, 1});
  context.run(Gemm{saved.softmax.transposed(), ones, saved.factors});

  const auto add = [&](const View &state) {
    Scratch scratch(workspace);
    const auto depth = static_cast<int64_t>(saved.states.size());
    const View weighted = depth == 0 ? sum : workspace.tensor(DType::f32, rows, hidden_);
    View exact = state;
    if (state.dtype != DType::f32) context.run(Convert{state, exact = weighted});
    context.run(StandardizeColumns{exact, View{}, saved.factors.rowRange(depth, 1), weighted});
    if (depth > 0) context.run(Add{sum, weighted, sum});
    saved.states.push_back(state);
  };
  // A layer that layerdrop leaves out leaves the state as it was.
  const auto addUpTo = [&](int64_t depth) {
    while (static_cast<int64_t>(saved.states.size()) < depth) add(saved.states.back());
  };
  const View hidden = workspace.tensor(context.training ? context.dtype : DType::f32, rows, hidden_);
  transformer.forward(context, packing, embedded, modelOutput, saved.transformed, hidden,
                      [&](int64_t depth, const View &state) {
                        if (depth == layers_) return;
                        addUpTo(depth);
                        add(state);
                      });
  addUpTo(layers_);
  add(hidden);
}

// With p = softmax(w) and d_l = dSum · h_l: dw_l = p_l (d_l - Σ p d).
void LayerSum::backwardToWeights(const Context &context, const Saved &saved, const View &dSum) const {
  Workspace &workspace = context.workspace;
  Scratch scratch(workspace);
  const int64_t count = layers_ + 1;
  const auto asRow = [&](const View &v) { return matrix(v.data, DType::f32, 1, v.size()); };
  const View products = workspace.tensor(DType::f32, 1, count), mean = workspace.tensor(DType::f32, 1, 1);
  View exact;
  for (int64_t depth = 0; depth < count; ++depth) {
    View state = saved.states[static_cast<size_t>(depth)];
    if (state.dtype != DType::f32) {
      if (!exact) exact = workspace.tensor(DType::f32, state.rows, state.cols);
      context.run(Convert{state, exact});
      state = exact;
    }
    context.run(Gemm{asRow(dSum), asRow(state).transposed(), products.colRange(depth, 1)});
  }
  const View minusOnes = workspace.tensor(DType::f32, 1, count);
  context.run(Gemm{products, saved.softmax.transposed(), mean});
  context.run(Fill{minusOnes, -1});
  context.run(Gemm{mean, minusOnes, products, true});
  context.run(StandardizeColumns{products, View{}, saved.softmax, products});
  const View gradient = context.parameters.gradient(weights_);
  context.run(Add{gradient, products, gradient});
}

void LayerSum::backwardToStates(const Context &context, Transformer &transformer, const Packing &packing,
                                const Saved &saved, const View &dSum, const View &dEmbedded) const {
  Scratch scratch(context.workspace);
  const auto activations = [&] { return context.tensor(dSum.rows, dSum.cols); };
  View typed = dSum;
  if (dSum.dtype != context.dtype) context.run(Convert{dSum, typed = activations()});
  const auto share = [&](int64_t depth, const View &out) {
    context.run(StandardizeColumns{typed, View{}, saved.factors.rowRange(depth, 1), out});
  };
  const View dHidden = activations(), its = activations();
  share(layers_, dHidden);
  transformer.backward(context, packing, saved.transformed, dHidden, dEmbedded, [&](int64_t depth, const View &dState) {
    share(depth, its);
    context.run(Add{dState, its, dState});
  });
}

}  // namespace emoframe
