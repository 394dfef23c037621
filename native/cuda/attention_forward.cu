// Attention forward: out = softmax(scale · q kᵀ) v within each utterance and head, and log Σ exp of each row.
//
// A block has 64 or 128 queries; keys and values pass by once, and the softmax is made as they come: each row keeps the
// largest score so far and a sum in base 2, and what was summed before is scaled down when a larger score arrives.
// Nothing of size T² is in memory: read 2 T D a tile of queries (from L2 but for the first), written T D. 4 T² D flops
// a head and T² exponentials: bound by tensor cores for bf16, with the exponentials (16 a clock and multiprocessor)
// close behind. For bf16 heads of up to 64 a warp has 32 queries, so that each key fragment read from shared memory is
// used twice: with 16, ldmatrix would take as long as the products. fp32 takes three tf32 products each, or one.
#include <cmath>
#include <type_traits>

#include "attention_bias.cuh"
#include "attention_dropout.cuh"
#include "attention_tiles.cuh"
#include "backend.h"

namespace emoframe {

using namespace attention;

namespace {

template <typename T>
struct Arguments {
  Rows<const T> q, k, v;
  Rows<T> out;
  float *logSumExp;  // or null
  int64_t logStride, logColumnStride;
  const int32_t *offsets;
  int32_t count;
  int32_t heads, headSize;
  float scale;  // times log2(e)
  Keep keep;
};
template <typename T>
struct BiasedArguments : Arguments<T> {
  Bias bias;
};

template <typename T, int size>
struct Shape {
  static constexpr bool half = sizeof(T) == 2;
  static constexpr int tiles = half && size == 64 ? 2 : 1;  // of 16 queries a warp
  static constexpr int queries = warps * 16 * tiles, keys = half ? 64 : size == 64 ? 32 : 16;
  static constexpr bool queriesStay = half;                     // in registers
  static constexpr int blocks = half ? 2 : size == 64 ? 3 : 1;  // that a multiprocessor has at least
  static constexpr int rowBytes = Tile<T, size>::rowBytes;
  static constexpr int stageBytes = 2 * keys * rowBytes;  // keys, values
  static constexpr int sharedBytes = queries * rowBytes + 2 * stageBytes;
  static constexpr int window = queries + keys;  // biases of a tile, and one for the sake of alignment
  static constexpr int windowBytes = 2 * window * static_cast<int>(sizeof(float));
};

// Takes one tile of scores into the rows' running softmax: scores become 2^(score -
// largest), what was summed is scaled.
template <int tiles, int accumulators, int columns>
__device__ inline void takeScores(float scale, float (&scores)[tiles][accumulators][4], float (&largest)[tiles][2],
                                  float (&total)[tiles][2], float (&sums)[tiles][columns][4]) {
#pragma unroll
  for (int m = 0; m < tiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = largest[m][half];
#pragma unroll
      for (int j = 0; j < accumulators; ++j) {
        most = fmaxf(most, fmaxf(scores[m][j][2 * half], scores[m][j][2 * half + 1]));
      }
      most = fmaxf(most, shuffleXor(most, 1));
      most = fmaxf(most, shuffleXor(most, 2));
      const float shrink = exp2Fast((largest[m][half] - most) * scale), offset = most * scale;
      largest[m][half] = most;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < accumulators; ++j) {
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          scores[m][j][e] = exp2Fast(scores[m][j][e] * scale - offset);
          sum += scores[m][j][e];
        }
      }
      total[m][half] = total[m][half] * shrink + sum;
#pragma unroll
      for (int n = 0; n < columns; ++n) {
        sums[m][n][2 * half] *= shrink;
        sums[m][n][2 * half + 1] *= shrink;
      }
    }
  }
}

