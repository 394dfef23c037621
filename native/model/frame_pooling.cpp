#include "frame_pooling.h"

namespace emoframe {

FramePooling::FramePooling(PoolingKind kind, int64_t width, Parameters &parameters) : kind_(kind), width_(width) {
  if (kind == PoolingKind::mean || kind == PoolingKind::sum || kind == PoolingKind::max) return;
  weight_ = parameters.add("pooling.weight", {width});
  if (scoresGiven()) linear_ = addLinear(parameters, "pooling.linear", width, width);
}

View FramePooling::scores(const Context &context, const View &h, Saved &saved) const {
  if (!scoresGiven()) return {};
  Workspace &workspace = context.workspace;
  const View scores = workspace.tensor(DType::f32, 1, h.rows);
  const Workspace::Mark mark = workspace.mark();
  saved.hidden = workspace.tensor(DType::f32, h.rows, width_);
  exactForward(context, linear_, h, saved.hidden);
  context.run(Activate{saved.hidden, Activation::tanh, saved.hidden});
  context.run(Gemm{context.parameters.master(weight_), saved.hidden.transposed(), scores});
  if (!context.training) workspace.rewind(mark);
  return scores;
}

Pooling FramePooling::pooling(const Context &context, const Segments &segments, const View &h,
                              const View &scores) const {
  Pooling pooling;
  pooling.h = h;
  pooling.segments = segments;
  switch (kind_) {
    case PoolingKind::mean:
      break;
    case PoolingKind::sum:
      pooling.reduction = Reduction::sum;
      break;
    case PoolingKind::max:
      pooling.reduction = Reduction::max;
      break;
    case PoolingKind::attention:
      pooling.score = Score::tanh;
      break;
    case PoolingKind::attentionLinear:
      pooling.score = Score::linear;
      break;
    case PoolingKind::stats:
      pooling.score = Score::relu;
      pooling.deviation = Deviation::added;
      break;
    case PoolingKind::attentiveStats:
      pooling.score = Score::given;
      pooling.deviation = Deviation::clamped;
      pooling.scores = scores;
      break;
  }
  if (weight_ >= 0 && !scoresGiven()) pooling.w = context.parameters.master(weight_);
  return pooling;
}

void FramePooling::backward(const Context &context, const Saved &saved, const View &dPooled, const View &dH) const {
  const Parameters &parameters = context.parameters;
  Workspace &workspace = context.workspace;
  PoolingBackward gradient{saved.pooling, dPooled, dH};
  if (!scoresGiven()) {
    if (weight_ >= 0) gradient.dw = parameters.gradient(weight_);
    context.run(gradient);
    return;
  }
  Scratch scratch(workspace);
  const View dScores = gradient.dScores = workspace.tensor(DType::f32, 1, dH.rows);
  context.run(gradient);
  if (parameters.trainable(weight_)) context.run(Gemm{dScores, saved.hidden, parameters.gradient(weight_), true});
  const View dHidden = workspace.tensor(DType::f32, dH.rows, width_);
  context.run(Gemm{dScores.transposed(), parameters.master(weight_), dHidden});
  context.run(ActivateBackward{saved.hidden, Activation::tanh, dHidden, dHidden});
  exactBackward(context, linear_, saved.pooling.h, dHidden, dH, true);
}

}  // namespace emoframe
