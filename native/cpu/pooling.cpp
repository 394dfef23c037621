// Pooling of an utterance's frames: a = softmax over its frames of f(h · w) (or 1 / T), pooled = Σ a h, and for
// statistics pooling also sqrt(Σ a (h - mean)² + 1e-5). One utterance a task: its frames, at most a few MB, are read
// two to four times. An utterance without frames pools to mean 0 (and standard deviation sqrt(1e-5)).
#include <cmath>

#include "backend.h"
#include "blocks.h"

namespace emoframe {

namespace {

constexpr float varianceFloor = 1e-5f;

float scoreOf(Score score, float u) {
  switch (score) {
    case Score::tanh:
      return std::tanh(u);
    case Score::relu:
      return u > 0 ? u : 0;
    case Score::linear:
      return u;
    case Score::none:
    case Score::given:
      return 0;
  }
  return 0;
}

float scoreDerivative(Score score, float u) {
  switch (score) {
    case Score::tanh: {
      const float y = std::tanh(u);
      return 1 - y * y;
    }
    case Score::relu:
      return u > 0 ? 1 : 0;
    case Score::linear:
      return 1;
    case Score::none:
    case Score::given:
      return 0;
  }
  return 0;
}

EMOFRAME_SIMD void addWeighted(float a, const float *h, float *sum, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) sum[i] += a * h[i];
}
EMOFRAME_SIMD void addWeightedSquares(float a, const float *h, const float *mean, float *sum, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) sum[i] += a * ((h[i] - mean[i]) * (h[i] - mean[i]));
}
// dS (h - mean)² / (2 s) summed: what a weight gains through the standard deviation. halves = dS / (2 s).
EMOFRAME_SIMD float weightedSquares(const float *halves, const float *h, const float *mean, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += halves[i] * ((h[i] - mean[i]) * (h[i] - mean[i]));
  return sum;
}
// dh = a (dM + 2 halves (h - mean)) + du w.
EMOFRAME_SIMD void frameGradient(float a, const float *dMean, const float *halves, const float *h, const float *mean,
                                 float du, const float *w, float *dh, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dh[i] = a * (dMean[i] + 2 * halves[i] * (h[i] - mean[i])) + du * w[i];
}

}  // namespace

template <>
void CpuBackend::perform(const Pooling &pooling) {
  const int64_t C = pooling.h.cols;
  parallelFor(threads_, pooling.segments.count, 1, [&](int64_t first, int64_t last) {
    std::vector<float> row(static_cast<size_t>(C));
    for (int64_t b = first; b < last; ++b) {
      const int64_t begin = pooling.segments.offsets[b], end = pooling.segments.offsets[b + 1];
      float *attention = pooling.attention.as<float>();
      double logSum;
      if (pooling.score == Score::none) {
        for (int64_t t = begin; t < end; ++t) attention[t] = 1.0f / static_cast<float>(end - begin);
        logSum = std::log(static_cast<double>(end - begin));
      } else {
        float largest = -INFINITY;
        for (int64_t t = begin; t < end; ++t) {
          const float u = dotProduct(readBlock(pooling.h, 0, t, 0, C, row.data()), pooling.w.as<float>(), C);
          attention[t] = scoreOf(pooling.score, u);
          largest = std::max(largest, attention[t]);
        }
        double sum = 0;
        for (int64_t t = begin; t < end; ++t) sum += attention[t] = std::exp(attention[t] - largest);
        for (int64_t t = begin; t < end; ++t) attention[t] = static_cast<float>(attention[t] / sum);
        logSum = largest + std::log(sum);
      }
      if (pooling.logSums) pooling.logSums.as<float>()[b] = static_cast<float>(logSum);
      float *mean = static_cast<float *>(pooling.pooled.at(0, b, 0));
      fillFloats(mean, 0, C);
      for (int64_t t = begin; t < end; ++t) {
        addWeighted(attention[t], readBlock(pooling.h, 0, t, 0, C, row.data()), mean, C);
      }
      if (pooling.deviation == Deviation::none) continue;
      float *deviation = mean + C;
      fillFloats(deviation, 0, C);
      for (int64_t t = begin; t < end; ++t) {
        addWeightedSquares(attention[t], readBlock(pooling.h, 0, t, 0, C, row.data()), mean, deviation, C);
      }
      for (int64_t c = 0; c < C; ++c) deviation[c] = std::sqrt(deviation[c] + varianceFloor);
    }
  });
}

// With weights a, mean m, deviation s: the derivative of s through m vanishes, as Σ a (h - m) = 0. So
// dh = a (dM + dS (h - m) / s) + du w, da = dM · h + Σ dS (h - m)² / (2 s), du = f'(u) a (da - Σ a da), dw = Σ du h.
template <>
void CpuBackend::perform(const PoolingBackward &op) {
  const Pooling &pooling = op.forward;
  const int64_t C = pooling.h.cols, B = pooling.segments.count;
  const bool scored = pooling.score != Score::none;
  const std::vector<float> zeros(static_cast<size_t>(C), 0.0f);
  // dw of each utterance, added in their order.
  std::vector<float> partials(static_cast<size_t>(scored ? B * C : 0), 0.0f);
  parallelFor(threads_, B, 1, [&](int64_t first, int64_t last) {
    std::vector<float> row(static_cast<size_t>(C)), out(static_cast<size_t>(C)), halves(static_cast<size_t>(C), 0.0f);
    for (int64_t b = first; b < last; ++b) {
      const int64_t begin = pooling.segments.offsets[b], end = pooling.segments.offsets[b + 1];
      const float *attention = pooling.attention.as<float>();
      const float *mean = static_cast<const float *>(pooling.pooled.at(0, b, 0));
      const float *dMean = static_cast<const float *>(op.dPooled.at(0, b, 0));
      if (pooling.deviation != Deviation::none) {
        for (int64_t c = 0; c < C; ++c) halves[c] = dMean[C + c] / (2 * mean[C + c]);
      }
      std::vector<float> du(static_cast<size_t>(end - begin), 0.0f);
      if (scored) {
        std::vector<float> slopes(du.size());
        double centre = 0;
        for (int64_t t = begin; t < end; ++t) {
          const float *h = readBlock(pooling.h, 0, t, 0, C, row.data());
          du[t - begin] = dotProduct(dMean, h, C) + weightedSquares(halves.data(), h, mean, C);
          slopes[t - begin] = scoreDerivative(pooling.score, dotProduct(h, pooling.w.as<float>(), C));
          centre += static_cast<double>(attention[t]) * du[t - begin];
        }
        for (int64_t t = begin; t < end; ++t) {
          du[t - begin] = static_cast<float>(slopes[t - begin] * attention[t] * (du[t - begin] - centre));
        }
      }
      const float *w = scored ? pooling.w.as<float>() : zeros.data();
      for (int64_t t = begin; t < end; ++t) {
        const float *h = readBlock(pooling.h, 0, t, 0, C, row.data());
        if (scored) addWeighted(du[t - begin], h, partials.data() + b * C, C);
        float *target = writeBlock(op.dh, 0, t, 0, out.data());
        frameGradient(attention[t], dMean, halves.data(), h, mean, du[t - begin], w, target, C);
        storeBlock(op.dh, 0, t, 0, C, target);
      }
    }
  });
  if (!scored) return;
  for (int64_t b = 0; b < B; ++b) addTo(op.dw.as<float>(), partials.data() + b * C, C);
}

}  // namespace emoframe