template <typename T, int size, bool biased>
__global__ void __launch_bounds__(threads, Shape<T, size>::blocks)
    forwardKernel(std::conditional_t<biased, BiasedArguments<T>, Arguments<T>> a) {
  using Its = Shape<T, size>;
  constexpr int tiles = Its::tiles, keys = Its::keys, accumulators = keys / 8, steps = Tile<T, size>::steps;
  const Span span = findTile(a.offsets, a.count, static_cast<int32_t>(blockIdx.x), Its::queries);
  if (span.length == 0) return;
  const int head = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = laneOf(), group = lane >> 2, t = lane & 3;
  unsigned char *stages = sharedMemory(), *queries = stages + 2 * Its::stageBytes;
  unsigned char *own = queries + warp * 16 * tiles * Its::rowBytes;  // this warp's queries
  [[maybe_unused]] auto *windows = reinterpret_cast<float *>(stages + Its::sharedBytes);
  const Source<T, size> q(a.q, span, head, a.headSize), k(a.k, span, head, a.headSize), v(a.v, span, head, a.headSize);

  const auto fetch = [&](int32_t tile) {
    unsigned char *stage = stages + (tile & 1) * Its::stageBytes;
    k.template load<keys>(stage, tile * keys);
    v.template load<keys>(stage + keys * Its::rowBytes, tile * keys);
    if constexpr (biased) {
      a.bias.template load<Its::window>(windows + (tile & 1) * Its::window,
                                        tile * keys - span.begin - (Its::queries - 1), head);
    }
    commitCopies();
  };
  q.template load<Its::queries>(queries, span.begin);
  fetch(0);

  const int32_t begin = span.begin + warp * 16 * tiles;  // this warp's first query
  float sums[tiles][size / 8][4] = {}, largest[tiles][2], total[tiles][2] = {};
  for (int m = 0; m < tiles; ++m) largest[m][0] = largest[m][1] = -INFINITY;
  uint32_t left[tiles][Its::queriesStay ? steps : 1][4];
  float gates[tiles][2] = {};  // of biases, times log2(e)
  if constexpr (biased) {
    for (int m = 0; m < tiles; ++m) {
      for (int half = 0; half < 2; ++half) {
        gates[m][half] = a.bias.gateOf(span, begin + m * 16 + group + 8 * half, head) * log2OfE;
      }
    }
  }
  const float scale = biased ? 1.0f : a.scale;  // of scores once there are biases in them
  const int32_t count = (span.length + keys - 1) / keys;
  for (int32_t tile = 0; tile < count; ++tile) {
    waitForCopies<0>();
    __syncthreads();  // this tile is there, and all are done with the one whose place the next takes
    if (tile + 1 < count) fetch(tile + 1);
    if (begin >= span.length) continue;
    const unsigned char *stage = stages + (tile & 1) * Its::stageBytes;
    if constexpr (Its::queriesStay) {
      if (tile == 0) {
#pragma unroll
        for (int m = 0; m < tiles; ++m) {
#pragma unroll
          for (int step = 0; step < steps; ++step) loadLeft<T, size>(own + m * 16 * Its::rowBytes, step, left[m][step]);
        }
      }
    }
    uint32_t bits[tiles] = {};
    if (!a.keep.all) {  // before there are scores, which take the registers that this needs
#pragma unroll
      for (int m = 0; m < tiles; ++m) {
        const int64_t row = static_cast<int64_t>(span.first + begin + m * 16 + group) * a.heads + head;
        bits[m] = keepByQuery<accumulators>(a.keep, row, tile * keys);
      }
    }
    float scores[tiles][accumulators][4] = {};
    addScores<T, size, keys, tiles, Its::queriesStay>(
        stage,
        [&](int m, int step, uint32_t(&registers)[4]) {
          if constexpr (Its::queriesStay) {
#pragma unroll
            for (int i = 0; i < 4; ++i) registers[i] = left[m][step][i];
          } else {
            loadLeft<T, size>(own + m * 16 * Its::rowBytes, step, registers);
          }
        },
        scores);
    if constexpr (biased) {
      const float *bias = windows + (tile & 1) * Its::window + 2 * t - group - warp * 16 * tiles + Its::queries - 1;
      forEachBias<2 * tiles, accumulators, false>(
          bias, tile * keys < a.bias.unbiased,
          [&](int, int j, int e) { return tile * keys + 8 * j + 2 * t + e < a.bias.unbiased; },
          [&](int row, int j, int e, float its) {
            float &score = scores[row / 2][j][row % 2 * 2 + e];
            score = fmaf(gates[row / 2][row % 2], its, score * a.scale);
          });
    }
    if ((tile + 1) * keys > span.length) {
#pragma unroll
      for (int j = 0; j < accumulators; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (tile * keys + 8 * j + 2 * t + e % 2 < span.length) continue;
#pragma unroll
          for (int m = 0; m < tiles; ++m) scores[m][j][e] = -INFINITY;
        }
      }
    }
    takeScores(scale, scores, largest, total, sums);
    if (!a.keep.all) {
#pragma unroll
      for (int m = 0; m < tiles; ++m) {
#pragma unroll
        for (int j = 0; j < accumulators; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) scores[m][j][e] = keptByQuery(bits[m], j, e) ? scores[m][j][e] : 0.0f;
        }
      }
    }
    addWeighted<T, size, keys, tiles>(stage + keys * Its::rowBytes, scores, sums);
  }

  if (begin >= span.length) return;
#pragma unroll
  for (int m = 0; m < tiles; ++m) {
    float factors[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = total[m][half];
      sum += shuffleXor(sum, 1);
      sum += shuffleXor(sum, 2);
      factors[half] = a.keep.factor / sum;
      const int32_t query = begin + m * 16 + group + 8 * half;
      if (a.logSumExp && t == 0 && query < span.length) {
        a.logSumExp[(span.first + query) * a.logStride + head * a.logColumnStride] =
            (largest[m][half] * scale + log2Fast(sum)) * lnOf2;
      }
    }
    storeRows<T, size>(a.out, span, begin + m * 16, head, a.headSize, own + m * 16 * Its::rowBytes, sums[m], factors[0],
                       factors[1]);
  }
}

}  // namespace

template <>
void CudaBackend::perform(const Attention &attention) {
  const int64_t headSize = headSizeOf(attention);
  if (attention.q.size() == 0 || attention.segments.count == 0) return;
  withShape(attention, headSize, [&](auto of, auto padded) {
    using T = typename decltype(of)::Type;
    constexpr int size = decltype(padded)::value;
    using Its = Shape<T, size>;
    const Arguments<T> arguments = {rowsOf<const T>(attention.q),
                                    rowsOf<const T>(attention.k),
                                    rowsOf<const T>(attention.v),
                                    rowsOf<T>(attention.out),
                                    attention.logSumExp.template as<float>(),
                                    attention.logSumExp.rowStride,
                                    attention.logSumExp.colStride,
                                    attention.segments.deviceOffsets,
                                    attention.segments.count,
                                    static_cast<int32_t>(attention.heads),
                                    static_cast<int32_t>(headSize),
                                    attention.scale * log2OfE,
                                    keepOf(attention.dropout)};
    const dim3 grid(tilesOf(attention, Its::queries), static_cast<uint32_t>(attention.heads));
    if (attention.bias.table) {
      launch(forwardKernel<T, size, true>, grid, threads, Its::sharedBytes + Its::windowBytes, stream(),
             BiasedArguments<T>{arguments, biasOf(attention.bias)});
    } else {
      launch(forwardKernel<T, size, false>, grid, threads, Its::sharedBytes, stream(), arguments);
    }
  });
}

}  // namespace emoframe
