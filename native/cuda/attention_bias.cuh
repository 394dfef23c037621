// A bias of the distance in attention's tiles: what is added to the scores, and the gradients of table and gate.
//
// A block needs the biases of few distances in a tile of scores: one fewer than the tile's rows and columns together.
// They are gathered from the table by cp.async beside the tile's rows, and lie in a window of shared memory in the
// order of their distances. Elements of a lane that lie on one diagonal have one distance, and so share what they read.
//
// The table's gradient sums gradients of scores along diagonals. A warp goes over the keys of its 16 queries from the
// first to the last, so a diagonal is complete with the second tile that it crosses, and is then added to the warp's
// own line of sums in memory; a last launch adds the lines. How many there are does not depend on T, so that memory
// grows with the table and not with T², and all is added in a fixed order.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "attention_tiles.cuh"
#include "reduce.cuh"

namespace emoframe {
namespace attention {

struct Bias {
  const float *table;  // [2 reach + 1, heads]
  int64_t tableStride;
  const float *gate;  // [T, heads], or null
  int64_t gateStride, gateColumnStride;
  int32_t reach, unbiased;

  // Of a query, by its place in its utterance: 0 where it has no biases.
  __device__ inline float gateOf(const Span &span, int32_t query, int head) const {
    if (query < unbiased || query >= span.length) return 0;
    return gate ? gate[(span.first + query) * gateStride + head * gateColumnStride] : 1.0f;
  }
  // Biases of `size` distances from `first` on, by all threads of the block; the caller commits.
  template <int size>
  __device__ inline void load(float *window, int32_t first, int head) const {
#pragma unroll
    for (int i = 0; i < (size + threads - 1) / threads; ++i) {
      const int place = i * threads + static_cast<int>(threadIdx.x);
      if (place >= size) break;
      int32_t distance = first + place;
      distance = distance < -reach ? -reach : distance > reach ? reach : distance;
      copyAsync<4>(window + place, table + (distance + reach) * tableStride + head);
    }
  }
};
inline Bias biasOf(const DistanceBias &bias) {
  return {bias.table.as<const float>(),
          bias.table.rowStride,
          bias.gate.as<const float>(),
          bias.gate.rowStride,
          bias.gate.colStride,
          static_cast<int32_t>((bias.table.rows - 1) / 2),
          bias.unbiased};
}

// body(row, j, e, bias) for a lane's elements: column e of two of accumulator j, in rows g + 8 row of the warp's.
// `bias`: that of row 0, accumulator 0 and column 0 in the window. `some`: whether the tile has keys without biases,
// which isUnbiased(row, j, e) then tells.
template <int rows, int accumulators, bool rowsAreKeys, typename IsUnbiased, typename Body>
__device__ inline void forEachBias(const float *bias, bool some, IsUnbiased isUnbiased, Body body) {
  const auto visit = [&](auto withUnbiased) {
#pragma unroll
    for (int diagonal = 1 - rows; diagonal < accumulators; ++diagonal) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float value = bias[(rowsAreKeys ? -1 : 1) * (8 * diagonal + e)];
#pragma unroll
        for (int row = 0; row < rows; ++row) {
          const int j = diagonal + row;
          if (j < 0 || j >= accumulators) continue;
          body(row, j, e, decltype(withUnbiased)::value != 0 && isUnbiased(row, j, e) ? 0.0f : value);
        }
      }
    }
  };
  if (some) {
    visit(Size<1>());
  } else {
    visit(Size<0>());
  }
}

// Sums over the diagonals of the scores' gradients of a warp's 16 queries: of distance (key - query) from 1 - length to
// length - 1. Keys come in the order of their places, 16 or 32 at a time.
template <int keys>
class DiagonalSums {
 public:
  static constexpr int stride = keys + 8, bytes = 8 * stride * static_cast<int>(sizeof(float));

  // `rows`: shared memory of this warp; `line`: its [2 reach + 1]; `begin`: its first query.
  __device__ DiagonalSums(void *rows, float *line, int32_t reach, int32_t begin)
      : rows_(static_cast<float *>(rows)), line_(line), reach_(reach), begin_(begin) {}

  // Adds gradients of the keys from `key` on, accumulators `first` and those that follow; `gates` of rows g and g + 8.
  template <int first, int accumulators>
  __device__ inline void add(const float (&ds)[accumulators][4], const float (&gates)[2], int32_t key) {
    const int lane = laneOf(), group = lane >> 2;
    __syncwarp();  // what was there is read
    // Rows g and g + 8 of one diagonal lie in accumulators that follow each other, and are added at once.
#pragma unroll
    for (int d = -1; d < keys / 8; ++d) {
      float sums[2] = {};
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        if (d >= 0) sums[e] += gates[0] * ds[first + d][e];
        if (d + 1 < keys / 8) sums[e] += gates[1] * ds[first + d + 1][2 + e];
      }
      *reinterpret_cast<float2 *>(rows_ + group * stride + 8 * (d + 1) + (lane & 3) * 2) =
          make_float2(sums[0], sums[1]);
    }
    __syncwarp();
    // Diagonal o has distance key - begin - 15 + o; the last 15 go on among the next keys.
    const float complete = sumOf(lane) + carried_;
    addToLine(key - begin_ - 15 + lane, complete, lane < keys);
    carried_ = keys == 32 ? sumOf(lane + 32) : shuffleXor(complete, 16);
    if (lane >= 15) carried_ = 0;
  }
  // After the last keys; `key`: where the next would begin.
  __device__ inline void finish(int32_t key) {
    const int lane = laneOf();
    addToLine(key - begin_ - 15 + lane, carried_, lane < 15);
    const float below = warpSum(below_), above = warpSum(above_);
    if (lane != 0) return;
    line_[0] += below;
    line_[2 * reach_] += above;
  }

 private:
  __device__ inline float sumOf(int diagonal) const {
    float sum = 0;
#pragma unroll
    for (int group = 0; group < 8; ++group) {
      const int column = diagonal - 7 + group;
      if (column >= 0 && column < stride) sum += rows_[group * stride + column];
    }
    return sum;
  }
  __device__ inline void addToLine(int32_t distance, float sum, bool there) {
    if (!there) return;
    if (distance <= -reach_) {
      below_ += sum;
    } else if (distance >= reach_) {
      above_ += sum;
    } else {
      line_[distance + reach_] += sum;
    }
  }

  float *rows_, *line_;
  int32_t reach_, begin_;
  float carried_ = 0;            // to the diagonals of the next keys that this lane has
  float below_ = 0, above_ = 0;  // of distances that the ends of the table stand for
};

}  // namespace attention
}  // namespace emoframe
