// Dropout of attention's probabilities, in the two layouts that they have in registers. A Philox block serves the 4
// keys from a multiple of 4 on in one query's row; four lanes hold elements of it, so each lane draws another block and
// they exchange their bits.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "../ops.h"
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
  uint32_t least;              // of a word that keeps its element
  float factor;                // 1 / (1 - p)
  bool all;                    // p = 0

  // Of key 4 block + i of a query's row: bit i.
  __device__ inline uint32_t four(int64_t row, int32_t block) const {
    // Element ((row << 22) + key) / 4, as counter.
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
    return (c0 >= least ? 1u : 0u) | (c1 >= least ? 2u : 0u) | (c2 >= least ? 4u : 0u) | (c3 >= least ? 8u : 0u);
  }
};
inline Keep keepOf(const Dropout &dropout) {
  Keep keep = {};
  keep.all = dropout.p <= 0;
  keep.factor = 1.0f / (1.0f - dropout.p);
  // u = (word >> 8) 2^-24 >= p, in whole numbers: word >= ceil(p 2^24) 2^8.
  keep.least = static_cast<uint32_t>(std::ceil(dropout.p * 0x1p24f)) << 8;
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

// Element e of accumulator j of a warp's scores is kept iff bit 4j of bits[e] is set. Rows are queries: `row` counts
// (packed row · heads + head) for the lane's row g; `key` is that of the scores' first column.
template <int accumulators>
__device__ inline void keepByQuery(const Keep &keep, int64_t row, int heads, int32_t key, uint32_t (&bits)[4]) {
  static_assert(accumulators <= 8, "4 bits each");
  const int t = laneOf() & 3;
  const int64_t its = row + (t & 1) * 8 * heads;  // no choice of two rows: it would become a branch around all of this
  uint32_t mine = 0;
#pragma unroll 2  // more at once would take too many registers
  for (int j = 0; j < accumulators; ++j) mine |= keep.four(its, (key >> 2) + 2 * j + (t >> 1)) << 4 * j;
  const uint32_t other = shuffleXor(mine, 1);
  bits[0] = ((t & 1) == 0 ? mine : other) >> 2 * (t & 1);
  bits[2] = ((t & 1) == 0 ? other : mine) >> 2 * (t & 1);
  bits[1] = bits[0] >> 1;
  bits[3] = bits[2] >> 1;
}
// Rows are keys, from `key` on; `row` is that of the first column's query, and the next query's is `heads` further.
template <int accumulators>
__device__ inline void keepByKey(const Keep &keep, int64_t row, int heads, int32_t key, uint32_t (&bits)[4]) {
  static_assert(accumulators <= 8, "4 bits each");
  const int lane = laneOf(), group = lane >> 2, t = lane & 3, part = group & 3;
  uint32_t mine = 0;
#pragma unroll 2  // more at once would take too many registers
  for (int j = 0; j < accumulators; ++j) {
    const int64_t query = row + static_cast<int64_t>(8 * j + 2 * t + (part & 1)) * heads;
    mine |= keep.four(query, (key >> 2) + (group >> 2) + (part & 2)) << 4 * j;
  }
#pragma unroll
  for (int e = 0; e < 4; ++e) bits[e] = shuffleIndex(mine, (lane & 19) | e << 2) >> part;
}

}  // namespace attention
}  // namespace emoframe
