// Conv 0 has one input channel: a window of 10 samples gives 512 channels, so it is a loop over channels with the taps
// kept in registers, and GELU is taken while the row is in L1. The GroupNorm that follows it in base models normalises
// each channel of an utterance by its mean and variance over time; the channel is w·x of the window x, so mean =
// w·E[x], variance = wᵀ Cov[x] w, and a 10 x 10 covariance an utterance replaces two passes over the largest activation
// of the network. Folded, γ (w·x - mean) r + β is another filter and bias, one filter bank an utterance.
#include <algorithm>
#include <cmath>

#include "backend.h"
#include "blocks.h"

namespace emoframe {

namespace {

constexpr int64_t chunkFrames = 4096;  // frames a partial sum
constexpr int64_t blockFrames = 256;   // frames summed in fp32 before they are taken into double
constexpr int64_t forwardFrames = 64;  // frames a forward task

// row[c] = bias[c] + Σ_k weight[k, c] x[k]; the taps of weight are C apart.
template <int taps>
EMOFRAME_INLINE void filterFixed(const float *weight, const float *bias, const float *x, int64_t C, float *row) {
#pragma GCC ivdep
  for (int64_t c = 0; c < C; ++c) {
    float sum = bias ? bias[c] : 0.0f;
    for (int k = 0; k < taps; ++k) sum += weight[k * C + c] * x[k];
    row[c] = sum;
  }
}

EMOFRAME_SIMD void filterRow(const float *weight, const float *bias, const float *x, int64_t taps, int64_t C,
                             float *row) {
  if (taps == 10) return filterFixed<10>(weight, bias, x, C, row);
  for (int64_t c = 0; c < C; ++c) row[c] = bias ? bias[c] : 0.0f;
  for (int64_t k = 0; k < taps; ++k) {
    const float sample = x[k];
#pragma GCC ivdep
    for (int64_t c = 0; c < C; ++c) row[c] += weight[k * C + c] * sample;
  }
}

EMOFRAME_SIMD void geluRow(float *row, int64_t C) {
  for (int64_t c = 0; c < C; ++c) row[c] = gelu(row[c]);
}

EMOFRAME_SIMD void geluGradientRow(const float *pre, const float *dOut, float *g, int64_t C) {
#pragma GCC ivdep
  for (int64_t c = 0; c < C; ++c) g[c] = dOut[c] * geluDerivative(pre[c]);
}

template <int taps>
EMOFRAME_INLINE void momentsFixed(const float *g, const float *x, int64_t C, float *sums) {
#pragma GCC ivdep
  for (int64_t c = 0; c < C; ++c) {
    const float value = g[c];
    sums[c] += value;
    for (int k = 0; k < taps; ++k) sums[(k + 1) * C + c] += value * x[k];
  }
}

// sums [1 + taps, C] += g, g x[0], g x[1], ...
EMOFRAME_SIMD void momentsRow(const float *g, const float *x, int64_t taps, int64_t C, float *sums) {
  if (taps == 10) return momentsFixed<10>(g, x, C, sums);
#pragma GCC ivdep
  for (int64_t c = 0; c < C; ++c) sums[c] += g[c];
  for (int64_t k = 0; k < taps; ++k) {
    const float sample = x[k];
    float *target = sums + (k + 1) * C;
#pragma GCC ivdep
    for (int64_t c = 0; c < C; ++c) target[c] += g[c] * sample;
  }
}

// sums [taps] += Σ_t x[t, k]; products [taps, taps], upper triangle, += Σ_t x[t, k] x[t, j].
EMOFRAME_SIMD void windowMoments(const float *samples, int64_t frames, int64_t stride, int64_t taps, double *sums,
                                 double *products) {
  for (int64_t t = 0; t < frames; ++t) {
    const float *x = samples + t * stride;
    for (int64_t k = 0; k < taps; ++k) {
      const double value = x[k];
      sums[k] += value;
      for (int64_t j = k; j < taps; ++j) products[k * taps + j] += value * x[j];
    }
  }
}

// Frames [begin, end) of utterance b.
struct Part {
  int32_t b;
  int64_t begin, end;
};

std::vector<Part> partsOf(const Conv0 &conv, int64_t frames) {
  std::vector<Part> parts;
  for (int32_t b = 0; b < conv.count; ++b) {
    for (int64_t t = 0; t < conv.frames(b); t += frames) parts.push_back({b, t, std::min(conv.frames(b), t + frames)});
  }
  return parts;
}

const float *windowAt(const Conv0 &conv, int32_t b, int64_t frame) {
  return conv.samples.as<float>() + conv.start[b] + frame * conv.stride;
}

// Filter banks as the loops read them: [banks, kernel, C].
std::vector<float> tapsFirst(const View &weight) {
  const int64_t C = weight.rows, taps = weight.cols;
  std::vector<float> result(static_cast<size_t>(weight.size()));
  for (int64_t b = 0; b < weight.batch; ++b) {
    for (int64_t c = 0; c < C; ++c) {
      for (int64_t k = 0; k < taps; ++k)
        result[(b * taps + k) * C + c] = *static_cast<const float *>(weight.at(b, c, k));
    }
  }
  return result;
}

// Conv0's parameters for utterance b.
struct Bank {
  const float *weight, *bias;
};
Bank bankOf(const Conv0 &conv, const std::vector<float> &weights, int32_t b) {
  const int64_t bank = conv.weight.batch > 1 ? b : 0;
  return {weights.data() + bank * conv.kernel * conv.weight.rows,
          conv.bias ? static_cast<const float *>(conv.bias.at(conv.bias.batch > 1 ? b : 0, 0, 0)) : nullptr};
}

// Row b of a [count, n] view, or of a [count, 1, n] one.
float *rowOf(const View &x, int64_t b) { return static_cast<float *>(x.batch > 1 ? x.at(b, 0, 0) : x.at(0, b, 0)); }

}  // namespace

template <>
void CpuBackend::perform(const WindowCovariance &op) {
  const Conv0 &conv = op.conv;
  const int64_t taps = conv.kernel, width = taps + taps * taps;
  const std::vector<Part> parts = partsOf(conv, chunkFrames);
  std::vector<double> partials(parts.size() * static_cast<size_t>(width), 0.0);
  parallelFor(threads_, static_cast<int64_t>(parts.size()), 1, [&](int64_t i, int64_t) {
    double *partial = partials.data() + i * width;
    windowMoments(windowAt(conv, parts[i].b, parts[i].begin), parts[i].end - parts[i].begin, conv.stride, taps, partial,
                  partial + taps);
  });
  size_t next = 0;
  for (int32_t b = 0; b < conv.count; ++b) {
    std::vector<double> total(static_cast<size_t>(width), 0.0);
    for (; next < parts.size() && parts[next].b == b; ++next) {
      for (int64_t i = 0; i < width; ++i) total[i] += partials[next * width + i];
    }
    const double frames = static_cast<double>(std::max<int64_t>(conv.frames(b), 1));
    for (double &value : total) value /= frames;
    for (int64_t k = 0; k < taps; ++k) {
      rowOf(op.mean, b)[k] = static_cast<float>(total[k]);
      for (int64_t j = k; j < taps; ++j) {
        const float value = static_cast<float>(total[taps + k * taps + j] - total[k] * total[j]);
        *static_cast<float *>(op.covariance.at(b, k, j)) = value;
        *static_cast<float *>(op.covariance.at(b, j, k)) = value;
      }
    }
  }
}

namespace {

// What normalising a channel needs, from its filter w: covariance · w, and r = 1 / sqrt(wᵀ covariance w + ε).
struct Channel {
  std::vector<double> covarianceW;
  double r, wMean;
};

Channel channelOf(const float *w, int64_t taps, float epsilon, const float *mean, const View &covariance, int64_t b) {
  Channel channel{std::vector<double>(static_cast<size_t>(taps), 0.0), 0, 0};
  double variance = 0;
  for (int64_t k = 0; k < taps; ++k) {
    const float *row = static_cast<const float *>(covariance.at(b, k, 0));
    for (int64_t j = 0; j < taps; ++j) channel.covarianceW[k] += static_cast<double>(row[j]) * w[j];
    variance += channel.covarianceW[k] * w[k];
    channel.wMean += static_cast<double>(w[k]) * mean[k];
  }
  // Rounding can leave a constant signal with a variance just below zero.
  channel.r = 1 / std::sqrt(std::max(variance, 0.0) + epsilon);
  return channel;
}

}  // namespace

template <>
void CpuBackend::perform(const FoldGroupNorm &op) {
  const int64_t C = op.weight.rows, taps = op.weight.cols;
  parallelFor(threads_, op.foldedWeight.batch * C, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / C, c = i % C;
      const float *w = static_cast<const float *>(op.weight.at(0, c, 0));
      const Channel channel = channelOf(w, taps, op.epsilon, rowOf(op.mean, b), op.covariance, b);
      const double factor = op.gamma.as<float>()[c] * channel.r;
      float *folded = static_cast<float *>(op.foldedWeight.at(b, c, 0));
      for (int64_t k = 0; k < taps; ++k) folded[k] = static_cast<float>(w[k] * factor);
      rowOf(op.foldedBias, b)[c] = static_cast<float>(op.beta.as<float>()[c] - factor * channel.wMean);
    }
  });
}

