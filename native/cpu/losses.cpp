// Losses, forward and backward in one call. The two cross-entropies: cosine logits are formed for a block of frames at
// a time by three matrix products (logits, their gradient to z, their gradient to the label embeddings), all in fp32
// whatever z is: with N frames and K labels an [N, K] buffer would outgrow the activations, a block of it stays in
// cache.
#include <cmath>

#include "backend.h"
#include "blocks.h"

namespace emoframe {

namespace {

constexpr int64_t frameBlock = 256;

// Below this norm a vector has no direction: its cosine counts as 0 and it gets no gradient.
constexpr float smallestNorm = 1e-8f;

struct RowLoss {
  float loss;
  bool correct;
};

// logits → (softmax(logits · sharpness) - onehot) · gradientScale in place. A tie is won by the lowest label.
EMOFRAME_SIMD RowLoss crossEntropyRow(float *logits, int64_t n, int32_t label, float sharpness, float gradientScale) {
  float before = -INFINITY, rest = -INFINITY;
#pragma omp simd reduction(max : before)
  for (int64_t i = 0; i < label; ++i) before = logits[i] > before ? logits[i] : before;
#pragma omp simd reduction(max : rest)
  for (int64_t i = label; i < n; ++i) rest = logits[i] > rest ? logits[i] : rest;
  const float own = logits[label], largest = before > rest ? before : rest;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    logits[i] = exponential((logits[i] - largest) * sharpness);
    sum += logits[i];
  }
  const float factor = gradientScale / sum;
  for (int64_t i = 0; i < n; ++i) logits[i] *= factor;
  logits[label] -= gradientScale;
  return {std::log(sum) - (own - largest) * sharpness, own == rest && before < own};
}

// x / ‖x‖; returns 1 / ‖x‖, or 0 (and a zero row) when x has no direction.
EMOFRAME_SIMD float normalise(const float *x, float *unit, int64_t n) {
  double squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * x[i];
  const double norm = std::sqrt(squares);
  const float inverse = norm > smallestNorm ? static_cast<float>(1 / norm) : 0.0f;
  for (int64_t i = 0; i < n; ++i) unit[i] = x[i] * inverse;
  return inverse;
}

// Through the normalisation: dx = (dUnit - unit (unit · dUnit)) / ‖x‖.
EMOFRAME_SIMD void normaliseBackward(const float *unit, float inverse, const float *dUnit, float *dx, int64_t n) {
  float product = 0;
#pragma omp simd reduction(+ : product)
  for (int64_t i = 0; i < n; ++i) product += unit[i] * dUnit[i];
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dx[i] = (dUnit[i] - unit[i] * product) * inverse;
}

}  // namespace

template <>
void CpuBackend::perform(const CosineCrossEntropy &loss) {
  const int64_t N = loss.z.rows, D = loss.z.cols, K = loss.embeddings.rows, block = std::min(N, frameBlock);
  loss.result.as<float>()[0] = loss.result.as<float>()[1] = 0;
  if (N == 0) return;
  std::vector<float> units(static_cast<size_t>(K * D)), inverses(static_cast<size_t>(K));
  std::vector<float> dUnits(static_cast<size_t>(loss.dEmbeddings ? K * D : 0), 0.0f);
  parallelFor(threads_, K, 16, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      inverses[k] = normalise(static_cast<const float *>(loss.embeddings.at(0, k, 0)), &units[k * D], D);
    }
  });
  std::vector<float> frames(static_cast<size_t>(block * D)), frameInverses(static_cast<size_t>(block));
  std::vector<float> dFrames(static_cast<size_t>(loss.dz ? block * D : 0)), logits(static_cast<size_t>(block * K));
  std::vector<RowLoss> rows(static_cast<size_t>(block));
  double total = 0;
  int64_t correct = 0;
  for (int64_t at = 0; at < N; at += block) {
    const int64_t n = std::min(block, N - at);
    const View unitFrames = matrix(frames.data(), DType::f32, n, D),
               unitLabels = matrix(units.data(), DType::f32, K, D);
    const View dLogits = matrix(logits.data(), DType::f32, n, K);
    parallelFor(threads_, n, 16, [&](int64_t begin, int64_t end) {
      std::vector<float> row(static_cast<size_t>(D));
      for (int64_t i = begin; i < end; ++i) {
        frameInverses[i] = normalise(readBlock(loss.z, 0, at + i, 0, D, row.data()), &frames[i * D], D);
      }
    });
    Gemm forward;
    forward.a = unitFrames;
    forward.b = unitLabels.transposed();
    forward.out = dLogits;
    perform(forward);
    parallelFor(threads_, n, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        rows[i] = crossEntropyRow(&logits[i * K], K, loss.labels[at + i], 1 / loss.temperature,
                                  loss.gradientScale / loss.temperature);
      }
    });
    for (int64_t i = 0; i < n; ++i) {
      total += rows[i].loss;
      correct += rows[i].correct;
    }
    if (loss.dz) {
      Gemm toFrames;
      toFrames.a = dLogits;
      toFrames.b = unitLabels;
      toFrames.out = matrix(dFrames.data(), DType::f32, n, D);
      perform(toFrames);
      parallelFor(threads_, n, 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          normaliseBackward(&frames[i * D], frameInverses[i], &dFrames[i * D], &dFrames[i * D], D);
          storeBlock(loss.dz, 0, at + i, 0, D, &dFrames[i * D]);
        }
      });
    }
    if (loss.dEmbeddings) {
      Gemm toLabels;
      toLabels.a = dLogits.transposed();
      toLabels.b = unitFrames;
      toLabels.out = matrix(dUnits.data(), DType::f32, K, D);
      toLabels.accumulate = true;
      perform(toLabels);
    }
  }
  if (loss.dEmbeddings) {
    parallelFor(threads_, K, 16, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        normaliseBackward(&units[k * D], inverses[k], &dUnits[k * D], &dUnits[k * D], D);
        addTo(static_cast<float *>(loss.dEmbeddings.at(0, k, 0)), &dUnits[k * D], D);
      }
    });
  }
  loss.result.as<float>()[0] = static_cast<float>(total);
  loss.result.as<float>()[1] = static_cast<float>(correct);
}

