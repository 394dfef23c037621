// What attention's kernels share: which tile of which utterance a block has, tiles of one head's rows in shared memory,
// and the products of such tiles on tensor cores.
//
// A block of 4 warps has a tile of rows of one utterance and head ("fixed": queries, or keys for their gradients) and
// goes over the tiles of the other kind ("streamed"), which come by cp.async one tile ahead. Rows are padded with zeros
// to 64 or 128 columns. They lie as they do in global memory, but for the order of their chunks of 16 bytes: chunk c of
// row r is at place c ^ (r mod 8), so that ldmatrix, both ways round, finds each of its 8 rows in other banks.
//
// A step of a product is 32 bytes of a row: 16 bf16 or 8 tf32, which ldmatrix moves in the same way. fp32 is
// multiplied as high + low parts of tf32 (3 products, the low · low one is left out): as good as fp32 itself;
// or, where the call says so, rounded to tf32 and multiplied once, which kernels take as an element type of
// its own. Scores leave a product in the layout of accumulators, and enter the next as its left operand
// without leaving their registers. For tf32 that puts rows 2t and 2t + 1 of the streamed tile where the
// instruction has rows t and t + 4: the sum is the same.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "../error.h"
#include "elements.cuh"
#include "launch.cuh"
#include "ragged.cuh"

namespace emoframe {
namespace attention {

constexpr int warps = 4, threads = 32 * warps;
constexpr float log2OfE = 1.4426950408889634f, lnOf2 = 0.69314718055994531f;

// --- which tile ----------------------------------------------------------------------------------
// Frames [begin, ...) of an utterance of `length` frames, whose frame 0 is packed row `first`. Length 0: no tile.
struct Span {
  int32_t first, length, begin;
};

// The `tile`th of all utterances' tiles of `rows` frames; for whole warps.
__device__ inline Span findTile(const int32_t *offsets, int32_t count, int32_t tile, int32_t rows) {
  const auto lengthOf = [&](int32_t segment) { return offsets[segment + 1] - offsets[segment]; };
  const Part part = findPart(count, tile, [&](int32_t segment) { return (lengthOf(segment) + rows - 1) / rows; });
  if (part.item < 0) return {0, 0, 0};
  return {offsets[part.item], lengthOf(part.item), part.index * rows};
}

inline uint32_t tilesOf(const Attention &attention, int64_t rows) {
  return static_cast<uint32_t>(mostParts(attention.q.rows, attention.segments.count, rows));
}

// The head size, which must be one that the tiles hold.
inline int64_t headSizeOf(const Attention &attention) {
  const int64_t size = attention.heads > 0 ? attention.q.cols / attention.heads : 0;
  if (size % 8 != 0 || size > 128) {
    throw Error("ERR_MODEL_CONFIG", "hidden_size / num_attention_heads is " + std::to_string(size) +
                                        ": on a GPU it must be a multiple of 8, at most 128. Use device 'cpu'.");
  }
  return size;
}

// fp32 in memory that is multiplied as tf32.
struct AsTf32 {
  float value;
};

// body(Of<bf16, float or AsTf32>(), Size<64 or 128>()) for the activations and the padded head size.
template <int count>
struct Size {
  static constexpr int value = count;
};
template <typename Body>
void withShape(const Attention &attention, int64_t headSize, Body &&body) {
  const auto withSize = [&](auto of) {
    if (headSize <= 64) {
      body(of, Size<64>());
    } else {
      body(of, Size<128>());
    }
  };
  if (attention.q.dtype == DType::f32 && attention.tf32) return withSize(Of<AsTf32>());
  withType(attention.q.dtype, withSize);
}

// --- tiles in shared memory ----------------------------------------------------------------------
// Packed rows of all heads, as a kernel takes them.
template <typename T>
struct Rows {
  T *data;
  int64_t stride;
  bool aligned;  // chunks of 16 bytes are so in memory
};
template <typename T, typename Source>
Rows<T> rowsOf(const Source &view) {
  return {static_cast<T *>(view.data), view.rowStride, rowsAligned(view)};
}

template <typename T, int size>
struct Tile {
  static constexpr int rowBytes = size * static_cast<int>(sizeof(T)), chunks = rowBytes / 16;
  static constexpr int chunkElements = 16 / static_cast<int>(sizeof(T));
  static constexpr int step = 2 * chunkElements, steps = size / step;  // columns of one step of a product

