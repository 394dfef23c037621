// AdamW as torch.optim.AdamW computes it, in one pass over all tensors: each element's parameter, gradient and two
// moments are read once and written once (28 bytes an element, 30 with a bf16 shadow), so memory is the bound. Blocks
// of all tensors lie on one axis, so a hundred small tensors cost no more than one large one.
#include <cmath>

#include "../adamw.h"
#include "backend.h"
#include "blocks.h"

namespace emoframe {

namespace {

EMOFRAME_SIMD void update(const AdamWCoefficients s, float clip, float *parameter, const float *gradient, float *m,
                          float *v, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * clip;
    m[i] += s.oneMinusBeta1 * (g - m[i]);
    v[i] = s.beta2 * v[i] + s.oneMinusBeta2 * g * g;
    parameter[i] = parameter[i] * s.decay - s.stepSize * (m[i] / (std::sqrt(v[i]) / s.rootCorrection + s.epsilon));
  }
}

}  // namespace

template <>
void CpuBackend::perform(const AdamW &settings) {
  const AdamWCoefficients s = coefficientsOf(settings);
  const float squares = settings.gradientSquares ? *settings.gradientSquares.as<float>() : 0;
  if (!std::isfinite(squares)) return;
  float clip = 1;
  if (settings.clipNorm > 0) clip = std::min(1.0f, settings.clipNorm / (std::sqrt(squares) + 1e-6f));

  std::vector<int64_t> first(1, 0);  // tensor i has blocks [first[i], first[i + 1])
  for (const AdamWTensor &tensor : settings.tensors)
    first.push_back(first.back() + chunkCount(tensor.parameter.size(), blockSize));
  parallelFor(threads_, first.back(), 16, [&](int64_t begin, int64_t end) {
    size_t i = std::upper_bound(first.begin(), first.end(), begin) - first.begin() - 1;
    for (int64_t block = begin; block < end; ++block) {
      while (block >= first[i + 1]) ++i;
      const AdamWTensor &tensor = settings.tensors[i];
      const int64_t at = (block - first[i]) * blockSize, n = std::min(blockSize, tensor.parameter.size() - at);
      float *parameter = tensor.parameter.as<float>() + at;
      update(s, clip, parameter, tensor.gradient.as<float>() + at, tensor.m.as<float>() + at, tensor.v.as<float>() + at,
             n);
      if (tensor.shadow) {
        storeBlock(vector(tensor.shadow.data, tensor.shadow.dtype, tensor.parameter.size()), 0, 0, at, n, parameter);
      }
    }
  });
}

}  // namespace emoframe
