// Pooling of an utterance's frames: a = softmax over its frames of f(h · w) or of given scores (or 1 / T), pooled =
// Σ a h, and for statistics pooling also sqrt(v + 1e-5) or sqrt(max(v, 1e-5)) of v = Σ a (h - mean)²; or Σ h; or each
// channel's largest value. One utterance a task: its frames, at most a few MB, are read one to four times. An utterance
// without frames pools to 0 (and standard deviation sqrt(1e-5)).
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
// Frame t where its value is larger. A NaN is larger than numbers, and the first one stays.
EMOFRAME_SIMD void takeLarger(const float *h, int32_t t, float *largest, int32_t *where, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const bool larger = !(h[i] <= largest[i]) && largest[i] == largest[i];
    largest[i] = larger ? h[i] : largest[i];
    where[i] = larger ? t : where[i];
  }
}
// dh of frame t, of those channels whose largest value it has.
EMOFRAME_SIMD void largestGradient(const float *dLargest, const int32_t *where, int32_t t, float *dh, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dh[i] = where[i] == t ? dLargest[i] : 0;
}

// The largest value of each channel among frames [begin, end), and where it is first; 0 and -1 of none.
struct Largest {
  explicit Largest(int64_t cols)
      : values(static_cast<size_t>(cols)), where(static_cast<size_t>(cols)), row_(static_cast<size_t>(cols)) {}

  void find(const View &h, int32_t begin, int32_t end) {
    const int64_t cols = h.cols;
    std::fill(where.begin(), where.end(), begin < end ? begin : -1);
    std::fill(values.begin(), values.end(), 0.0f);
    for (int32_t t = begin; t < end; ++t) {
      const float *frame = readBlock(h, 0, t, 0, cols, row_.data());
      if (t == begin) std::copy(frame, frame + cols, values.begin());
      takeLarger(frame, t, values.data(), where.data(), cols);
    }
  }

  std::vector<float> values;
  std::vector<int32_t> where;

 private:
  std::vector<float> row_;
};

void poolLargest(int threads, const Pooling &pooling) {
  const int64_t C = pooling.h.cols;
  parallelFor(threads, pooling.segments.count, 1, [&](int64_t first, int64_t last) {
    Largest largest(C);
    for (int64_t b = first; b < last; ++b) {
      const int32_t begin = pooling.segments.offsets[b], end = pooling.segments.offsets[b + 1];
      largest.find(pooling.h, begin, end);
      storeBlock(pooling.pooled, 0, b, 0, C, largest.values.data());
      float *attention = pooling.attention.as<float>();
      fillFloats(attention + begin, 0, end - begin);
      for (int64_t c = 0; c < C && begin < end; ++c) attention[largest.where[c]] += 1;
      for (int32_t t = begin; t < end; ++t) attention[t] /= static_cast<float>(C);
      if (pooling.logSums)
        pooling.logSums.as<float>()[b] = static_cast<float>(std::log(static_cast<double>(end - begin)));
    }
  });
}

void poolLargestBackward(int threads, const PoolingBackward &op) {
  const int64_t C = op.dh.cols;
  const Segments &segments = op.forward.segments;
  parallelFor(threads, segments.count, 1, [&](int64_t first, int64_t last) {
    Largest largest(C);
    std::vector<float> out(static_cast<size_t>(C));
    for (int64_t b = first; b < last; ++b) {
      const int32_t begin = segments.offsets[b], end = segments.offsets[b + 1];
      largest.find(op.forward.h, begin, end);
      for (int32_t t = begin; t < end; ++t) {
        float *target = writeBlock(op.dh, 0, t, 0, out.data());
        largestGradient(static_cast<const float *>(op.dPooled.at(0, b, 0)), largest.where.data(), t, target, C);
        storeBlock(op.dh, 0, t, 0, C, target);
      }
    }
  });
}

}  // namespace

