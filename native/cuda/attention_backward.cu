// Attention backward: the probabilities are formed again from q, k and log Σ exp, tile by tile, so that nothing of size
// T² is in memory. Three launches, none of which adds into memory, so results are the same bits always:
// - for each row and head, D = dOut · out (which is Σ p dp, dropout and all) beside log Σ exp: bound by reading both;
// - dk and dv: a block has 64 keys, and the queries with their dOut pass by. Scores are formed as k qᵀ, so that p and
//   ds are left operands where they are, and the queries' rows come transposed from shared memory;
// - dq: a block has 64 queries, and keys and values pass by. It is the same kernel with the sides changed: both form
//   s = fixed₁ · streamed₁ᵀ and dp = fixed₂ · streamed₂ᵀ and sum ds · streamed₁; keys also sum p · streamed₂.
// With a bias of the distance it is the kernel of the queries that also has the gradients of gate and table (see
// attention_bias.cuh). Its blocks then go over tiles of queries, so that there is a fixed number of lines of sums.
// 8 + 6 T² D flops a head (10 in one pass; forming s and dp twice is what going without atomics or a second pass over
// partial sums costs): bound by tensor cores for bf16. fp32 takes three tf32 products each, or one.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "attention_bias.cuh"
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
template <typename T>
struct BiasedArguments : Arguments<T> {
  Bias bias;
  float *dGate;  // or null
  int64_t dGateStride, dGateColumnStride;
  float *lines;  // [blocks of a head, warps, heads, 2 reach + 1] of the table's gradient, or null
};
// Blocks of queries that a head has at most, where the table's gradient is wanted.
constexpr uint32_t summingBlocks = 64;

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
  static constexpr int blocksOfQueries(bool biased) {
    if (size > 64) return half ? 2 : 1;
    return half ? (biased ? 2 : mostBlocks) : biased ? mostBlocks : 3;
  }
  static constexpr int sharedBytes = 2 * fixedBytes + 2 * stageBytes + 2 * termBytes;
  // With biases: those of a tile, and one for the sake of alignment; then, of keys, the streamed queries' gates or, of
  // queries, the warps' diagonals, unless these lie in the fixed rows, which are in registers.
  static constexpr int window = fixedRows + streamed, windowBytes = 2 * window * static_cast<int>(sizeof(float));
  static constexpr int gateBytes = 2 * streamed * static_cast<int>(sizeof(float));
  static constexpr int diagonalKeys = streamed < 32 ? streamed : 32;
  static constexpr int diagonalBytes = fixedStay ? 0 : DiagonalSums<diagonalKeys>::bytes;  // of a warp
  static constexpr int biasedBytes(bool ofKeys) {
    return sharedBytes + windowBytes + (ofKeys ? gateBytes : warps * diagonalBytes);
  }
};

