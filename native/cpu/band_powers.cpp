// Log powers of bands of frequency. A row of powers, of all bins, is formed first: two bands weigh most of them.
#include <algorithm>
#include <cmath>
#include <vector>

#include "backend.h"
#include "blocks.h"
#include "parallel.h"
#include "simd.h"

namespace emoframe {

namespace {

EMOFRAME_SIMD void powersOf(const float *real, const float *imaginary, float *powers, int64_t n) {
  for (int64_t i = 0; i < n; ++i) powers[i] = real[i] * real[i] + imaginary[i] * imaginary[i];
}

}  // namespace

template <>
void CpuBackend::perform(const LogBandPowers &op) {
  const int64_t bands = op.out.cols, bins = op.spectrum.cols / 2;
  const float *weights = op.weights.as<float>();
  parallelFor(threads_, op.out.rows, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> powers(static_cast<size_t>(bins)), logs(static_cast<size_t>(bands));
    for (int64_t t = begin; t < end; ++t) {
      const auto *spectrum = static_cast<const float *>(op.spectrum.at(0, t, 0));
      powersOf(spectrum, spectrum + bins, powers.data(), bins);
      for (int64_t m = 0; m < bands; ++m) {
        const int32_t first = op.first[m];
        float sum = 0;
        for (int32_t i = first; i < op.first[m + 1]; ++i) sum += weights[i] * powers[op.bins[m] + i - first];
        logs[m] = std::log(sum + op.floor);
      }
      for (int64_t m = 0; m < bands; m += blockSize) {
        storeBlock(op.out, 0, t, m, std::min(blockSize, bands - m), logs.data() + m);
      }
    }
  });
}

}  // namespace emoframe
