// The main loop of every matrix product: a block's tile of a · b, in registers, for
// an epilogue to do with what it likes.
//
// A block is 4 warps, 2 x 2 over the tile. Tiles of both operands pass through 4 stages of shared
// memory, filled by cp.async three tiles ahead, one barrier a tile. A tile is 64 bytes of K, which is
// 2 steps of the tensor cores for either type.
//
// bf16, and fp32 rounded to tf32 ("once"): fp32 sums in the tensor cores. Fragments of the next step are loaded while
// this one's are multiplied. A warp's 64 x 64 takes 4 KB from shared memory for a step's products: 32 of its cycles of
// 128 bytes for 64 (bf16, 65536 products) or 64 (tf32, 32768 of them at half the rate) of an A100's tensor cores.
//
// fp32 ("thrice"): x = hi + lo, both tf32; lo·hi + hi·lo + hi·hi leaves out a term of about 2⁻²². Tensor cores cut
// their sums off instead of rounding them, which over a long K costs more than that; so a sum there is of 16 products a
// term only, and is then added to the accumulators by an fp32 addition.
//
// K is summed in the same order whatever the tile, block or device.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "gemm_operand.cuh"
#include "ptx.cuh"

namespace emoframe {

enum class Tf32 : uint8_t { once, thrice };

template <typename T, int tileRows, int tileCols, Along aAlong, Along bAlong, Tf32 precision = Tf32::thrice>
struct GemmMainloop {
  using Element = T;
  using TileA = OperandTile<T, tileRows, aAlong>;
  using TileB = OperandTile<T, tileCols, bAlong>;
  static constexpr bool once = sizeof(T) == 2 || precision == Tf32::once;
  static constexpr int rows = tileRows, cols = tileCols, depth = TileA::depth;
  static constexpr int threads = TileA::threads, stages = 4;
  static constexpr int warpRows = rows / 2, warpCols = cols / 2;
  static constexpr int rowBlocks = warpRows / 16, colBlocks = warpCols / 8;
  static constexpr int stageBytes = TileA::bytes + TileB::bytes, sharedBytes = stages * stageBytes;

  // Of a thread: accumulators[i][j][0..1] is row(i) and columns column(j), column(j)
  // + 1 of the tile, [2..3] row(i) + 8.
  using Accumulators = float[rowBlocks][colBlocks][4];
  __device__ static int firstRow() { return static_cast<int>(threadIdx.x) / 64 * warpRows; }
  __device__ static int firstColumn() { return static_cast<int>(threadIdx.x) / 32 % 2 * warpCols; }
  __device__ static int row(int i) { return firstRow() + i * 16 + laneOf() / 4; }
  __device__ static int column(int j) { return firstColumn() + j * 8 + laneOf() % 4 * 2; }

  // Rows [row, M) x columns [column, N) of the product over [k, end) of K; beyond M and N the tile is zero. All threads
  // of the block; all of its shared memory is free again when it returns.
  __device__ static void run(const GemmOperand<T> &a, const GemmOperand<T> &b, int64_t item, int row, int M, int column,
                             int N, int k, int end, Accumulators &accumulators) {
#pragma unroll
    for (int i = 0; i < rowBlocks; ++i) {
#pragma unroll
      for (int j = 0; j < colBlocks; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) accumulators[i][j][e] = 0.0f;
      }
    }
    Pipeline pipeline(a, b, item, row, M, column, N, k, end);
    const FragmentsA fragmentsA(firstRow());
    const FragmentsB fragmentsB(firstColumn());
    if constexpr (once) {
      runOnce(pipeline, fragmentsA, fragmentsB, accumulators);
    } else {
      runThrice(pipeline, fragmentsA, fragmentsB, accumulators);
    }
    waitForCopies<0>();
    __syncthreads();
  }

 private:
  using FragmentsA = typename TileA::template Fragments<true>;
  using FragmentsB = typename TileB::template Fragments<false>;

  // The stages. prefetch() follows the barrier after which nobody reads the tile before the current one.
  struct Pipeline {
    __device__ Pipeline(const GemmOperand<T> &a, const GemmOperand<T> &b, int64_t item, int row, int M, int column,
                        int N, int k, int end)
        : copierA(a, item, row, M, k, end),
          copierB(b, item, column, N, k, end),
          tiles(end > k ? (end - k + depth - 1) / depth : 0) {
      for (int stage = 0; stage < stages - 1; ++stage) prefetch();
    }
    __device__ void prefetch() {
      if (copied < tiles) {
        unsigned char *stage = sharedMemory() + target;
        copierA.copy(stage);
        copierB.copy(stage + TileA::bytes);
        target = target + stageBytes == sharedBytes ? 0 : target + stageBytes;
        ++copied;
      }
      commitCopies();  // an empty group too, so that groups count tiles
    }
    // Until the oldest tile that was not yet waited for is there, for all threads.
    __device__ void wait() const {
      waitForCopies<stages - 2>();
      __syncthreads();
    }
    __device__ const unsigned char *current() const { return sharedMemory() + source; }
    __device__ void advance() { source = source + stageBytes == sharedBytes ? 0 : source + stageBytes; }

    typename TileA::Copier copierA;
    typename TileB::Copier copierB;
    int tiles, copied = 0;
    int source = 0, target = 0;  // offsets of stages
  };