template <>
void CpuBackend::perform(const FoldGroupNormBackward &op) {
  // With s = w·(x - mean), y = γ r s + β: dγ = r Σ g s, dw = γ r (Σ g (x - mean) - r² (Σ g s) covariance w).
  const int64_t C = op.weight.rows, taps = op.weight.cols;
  parallelFor(threads_, C, 32, [&](int64_t begin, int64_t end) {
    std::vector<double> dw(static_cast<size_t>(taps)), centred(static_cast<size_t>(taps));
    for (int64_t c = begin; c < end; ++c) {
      const float *w = static_cast<const float *>(op.weight.at(0, c, 0));
      const double scale = op.gamma.as<float>()[c];
      double dGammaSum = 0, dBetaSum = 0;
      std::fill(dw.begin(), dw.end(), 0.0);
      for (size_t b = 0; b < op.frames.size(); ++b) {
        if (op.frames[b] == 0) continue;
        const int64_t item = static_cast<int64_t>(b);
        const float *m = rowOf(op.mean, item);
        const Channel channel = channelOf(w, taps, op.epsilon, m, op.covariance, item);
        const double g0 = rowOf(op.moment0, item)[c];
        const float *g1 = static_cast<const float *>(op.moment1.at(item, c, 0));
        double gs = 0;
        for (int64_t k = 0; k < taps; ++k) {
          centred[k] = g1[k] - m[k] * g0;
          gs += w[k] * centred[k];
        }
        dBetaSum += g0;
        dGammaSum += channel.r * gs;
        for (int64_t k = 0; k < taps; ++k) {
          dw[k] += scale * channel.r * (centred[k] - channel.r * channel.r * gs * channel.covarianceW[k]);
        }
      }
      if (op.dGamma) op.dGamma.as<float>()[c] += static_cast<float>(dGammaSum);
      if (op.dBeta) op.dBeta.as<float>()[c] += static_cast<float>(dBetaSum);
      if (op.dWeight) {
        for (int64_t k = 0; k < taps; ++k) *static_cast<float *>(op.dWeight.at(0, c, k)) += static_cast<float>(dw[k]);
      }
    }
  });
}

