// y = x Wᵀ + b and its gradients; a LayerNorm's parameters, which are as common.
#pragma once

#include "context.h"

namespace emoframe {

struct Linear {
  int32_t weight = -1, bias = -1;  // weight [out, in]
  int32_t parts = 1;               // tensors side by side that form one product (q, k, v)
};
Linear addLinear(Parameters &parameters, const std::string &name, int64_t in, int64_t out, bool biased = true);

// y = x Wᵀ + b.
void linearForward(const Context &context, const Linear &linear, const View &x, const View &y);
// Of a model that will only be run: see Parameters::takeProductWeight.
inline void packForInference(Parameters &parameters, const Linear &linear) {
  parameters.takeProductWeight(linear.weight, linear.parts);
}
// dW += dyᵀ x and db += Σ dy where trainable; dx = dy W, added to dx when `accumulate`. dx may be absent.
void linearBackward(const Context &context, const Linear &linear, const View &x, const View &dy, const View &dx,
                    bool accumulate = false);

// Their parts, for a layer whose products do more than that.
Gemm linearProduct(const Context &context, const Linear &linear, const View &x, const View &y);
Gemm inputGradientProduct(const Context &context, const Linear &linear, const View &dy, const View &dx,
                          bool accumulate = false);
void weightGradient(const Context &context, const Linear &linear, const View &x, const View &dy);
void biasGradient(const Context &context, const Linear &linear, const View &dy);

// The same in f32 by the weights themselves, whatever the precision of activations: of heads. `bias` may be absent.
void exactForward(const Context &context, const Linear &linear, const View &x, const View &y);
void exactBackward(const Context &context, const Linear &linear, const View &x, const View &dy, const View &dx,
                   bool accumulate = false);

struct LayerNorm {
  int32_t gamma = -1, beta = -1;
  float epsilon = 1e-5f;
};
LayerNorm addLayerNorm(Parameters &parameters, const std::string &name, int64_t size, float epsilon);

// Fills in gamma, beta, epsilon and, when training, memory for the statistics.
void useLayerNorm(const Context &context, const LayerNorm &layerNorm, AddNorm &norm);
void layerNormBackward(const Context &context, const LayerNorm &layerNorm, AddNormBackward gradient);

}  // namespace emoframe