  __device__ static void load(const unsigned char *stage, int step, const FragmentsA &fragmentsA,
                              const FragmentsB &fragmentsB, uint32_t (&a)[rowBlocks][4],
                              uint32_t (&b)[colBlocks / 2][4]) {
#pragma unroll
    for (int i = 0; i < rowBlocks; ++i) fragmentsA.load(stage, i, step, a[i]);
#pragma unroll
    for (int j = 0; j < colBlocks / 2; ++j) fragmentsB.load(stage + TileA::bytes, j, step, b[j]);
  }

  // When they are needed, not when they are loaded: nothing waits for the loads of the next step.
  template <int count>
  __device__ static void roundToTf32(uint32_t (&fragments)[count][4]) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) fragments[i][e] = toTf32(floatOf(fragments[i][e]));
    }
  }

  __device__ static void runOnce(Pipeline &pipeline, const FragmentsA &fragmentsA, const FragmentsB &fragmentsB,
                                 Accumulators &accumulators) {
    uint32_t a[2][rowBlocks][4], b[2][colBlocks / 2][4];  // of this step and the next
    if (pipeline.tiles == 0) return;
    pipeline.wait();
    load(pipeline.current(), 0, fragmentsA, fragmentsB, a[0], b[0]);
#pragma unroll 1
    for (int tile = 0; tile < pipeline.tiles; ++tile) {
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        if (step == 0) {
          load(pipeline.current(), 1, fragmentsA, fragmentsB, a[1], b[1]);
          pipeline.prefetch();
        } else if (tile + 1 < pipeline.tiles) {
          pipeline.advance();
          pipeline.wait();
          load(pipeline.current(), 0, fragmentsA, fragmentsB, a[0], b[0]);
        }
        if constexpr (sizeof(T) == 4) {
          roundToTf32(a[step]);
          roundToTf32(b[step]);
        }
#pragma unroll
        for (int i = 0; i < rowBlocks; ++i) {
#pragma unroll
          for (int j = 0; j < colBlocks; ++j) {
            const uint32_t pair[2] = {b[step][j / 2][j % 2 * 2], b[step][j / 2][j % 2 * 2 + 1]};
            if constexpr (sizeof(T) == 2) {
              mmaBf16(accumulators[i][j], a[step][i], pair);
            } else {
              mmaTf32(accumulators[i][j], a[step][i], pair);
            }
          }
        }
      }
    }
  }

  // x = high + low: high is rounded to tf32, what is left is exact, and its lower 13 bits are cut off by the tensor
  // cores, an error of at most 2⁻²¹ x and none on average. Two integer operations, where the conversion to tf32 takes
  // four and more to treat infinities as such; here they and NaN become NaN.
  __device__ static void split(const uint32_t (&x)[4], uint32_t (&high)[4], uint32_t (&low)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      high[i] = (x[i] + 0x1000u) & 0xFFFFE000u;
      low[i] = bitsOf(floatOf(x[i]) - floatOf(high[i]));
    }
  }

  __device__ static void runThrice(Pipeline &pipeline, const FragmentsA &fragmentsA, const FragmentsB &fragmentsB,
                                   Accumulators &accumulators) {
#pragma unroll 1
    for (int tile = 0; tile < pipeline.tiles; ++tile) {
      pipeline.wait();
      pipeline.prefetch();
      const unsigned char *stage = pipeline.current();
      pipeline.advance();
      uint32_t raw[4], aHigh[2][rowBlocks][4], aLow[2][rowBlocks][4];
#pragma unroll
      for (int i = 0; i < rowBlocks; ++i) {
#pragma unroll
        for (int step = 0; step < 2; ++step) {
          fragmentsA.load(stage, i, step, raw);
          split(raw, aHigh[step][i], aLow[step][i]);
        }
      }
      uint32_t next[2][4];
#pragma unroll
      for (int step = 0; step < 2; ++step) fragmentsB.load(stage + TileA::bytes, 0, step, next[step]);
#pragma unroll
      for (int pair = 0; pair < colBlocks / 2; ++pair) {
        uint32_t bHigh[2][4], bLow[2][4];
#pragma unroll
        for (int step = 0; step < 2; ++step) {
          split(next[step], bHigh[step], bLow[step]);
          if (pair + 1 < colBlocks / 2) fragmentsB.load(stage + TileA::bytes, pair + 1, step, next[step]);
        }
#pragma unroll
        for (int i = 0; i < rowBlocks; ++i) {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            float(&total)[4] = accumulators[i][pair * 2 + j];
            float sum[4] = {};
#pragma unroll
            for (int step = 0; step < 2; ++step) {
              const uint32_t high[2] = {bHigh[step][j * 2], bHigh[step][j * 2 + 1]};
              const uint32_t low[2] = {bLow[step][j * 2], bLow[step][j * 2 + 1]};
              mmaTf32(sum, aLow[step][i], high);
              mmaTf32(sum, aHigh[step][i], low);
            }
#pragma unroll
            for (int step = 0; step < 2; ++step) {
              mmaTf32(sum, aHigh[step][i], {bHigh[step][j * 2], bHigh[step][j * 2 + 1]});
            }
#pragma unroll
            for (int e = 0; e < 4; ++e) total[e] += sum[e];
          }
        }
      }
    }
  }
};

}  // namespace emoframe