template <>
void CpuBackend::perform(const Conv0Forward &op) {
  const Conv0 &conv = op.conv;
  const int64_t C = conv.weight.rows;
  const std::vector<float> weights = tapsFirst(conv.weight);
  const std::vector<Part> parts = partsOf(conv, forwardFrames);
  parallelFor(threads_, static_cast<int64_t>(parts.size()), 1, [&](int64_t i, int64_t) {
    const Part &part = parts[i];
    const Bank bank = bankOf(conv, weights, part.b);
    std::vector<float> buffer(static_cast<size_t>(C));
    for (int64_t t = part.begin; t < part.end; ++t) {
      const int64_t row = conv.start[part.b] / conv.stride + t;
      float *target = writeBlock(op.out, 0, row, 0, buffer.data());
      filterRow(bank.weight, bank.bias, windowAt(conv, part.b, t), conv.kernel, C, target);
      if (conv.gelu) geluRow(target, C);
      storeBlock(op.out, 0, row, 0, C, target);
    }
  });

  std::vector<std::pair<int64_t, int64_t>> used;  // rows [first, second) that belong to an utterance
  for (int32_t b = 0; b < conv.count; ++b) {
    const int64_t first = conv.start[b] / conv.stride;
    if (conv.frames(b) > 0) used.emplace_back(first, first + conv.frames(b));
  }
  used.emplace_back(op.out.rows, op.out.rows);
  std::sort(used.begin(), used.end());
  int64_t row = 0;
  for (const auto &range : used) {
    if (range.first > row) perform(Fill{op.out.rowRange(row, range.first - row), 0});
    row = std::max(row, range.second);
  }
}

