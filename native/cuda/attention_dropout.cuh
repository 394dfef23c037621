// Dropout of attention's probabilities, in the two layouts that they have in registers. A Philox block serves eight of
// them (ops.h says which): where rows are queries, all eight lie in one lane, where rows are keys, in two, each of
// which draws half of the blocks and gives the other its bits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../ops.h"
#include "../philox.h"
#include "ptx.cuh"

namespace emoframe {
namespace attention {

// Which probabilities are kept.
//
// The ten rounds of philox.h are written out here for this one use: all that is the same for every element comes with
// the launch, the round keys from the constant bank as operands, which saves a third of the instructions.
struct Keep {
  uint32_t keys[20];           // of round r: 2 r for the upper words, 2 r + 1 for the lower
  uint32_t siteHigh, siteLow;  // the product of the site in round 0, the former with its key
  uint32_t step;               // with its key of round 0
  uint32_t carry;              // in each half: what takes the 15 lower bits of the least number kept to bit 15
  uint32_t either;             // all ones where that number's bit 15 is 0, so that a number's own suffices, else 0
  float factor;                // of what is kept
  bool all;                    // p = 0

  // Of a block: bits 15 - i and 31 - i say whether the numbers in the lower and the upper half of word i are kept.
  // `row` (packed row · heads + head) is of the query that has bit 3 of its place clear.
  __device__ inline uint32_t eight(int64_t row, int32_t block) const {
    // Block (row << 20) + block, as counter.
    const uint32_t low = static_cast<uint32_t>(row) << 20 | static_cast<uint32_t>(block);
    const auto high = static_cast<uint32_t>(row >> 12);
    uint64_t p = static_cast<uint64_t>(0xD2511F53u) * low;
    uint32_t c0 = siteHigh ^ high, c1 = siteLow, c2 = static_cast<uint32_t>(p >> 32) ^ step,
             c3 = static_cast<uint32_t>(p);
#pragma unroll
    for (int round = 1; round < 10; ++round) {
      p = static_cast<uint64_t>(0xD2511F53u) * c0;
      const uint64_t q = static_cast<uint64_t>(0xCD9E8D57u) * c2;
      c0 = static_cast<uint32_t>(q >> 32) ^ c1 ^ keys[2 * round];
      c2 = static_cast<uint32_t>(p >> 32) ^ c3 ^ keys[2 * round + 1];
      c1 = static_cast<uint32_t>(q);
      c3 = static_cast<uint32_t>(p);
    }
    const uint32_t words[4] = {c0, c1, c2, c3};
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // both halves in one addition, which leaves its answer in their highest bits
      const uint32_t reached = (words[i] & 0x7FFF7FFFu) + carry;
      const uint32_t kept = (words[i] & reached) | (either & (words[i] | reached));
      bits |= kept >> i & 0x80008000u >> i;
    }
    return bits;
  }
};
inline Keep keepOf(const Dropout &dropout) {
  Keep keep = {};
  keep.all = dropout.p <= 0;
  const uint32_t threshold = dropoutThreshold(dropout.p);
  keep.factor = dropoutScale(threshold);
  keep.carry = (0x8000u - (threshold & 0x7FFFu)) * 0x10001u;
  keep.either = threshold < 0x8000u ? allLanes : 0;
  for (uint32_t round = 0; round < 10; ++round) {
    keep.keys[2 * round] = static_cast<uint32_t>(dropout.seed) + round * 0x9E3779B9u;
    keep.keys[2 * round + 1] = static_cast<uint32_t>(dropout.seed >> 32) + round * 0xBB67AE85u;
  }
  const uint64_t site = static_cast<uint64_t>(0xCD9E8D57u) * dropout.site;
  keep.siteHigh = static_cast<uint32_t>(site >> 32) ^ keep.keys[0];
  keep.siteLow = static_cast<uint32_t>(site);
  keep.step = dropout.step ^ keep.keys[1];
  return keep;
}

// Which elements of a warp's scores a lane keeps. Rows are queries: `row` counts (packed row · heads + head) for the
// lane's row g, whose place is below 8 in a multiple of 16; `key` is that of the scores' first column.
template <int accumulators>
__device__ inline uint32_t keepByQuery(const Keep &keep, int64_t row, int32_t key) {
  static_assert(accumulators % 2 == 0 && accumulators <= 8, "a block serves two, and four blocks fill 32 bits");
  uint32_t bits = 0;
#pragma unroll 2  // more at once would take too many registers
  for (int j = 0; j < accumulators; j += 2) bits |= keep.eight(row, (key >> 2) + 2 * j + (laneOf() & 3)) >> 2 * j;
  return bits;
}
// Of element e of accumulator j.
__device__ inline bool keptByQuery(uint32_t bits, int j, int e) {
  return (bits >> (16 * (e & 1) + 15 - 4 * (j >> 1) - (j & 1) - 2 * (e >> 1)) & 1) != 0;
}

// Rows are keys, from `key` on; `row` is that of the first column's query, and the next query's is `heads` further.
template <int accumulators>
__device__ inline uint32_t keepByKey(const Keep &keep, int64_t row, int heads, int32_t key) {
  static_assert(accumulators % 2 == 0 && accumulators <= 8, "a block serves two, and four blocks fill 32 bits");
  const int lane = laneOf(), group = lane >> 2, odd = group & 1;
  uint32_t mine = 0;  // of one of two columns, for this lane in one half and for the other in the other
#pragma unroll 2      // more at once would take too many registers
  for (int j = 0; j < accumulators; j += 2) {
    const int64_t query = row + static_cast<int64_t>(8 * j + 2 * (lane & 3) + odd) * heads;
    mine |= keep.eight(query, (key >> 2) + (group >> 1)) >> 2 * j;
  }
  const uint32_t other = shuffleXor(mine, 4);
  return odd == 0 ? (mine & 0xFFFFu) | other << 16 : other >> 16 | (mine & 0xFFFF0000u);
}
__device__ inline bool keptByKey(uint32_t bits, int j, int e) {
  return (bits >> (16 * (e & 1) + 15 - 4 * (j >> 1) - 2 * (j & 1) - (e >> 1)) & 1) != 0;
}

}  // namespace attention
}  // namespace emoframe
