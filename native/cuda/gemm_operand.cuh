// An operand of a matrix product on its way from memory to tensor cores: how its tiles lie in shared memory, how they
// get there, and how fragments are read from them. A and B are alike: a tile is `extent` rows of A (columns of B) by 64
// bytes of K, and a chunk is 16 bytes of it.
//
// A tile's runs lie in shared memory as they lie in memory: along K (a bT: 64 bytes a run) or along the
// other dimension (a b, aT b: `extent` elements a run, one run for each k). Chunks are swizzled within 128
// bytes, so that the 8 rows of an 8x8 matrix (ldmatrix), the 32 words of a fragment of fp32, and 8
// neighbouring chunks of a copy lie in 32 different banks:
//   along K         two runs make a line of 128 bytes; chunk c of run r is at c ^ (r / 2) % 4
//   other, bf16     chunk c of run k is at c ^ k % 8
//   other, fp32     chunk c of run k is at c ^ k % 4 * 2
// Fragments: ldmatrix, with .trans where bf16 lies along the other dimension. fp32 that does has no such instruction,
// and is read word by word. ldmatrix serves fp32 along K as it does bf16: a row of 16 bytes is four k.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ptx.cuh"

namespace emoframe {

// Where elements of an operand lie one after another. `k` and `other`: every run starts at a multiple of 16 bytes.
// `gathered`: anywhere, by both strides; for what is too small or too odd to be worth more.
enum class Along : uint8_t { k, other, gathered };

// An operand in memory: element (item, other, k) is data[item * batchStride + other *
// otherStride + k * kStride]. Runs may overlap.
template <typename T>
struct GemmOperand {
  const T *data;
  int64_t batchStride, otherStride, kStride;
};

template <typename T, int extent, Along along>
struct OperandTile {
  static constexpr int threads = 128;  // that copy it
  static constexpr int perChunk = 16 / static_cast<int>(sizeof(T));
  static constexpr int depth = 4 * perChunk;  // of K: 32 bf16, 16 fp32
  static constexpr int bytes = 64 * extent;
  static constexpr bool runsAlongK = along != Along::other;  // in shared memory
  static constexpr int runs = runsAlongK ? extent : depth;
  static constexpr int chunks = (runsAlongK ? depth : extent) / perChunk;  // of a run
  static constexpr int passes = runs * chunks / threads;
  static constexpr int runsAPass = threads / chunks;
  static_assert(runs * chunks % threads == 0 && extent % 64 == 0, "threads share a tile evenly");

  // Of a chunk, in bytes from the tile's start.
  __device__ static int offsetOf(int run, int chunk) {
    const int swizzle = runsAlongK ? run / 2 % 4 : sizeof(T) == 2 ? run % 8 : run % 4 * 2;
    return (run * chunks + (chunk ^ swizzle)) * 16;
  }

  // --- from memory ---------------------------------------------------------------------------------------------------
  // A thread's copies of one tile after another along K. Past the edges of the operand it copies zeros.
  class Copier {
   public:
    // Elements [first, count) of the other dimension, [k, end) of K.
    __device__ Copier(const GemmOperand<T> &operand, int64_t item, int first, int count, int k, int end)
        : otherStride_(operand.otherStride), kStride_(operand.kStride), k_(k), end_(end) {
      const int thread = static_cast<int>(threadIdx.x);
      run_ = thread / chunks;
      chunk_ = thread % chunks;
      const T *base = operand.data + item * operand.batchStride;
      if constexpr (along == Along::k) {
        left_ = count - first - run_;
        from_ = base + (first + run_) * otherStride_ + (k + chunk_ * perChunk);
      } else if constexpr (along == Along::other) {
        left_ = clampedBytes(count - first - chunk_ * perChunk);
        from_ = base + (k + run_) * kStride_ + (first + chunk_ * perChunk);
      } else {
        left_ = count - first;
        from_ = base + first * otherStride_ + k * kStride_;
      }
    }

