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

template <>
void CpuBackend::perform(const WeightNorm &op) {
  const int64_t width = tapWidth(op.v, op.kernel), perGroup = op.v.rows / op.groups;
  if (op.v.size() == 0) return;
  parallelFor(threads_, op.kernel, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const double norm = tapNorm(op.v, k, width);
      const float factor = static_cast<float>(op.g.as<float>()[k] / norm);
      const std::vector<float> factors(static_cast<size_t>(width), factor);
      std::vector<float> row(static_cast<size_t>(width));
      std::vector<float> turned(static_cast<size_t>(op.flipped ? perGroup * width : 0));
      for (int64_t group = 0; group < op.groups; ++group) {
        for (int64_t o = 0; o < perGroup; ++o) {
          const int64_t channel = group * perGroup + o;
          multiply(static_cast<const float *>(op.v.at(0, channel, k * width)), factors.data(), row.data(), width);
          if (op.weight) storeBlock(op.weight, 0, channel, k * width, width, row.data());
          if (op.flipped) {
            for (int64_t i = 0; i < width; ++i) turned[i * perGroup + o] = row[i];
          }
        }
        if (!op.flipped) continue;
        // In and out channels of a group are equally many: width = perGroup.
        for (int64_t i = 0; i < width; ++i) {
          storeBlock(op.flipped, 0, group * width + i, (op.kernel - 1 - k) * perGroup, perGroup,
                     turned.data() + i * perGroup);
        }
      }
    }
  });
}

// With n = ‖v_k‖ and s = v_k · dW_k: dg = s / n, dv = g / n (dW - v s / n²).
template <>
void CpuBackend::perform(const WeightNormBackward &op) {
  const int64_t width = tapWidth(op.v, op.kernel);
  if (op.v.size() == 0) return;
  parallelFor(threads_, op.kernel, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const double norm = tapNorm(op.v, k, width);
      double product = 0;
      for (int64_t o = 0; o < op.v.rows; ++o) {
        const float *vRow = static_cast<const float *>(op.v.at(0, o, k * width));
        const float *dRow = static_cast<const float *>(op.dWeight.at(0, o, k * width));
        for (int64_t i = 0; i < width; ++i) product += static_cast<double>(vRow[i]) * dRow[i];
      }
      const double outer = op.g.as<float>()[k] / norm, inner = product / (norm * norm);
      op.dg.as<float>()[k] = static_cast<float>(op.dg.as<float>()[k] + product / norm);
      for (int64_t o = 0; o < op.v.rows; ++o) {
        const float *vRow = static_cast<const float *>(op.v.at(0, o, k * width));
        const float *dRow = static_cast<const float *>(op.dWeight.at(0, o, k * width));
        float *target = static_cast<float *>(op.dv.at(0, o, k * width));
        for (int64_t i = 0; i < width; ++i) target[i] += static_cast<float>(outer * (dRow[i] - vRow[i] * inner));
      }
    }
  });
}

}  // namespace emoframe
