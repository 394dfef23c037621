// What becomes of a tile of accumulators: bias, GELU with dropout and its slope, a factor, sums of columns,
// accumulation, conversion, and stores of 16 bytes: each of them would otherwise read and write the output
// again. The tile passes through shared memory, each warp's part by itself, so that a lane comes to have 8
// neighbouring columns of a row. Words are swizzled (column ^ row % 4 * 8): the fragments' pairs and the
// rows' vectors are both free of bank conflicts.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../ops.h"
#include "elements.cuh"

namespace emoframe {

// take(row, column, n, values): 8 columns of a row of the product, n of which (at least one) are inside it. `row`,
// `column`: the tile's first; M, N: the product's. A lane's column is the same in all its calls.
template <typename Loop, typename Begin, typename Take>
__device__ inline void takeRows(const typename Loop::Accumulators &accumulators, int row, int M, int column, int N,
                                Begin begin, Take take) {
  constexpr int warpCols = Loop::warpCols, lanesARow = warpCols / 8, rowsAPass = 32 / lanesARow;
  static_assert(Loop::rows * Loop::cols * 4 <= Loop::sharedBytes, "the tile fits the stages");
  const int lane = laneOf(), warp = static_cast<int>(threadIdx.x) / 32;
  auto *region = reinterpret_cast<float *>(sharedMemory()) + warp * Loop::warpRows * warpCols;
#pragma unroll
  for (int i = 0; i < Loop::rowBlocks; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = i * 16 + half * 8 + lane / 4;
#pragma unroll
      for (int j = 0; j < Loop::colBlocks; ++j) {
        const int c = (j * 8 + lane % 4 * 2) ^ (lane / 4 % 4 * 8);
        *reinterpret_cast<float2 *>(region + r * warpCols + c) =
            make_float2(accumulators[i][j][half * 2], accumulators[i][j][half * 2 + 1]);
      }
    }
  }
  __syncwarp();
  const int first = lane % lanesARow * 8;
  column += Loop::firstColumn() + first;
  row += Loop::firstRow();
  const int n = N - column;
  if (n <= 0) return;
  begin(column, n);
  const bool swapped = lane / 4 % 2 != 0;  // half of the lanes of a quarter warp read their second four columns first
#pragma unroll 1
  for (int r = lane / lanesARow; r < Loop::warpRows && row + r < M; r += rowsAPass) {
    const float *from = region + r * warpCols + (first ^ (r % 4 * 8));
    const float4 one = *reinterpret_cast<const float4 *>(from + (swapped ? 4 : 0));
    const float4 two = *reinterpret_cast<const float4 *>(from + (swapped ? 0 : 4));
    float values[8] = {swapped ? two.x : one.x, swapped ? two.y : one.y, swapped ? two.z : one.z,
                       swapped ? two.w : one.w, swapped ? one.x : two.x, swapped ? one.y : two.y,
                       swapped ? one.z : two.z, swapped ? one.w : two.w};
    take(row + r, column, n, values);
  }
}

// An output of either type; absent where data is null.
struct GemmTarget {
  void *data;
  int64_t batchStride, rowStride;
  bool isFloat, aligned;

  __device__ void load(int64_t item, int64_t row, int64_t column, int n, float (&values)[8]) const {
    const int64_t at = item * batchStride + row * rowStride + column;
    if (isFloat) {
      loadSome(static_cast<const float *>(data) + at, 1, n, aligned, values);
    } else {
      loadSome(static_cast<const bf16 *>(data) + at, 1, n, aligned, values);
    }
  }
  __device__ void store(int64_t item, int64_t row, int64_t column, int n, const float (&values)[8]) const {
    const int64_t at = item * batchStride + row * rowStride + column;
    if (isFloat) {
      storeSome(static_cast<float *>(data) + at, 1, n, aligned, values);
    } else {
      storeSome(static_cast<bf16 *>(data) + at, 1, n, aligned, values);
    }
  }
};

// What Gemm says, all from the fp32 sums.
struct GemmEpilogue {
  GemmTarget out, gelu, slope, factor;
  const float *bias;  // null: none
  int64_t biasBatchStride, biasColStride;
  // Of out's columns, null: none. Each half of a tile's rows, which is a warp's, has a row of its own: [batch, tiles
  // down, 2, sumStride].
  float *columnSums;
  int64_t sumStride;  // N rounded up to 8
  Dropout dropout;
  int M, N;
  bool biasAligned, accumulate;

  __device__ void loadBias(int64_t item, int column, int n, float (&values)[8]) const {
    for (float &value : values) value = 0.0f;
    if (bias) loadSome(bias + item * biasBatchStride + column * biasColStride, biasColStride, n, biasAligned, values);
  }
  // 8 columns of a row, n of them inside.
  __device__ void finish(int64_t item, int row, int column, int n, const float (&biases)[8], float (&values)[8]) const {
    if (accumulate) {
      float before[8];
      out.load(item, row, column, n, before);
#pragma unroll
      for (int i = 0; i < 8; ++i) values[i] += before[i];
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] += biases[i];
    if (factor.data) {
      float factors[8];
      factor.load(item, row, column, n, factors);
#pragma unroll
      for (int i = 0; i < 8; ++i) values[i] *= factors[i];
    }
    if (out.data) out.store(item, row, column, n, values);
    if (gelu.data) activate(item, row, column, n, values);
  }
  __device__ void activate(int64_t item, int row, int column, int n, float (&values)[8]) const {
    float slopes[8] = {};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const GeluOf its(values[i]);
      if (slope.data) slopes[i] = its.slope(values[i]);
      values[i] = its.value(values[i]);
    }
    if (dropout.p > 0) {
      float factors[8] = {1, 1, 1, 1, 1, 1, 1, 1};
      applyDropout(dropout, static_cast<uint64_t>((item * M + row) * N + column), factors);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        slopes[i] *= factors[i];
        values[i] *= factors[i];
      }
    }
    gelu.store(item, row, column, n, values);
    if (slope.data) slope.store(item, row, column, n, slopes);
  }

  template <typename Loop>
  __device__ void operator()(Loop, const typename Loop::Accumulators &accumulators, int64_t item, int row,
                             int column) const {
    float biases[8], sums[8] = {};
    takeRows<Loop>(
        accumulators, row, M, column, N, [&](int first, int n) { loadBias(item, first, n, biases); },
        [&](int r, int c, int n, float(&values)[8]) {
          finish(item, r, c, n, biases, values);
#pragma unroll
          for (int i = 0; i < 8; ++i) sums[i] += values[i];
        });
    if (!columnSums) return;
    constexpr int lanesARow = Loop::warpCols / 8;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      for (int step = lanesARow; step < 32; step *= 2) sums[i] += shuffleXor(sums[i], step);
    }
    column += Loop::firstColumn() + laneOf() % lanesARow * 8;
    if (laneOf() >= lanesARow || column >= N) return;
    const int64_t tile = item * ((M + Loop::rows - 1) / Loop::rows) + row / Loop::rows;
    storeVector(columnSums + (tile * 2 + Loop::firstRow() / Loop::warpRows) * sumStride + column, sums);
  }
};

}  // namespace emoframe