// The gradients of a tile of fixed rows. ofKeys: rows of the scores are keys and columns queries, else the other way
// round.
template <typename T, int size, bool ofKeys, bool biased, typename Arguments>
__device__ inline void formGradients(const Arguments &a, const Span &span, [[maybe_unused]] float *line) {
  using Its = Shape<T, size>;
  constexpr int streamed = Its::streamed, accumulators = streamed / 8, steps = Tile<T, size>::steps;
  const int head = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = laneOf(), group = lane >> 2, t = lane & 3;
  unsigned char *stages = sharedMemory(), *fixed = stages + 2 * Its::stageBytes;
  auto *columnTerms = reinterpret_cast<RowTerm *>(fixed + 2 * Its::fixedBytes);             // [2, streamed]
  unsigned char *own1 = fixed + warp * 16 * Its::rowBytes, *own2 = own1 + Its::fixedBytes;  // this warp's rows
  [[maybe_unused]] auto *windows = reinterpret_cast<float *>(stages + Its::sharedBytes);
  [[maybe_unused]] float *columnGates = windows + 2 * Its::window;  // [2, streamed], of keys
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
    if constexpr (biased) {
      // Distances are of keys from queries.
      const int32_t first =
          ofKeys ? span.begin - tile * streamed - (streamed - 1) : tile * streamed - span.begin - (fixedRows - 1);
      a.bias.template load<Its::window>(windows + (tile & 1) * Its::window, first, head);
      if (ofKeys && threadIdx.x < streamed) {
        const int32_t query = tile * streamed + static_cast<int32_t>(threadIdx.x);
        columnGates[(tile & 1) * streamed + threadIdx.x] = a.bias.gateOf(span, query, head);
      }
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
  [[maybe_unused]] float rowGates[2] = {}, dGates[2] = {};  // of queries
  [[maybe_unused]] int32_t reach = 0, unbiased = 0;
  if constexpr (biased) {
    reach = a.bias.reach;
    unbiased = a.bias.unbiased;
    for (int half = 0; half < 2; ++half) {
      if (!ofKeys) rowGates[half] = a.bias.gateOf(span, begin + group + 8 * half, head);
    }
  }
  [[maybe_unused]] DiagonalSums<Its::diagonalKeys> diagonals(
      Its::fixedStay ? own1 : stages + Its::sharedBytes + Its::windowBytes + warp * Its::diagonalBytes, line, reach,
      begin);
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
    // A lane's first place in the window, and which elements are of keys without biases.
    const float *bias = windows + (tile & 1) * Its::window +
                        (ofKeys ? warp * 16 + group - 2 * t + streamed - 1 : 2 * t - group - warp * 16 + fixedRows - 1);
    const auto isUnbiased = [&](int row, int j, int e) {
      return (ofKeys ? begin + group + 8 * row : tile * streamed + 8 * j + 2 * t + e) < unbiased;
    };
    if constexpr (biased) {
      const bool some = (ofKeys ? begin : tile * streamed) < unbiased;
      forEachBias<2, accumulators, ofKeys>(bias, some, isUnbiased, [&](int row, int j, int e, float its) {
        const float gate = ofKeys ? columnGates[(tile & 1) * streamed + 8 * j + 2 * t + e] : rowGates[row];
        float &score = p[0][j][2 * row + e];
        score = exp2Fast(fmaf(gate * log2OfE, its, score * scale - termOf(j, 2 * row + e).x));
      });
    } else {
#pragma unroll
      for (int j = 0; j < accumulators; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) p[0][j][e] = exp2Fast(p[0][j][e] * scale - termOf(j, e).x);
      }
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
    if constexpr (biased && !ofKeys) {
      if (tile * streamed < unbiased) {
#pragma unroll
        for (int j = 0; j < accumulators; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            if (isUnbiased(e / 2, j, e % 2)) ds[0][j][e] = 0;
          }
        }
      }
      forEachBias<2, accumulators, false>(bias, false, isUnbiased, [&](int row, int j, int e, float its) {
        dGates[row] += ds[0][j][2 * row + e] * its;
      });
      if (line) {
        diagonals.template add<0>(ds[0], rowGates, tile * streamed);
        if constexpr (streamed == 64) diagonals.template add<4>(ds[0], rowGates, tile * streamed + 32);
      }
    }
  }

  if (begin >= span.length) return;
  if constexpr (biased && !ofKeys) {
    if (line) diagonals.finish(count * streamed);
    for (int half = 0; half < 2; ++half) {
      float sum = dGates[half];
      sum += shuffleXor(sum, 1);
      sum += shuffleXor(sum, 2);
      const int32_t query = begin + group + 8 * half;
      if (a.dGate && t == 0 && query < span.length) {
        a.dGate[(span.first + query) * a.dGateStride + head * a.dGateColumnStride] = query < unbiased ? 0.0f : sum;
      }
    }
  }
  storeRows<T, size>(a.gradient1, span, begin, head, a.headSize, own1, sums1[0], a.scale, a.scale);
  if (ofKeys) {
    storeRows<T, size>(a.gradient2, span, begin, head, a.headSize, own2, sums2[0], a.keep.factor, a.keep.factor);
  }
}

template <typename T, int size, bool ofKeys, bool biased>
__global__ void __launch_bounds__(threads,
                                  ofKeys ? Shape<T, size>::blocksOfKeys : Shape<T, size>::blocksOfQueries(biased))
    gradientKernel(std::conditional_t<biased, BiasedArguments<T>, Arguments<T>> a) {
  const auto spanOf = [&](uint32_t tile) {
    return findTile(a.offsets, a.count, static_cast<int32_t>(tile), fixedRows);
  };
  if constexpr (biased && !ofKeys) {
    const int64_t distances = 2 * static_cast<int64_t>(a.bias.reach) + 1;
    const int64_t index = static_cast<int64_t>(blockIdx.x) * warps + threadIdx.x / 32;
    float *line = a.lines ? a.lines + (index * a.heads + blockIdx.y) * distances : nullptr;
    if (line) {
      for (int64_t i = laneOf(); i < distances; i += 32) line[i] = 0;
    }
    for (uint32_t tile = blockIdx.x;; tile += gridDim.x) {
      const Span span = spanOf(tile);
      if (span.length == 0) return;
      formGradients<T, size, ofKeys, biased>(a, span, line);
      if (!line) return;  // there is a block for each tile
      __syncthreads();    // all are done with shared memory, and with the line
    }
  } else {
    const Span span = spanOf(blockIdx.x);
    if (span.length == 0) return;
    formGradients<T, size, ofKeys, biased>(a, span, nullptr);
  }
}

