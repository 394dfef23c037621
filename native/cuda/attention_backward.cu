// Attention backward: the probabilities are formed again from q, k and log Σ exp, tile by tile, so that nothing of size
// T² is in memory. Three launches, none of which adds into memory, so results are the same bits always:
// - for each row and head, D = dOut · out (which is Σ p dp, dropout and all) beside log Σ exp: bound by reading both;
// - dk and dv: a block has 64 keys, and the queries with their dOut pass by. Scores are formed as k qᵀ, so that p and
//   ds are left operands where they are, and the queries' rows come transposed from shared memory;
// - dq: a block has 64 queries, and keys and values pass by. It is the same kernel with the sides changed: both form
//   s = fixed₁ · streamed₁ᵀ and dp = fixed₂ · streamed₂ᵀ and sum ds · streamed₁; keys also sum p · streamed₂.
// 8 + 6 T² D flops a head (10 in one pass; forming s and dp twice is what going without atomics or a second pass over
// partial sums costs): bound by tensor cores for bf16. fp32 takes three tf32 products each, or one.
#include <cmath>
#include <type_traits>

#include "attention_dropout.cuh"
#include "attention_tiles.cuh"
#include "backend.h"
#include "reduce.cuh"

namespace emoframe {

using namespace attention;

namespace {

constexpr int fixedRows = warps * 16;

// What a row of probabilities needs, for each head and packed row: log2 Σ exp, and D.
using RowTerm = float2;

// --- D -------------------------------------------------------------------------------------------
// A group of padded size / 8 lanes for each row and head.
template <typename T, int size>
__global__ void __launch_bounds__(256)
    termKernel(Rows<const T> out, Rows<const T> dOut, const float *logSumExp, int64_t logStride,
               int64_t logColumnStride, int64_t rows, int32_t heads, int32_t headSize, RowTerm *terms) {
  constexpr int lanes = size / 8;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * (256 / lanes) + threadIdx.x / lanes;
  const int column = static_cast<int>(threadIdx.x) % lanes * 8;
  const int64_t row = item / heads, head = item - row * heads;
  float sum = 0;
  if (row < rows && column < headSize) {
    float o[8], g[8];
    loadSome(out.data + row * out.stride + head * headSize + column, 1, 8, out.aligned, o);
    loadSome(dOut.data + row * dOut.stride + head * headSize + column, 1, 8, dOut.aligned, g);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += o[i] * g[i];
  }
  sum = warpSum(sum, lanes);
  if (row < rows && column == 0) {
    terms[head * rows + row] = make_float2(logSumExp[row * logStride + head * logColumnStride] * log2OfE, sum);
  }
}

// --- the gradients -------------------------------------------------------------------------------
template <typename T>
struct Arguments {
  Rows<const T> fixed1, fixed2, streamed1, streamed2;  // keys: k, v, q, dOut; queries: q, dOut, k, v
  Rows<T> gradient1, gradient2;                        // of fixed1; of fixed2 for keys
  const RowTerm *terms;                                // [heads, rows]
  int64_t rows;
  const int32_t *offsets;
  int32_t count;
  int32_t heads, headSize;
  float scale;
  Keep keep;
};

template <typename T, int size>
struct Shape {
  static constexpr bool half = sizeof(T) == 2;
  static constexpr int streamed = half ? (size == 64 ? 64 : 32) : (size == 64 ? 32 : 16);  // rows of a tile
  static constexpr bool fixedStay = half && size == 64;                                    // in registers
  static constexpr int rowBytes = Tile<T, size>::rowBytes, fixedBytes = fixedRows * rowBytes;
  static constexpr int stageBytes = 2 * streamed * rowBytes;
  static constexpr int termBytes = streamed * static_cast<int>(sizeof(RowTerm));
  // Blocks that a multiprocessor has at least, in the two directions: what registers allow without spills.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200)
  static constexpr int mostBlocks = 2;  // 100 KB of shared memory hold no third
#else
  static constexpr int mostBlocks = 3;
#endif
  static constexpr int blocksOfKeys = half ? 2 : 1;
  static constexpr int blocksOfQueries = half ? (size == 64 ? mostBlocks : 2) : (size == 64 ? 3 : 1);
  static constexpr int sharedBytes = 2 * fixedBytes + 2 * stageBytes + 2 * termBytes;
};

// ofKeys: rows of the scores are keys and columns queries, else the other way round.
template <typename T, int size, bool ofKeys>
__global__ void __launch_bounds__(threads, ofKeys ? Shape<T, size>::blocksOfKeys : Shape<T, size>::blocksOfQueries)
    gradientKernel(Arguments<T> a) {
  using Its = Shape<T, size>;
  constexpr int streamed = Its::streamed, accumulators = streamed / 8, steps = Tile<T, size>::steps;
  const Span span = findTile(a.offsets, a.count, static_cast<int32_t>(blockIdx.x), fixedRows);
  if (span.length == 0) return;
  const int head = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = laneOf(), group = lane >> 2, t = lane & 3;
  unsigned char *stages = sharedMemory(), *fixed = stages + 2 * Its::stageBytes;
  auto *columnTerms = reinterpret_cast<RowTerm *>(fixed + 2 * Its::fixedBytes);             // [2, streamed]
  unsigned char *own1 = fixed + warp * 16 * Its::rowBytes, *own2 = own1 + Its::fixedBytes;  // this warp's rows
  const RowTerm *terms = a.terms + head * a.rows + span.first;
  const Source<T, size> streamed1(a.streamed1, span, head, a.headSize), streamed2(a.streamed2, span, head, a.headSize);

  const auto fetch = [&](int32_t tile) {
    unsigned char *stage = stages + (tile & 1) * Its::stageBytes;
    streamed1.template load<streamed>(stage, tile * streamed);
    streamed2.template load<streamed>(stage + streamed * Its::rowBytes, tile * streamed);
    if (ofKeys && threadIdx.x < streamed) {
      const int32_t query = tile * streamed + static_cast<int32_t>(threadIdx.x);
      const bool there = query < span.length;
      copyAsync<8>(columnTerms + (tile & 1) * streamed + threadIdx.x, terms + (there ? query : 0), there ? 8 : 0);
    }
    commitCopies();
  };
  Source<T, size>(a.fixed1, span, head, a.headSize).template load<fixedRows>(fixed, span.begin);
  Source<T, size>(a.fixed2, span, head, a.headSize).template load<fixedRows>(fixed + Its::fixedBytes, span.begin);
  fetch(0);

  const int32_t begin = span.begin + warp * 16;  // this warp's first row
  RowTerm rowTerms[2] = {};
  if (!ofKeys) {
    for (int half = 0; half < 2; ++half) {
      if (begin + group + 8 * half < span.length) rowTerms[half] = terms[begin + group + 8 * half];
    }
  }
  float sums1[1][size / 8][4] = {}, sums2[1][size / 8][4] = {};
  uint32_t left1[Its::fixedStay ? steps : 1][4], left2[Its::fixedStay ? steps : 1][4];
  const float scale = a.scale * log2OfE;
  const int32_t count = (span.length + streamed - 1) / streamed;
  for (int32_t tile = 0; tile < count; ++tile) {
    waitForCopies<0>();
    __syncthreads();  // this tile is there, and all are done with the one whose place the next takes
    if (tile + 1 < count) fetch(tile + 1);
    if (begin >= span.length) continue;
    const unsigned char *stage1 = stages + (tile & 1) * Its::stageBytes, *stage2 = stage1 + streamed * Its::rowBytes;
    if constexpr (Its::fixedStay) {
      if (tile == 0) {
#pragma unroll
        for (int step = 0; step < steps; ++step) {
          loadLeft<T, size>(own1, step, left1[step]);
          loadLeft<T, size>(own2, step, left2[step]);
        }
      }
    }
    const auto take = [&](const uint32_t(&kept)[Its::fixedStay ? steps : 1][4], const unsigned char *own, int step,
                          uint32_t(&registers)[4]) {
      if constexpr (Its::fixedStay) {
#pragma unroll
        for (int i = 0; i < 4; ++i) registers[i] = kept[step][i];
      } else {
        loadLeft<T, size>(own, step, registers);
      }
    };
    const auto termOf = [&](int j, int e) {
      return ofKeys ? columnTerms[(tile & 1) * streamed + 8 * j + 2 * t + e % 2] : rowTerms[e / 2];
    };

    uint32_t bits = allLanes;
    if (!a.keep.all) {  // before there are scores, which take the registers that this needs
      if (ofKeys) {
        const int64_t row = static_cast<int64_t>(span.first + tile * streamed) * a.heads + head;
        bits = keepByKey<accumulators>(a.keep, row, a.heads, begin);
      } else {
        const int64_t row = static_cast<int64_t>(span.first + begin + group) * a.heads + head;
        bits = keepByQuery<accumulators>(a.keep, row, tile * streamed);
      }
    }
    float p[1][accumulators][4] = {};
    addScores<T, size, streamed, 1, Its::fixedStay>(
        stage1, [&](int, int step, uint32_t(&registers)[4]) { take(left1, own1, step, registers); }, p);
#pragma unroll
    for (int j = 0; j < accumulators; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) p[0][j][e] = exp2Fast(p[0][j][e] * scale - termOf(j, e).x);
    }
    // Queries past the end meet zeros in dOut and D; keys past the end meet zeros in k, unless p is infinite.
    if (!ofKeys && (tile + 1) * streamed > span.length) {
#pragma unroll
      for (int j = 0; j < accumulators; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (tile * streamed + 8 * j + 2 * t + e % 2 >= span.length) p[0][j][e] = 0;
        }
      }
    }
    if (ofKeys) {
      float kept[1][accumulators][4];
#pragma unroll
      for (int j = 0; j < accumulators; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) kept[0][j][e] = keptByKey(bits, j, e) ? p[0][j][e] : 0.0f;
      }
      addWeighted<T, size, streamed, 1>(stage2, kept, sums2);
    }
    float ds[1][accumulators][4] = {};
    addScores<T, size, streamed, 1, Its::fixedStay>(
        stage2, [&](int, int step, uint32_t(&registers)[4]) { take(left2, own2, step, registers); }, ds);
#pragma unroll
    for (int j = 0; j < accumulators; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const bool kept = ofKeys ? keptByKey(bits, j, e) : keptByQuery(bits, j, e);
        const float dp = kept ? ds[0][j][e] * a.keep.factor : 0.0f;
        ds[0][j][e] = p[0][j][e] * (dp - termOf(j, e).y);
      }
    }
    addWeighted<T, size, streamed, 1>(stage1, ds, sums1);
  }

  if (begin >= span.length) return;
  storeRows<T, size>(a.gradient1, span, begin, head, a.headSize, own1, sums1[0], a.scale, a.scale);
  if (ofKeys) {
    storeRows<T, size>(a.gradient2, span, begin, head, a.headSize, own2, sums2[0], a.keep.factor, a.keep.factor);
  }
}

}  // namespace