template <>
void CpuBackend::perform(const Pooling &pooling) {
  if (pooling.reduction == Reduction::max) return poolLargest(threads_, pooling);
  const int64_t C = pooling.h.cols;
  const bool sum = pooling.reduction == Reduction::sum;
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
          if (pooling.score == Score::given) {
            attention[t] = pooling.scores.as<float>()[t];
          } else {
            const float u = dotProduct(readBlock(pooling.h, 0, t, 0, C, row.data()), pooling.w.as<float>(), C);
            attention[t] = scoreOf(pooling.score, u);
          }
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
        addWeighted(sum ? 1 : attention[t], readBlock(pooling.h, 0, t, 0, C, row.data()), mean, C);
      }
      if (pooling.deviation == Deviation::none) continue;
      float *deviation = mean + C;
      fillFloats(deviation, 0, C);
      for (int64_t t = begin; t < end; ++t) {
        addWeightedSquares(attention[t], readBlock(pooling.h, 0, t, 0, C, row.data()), mean, deviation, C);
      }
      for (int64_t c = 0; c < C; ++c) {
        const float variance = deviation[c];
        deviation[c] = std::sqrt(pooling.deviation == Deviation::added ? variance + varianceFloor
                                                                       : std::max(variance, varianceFloor));
      }
    }
  });
}

// With weights a, mean m, deviation s: the derivative of s through m vanishes, as Σ a (h - m) = 0. So
// dh = a (dM + dS (h - m) / s) + du w, da = dM · h + Σ dS (h - m)² / (2 s), du = f'(u) a (da - Σ a da), dw = Σ du h.
// Given scores are u, with f' = 1 and no w. A deviation that was clamped has no dS.
template <>
void CpuBackend::perform(const PoolingBackward &op) {
  const Pooling &pooling = op.forward;
  if (pooling.reduction == Reduction::max) return poolLargestBackward(threads_, op);
  const int64_t C = pooling.h.cols, B = pooling.segments.count;
  const bool sum = pooling.reduction == Reduction::sum, given = pooling.score == Score::given;
  const bool scored = pooling.score != Score::none, byProduct = scored && !given;
  const float clamped = pooling.deviation == Deviation::clamped ? std::sqrt(varianceFloor) : -INFINITY;
  const std::vector<float> zeros(static_cast<size_t>(C), 0.0f);
  // dw of each utterance, added in their order.
  std::vector<float> partials(static_cast<size_t>(byProduct ? B * C : 0), 0.0f);
  parallelFor(threads_, B, 1, [&](int64_t first, int64_t last) {
    std::vector<float> row(static_cast<size_t>(C)), out(static_cast<size_t>(C)), halves(static_cast<size_t>(C), 0.0f);
    for (int64_t b = first; b < last; ++b) {
      const int64_t begin = pooling.segments.offsets[b], end = pooling.segments.offsets[b + 1];
      const float *attention = pooling.attention.as<float>();
      const float *mean = static_cast<const float *>(pooling.pooled.at(0, b, 0));
      const float *dMean = static_cast<const float *>(op.dPooled.at(0, b, 0));
      if (pooling.deviation != Deviation::none) {
        for (int64_t c = 0; c < C; ++c) halves[c] = mean[C + c] <= clamped ? 0 : dMean[C + c] / (2 * mean[C + c]);
      }
      std::vector<float> du(static_cast<size_t>(end - begin), 0.0f);
      if (scored) {
        std::vector<float> slopes(du.size());
        double centre = 0;
        for (int64_t t = begin; t < end; ++t) {
          const float *h = readBlock(pooling.h, 0, t, 0, C, row.data());
          du[t - begin] = dotProduct(dMean, h, C) + weightedSquares(halves.data(), h, mean, C);
          slopes[t - begin] = given ? 1 : scoreDerivative(pooling.score, dotProduct(h, pooling.w.as<float>(), C));
          centre += static_cast<double>(attention[t]) * du[t - begin];
        }
        for (int64_t t = begin; t < end; ++t) {
          du[t - begin] = static_cast<float>(slopes[t - begin] * attention[t] * (du[t - begin] - centre));
        }
      }
      if (given) std::copy(du.begin(), du.end(), op.dScores.as<float>() + begin);
      const float *w = byProduct ? pooling.w.as<float>() : zeros.data();
      for (int64_t t = begin; t < end; ++t) {
        const float *h = readBlock(pooling.h, 0, t, 0, C, row.data());
        if (byProduct) addWeighted(du[t - begin], h, partials.data() + b * C, C);
        float *target = writeBlock(op.dh, 0, t, 0, out.data());
        frameGradient(sum ? 1 : attention[t], dMean, halves.data(), h, mean, du[t - begin], w, target, C);
        storeBlock(op.dh, 0, t, 0, C, target);
      }
    }
  });
  if (!byProduct) return;
  for (int64_t b = 0; b < B; ++b) addTo(op.dw.as<float>(), partials.data() + b * C, C);
}

}  // namespace emoframe