// dTable [2 reach + 1, heads] += the lines. Block (32, 8): 32 distances of a head, their lines in 8 strips, which are
// added in order.
constexpr size_t addLinesBytes = sizeof(double) * 8 * 32;
__global__ void __launch_bounds__(256)
    addLinesKernel(const float *lines, int64_t count, int64_t heads, int64_t size, float *dTable, int64_t stride) {
  auto *strips = reinterpret_cast<double *>(sharedMemory());  // [8, 32]
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int64_t distance = static_cast<int64_t>(blockIdx.x) * 32 + x, head = blockIdx.y;
  double total = 0;
  if (distance < size) {
#pragma unroll 4
    for (int64_t i = y; i < count; i += 8) total += static_cast<double>(lines[(i * heads + head) * size + distance]);
  }
  strips[y * 32 + x] = total;
  __syncthreads();
  if (y != 0 || distance >= size) return;
  for (int strip = 1; strip < 8; ++strip) total += strips[strip * 32 + x];
  float *target = dTable + distance * stride + head;
  *target = static_cast<float>(static_cast<double>(*target) + total);
}

}  // namespace

template <>
void CudaBackend::perform(const AttentionBackward &gradient) {
  const Attention &attention = gradient.forward;
  const int64_t headSize = headSizeOf(attention), rows = attention.q.rows;
  if (attention.q.size() == 0 || attention.segments.count == 0) return;
  const auto heads = static_cast<int32_t>(attention.heads), its = static_cast<int32_t>(headSize);
  // Terms and, where the table's gradient is wanted, lines of its sums: of a number of tiles that shapes give.
  const uint32_t tiles = tilesOf(attention, fixedRows);
  const uint32_t queryBlocks = gradient.dTable ? std::min(tiles, summingBlocks) : tiles;
  const int64_t lines = gradient.dTable ? queryBlocks * warps : 0;
  const size_t termBytes = (sizeof(RowTerm) * static_cast<size_t>(rows * heads) + 255) / 256 * 256;
  auto *terms = static_cast<RowTerm *>(
      scratch(termBytes + sizeof(float) * static_cast<size_t>(lines * heads * gradient.dTable.rows)));
  auto *lineSums =
      lines > 0 ? reinterpret_cast<float *>(reinterpret_cast<unsigned char *>(terms) + termBytes) : nullptr;
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
    const dim3 grid(tiles, static_cast<uint32_t>(heads));
    using Its = Shape<T, size>;
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
    if (!attention.bias.table) {
      launch(gradientKernel<T, size, true, false>, grid, threads, Its::sharedBytes, stream(), ofKeys);
      launch(gradientKernel<T, size, false, false>, grid, threads, Its::sharedBytes, stream(), ofQueries);
      return;
    }
    const Bias bias = biasOf(attention.bias);
    launch(gradientKernel<T, size, true, true>, grid, threads, Its::biasedBytes(true), stream(),
           BiasedArguments<T>{ofKeys, bias, nullptr, 0, 0, nullptr});
    const View &dGate = gradient.dGate;
    launch(gradientKernel<T, size, false, true>, dim3(queryBlocks, static_cast<uint32_t>(heads)), threads,
           Its::biasedBytes(false), stream(),
           BiasedArguments<T>{ofQueries, bias, dGate.as<float>(), dGate.rowStride, dGate.colStride, lineSums});
  });
  if (!gradient.dTable) return;
  const View &dTable = gradient.dTable;
  launch(addLinesKernel, dim3(blocksFor(dTable.rows, 32), static_cast<uint32_t>(heads)), dim3(32, 8), addLinesBytes,
         stream(), lineSums, lines, attention.heads, dTable.rows, dTable.as<float>(), dTable.rowStride);
}

}  // namespace emoframe
