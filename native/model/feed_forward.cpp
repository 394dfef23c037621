#include "feed_forward.h"

namespace emoframe {

FeedForward::FeedForward(Parameters &parameters, const std::string &name, int64_t hidden, int64_t intermediate)
    : intermediate_(intermediate),
      up_(addLinear(parameters, name + ".intermediate_dense", hidden, intermediate)),
      down_(addLinear(parameters, name + ".output_dense", intermediate, hidden)) {}

void FeedForward::packForInference(Parameters &parameters) const {
  for (const Linear *linear : {&up_, &down_}) emoframe::packForInference(parameters, *linear);
}

void FeedForward::forward(const Context &context, const View &x, const Dropout &dropout, Saved &saved,
                          const View &y) const {
  const auto activations = [&] { return context.tensor(x.rows, intermediate_); };
  saved.x = x;
  saved.slope = context.training ? activations() : View{};
  saved.intermediate = activations();
  Gemm gemm = linearProduct(context, up_, x, {});
  gemm.gelu = saved.intermediate;
  gemm.slope = saved.slope;
  gemm.dropout = dropout;
  context.run(gemm);
  linearForward(context, down_, saved.intermediate, y);
}

void FeedForward::backward(const Context &context, const Saved &saved, const View &dy, const View &dx,
                           bool accumulate) const {
  const Parameters &parameters = context.parameters;
  Scratch scratch(context.workspace);
  const View dUp = context.tensor(dy.rows, intermediate_);  // gradient of x W₁ᵀ + b₁
  weightGradient(context, down_, saved.intermediate, dy);
  biasGradient(context, down_, dy);
  Gemm gemm = inputGradientProduct(context, down_, dy, dUp);
  gemm.factor = saved.slope;
  if (parameters.trainable(up_.bias)) gemm.columnSum = parameters.gradient(up_.bias);
  context.run(gemm);

  weightGradient(context, up_, saved.x, dUp);
  context.run(inputGradientProduct(context, up_, dUp, dx, accumulate));
}

}  // namespace emoframe
