// Division by a number that the host knows, as a product and two shifts: a GPU has no instruction that divides, and
// takes about 20 for 32 bits and 100 for 64.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace emoframe {

// n / d = ⌊n · ⌈2^(31 + l) / d⌉' / 2^(31 + l)⌋ with l = ⌈log2 d⌉, where ⌈x⌉' = ⌊x⌋ + 1: what the multiplier is too
// large by comes to less than 1 / d for n below 2³¹.
class Divisor {
 public:
  Divisor() = default;
  // 1 <= d < 2³¹.
  explicit Divisor(int64_t d) : value_(static_cast<uint32_t>(d)) {
    while ((int64_t{1} << shift_) < d) ++shift_;
    multiplier_ = static_cast<uint32_t>((uint64_t{1} << (31 + shift_)) / value_ + 1);
  }

  // Of n < 2³¹.
  __device__ uint32_t quotient(uint32_t n) const {
    return static_cast<uint32_t>(static_cast<uint64_t>(n * 2) * multiplier_ >> 32) >> shift_;
  }
  __device__ uint32_t value() const { return value_; }

 private:
  uint32_t value_ = 1, multiplier_ = 0x80000001u, shift_ = 0;
};

}  // namespace emoframe
