#include "linear.h"

namespace emoframe {

Linear addLinear(Parameters &parameters, const std::string &name, int64_t in, int64_t out, bool biased) {
  Linear linear;
  linear.weight = parameters.add(name + ".weight", {out, in});
  if (biased) linear.bias = parameters.add(name + ".bias", {out});
  return linear;
}

Gemm linearProduct(const Context &context, const Linear &linear, const View &x, const View &y) {
  Gemm gemm = context.product(x, context.parameters.compute(linear.weight, linear.parts).transposed(), y);
  gemm.bias = context.parameters.master(linear.bias, linear.parts);
  gemm.weightKey = context.key(linear.weight);
  return gemm;
}

void linearForward(const Context &context, const Linear &linear, const View &x, const View &y) {
  context.run(linearProduct(context, linear, x, y));
}

Gemm inputGradientProduct(const Context &context, const Linear &linear, const View &dy, const View &dx,
                          bool accumulate) {
  return context.product(dy, context.parameters.compute(linear.weight, linear.parts), dx, accumulate);
}

void weightGradient(const Context &context, const Linear &linear, const View &x, const View &dy) {
  const Parameters &parameters = context.parameters;
  if (!parameters.trainable(linear.weight, linear.parts)) return;
  context.run(context.product(dy.transposed(), x, parameters.gradient(linear.weight, linear.parts), true));
}

void biasGradient(const Context &context, const Linear &linear, const View &dy) {
  const Parameters &parameters = context.parameters;
  if (!parameters.trainable(linear.bias, linear.parts)) return;
  context.run(ColumnSum{dy, parameters.gradient(linear.bias, linear.parts)});
}

void linearBackward(const Context &context, const Linear &linear, const View &x, const View &dy, const View &dx,
                    bool accumulate) {
  weightGradient(context, linear, x, dy);
  biasGradient(context, linear, dy);
  if (dx) context.run(inputGradientProduct(context, linear, dy, dx, accumulate));
}

void exactForward(const Context &context, const Linear &linear, const View &x, const View &y) {
  Gemm gemm{x, context.parameters.master(linear.weight).transposed(), y};
  if (linear.bias >= 0) gemm.bias = context.parameters.master(linear.bias);
  context.run(gemm);
}

void exactBackward(const Context &context, const Linear &linear, const View &x, const View &dy, const View &dx,
                   bool accumulate) {
  const Parameters &parameters = context.parameters;
  if (linear.bias >= 0) biasGradient(context, linear, dy);
  if (parameters.trainable(linear.weight)) {
    context.run(Gemm{dy.transposed(), x, parameters.gradient(linear.weight), true});
  }
  if (dx) context.run(Gemm{dy, parameters.master(linear.weight), dx, accumulate});
}

LayerNorm addLayerNorm(Parameters &parameters, const std::string &name, int64_t size, float epsilon) {
  LayerNorm norm;
  norm.gamma = parameters.add(name + ".weight", {size});
  norm.beta = parameters.add(name + ".bias", {size});
  norm.epsilon = epsilon;
  return norm;
}

void useLayerNorm(const Context &context, const LayerNorm &layerNorm, AddNorm &norm) {
  norm.gamma = context.parameters.master(layerNorm.gamma);
  norm.beta = context.parameters.master(layerNorm.beta);
  norm.epsilon = layerNorm.epsilon;
  if (context.training) {
    norm.mean = context.workspace.tensor(DType::f32, 1, norm.x.rows);
    norm.rstd = context.workspace.tensor(DType::f32, 1, norm.x.rows);
  }
}

void layerNormBackward(const Context &context, const LayerNorm &layerNorm, AddNormBackward gradient) {
  gradient.dGamma = context.parameters.gradient(layerNorm.gamma);
  gradient.dBeta = context.parameters.gradient(layerNorm.beta);
  context.run(gradient);
}

}  // namespace emoframe
