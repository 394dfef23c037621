#include "positional_stack.h"

namespace emoframe {

namespace {
constexpr float kEpsilon = 1e-5f;  // of these norms, whatever layer_norm_eps says
}

PositionalStack::PositionalStack(const HubertShape &shape, Parameters &parameters, Backend &backend)
    : conv_(shape), hidden_(shape.hiddenSize), backend_(backend) {
  for (int64_t i = 0; i < shape.positionalDepth; ++i) {
    const std::string name = "encoder.pos_conv_embed.layers." + std::to_string(i) + ".conv.";
    Linear layer;
    layer.weight = parameters.add(name + "weight", {hidden_, conv_.groupSize(), conv_.kernel()}, Layout::conv);
    layer.bias = parameters.add(name + "bias", {hidden_});
    layers_.push_back(layer);
  }
  memory_ = backend.allocate(heldBytes());
  const View affine = matrix(memory_, DType::f32, 2, hidden_);
  ones_ = affine.rowRange(0, 1);
  zeros_ = affine.rowRange(1, 1);
  backend.run(Fill{ones_, 1});
  backend.run(Fill{zeros_, 0});
}

PositionalStack::~PositionalStack() { backend_.release(memory_); }

void PositionalStack::forward(const Context &context, const Packing &packing, const View &x, Saved &saved,
                              const View &y) const {
  const Parameters &parameters = context.parameters;
  const PaddedAxis &axis = packing.padded;
  saved.layers.resize(layers_.size());
  View input = x;
  for (size_t i = 0; i < layers_.size(); ++i) {
    SavedLayer &kept = saved.layers[i];
    AddNorm &norm = kept.norm;
    const Workspace::Mark mark = context.workspace.mark();
    kept.padded = conv_.pad(context, axis, input);
    norm.x = context.tensor(x.rows, hidden_);
    norm.y = context.tensor(x.rows, hidden_);
    if (context.training) {
      norm.mean = context.workspace.tensor(DType::f32, 1, x.rows);
      norm.rstd = context.workspace.tensor(DType::f32, 1, x.rows);
    }
    const Workspace::Mark whole = context.workspace.mark();
    Gemm gemm = conv_.product(context, axis, kept.padded, parameters.compute(layers_[i].weight).data,
                              parameters.master(layers_[i].bias));
    gemm.out = conv_.output(context, axis);
    gemm.weightKey = context.key(layers_[i].weight);
    context.run(gemm);
    context.run(CopyRows{gemm.out, axis.take.runs(), conv_.byGroup(norm.x)});
    norm.gamma = ones_;
    norm.beta = zeros_;
    norm.epsilon = kEpsilon;
    context.run(norm);
    context.run(Gelu{norm.y, Dropout{}, y});
    context.workspace.rewind(context.training ? whole : mark);
    input = y;  // which is read before it is written again
  }
}

// As GroupedConv::inputGradient reads it. For each tap of a group it is a transposition, read from the last tap on.
View PositionalStack::flipped(const Context &context, int32_t weight) const {
  const View own = context.parameters.compute(weight);
  const int64_t row = conv_.row(), size = conv_.groupSize(), kernel = conv_.kernel();
  const View flipped = context.tensor(hidden_, row);
  for (int64_t first = 0; first < hidden_; first += size) {
    const View taps = batched(own.at(0, first, row - size), own.dtype, kernel, size, size, -size, row).transposed();
    context.run(Convert{taps, batched(flipped.at(0, first, 0), flipped.dtype, kernel, size, size, size, row)});
  }
  return flipped;
}

void PositionalStack::backward(const Context &context, const Packing &packing, const Saved &saved, const View &dY,
                               const View &dX) const {
  Parameters &parameters = context.parameters;
  const PaddedAxis &axis = packing.padded;
  Scratch scratch(context.workspace);
  size_t lowest = 0;  // that is trained, where nothing below is
  while (!dX && lowest < layers_.size() && !parameters.trainable(layers_[lowest].weight) &&
         !parameters.trainable(layers_[lowest].bias)) {
    ++lowest;
  }
  View gradient = dY;
  const View between = context.tensor(dY.rows, hidden_);
  for (size_t i = layers_.size(); i-- > lowest;) {
    Scratch ofLayer(context.workspace);
    const Linear &layer = layers_[i];
    const AddNorm &norm = saved.layers[i].norm;
    const View dActivation = context.tensor(dY.rows, hidden_), dProduct = context.tensor(dY.rows, hidden_);
    context.run(GeluBackward{norm.y, Dropout{}, gradient, dActivation});
    context.run(AddNormBackward{norm, dActivation, View{}, dProduct});
    if (parameters.trainable(layer.bias)) context.run(ColumnSum{dProduct, parameters.gradient(layer.bias)});
    const View padded = conv_.pad(context, axis, dProduct);
    if (parameters.trainable(layer.weight)) {
      conv_.weightGradient(context, axis, saved.layers[i].padded, padded, parameters.gradient(layer.weight).data, true);
    }
    if (i == lowest && !dX) break;
    const View flipped = this->flipped(context, layer.weight);
    conv_.inputGradient(context, axis, padded, flipped.data, i == 0 ? dX : between, i == 0);
    gradient = between;
  }
}

}  // namespace emoframe
