#include "linear.h"

namespace emoframe {

Linear addLinear(Parameters &parameters, const std::string &name, int64_t in, int64_t out) {
  Linear linear;
  linear.weight = parameters.add(name + ".weight", {out, in});
  linear.bias = parameters.add(name + ".bias", {out});
  return linear;
}

void linearForward(const Context &context, const Linear &linear, const View &x, const View &y, const View &gelu) {
  Gemm gemm = context.product();
  gemm.a = x;
  gemm.b = context.parameters.compute(linear.weight, linear.parts).transposed();
  gemm.out = y;
  gemm.gelu = gelu;
  gemm.bias = context.parameters.master(linear.bias, linear.parts);
  gemm.weightKey = context.key(linear.weight);
  context.backend.gemm(gemm);
}

void linearBackward(const Context &context, const Linear &linear, const View &x, const View &dy, const View &dx,
                    bool accumulate) {
  const Parameters &parameters = context.parameters;
  if (parameters.trainable(linear.weight, linear.parts)) {
    Gemm gemm = context.product();
    gemm.a = dy.transposed();
    gemm.b = x;
    gemm.out = parameters.gradient(linear.weight, linear.parts);
    gemm.accumulate = true;
    context.backend.gemm(gemm);
  }
  if (parameters.trainable(linear.bias, linear.parts)) {
    context.backend.columnSum(dy, parameters.gradient(linear.bias, linear.parts));
  }
  if (dx) {
    Gemm gemm = context.product();
    gemm.a = dy;
    gemm.b = parameters.compute(linear.weight, linear.parts);
    gemm.out = dx;
    gemm.accumulate = accumulate;
    context.backend.gemm(gemm);
  }
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

void layerNormBackward(const Context &context, const LayerNorm &layerNorm, const AddNorm &norm,
                       AddNormGradient gradient) {
  gradient.dGamma = context.parameters.gradient(layerNorm.gamma);
  gradient.dBeta = context.parameters.gradient(layerNorm.beta);
  context.backend.addNormBackward(norm, gradient);
}

}  // namespace emoframe
