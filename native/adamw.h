// What all elements share in a step of AdamW, for every backend: the scalars that
// PyTorch forms in double are formed in double.
#pragma once

#include <cmath>

#include "ops.h"

namespace emoframe {

struct AdamWCoefficients {
  float decay, oneMinusBeta1, beta2, oneMinusBeta2, stepSize, rootCorrection, epsilon;
};

inline AdamWCoefficients coefficientsOf(const AdamW &settings) {
  // The double that was meant by a decimal such as 0.999, which a float holds only to 3e-8: 1 - β would be off by 1e-5.
  const auto asDecimal = [](float value) { return std::round(static_cast<double>(value) * 1e7) / 1e7; };
  const double beta1 = asDecimal(settings.beta1), beta2 = asDecimal(settings.beta2);
  const double step = static_cast<double>(settings.step), rate = settings.learningRate;
  AdamWCoefficients c;
  c.decay = static_cast<float>(1 - rate * settings.weightDecay);
  c.oneMinusBeta1 = static_cast<float>(1 - beta1);
  c.beta2 = static_cast<float>(beta2);
  c.oneMinusBeta2 = static_cast<float>(1 - beta2);
  c.stepSize = static_cast<float>(rate / (1 - std::pow(beta1, step)));
  c.rootCorrection = static_cast<float>(std::sqrt(1 - std::pow(beta2, step)));
  c.epsilon = settings.epsilon;
  return c;
}

}  // namespace emoframe
