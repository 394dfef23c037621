// Items of different lengths (utterances), each cut into parts of its own, and one block a part. How many parts an item
// has is known on the device; a launch has blocks for the most that its shapes allow, so that one of a graph serves
// other lengths too. Parts do not depend on what else is packed beside an item, and so neither do its sums.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "ptx.cuh"
#include "reduce.cuh"

namespace emoframe {

// The utterance of a frame, or -1 for a frame behind the last one.
__device__ inline int32_t utteranceOf(const int32_t *offsets, int32_t count, int64_t frame) {
  if (count == 0 || frame >= offsets[count]) return -1;
  int32_t low = 0, high = count;  // offsets[low] <= frame < offsets[high]
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (offsets[middle] <= frame) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// A bound of the parts of up to `size` elements in `count` items that have `total` elements together.
inline int64_t mostParts(int64_t total, int64_t count, int64_t size) {
  return (total + std::min(count, total) * (size - 1)) / size;
}

struct Part {
  int32_t item;  // -1: there is no such part
  int32_t index;
};

// The `number`th part of all, given partsOf(item). Each warp adds up 32 items at a time; all its lanes take part and
// get the same.
template <typename PartsOf>
__device__ inline Part findPart(int32_t count, int32_t number, PartsOf partsOf) {
  const int lane = laneOf();
  int32_t before = 0;
  for (int32_t base = 0; base < count; base += 32) {
    const int32_t parts = base + lane < count ? partsOf(base + lane) : 0;
    int32_t after = parts;
    for (int step = 1; step < 32; step *= 2) {
      const int32_t other = shuffleUp(after, step);
      if (lane >= step) after += other;
    }
    after += before;
    const uint32_t past = ballot(after > number);
    if (past != 0) {  // the lanes from the owner on are past it
      const int owner = 32 - countBits(past);
      return {base + owner, number - shuffleIndex(after - parts, owner)};
    }
    before = shuffleIndex(after, 31);
  }
  return {-1, 0};
}

// The number of the item's first part. All lanes of a warp take part.
template <typename PartsOf>
__device__ inline int32_t partsBefore(int32_t item, PartsOf partsOf) {
  int32_t sum = 0;
  for (int32_t i = laneOf(); i < item; i += 32) sum += partsOf(i);
  return warpSum(sum);
}

}  // namespace emoframe
