// Weight norm of the positional convolution over dim 2: each of its `kernel` taps has one magnitude g[k], and
// weight[:, k, :] = g[k] v[:, k, :] / ‖v[:, k, :]‖. v is a few million elements, so one pass a tap and plain loops do.
#include <cmath>

#include "backend.h"
#include "blocks.h"

namespace emoframe {

namespace {

// The width C / G of one tap in a row [kernel · C / G].
int64_t tapWidth(const View &v, int64_t kernel) { return v.cols / kernel; }

double tapNorm(const View &v, int64_t k, int64_t width) {
  double sum = 0;
  for (int64_t o = 0; o < v.rows; ++o) sum += sumOfSquares(static_cast<const float *>(v.at(0, o, k * width)), width);
  return std::sqrt(sum);
}

}  // namespace

void CpuBackend::weightNormForward(const View &v, const View &g, int64_t kernel, int64_t groups, const View &weight,
                                   const View &flipped) {
  const int64_t width = tapWidth(v, kernel), perGroup = v.rows / groups;
  if (v.size() == 0) return;
  parallelFor(threads_, kernel, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const double norm = tapNorm(v, k, width);
      const float factor = static_cast<float>(g.as<float>()[k] / norm);
      const std::vector<float> factors(static_cast<size_t>(width), factor);
      std::vector<float> row(static_cast<size_t>(width));
      std::vector<float> turned(static_cast<size_t>(flipped ? perGroup * width : 0));
      for (int64_t group = 0; group < groups; ++group) {
        for (int64_t o = 0; o < perGroup; ++o) {
          const int64_t channel = group * perGroup + o;
          multiply(static_cast<const float *>(v.at(0, channel, k * width)), factors.data(), row.data(), width);
          if (weight) storeBlock(weight, 0, channel, k * width, width, row.data());
          if (flipped) {
            for (int64_t i = 0; i < width; ++i) turned[i * perGroup + o] = row[i];
          }
        }
        if (!flipped) continue;
        // In and out channels of a group are equally many: width = perGroup.
        for (int64_t i = 0; i < width; ++i) {
          storeBlock(flipped, 0, group * width + i, (kernel - 1 - k) * perGroup, perGroup,
                     turned.data() + i * perGroup);
        }
      }
    }
  });
}

// With n = ‖v_k‖ and s = v_k · dW_k: dg = s / n, dv = g / n (dW - v s / n²).
void CpuBackend::weightNormBackward(const View &v, const View &g, int64_t kernel, const View &dWeight, const View &dv,
                                    const View &dg) {
  const int64_t width = tapWidth(v, kernel);
  if (v.size() == 0) return;
  parallelFor(threads_, kernel, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const double norm = tapNorm(v, k, width);
      double product = 0;
      for (int64_t o = 0; o < v.rows; ++o) {
        const float *vRow = static_cast<const float *>(v.at(0, o, k * width));
        const float *dRow = static_cast<const float *>(dWeight.at(0, o, k * width));
        for (int64_t i = 0; i < width; ++i) product += static_cast<double>(vRow[i]) * dRow[i];
      }
      const double outer = g.as<float>()[k] / norm, inner = product / (norm * norm);
      dg.as<float>()[k] = static_cast<float>(dg.as<float>()[k] + product / norm);
      for (int64_t o = 0; o < v.rows; ++o) {
        const float *vRow = static_cast<const float *>(v.at(0, o, k * width));
        const float *dRow = static_cast<const float *>(dWeight.at(0, o, k * width));
        float *target = static_cast<float *>(dv.at(0, o, k * width));
        for (int64_t i = 0; i < width; ++i) target[i] += static_cast<float>(outer * (dRow[i] - vRow[i] * inner));
      }
    }
  });
}

}  // namespace emoframe