template <>
void CudaBackend::perform(const AttentionBackward &gradient) {
  const Attention &attention = gradient.forward;
  if (attention.bias.table) throw Error("ERR_INTERNAL", "CUDA's attention has no bias of the distance yet.");
  const int64_t headSize = headSizeOf(attention), rows = attention.q.rows;
  if (attention.q.size() == 0 || attention.segments.count == 0) return;
  const auto heads = static_cast<int32_t>(attention.heads), its = static_cast<int32_t>(headSize);
  auto *terms = static_cast<RowTerm *>(scratch(sizeof(RowTerm) * static_cast<size_t>(rows * heads)));
  withShape(attention, headSize, [&](auto of, auto padded) {
    using T = typename decltype(of)::Type;
    constexpr int size = decltype(padded)::value;
    const View &logSumExp = attention.logSumExp;
    using Stored = std::conditional_t<sizeof(T) == 2, bf16, float>;
    launch(termKernel<Stored, size>, blocksFor(rows * heads, 256 / (size / 8)), 256, 0, stream(),
           rowsOf<const Stored>(attention.out), rowsOf<const Stored>(gradient.dOut), logSumExp.as<const float>(),
           logSumExp.rowStride, logSumExp.colStride, rows, heads, its, terms);

    const auto q = rowsOf<const T>(attention.q), k = rowsOf<const T>(attention.k), v = rowsOf<const T>(attention.v);
    const auto dOut = rowsOf<const T>(gradient.dOut);
    const int32_t *offsets = attention.segments.deviceOffsets;
    const int32_t count = attention.segments.count;
    const Keep keep = keepOf(attention.dropout);
    const dim3 grid(tilesOf(attention, fixedRows), static_cast<uint32_t>(heads));
    const auto bytes = static_cast<size_t>(Shape<T, size>::sharedBytes);
    const Arguments<T> ofKeys = {k,
                                 v,
                                 q,
                                 dOut,
                                 rowsOf<T>(gradient.dk),
                                 rowsOf<T>(gradient.dv),
                                 terms,
                                 rows,
                                 offsets,
                                 count,
                                 heads,
                                 its,
                                 attention.scale,
                                 keep};
    const Arguments<T> ofQueries = {q,       dOut,  k,     v,   rowsOf<T>(gradient.dq), {},  terms, rows,
                                    offsets, count, heads, its, attention.scale,        keep};
    launch(gradientKernel<T, size, true>, grid, threads, bytes, stream(), ofKeys);
    launch(gradientKernel<T, size, false>, grid, threads, bytes, stream(), ofQueries);
  });
}

}  // namespace emoframe