    // The next tile, to `tile`.
    __device__ void copy(unsigned char *tile) {
      if constexpr (along == Along::gathered) {
        gather(tile);
        from_ += depth * kStride_;
      } else {
        // All passes put the thread's chunk at the same place of a swizzled line.
        unsigned char *target = tile + offsetOf(run_, chunk_);
        const int some = along == Along::k ? clampedBytes(end_ - k_ - chunk_ * perChunk) : left_;
        const int inside = along == Along::k ? left_ : end_ - k_ - run_;
        const int64_t stride = runsAPass * (along == Along::k ? otherStride_ : kStride_);
#pragma unroll
        for (int pass = 0; pass < passes; ++pass) {
          copyAsync(target + pass * runsAPass * chunks * 16, from_ + pass * stride,
                    pass * runsAPass < inside ? some : 0);
        }
        from_ += along == Along::k ? depth : depth * kStride_;
      }
      k_ += depth;
    }

   private:
    __device__ static int clampedBytes(int elements) {
      return static_cast<int>(sizeof(T)) * (elements < 0 ? 0 : elements < perChunk ? elements : perChunk);
    }

    // Neighbouring threads take neighbouring chunks of a run, or the same chunk of
    // neighbouring runs, as the elements lie.
    __device__ void gather(unsigned char *tile) const {
      const int thread = static_cast<int>(threadIdx.x);
      const bool alongK = kStride_ == 1;
#pragma unroll 1
      for (int pass = 0; pass < passes; ++pass) {
        const int run = alongK ? run_ + pass * runsAPass : thread % extent;
        const int chunk = alongK ? chunk_ : thread / extent + pass * (threads / extent);
        const T *from = from_ + run * otherStride_ + chunk * perChunk * kStride_;
        const int inside = run < left_ ? end_ - k_ - chunk * perChunk : 0;
        unsigned char *target = tile + offsetOf(run, chunk);
        if constexpr (sizeof(T) == 4) {
#pragma unroll
          for (int i = 0; i < perChunk; ++i) copyAsync<4>(target + 4 * i, from + i * kStride_, i < inside ? 4 : 0);
        } else {
          uint32_t pairs[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const uint32_t low = 2 * i < inside ? from[2 * i * kStride_].bits : 0u;
            const uint32_t high = 2 * i + 1 < inside ? from[(2 * i + 1) * kStride_].bits : 0u;
            pairs[i] = low | high << 16;
          }
          *reinterpret_cast<uint4 *>(target) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
        }
      }
    }

    const T *from_;
    int64_t otherStride_, kStride_;
    int k_, end_;
    int left_;  // along k and gathered: runs from the thread's first on; along other: bytes of its chunk
    int run_, chunk_;
  };

  // --- to fragments --------------------------------------------------------------------------------------------------
  // Reads 16 elements of the other dimension by 32 bytes of K (a step) at a time, from a warp's part of a tile, which
  // starts at a multiple of 32.
  //   of A: registers[0..3] are mma's a[0..3];  of B: [0..1] are b[0..1] of the first 8 columns, [2..3] of the last.
  template <bool isA>
  class Fragments {
   public:
    __device__ explicit Fragments(int first) {
      const int lane = laneOf(), matrix = lane / 8, row = lane % 8;
      // Which half of the 16, and of the step, the lane's matrix is.
      const int other = first + (isA ? matrix % 2 : matrix / 2) * 8, half = isA ? matrix / 2 : matrix % 2;
      if constexpr (runsAlongK) {
        base_ = offsetOf(other + row, half);
      } else if constexpr (sizeof(T) == 2) {
        base_ = offsetOf(half * 8 + row, other / perChunk);
      } else {
        base_ = (lane % 4 * extent + ((first + lane / 4) ^ (lane % 4 * 8))) * 4;
      }
    }
    // `block` counts 16s, `step` is 0 or 1.
    __device__ void load(const unsigned char *tile, int block, int step, uint32_t (&registers)[4]) const {
      if constexpr (runsAlongK) {
        loadMatrices(registers, tile + block * 16 * 64 + (base_ ^ (step * 32)));
      } else if constexpr (sizeof(T) == 2) {
        loadMatricesTransposed(registers, tile + step * 16 * extent * 2 + (base_ ^ (block * 32)));
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int other = block * 16 + (isA ? i % 2 : i / 2) * 8, k = step * 8 + (isA ? i / 2 : i % 2) * 4;
          const int offset = (base_ ^ (other % 32 * 4)) + (other / 32 * 32 + k * extent) * 4;
          registers[i] = *reinterpret_cast<const uint32_t *>(tile + offset);
        }
      }
    }

   private:
    int base_;
  };
};

}  // namespace emoframe
