#include "transformer_layer.h"

#include <cmath>

namespace emoframe {

TransformerLayer::TransformerLayer(const HubertShape &shape, int64_t index, Parameters &parameters)
    : index_(index),
      hidden_(shape.hiddenSize),
      heads_(shape.heads),
      preNorm_(shape.stableLayerNorm),
      gated_(shape.positionBias == PositionBias::buckets),
      attentionDropout_(shape.attentionDropout),
      hiddenDropout_(shape.hiddenDropout),
      activationDropout_(shape.activationDropout) {
  const std::string name = "encoder.layers." + std::to_string(index) + ".";
  // Side by side, so that one product makes q, k and v.
  qkv_.parts = 3;
  qkv_.weight = parameters.add(name + "attention.q_proj.weight", {hidden_, hidden_});
  parameters.add(name + "attention.k_proj.weight", {hidden_, hidden_}, Layout::plain, true);
  parameters.add(name + "attention.v_proj.weight", {hidden_, hidden_}, Layout::plain, true);
  qkv_.bias = parameters.add(name + "attention.q_proj.bias", {hidden_});
  parameters.add(name + "attention.k_proj.bias", {hidden_}, Layout::plain, true);
  parameters.add(name + "attention.v_proj.bias", {hidden_}, Layout::plain, true);
  output_ = addLinear(parameters, name + "attention.out_proj", hidden_, hidden_);
  if (gated_) {
    gate_ = addLinear(parameters, name + "attention.gru_rel_pos_linear", hidden_ / heads_, 8);
    gateScale_ = parameters.add(name + "attention.gru_rel_pos_const", {1, heads_, 1, 1});
  }
  firstNorm_ = addLayerNorm(parameters, name + "layer_norm", hidden_, shape.layerNormEpsilon);
  feedForward_ = FeedForward(parameters, name + "feed_forward", hidden_, shape.intermediateSize);
  secondNorm_ = addLayerNorm(parameters, name + "final_layer_norm", hidden_, shape.layerNormEpsilon);
}

void TransformerLayer::packForInference(Parameters &parameters) const {
  for (const Linear *linear : {&qkv_, &output_}) emoframe::packForInference(parameters, *linear);
  feedForward_.packForInference(parameters);
}

bool TransformerLayer::trainable(const Parameters &parameters) const {
  return parameters.anyTrainable("encoder.layers." + std::to_string(index_) + ".");
}

View TransformerLayer::byHead(const View &x) const {
  return matrix(x.data, x.dtype, x.rows * heads_, hidden_ / heads_);
}

void TransformerLayer::gateForward(const Context &context, const View &input, PositionGate &gate) const {
  gate.x = context.workspace.tensor(DType::f32, input.rows * heads_, 8);
  gate.gate = context.workspace.tensor(DType::f32, input.rows, heads_);
  gate.scale = context.parameters.master(gateScale_);
  linearForward(context, gate_, byHead(input), gate.x);
  context.run(gate);
}

// dInput is added to.
void TransformerLayer::gateBackward(const Context &context, const Saved &saved, const View &dGate,
                                    const View &dInput) const {
  const Parameters &parameters = context.parameters;
  const View exact = context.workspace.tensor(DType::f32, saved.gate.x.rows, saved.gate.x.cols);
  context.run(PositionGateBackward{saved.gate, dGate, exact,
                                   parameters.trainable(gateScale_) ? parameters.gradient(gateScale_) : View{}});
  View dX = exact;
  if (context.dtype != DType::f32) {
    dX = context.tensor(exact.rows, exact.cols);
    context.run(Convert{exact, dX});
  }
  weightGradient(context, gate_, byHead(saved.in.input), dX);
  biasGradient(context, gate_, exact);
  context.run(inputGradientProduct(context, gate_, dX, byHead(dInput), true));
}

Attention TransformerLayer::attention(const Context &context, const Scope &scope, const Saved &saved) const {
  Attention attention;
  attention.q = saved.qkv.colRange(0, hidden_);
  attention.k = saved.qkv.colRange(hidden_, hidden_);
  attention.v = saved.qkv.colRange(2 * hidden_, hidden_);
  attention.out = saved.context;
  attention.logSumExp = saved.logSumExp;
  attention.segments = scope.segments;
  attention.heads = heads_;
  attention.scale = 1 / std::sqrt(static_cast<float>(hidden_ / heads_));
  attention.tf32 = context.tf32;
  attention.bias = {scope.table, saved.gate.gate, scope.unbiased};
  attention.dropout = context.dropout(attentionDropout_, site::layer(index_, site::attention));
  return attention;
}

void TransformerLayer::forward(const Context &context, const Scope &scope, const Stream &in, const LayerNorm *next,
                               Saved &saved, const Stream &out) const {
  Workspace &workspace = context.workspace;
  const int64_t rows = in.input.rows;
  const auto activations = [&](int64_t cols) { return context.tensor(rows, cols); };
  const Workspace::Mark mark = workspace.mark();

  saved.in = in;
  saved.qkv = activations(3 * hidden_);
  saved.context = activations(hidden_);
  saved.logSumExp = workspace.tensor(DType::f32, rows, heads_);
  const View branch = activations(hidden_);
  linearForward(context, qkv_, in.input, saved.qkv);
  if (gated_) gateForward(context, in.input, saved.gate);
  context.run(attention(context, scope, saved));
  linearForward(context, output_, saved.context, branch);

  AddNorm &first = saved.afterAttention;
  first.x = branch;
  first.residual = in.residual;
  first.dropout = context.dropout(hiddenDropout_, site::layer(index_, site::attentionOutput));
  if (preNorm_ || context.training) first.sum = activations(hidden_);
  first.y = activations(hidden_);
  useLayerNorm(context, preNorm_ ? secondNorm_ : firstNorm_, first);
  context.run(first);

  feedForward_.forward(context, first.y, context.dropout(activationDropout_, site::layer(index_, site::activation)),
                       saved.feedForward, branch);

  AddNorm &second = saved.afterFeedForward;
  second.x = branch;
  second.residual = preNorm_ ? first.sum : first.y;
  second.dropout = context.dropout(hiddenDropout_, site::layer(index_, site::feedForwardOutput));
  if (preNorm_) {
    second.sum = out.residual;
  } else if (context.training) {
    second.sum = activations(hidden_);
  }
  if (!preNorm_ || next) {
    second.y = out.input;
    useLayerNorm(context, preNorm_ ? *next : secondNorm_, second);
  }
  context.run(second);
  if (!context.training) workspace.rewind(mark);
}

void TransformerLayer::backward(const Context &context, const Scope &scope, const LayerNorm *next, const Saved &saved,
                                const Gradient &dOut, const Gradient &dIn, const View &dTable) const {
  const int64_t rows = saved.in.input.rows;
  Scratch scratch(context.workspace);
  const auto activations = [&](int64_t cols) { return context.tensor(rows, cols); };

  // Gradient of an AddNorm: of its sum, into dSum, and of its branch, which is the same tensor without dropout.
  const auto backThroughNorm = [&](const AddNorm &norm, const LayerNorm *layerNorm, const View &dy, const View &dSumIn,
                                   const View &dSum) {
    AddNormBackward gradient{norm, dy, dSumIn, dSum};
    if (norm.dropout.p > 0) gradient.dx = activations(hidden_);
    if (layerNorm) {
      layerNormBackward(context, *layerNorm, gradient);
    } else {
      context.run(gradient);
    }
    return norm.dropout.p > 0 ? gradient.dx : dSum;
  };

  const View dSum = activations(hidden_);
  const View dBranch =
      backThroughNorm(saved.afterFeedForward, preNorm_ ? next : &secondNorm_, dOut.input, dOut.residual, dSum);
  // Post-LN: the residual of the second sum is the first norm's output, so dy = dSum + feed-forward's. Pre-LN: it is
  // the first sum itself.
  const View dy = preNorm_ ? activations(hidden_) : dSum;
  feedForward_.backward(context, saved.feedForward, dBranch, dy, !preNorm_);

  const View dFirstSum = preNorm_ ? dIn.residual : dIn.input;
  const View dAttended = backThroughNorm(saved.afterAttention, preNorm_ ? &secondNorm_ : &firstNorm_, dy,
                                         preNorm_ ? dSum : View{}, dFirstSum);
  const View dContext = activations(hidden_);
  linearBackward(context, output_, saved.context, dAttended, dContext);
  const View dQkv = activations(3 * hidden_);
  AttentionBackward gradient;
  gradient.forward = attention(context, scope, saved);
  gradient.dOut = dContext;
  gradient.dq = dQkv.colRange(0, hidden_);
  gradient.dk = dQkv.colRange(hidden_, hidden_);
  gradient.dv = dQkv.colRange(2 * hidden_, hidden_);
  gradient.dTable = dTable;
  if (gated_) gradient.dGate = context.workspace.tensor(DType::f32, rows, heads_);
  context.run(gradient);
  linearBackward(context, qkv_, saved.in.input, dQkv, dIn.input, !preNorm_);
  if (gated_) gateBackward(context, saved, gradient.dGate, dIn.input);
}

}  // namespace emoframe