template <>
void CpuBackend::perform(const SoftmaxCrossEntropy &loss) {
  // Rows of a few classes.
  const int64_t N = loss.logits.rows, C = loss.logits.cols;
  std::vector<float> row(static_cast<size_t>(C));
  double total = 0;
  int64_t correct = 0;
  for (int64_t i = 0; i < N; ++i) {
    const float *logits = static_cast<const float *>(loss.logits.at(0, i, 0));
    const float share = loss.shares ? loss.shares[i] : 1;
    if (share == 0) {
      std::fill(row.begin(), row.end(), 0.0f);
    } else {
      std::copy(logits, logits + C, row.begin());
      const RowLoss one = crossEntropyRow(row.data(), C, loss.labels[i], 1, loss.gradientScale * share);
      total += one.loss * share;
      correct += one.correct;
    }
    if (loss.dLogits) storeBlock(loss.dLogits, 0, i, 0, C, row.data());
  }
  loss.result.as<float>()[0] = static_cast<float>(total);
  loss.result.as<float>()[1] = static_cast<float>(correct);
}

// Of outputs x with targets y: d CCC / d x[i] = 2 (y[i] - mean y - CCC (x[i] - mean y)) / (N · denominator).
template <>
void CpuBackend::perform(const Concordance &loss) {
  const int64_t N = loss.outputs.rows, D = loss.outputs.cols;
  const auto count = static_cast<double>(std::max<int64_t>(1, N));
  double total = 0;
  for (int64_t d = 0; d < D; ++d) {
    const auto output = [&](int64_t i) { return static_cast<double>(*static_cast<float *>(loss.outputs.at(0, i, d))); };
    const auto target = [&](int64_t i) { return static_cast<double>(*static_cast<float *>(loss.targets.at(0, i, d))); };
    double outputMean = 0, targetMean = 0, squares = 0, products = 0;
    for (int64_t i = 0; i < N; ++i) outputMean += output(i), targetMean += target(i);
    outputMean /= count;
    targetMean /= count;
    for (int64_t i = 0; i < N; ++i) {
      const double x = output(i) - outputMean, y = target(i) - targetMean;
      squares += x * x + y * y;
      products += x * y;
    }
    const double apart = outputMean - targetMean, denominator = squares + count * apart * apart;
    const double agreement = denominator != 0 ? 2 * products / denominator : 0;  // 0 of a single row
    total += 1 - agreement;
    for (int64_t i = 0; i < N && loss.dOutputs; ++i) {
      const double gradient = target(i) - targetMean - agreement * (output(i) - targetMean);
      *static_cast<float *>(loss.dOutputs.at(0, i, d)) =
          denominator != 0 ? static_cast<float>(-2 * gradient / (denominator * static_cast<double>(D))) : 0;
    }
  }
  loss.result.as<float>()[0] = static_cast<float>(total / static_cast<double>(D));
  loss.result.as<float>()[1] = 0;
}

}  // namespace emoframe
