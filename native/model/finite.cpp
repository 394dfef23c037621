#include "finite.h"

#include <algorithm>
#include <cstring>

#include "../cpu/simd.h"
#include "../error.h"

namespace emoframe {

EMOFRAME_SIMD bool allFinite(const float *values, int64_t count) {
  // On the bits, all exponent bits set being Inf or NaN: an integer maximum vectorises, a
  // float comparison with an exit does not.
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof(bits));
    largest = std::max(largest, bits & 0x7fffffffu);
  }
  return largest < 0x7f800000u;
}

std::string utteranceOfBatch(int64_t b) { return "Utterance " + std::to_string(b) + " of the batch"; }

void requireFinite(const std::vector<float> &values, int64_t width, const std::vector<int32_t> &offsets,
                   const std::string &what) {
  if (allFinite(values.data(), static_cast<int64_t>(values.size()))) return;
  for (size_t b = 0; b + 1 < offsets.size(); ++b) {
    for (int64_t row = offsets[b]; row < offsets[b + 1]; ++row) {
      if (allFinite(values.data() + row * width, width)) continue;
      throw Error("ERR_NOT_FINITE", utteranceOfBatch(static_cast<int64_t>(b)) + " gives " + what + " " +
                                        std::to_string(row - offsets[b]) +
                                        " with values that are not finite numbers. Try precision fp32; if that does "
                                        "not help, the model's weights are damaged.");
    }
  }
}

}  // namespace emoframe