  static __device__ inline int placeOf(int row, int chunk) { return row * rowBytes + ((chunk ^ (row & 7)) << 4); }
};

// One head of an utterance in global memory: a tile's rows come from here.
template <typename T, int size>
struct Source {
  using Its = Tile<T, size>;
  const T *data;  // of frame 0
  int64_t stride;
  int32_t length;
  int headSize;
  bool aligned;

  __device__ Source(const Rows<const T> &rows, const Span &span, int head, int itsHeadSize)
      : data(rows.data + span.first * rows.stride + static_cast<int64_t>(head) * itsHeadSize),
        stride(rows.stride),
        length(span.length),
        headSize(itsHeadSize),
        aligned(rows.aligned) {}

  // Frames [begin, begin + rows) to `tile`, by all threads of the block; the caller commits.
  template <int rows>
  __device__ inline void load(unsigned char *tile, int32_t begin) const {
    constexpr int rowsAtOnce = threads / Its::chunks;
    static_assert(rows % rowsAtOnce == 0, "every thread has as many chunks");
    const int chunk = static_cast<int>(threadIdx.x) % Its::chunks, column = chunk * Its::chunkElements;
    const T *from = data + (column < headSize ? column : 0);
    const int32_t end = column < headSize ? length : 0;  // of the frames that there are
    if (aligned) {
#pragma unroll
      for (int i = 0; i < rows / rowsAtOnce; ++i) {
        const int row = static_cast<int>(threadIdx.x) / Its::chunks + i * rowsAtOnce;
        const int32_t frame = begin + row < length ? begin + row : length - 1;
        copyAsync(tile + Its::placeOf(row, chunk), from + frame * stride, begin + row < end ? 16 : 0);
      }
    } else {
#pragma unroll 1
      for (int row = static_cast<int>(threadIdx.x) / Its::chunks; row < rows; row += rowsAtOnce) {
        T *to = reinterpret_cast<T *>(tile + Its::placeOf(row, chunk));
        for (int j = 0; j < Its::chunkElements; ++j) {
          to[j] = begin + row < end ? from[(begin + row) * stride + j] : T{};
        }
      }
    }
  }
};

// --- products ------------------------------------------------------------------------------------
template <typename T, int count>
struct Operand {
  uint32_t high[count];
};
template <int count>
struct Operand<float, count> {
  uint32_t high[count], low[count];
};
template <int count>
__device__ inline void setRegister(Operand<bf16, count> &operand, int i, uint32_t bits) {
  operand.high[i] = bits;
}
template <int count>
__device__ inline void setRegister(Operand<AsTf32, count> &operand, int i, uint32_t bits) {
  operand.high[i] = toTf32(floatOf(bits));
}
template <int count>
__device__ inline void setRegister(Operand<float, count> &operand, int i, uint32_t bits) {
  operand.high[i] = toTf32(floatOf(bits));
  operand.low[i] = toTf32(floatOf(bits) - floatOf(operand.high[i]));
}
__device__ inline void multiply(float (&d)[4], const Operand<bf16, 4> &a, const Operand<bf16, 2> &b) {
  mmaBf16(d, a.high, b.high);
}
__device__ inline void multiply(float (&d)[4], const Operand<AsTf32, 4> &a, const Operand<AsTf32, 2> &b) {
  mmaTf32(d, a.high, b.high);
}
__device__ inline void multiply(float (&d)[4], const Operand<float, 4> &a, const Operand<float, 2> &b) {
  mmaTf32(d, a.low, b.high);
  mmaTf32(d, a.high, b.low);
  mmaTf32(d, a.high, b.high);
}

// d += a b over two steps. Of fp32 as a sum of its own, which an fp32 addition adds to d: tensor cores cut their sums
// off instead of rounding them, which over an utterance's length would shrink d by more than fp32's error.
__device__ inline void multiplyTwice(float (&d)[4], const Operand<AsTf32, 4> (&a)[2],
                                     const Operand<AsTf32, 2> (&b)[2]) {
#pragma unroll
  for (int step = 0; step < 2; ++step) multiply(d, a[step], b[step]);
}
__device__ inline void multiplyTwice(float (&d)[4], const Operand<float, 4> (&a)[2], const Operand<float, 2> (&b)[2]) {
  float sum[4] = {};
#pragma unroll
  for (int step = 0; step < 2; ++step) multiply(sum, a[step], b[step]);
#pragma unroll
  for (int e = 0; e < 4; ++e) d[e] += sum[e];
}

// Where this lane's row is for ldmatrix: of 16 rows and one step's two chunks, the rows first (a left operand, and a
// right one with .trans), or the chunks first (a right operand): of step 0.
template <typename T, int size>
__device__ inline int rowsFirst() {
  const int lane = laneOf();
  return Tile<T, size>::placeOf(lane & 15, lane >> 4);
}
template <typename T, int size>
__device__ inline int chunksFirst() {
  const int lane = laneOf();
  return Tile<T, size>::placeOf((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
}

// The same lane's of another step: 8 chunks are exchanged among themselves, so only 4 steps have places of their own.
__device__ inline int placeOfStep(int place, int step) { return (place ^ (step & 3) * 32) + (step >> 2) * 128; }

// Registers of 16 fixed rows, step `step`.
template <typename T, int size>
__device__ inline void loadLeft(const unsigned char *rows, int step, uint32_t (&registers)[4]) {
  loadMatrices(registers, rows + placeOfStep(rowsFirst<T, size>(), step));
}

// scores[m][j] += fixed rows of warp tile m · streamed rows 8j to 8j + 7, over the head's columns. take(m, step,
// registers) gives the registers of the fixed rows.
template <typename T, int size, int rows, int tiles, bool stay, typename Take>
__device__ inline void addScores(const unsigned char *streamed, Take take, float (&scores)[tiles][rows / 8][4]) {
  using Its = Tile<T, size>;
  const int lanePlace = chunksFirst<T, size>();
  // Fixed rows that are in registers need all steps apart; others come from shared memory in each step, and the
  // addresses of all steps at once would be too many registers.
  [[maybe_unused]] constexpr int unrolled = stay ? Its::steps : 2;
#pragma unroll unrolled
  for (int step = 0; step < Its::steps; ++step) {
    Operand<T, 4> left[tiles];
#pragma unroll
    for (int m = 0; m < tiles; ++m) {
      uint32_t registers[4];
      take(m, step, registers);
#pragma unroll
      for (int i = 0; i < 4; ++i) setRegister(left[m], i, registers[i]);
    }
#pragma unroll
    for (int pair = 0; pair < rows / 16; ++pair) {
      uint32_t registers[4];
      loadMatrices(registers, streamed + pair * 16 * Its::rowBytes + placeOfStep(lanePlace, step));
      Operand<T, 2> right[2];
#pragma unroll
      for (int i = 0; i < 4; ++i) setRegister(right[i / 2], i % 2, registers[i]);
#pragma unroll
      for (int m = 0; m < tiles; ++m) {
        multiply(scores[m][2 * pair], left[m], right[0]);
        multiply(scores[m][2 * pair + 1], left[m], right[1]);
      }
    }
  }
}

// sums[m][n] += weights of warp tile m · columns 8n to 8n + 7 of the streamed rows.
template <typename T, int size, int rows, int tiles>
__device__ inline void addWeighted(const unsigned char *streamed, const float (&weights)[tiles][rows / 8][4],
                                   float (&sums)[tiles][size / 8][4]) {
  using Its = Tile<T, size>;
  if constexpr (sizeof(T) == 2) {
    const int lanePlace = rowsFirst<T, size>();
#pragma unroll
    for (int k = 0; k < rows / 16; ++k) {
      Operand<T, 4> left[tiles];
#pragma unroll
      for (int m = 0; m < tiles; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float(&two)[4] = weights[m][2 * k + i / 2];
          left[m].high[i] = pairOf(two[i % 2 * 2], two[i % 2 * 2 + 1]);
        }
      }
#pragma unroll
      for (int pair = 0; pair < size / 16; ++pair) {
        uint32_t registers[4];
        loadMatricesTransposed(registers, streamed + k * 16 * Its::rowBytes + placeOfStep(lanePlace, pair));
        const Operand<T, 2> right[2] = {{{registers[0], registers[1]}}, {{registers[2], registers[3]}}};
#pragma unroll
        for (int m = 0; m < tiles; ++m) {
          multiply(sums[m][2 * pair], left[m], right[0]);
          multiply(sums[m][2 * pair + 1], left[m], right[1]);
        }
      }
    }
  } else {
    const int lane = laneOf(), group = lane >> 2, row = lane % 4 * 2;
#pragma unroll
    for (int k = 0; k < rows / 8; k += 2) {
      Operand<T, 4> left[tiles][2];
#pragma unroll
      for (int m = 0; m < tiles; ++m) {
        constexpr int order[4] = {0, 2, 1, 3};
#pragma unroll
        for (int i = 0; i < 8; ++i) setRegister(left[m][i / 4], i % 4, bitsOf(weights[m][k + i / 4][order[i % 4]]));
      }
#pragma unroll
      for (int n = 0; n < size / 8; ++n) {
        // Holds the loads of what follows back, which would take more registers than there are.
        if (n % 4 == 0) __syncwarp();
        Operand<T, 2> right[2];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int place = placeOfStep(Its::placeOf(row + i % 2, group >> 2), n) + (group & 3) * 4;
          const unsigned char *from = streamed + (k + i / 2) * 8 * Its::rowBytes + place;
          setRegister(right[i / 2], i % 2, *reinterpret_cast<const uint32_t *>(from));
        }
#pragma unroll
        for (int m = 0; m < tiles; ++m) multiplyTwice(sums[m][n], left[m], right);
      }
    }
  }
}

// Writes 16 rows of sums, times their row's factor (of row g, and of row g + 8), to frames [begin, begin + 16) of an
// utterance. `staging`: the warp's own 16 rows of a tile, through which they become vectors.
template <typename T, int size>
__device__ inline void storeRows(const Rows<T> &out, const Span &span, int32_t begin, int head, int headSize,
                                 unsigned char *staging, const float (&sums)[size / 8][4], float factor,
                                 float factorBelow) {
  using Its = Tile<T, size>;
  const int lane = laneOf(), group = lane >> 2, t = lane & 3;
  __syncwarp();
#pragma unroll
  for (int n = 0; n < size / 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float by = half == 0 ? factor : factorBelow, x = sums[n][2 * half] * by, y = sums[n][2 * half + 1] * by;
      const int row = group + 8 * half;
      if constexpr (sizeof(T) == 2) {
        *reinterpret_cast<uint32_t *>(staging + Its::placeOf(row, n) + t * 4) = pairOf(x, y);
      } else {
        *reinterpret_cast<float2 *>(staging + Its::placeOf(row, 2 * n + (t >> 1)) + (t & 1) * 8) = make_float2(x, y);
      }
    }
  }
  __syncwarp();
  constexpr int rowsAtOnce = 32 / Its::chunks;
  const int chunk = lane % Its::chunks, column = chunk * Its::chunkElements;
#pragma unroll
  for (int i = 0; i < 16 / rowsAtOnce; ++i) {
    const int row = lane / Its::chunks + i * rowsAtOnce;
    if (begin + row >= span.length || column >= headSize) continue;
    T *to = out.data + static_cast<int64_t>(span.first + begin + row) * out.stride +
            static_cast<int64_t>(head) * headSize + column;
    const unsigned char *from = staging + Its::placeOf(row, chunk);
    if (out.aligned) {
      *reinterpret_cast<uint4 *>(to) = *reinterpret_cast<const uint4 *>(from);
    } else {
      for (int j = 0; j < Its::chunkElements; ++j) to[j] = reinterpret_cast<const T *>(from)[j];
    }
  }
}

}  // namespace attention
}  // namespace emoframe
