// The screen of k-means (clusters.cu): products of 128 points and 128 centroids in bf16 on tensor cores, of which only
// the least two of every 8 centroids leave the registers. Operands come through cp.async in four stages of 32 columns
// into an order of 16-byte chunks that has no bank conflicts, and from there by ldmatrix; 8 warps have 64 points and 32
// centroids each, in 64 accumulators a thread, so that two blocks fit a multiprocessor.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ptx.cuh"

namespace emoframe {

constexpr int tile = 128;  // of a block of the screen: points, and centroids
constexpr int slice = 32;  // columns in a stage of its pipeline
constexpr int stages = 4;
constexpr int warpCentroids = 32;  // a warp's part of a tile: 64 points, 32 centroids
constexpr int groupsOfWarp = 4;    // groups of 8 centroids that threads have of a point
constexpr int screenThreads = 256;

// Least and second least m of 8 centroids for a point. The lowest 3 bits of `least` number the centroid: i = 2 j + e is
// centroid 8 j + 2 t + e of the 32 of a warp, for its group t.
struct alignas(8) Least {
  float least, second;
};
__device__ inline int64_t centroidOf(int64_t group, float least) {
  const auto i = static_cast<int64_t>(bitsOf(least) & 7u);
  return group / groupsOfWarp * warpCentroids + (i >> 1) * 8 + group % groupsOfWarp * 2 + (i & 1);
}

// Rows of a stage are 64 bytes, four 16-byte chunks, in an order that lets ldmatrix and cp.async touch all banks.
__device__ inline int chunkAt(int row, int chunk) { return row * 4 + (chunk ^ ((row >> 1) & 3)); }

// Grid: centroid tiles (neighbours share their points), point tiles. Shared memory: stages · 16 KB.
static __global__ void __launch_bounds__(screenThreads, 2)
    screenKernel(const bf16 *points, const bf16 *centroids, int64_t padded, const float *squares, Least *out,
                 int64_t rows) {
  auto *shared = reinterpret_cast<uint4 *>(sharedMemory());  // [stages, 2, tile rows, 4]
  constexpr int chunks = tile * 4;                           // of an operand in a stage
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int64_t firstPoint = static_cast<int64_t>(blockIdx.y) * tile,
                firstCentroid = static_cast<int64_t>(blockIdx.x) * tile;
  const int steps = static_cast<int>(padded / slice);

  // A thread copies the same chunk of rows `row` and `row` + 64 of both operands.
  const int row = thread / 4, target = chunkAt(row, thread % 4);
  const bf16 *fromPoints = points + (firstPoint + row) * padded + thread % 4 * 8;
  const bf16 *fromCentroids = centroids + (firstCentroid + row) * padded + thread % 4 * 8;
  const auto copy = [&](int step) {
    if (step < steps) {
      uint4 *stage = shared + step % stages * 2 * chunks + target;
      copyAsync(stage, fromPoints);
      copyAsync(stage + chunks / 2, fromPoints + tile / 2 * padded);
      copyAsync(stage + chunks, fromCentroids);
      copyAsync(stage + chunks + chunks / 2, fromCentroids + tile / 2 * padded);
      fromPoints += slice;
      fromCentroids += slice;
    }
    commitCopies();
  };
  for (int step = 0; step < stages - 1; ++step) copy(step);

  const int pointRow = warp / 4 * 64, centroidRow = warp % 4 * warpCentroids;
  // Of ldmatrix: 16 points, the two halves of k; 8 centroids, the halves of k, and the next 8. A further 16 rows are 64
  // chunks on, a further 16 columns two, which flips a bit of where they lie.
  const int aChunk = chunkAt(pointRow + lane % 16, lane / 16);
  const int bChunk = chunks + chunkAt(centroidRow + lane / 16 * 8 + lane % 8, lane / 8 % 2);
  float products[4][4][4] = {};
  for (int step = 0; step < steps; ++step) {
    waitForCopies<stages - 2>();
    __syncthreads();  // this stage is there for all, and all are done with the one that is filled next
    copy(step + stages - 1);
    const uint4 *stage = shared + step % stages * 2 * chunks;
#pragma unroll
    for (int k = 0; k < slice / 16; ++k) {
      uint32_t aParts[4][4], bParts[2][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) loadMatrices(aParts[i], stage + (aChunk ^ 2 * k) + i * 64);
#pragma unroll
      for (int j = 0; j < 2; ++j) loadMatrices(bParts[j], stage + (bChunk ^ 2 * k) + j * 64);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          mmaBf16(products[i][j], aParts[i], {bParts[j / 2][j % 2 * 2], bParts[j / 2][j % 2 * 2 + 1]});
        }
      }
    }
  }
  waitForCopies<0>();

  const int64_t warpFirst = firstCentroid + centroidRow;
  float square[8];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float2 two = *reinterpret_cast<const float2 *>(squares + warpFirst + j * 8 + lane % 4 * 2);
    square[2 * j] = two.x;
    square[2 * j + 1] = two.y;
  }
  const int64_t group = warpFirst / warpCentroids * groupsOfWarp + lane % 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = firstPoint + pointRow + i * 16 + half * 8 + lane / 4;
      Least result = {INFINITY, INFINITY};
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const float middle = square[j] - 2 * products[i][j / 2][half * 2 + j % 2];
        const float marked = floatOf((bitsOf(middle) & ~7u) | static_cast<uint32_t>(j));
        // NaN is less than nothing.
        result.second = marked < result.least ? result.least : marked < result.second ? marked : result.second;
        result.least = marked < result.least ? marked : result.least;
      }
      if (row < rows) {
        *reinterpret_cast<float2 *>(out + group * rows + row) = make_float2(result.least, result.second);
      }
    }
  }
}

}  // namespace emoframe