template <>
void CpuBackend::perform(const Conv0Backward &op) {
  const Conv0 &conv = op.conv;
  const int64_t C = conv.weight.rows, taps = conv.kernel, width = (1 + taps) * C;
  const std::vector<float> weights = conv.gelu ? tapsFirst(conv.weight) : std::vector<float>();
  const std::vector<Part> parts = partsOf(conv, chunkFrames);
  std::vector<double> partials(parts.size() * static_cast<size_t>(width), 0.0);
  parallelFor(threads_, static_cast<int64_t>(parts.size()), 1, [&](int64_t i, int64_t) {
    const Part &part = parts[i];
    std::vector<float> buffer(static_cast<size_t>(C)), pre(static_cast<size_t>(C)),
        sums(static_cast<size_t>(width), 0.0f);
    int64_t summed = 0;
    for (int64_t t = part.begin; t < part.end; ++t) {
      const float *x = windowAt(conv, part.b, t);
      const float *g = readBlock(op.dOut, 0, conv.start[part.b] / conv.stride + t, 0, C, buffer.data());
      if (conv.gelu) {
        const Bank bank = bankOf(conv, weights, part.b);
        filterRow(bank.weight, bank.bias, x, taps, C, pre.data());
        geluGradientRow(pre.data(), g, pre.data(), C);
        g = pre.data();
      }
      momentsRow(g, x, taps, C, sums.data());
      if (++summed == blockFrames || t + 1 == part.end) {
        addTo(partials.data() + i * width, sums.data(), width);
        std::fill(sums.begin(), sums.end(), 0.0f);
        summed = 0;
      }
    }
  });
  size_t next = 0;
  for (int32_t b = 0; b < conv.count; ++b) {
    std::vector<double> total(static_cast<size_t>(width), 0.0);
    for (; next < parts.size() && parts[next].b == b; ++next) {
      for (int64_t i = 0; i < width; ++i) total[i] += partials[next * width + i];
    }
    for (int64_t c = 0; c < C; ++c) {
      rowOf(op.moment0, b)[c] = static_cast<float>(total[c]);
      for (int64_t k = 0; k < taps; ++k) {
        *static_cast<float *>(op.moment1.at(b, c, k)) = static_cast<float>(total[(1 + k) * C + c]);
      }
    }
  }
}

}  // namespace emoframe
