// AdamW as torch.optim.AdamW computes it, in one pass over all tensors: each element's parameter, gradient and two
// moments are read once and written once (28 bytes an element, 30 with a bf16 shadow), so memory is the bound. Blocks
// of all tensors lie on one axis, so a hundred small tensors cost no more than one large one.
#include <cmath>

#include "backend.h"
#include "blocks.h"

namespace emoframe {

namespace {

// What a step's elements share; the scalars that PyTorch forms in double are formed in double.
struct Coefficients {
  float decay, clip, oneMinusBeta1, beta2, oneMinusBeta2, stepSize, rootCorrection, epsilon;
};

EMOFRAME_SIMD void update(const Coefficients s, float *parameter, const float *gradient, float *m, float *v,
                          int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * s.clip;
    m[i] += s.oneMinusBeta1 * (g - m[i]);
    v[i] = s.beta2 * v[i] + s.oneMinusBeta2 * g * g;
    parameter[i] = parameter[i] * s.decay - s.stepSize * (m[i] / (std::sqrt(v[i]) / s.rootCorrection + s.epsilon));
  }
}

// The double that was meant by a decimal such as 0.999, which a float holds only to 3e-8: 1 - β would be off by 1e-5.
double asDecimal(float value) { return std::round(static_cast<double>(value) * 1e7) / 1e7; }

}  // namespace

void CpuBackend::adamW(const AdamW &settings, const std::vector<AdamWTensor> &tensors) {
  const double beta1 = asDecimal(settings.beta1), beta2 = asDecimal(settings.beta2);
  const double step = static_cast<double>(settings.step), rate = settings.learningRate;
  Coefficients s;
  s.decay = static_cast<float>(1 - rate * settings.weightDecay);
  s.clip = 1;
  if (settings.clipNorm > 0) {
    const float norm = std::sqrt(*settings.gradientSquares.as<float>());
    s.clip = std::min(1.0f, settings.clipNorm / (norm + 1e-6f));
  }
  s.oneMinusBeta1 = static_cast<float>(1 - beta1);
  s.beta2 = static_cast<float>(beta2);
  s.oneMinusBeta2 = static_cast<float>(1 - beta2);
  s.stepSize = static_cast<float>(rate / (1 - std::pow(beta1, step)));
  s.rootCorrection = static_cast<float>(std::sqrt(1 - std::pow(beta2, step)));
  s.epsilon = settings.epsilon;

  std::vector<int64_t> first(1, 0);  // tensor i has blocks [first[i], first[i + 1])
  for (const AdamWTensor &tensor : tensors)
    first.push_back(first.back() + chunkCount(tensor.parameter.size(), blockSize));
  parallelFor(threads_, first.back(), 16, [&](int64_t begin, int64_t end) {
    size_t i = std::upper_bound(first.begin(), first.end(), begin) - first.begin() - 1;
    for (int64_t block = begin; block < end; ++block) {
      while (block >= first[i + 1]) ++i;
      const AdamWTensor &tensor = tensors[i];
      const int64_t at = (block - first[i]) * blockSize, n = std::min(blockSize, tensor.parameter.size() - at);
      float *parameter = tensor.parameter.as<float>() + at;
      update(s, parameter, tensor.gradient.as<float>() + at, tensor.m.as<float>() + at, tensor.v.as<float>() + at, n);
      if (tensor.shadow) {
        storeBlock(vector(tensor.shadow.data, tensor.shadow.dtype, tensor.parameter.size()), 0, 0, at, n, parameter);
      }
    }
  });
}

}  // namespace emoframe
