// AdamW as torch.optim.AdamW computes it. Bound by bytes: an element's parameter, gradient and two moments are read
// once, all but the gradient written once, and the bf16 shadow: 28 to 30 bytes an element against some 15 flops. All
// tensors of a launch lie on one axis of blocks, so a hundred small tensors cost no more than one large one; what a
// block needs to know of them comes in the launch's arguments (4 KB: 72 tensors a launch).
#include <algorithm>
#include <cmath>

#include "../adamw.h"
#include "backend.h"
#include "elements.cuh"
#include "launch.cuh"

namespace emoframe {

namespace {

constexpr int threads = 256, width = 4, steps = 4;  // a thread takes `steps` groups of `width` elements
constexpr int64_t blockElements = threads * width * steps;

// What a step's elements share.
struct Coefficients : AdamWCoefficients {
  float clipNorm;
  const float *gradientSquares;  // may be null when clipNorm is 0
};

// Tensor i has blocks [firstBlock[i], firstBlock[i + 1]).
struct UpdatedTensors {
  static constexpr int most = 72;
  struct Tensor {
    float *parameter, *m, *v;
    const float *gradient;
    bf16 *shadow;
    int64_t size;  // negative: not all of them are aligned to 16 bytes
  };
  Tensor tensors[most];
  int32_t firstBlock[most + 1];
  int32_t count = 0;
};
static_assert(sizeof(UpdatedTensors) + sizeof(Coefficients) <= 4096, "a launch's arguments");

__global__ void __launch_bounds__(threads) updateKernel(UpdatedTensors table, Coefficients s) {
  const auto block = static_cast<int32_t>(blockIdx.x);
  int low = 0, high = table.count;  // the last tensor that begins at this block or before it
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (table.firstBlock[middle] <= block) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const UpdatedTensors::Tensor its = table.tensors[low];
  const bool aligned = its.size > 0;
  const int64_t size = aligned ? its.size : -its.size;
  const float squares = s.gradientSquares ? *s.gradientSquares : 0.0f;
  if (!(squares < INFINITY)) return;
  const float clip = s.clipNorm > 0 ? fminf(1.0f, s.clipNorm / (sqrtf(squares) + 1e-6f)) : 1.0f;
  const int64_t first = (block - table.firstBlock[low]) * blockElements + threadIdx.x * width;
#pragma unroll
  for (int step = 0; step < steps; ++step) {
    const int64_t at = first + step * threads * width, n = size - at;
    if (n <= 0) return;
    float parameter[width], gradient[width], m[width], v[width];
    loadSome(its.parameter + at, 1, n, aligned, parameter);
    loadSome(its.gradient + at, 1, n, aligned, gradient);
    loadSome(its.m + at, 1, n, aligned, m);
    loadSome(its.v + at, 1, n, aligned, v);
    for (int i = 0; i < width; ++i) {
      const float g = gradient[i] * clip;
      m[i] += s.oneMinusBeta1 * (g - m[i]);
      v[i] = s.beta2 * v[i] + s.oneMinusBeta2 * g * g;
      parameter[i] = parameter[i] * s.decay - s.stepSize * (m[i] / (sqrtf(v[i]) / s.rootCorrection + s.epsilon));
    }
    storeSome(its.parameter + at, 1, n, aligned, parameter);
    storeSome(its.m + at, 1, n, aligned, m);
    storeSome(its.v + at, 1, n, aligned, v);
    if (its.shadow) storeSome(its.shadow + at, 1, n, aligned, parameter);
  }
}

}  // namespace

const void *anyKernel() { return reinterpret_cast<const void *>(&updateKernel); }

template <>
void CudaBackend::perform(const AdamW &settings) {
  Coefficients s{coefficientsOf(settings), 0, nullptr};
  s.clipNorm = settings.clipNorm;
  s.gradientSquares = settings.gradientSquares.as<const float>();

  UpdatedTensors table;
  table.firstBlock[0] = 0;
  const auto send = [&] {
    launch(updateKernel, static_cast<uint32_t>(table.firstBlock[table.count]), threads, 0, stream(), table, s);
    table.count = 0;
  };
  for (const AdamWTensor &tensor : settings.tensors) {
    const int64_t size = tensor.parameter.size();
    if (size == 0) continue;
    bool aligned = true;
    for (const View &view : {tensor.parameter, tensor.gradient, tensor.m, tensor.v, tensor.shadow})
      aligned = aligned && reinterpret_cast<uintptr_t>(view.data) % 16 == 0;
    table.tensors[table.count] = {tensor.parameter.as<float>(),      tensor.m.as<float>(),     tensor.v.as<float>(),
                                  tensor.gradient.as<const float>(), tensor.shadow.as<bf16>(), aligned ? size : -size};
    table.firstBlock[table.count + 1] =
        table.firstBlock[table.count] + static_cast<int32_t>(blocksFor(size, blockElements));
    if (++table.count == UpdatedTensors::most) send();
  }
  if (table.count > 0) send();
}

}  // namespace emoframe
