// LayerNorm with the residual sum and dropout before it. A row is read once, lies in L1 while its
// statistics and its output are formed (two passes, so the variance does not cancel), and is written
// once. For bf16 a sum that is stored is rounded before its statistics are taken, so that backward, which
// reads it, differentiates what forward computed.
#include <cmath>

#include "backend.h"
#include "blocks.h"

namespace emoframe {

namespace {

EMOFRAME_SIMD void multiplyAdd(const float *x, const float *factors, const float *residual, float *sum, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) sum[i] = residual[i] + x[i] * factors[i];
}

struct Statistics {
  float mean, rstd;
};

EMOFRAME_SIMD Statistics statistics(const float *x, int64_t n, float epsilon) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  const float mean = sum / static_cast<float>(n);
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  return {mean, 1.0f / std::sqrt(squares / static_cast<float>(n) + epsilon)};
}

EMOFRAME_SIMD void normalise(const float *x, Statistics s, const float *gamma, const float *beta, float *y, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - s.mean) * s.rstd * gamma[i] + beta[i];
}

// With g = dy γ and x̂ the normalised row: dx = rstd (g - mean(g) - x̂ mean(g x̂)); dγ += dy x̂, dβ += dy.
EMOFRAME_SIMD void normaliseBackward(const float *x, Statistics s, const float *gamma, const float *dy, float *dx,
                                     float *dGamma, float *dBeta, int64_t n) {
  float sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
  for (int64_t i = 0; i < n; ++i) {
    const float g = dy[i] * gamma[i], normal = (x[i] - s.mean) * s.rstd;
    sum += g;
    product += g * normal;
  }
  sum /= static_cast<float>(n);
  product /= static_cast<float>(n);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float normal = (x[i] - s.mean) * s.rstd, incoming = dy[i];
    dx[i] = s.rstd * (incoming * gamma[i] - sum - normal * product);
    dGamma[i] += incoming * normal;
    dBeta[i] += incoming;
  }
}

}  // namespace

template <>
void CpuBackend::perform(const AddNorm &norm) {
  const int64_t C = norm.x.cols;
  const bool sums = norm.residual || norm.dropout.p > 0;
  parallelFor(threads_, norm.x.rows, rowGrain(C), [&](int64_t begin, int64_t end) {
    std::vector<float> memory(static_cast<size_t>(4 * C));
    float *xRow = memory.data(), *residualRow = xRow + C, *sumRow = residualRow + C, *factors = sumRow + C;
    for (int64_t t = begin; t < end; ++t) {
      const float *row = readBlock(norm.x, 0, t, 0, C, xRow);
      if (sums) {
        // Formed in a buffer of its own, since the stored sum may be x's or the residual's memory.
        if (norm.dropout.p > 0)
          dropoutFactors(norm.dropout, static_cast<uint64_t>(t * C), C, factors);
        else
          fillFloats(factors, 1, C);
        const float *residual = norm.residual ? readBlock(norm.residual, 0, t, 0, C, residualRow) : residualRow;
        if (!norm.residual) fillFloats(residualRow, 0, C);
        multiplyAdd(row, factors, residual, sumRow, C);
        row = sumRow;
      }
      if (norm.sum) {
        storeBlock(norm.sum, 0, t, 0, C, row);
        row = readBlock(norm.sum, 0, t, 0, C, sumRow);
      }
      if (!norm.y) continue;
      const Statistics s = statistics(row, C, norm.epsilon);
      float *y = writeBlock(norm.y, 0, t, 0, xRow);
      normalise(row, s, norm.gamma.as<float>(), norm.beta.as<float>(), y, C);
      storeBlock(norm.y, 0, t, 0, C, y);
      if (norm.mean) norm.mean.as<float>()[t] = s.mean;
      if (norm.rstd) norm.rstd.as<float>()[t] = s.rstd;
    }
  });
}

template <>
void CpuBackend::perform(const AddNormBackward &gradient) {
  const AddNorm &norm = gradient.forward;
  const int64_t T = norm.x.rows, C = norm.x.cols;
  const View &input = norm.sum ? norm.sum : norm.x;
  ColumnSums dGamma(gradient.dy ? T : 0, C), dBeta(gradient.dy ? T : 0, C);
  parallelChunks(threads_, T, ColumnSums::grain(T), [&](int64_t chunk, int64_t begin, int64_t end) {
    std::vector<float> memory(static_cast<size_t>(4 * C));
    float *inputRow = memory.data(), *dyRow = inputRow + C, *dSum = dyRow + C, *factors = dSum + C;
    std::unique_ptr<ColumnSums::Chunk> gammaSums, betaSums;
    if (gradient.dy) {
      gammaSums = std::make_unique<ColumnSums::Chunk>(dGamma, chunk);
      betaSums = std::make_unique<ColumnSums::Chunk>(dBeta, chunk);
    }
    for (int64_t t = begin; t < end; ++t) {
      if (gradient.dy) {
        const Statistics s = {norm.mean.as<float>()[t], norm.rstd.as<float>()[t]};
        normaliseBackward(readBlock(input, 0, t, 0, C, inputRow), s, norm.gamma.as<float>(),
                          readBlock(gradient.dy, 0, t, 0, C, dyRow), dSum, gammaSums->floats.data(),
                          betaSums->floats.data(), C);
        gammaSums->rowDone();
        betaSums->rowDone();
      } else {
        fillFloats(dSum, 0, C);
      }
      if (gradient.dSumIn) addTo(dSum, readBlock(gradient.dSumIn, 0, t, 0, C, inputRow), C);
      storeBlock(gradient.dSumOut, 0, t, 0, C, dSum);
      if (!gradient.dx) continue;
      if (norm.dropout.p > 0) {
        dropoutFactors(norm.dropout, static_cast<uint64_t>(t * C), C, factors);
        multiply(dSum, factors, dSum, C);
      }
      storeBlock(gradient.dx, 0, t, 0, C, dSum);
    }
    if (gradient.dy) {
      gammaSums->finish();
      betaSums->finish();
    }
  });
  if (gradient.dy) {
    if (gradient.dGamma) dGamma.addInto(gradient.dGamma);
    if (gradient.dBeta) dBeta.addInto(gradient.dBeta);
  }
}

}  // namespace emoframe
