// Cross-entropy over cosine logits, cos(z, e) / temperature, forward and backward. The [frames, labels] matrix exists
// only as tiles of 64 x 64 in registers: as in FlashAttention, the forward pass keeps the largest logit and the sum of
// exponentials of every frame, and the gradients form each tile again from them. With u and v the unit vectors of
// frames and labels and G = ∂loss / ∂cos,
//   dz = (Σ_k G v - u Σ_k G cos) / ‖z‖,   de = (Σ_n G u - v Σ_n G cos) / ‖e‖,
// which is one kernel: rows are frames and columns labels, or the other way round. Its blocks take 64 rows and 128
// columns of D. Sums over frames are cut into chunks, by the number of frames alone, which a last launch adds in order.
//
// All products are of fp32, on tensor cores as tf32 in two parts each (high · high + high · low + low · high), so the
// error is that of fp32. Unit vectors lie in scratch memory, padded to whole tiles with zeros, so no loop has a ragged
// end. Bytes: some 4 N D, read again from the second-level cache by each tile. Flops: 3 · 2 N K D, and with what is
// formed again 7 · 2 N K D (D = 256) of three tf32 products each: 47 GFLOP for 8750 frames, D 256, K 500: far below the
// products of the model that this follows, and bound by tensor cores and the latency of its few blocks.
#include <algorithm>

#include "backend.h"
#include "elements.cuh"
#include "launch.cuh"
#include "losses.cuh"
#include "reduce.cuh"

namespace emoframe {

namespace {

constexpr int tile = 64, slice = 32, stages = 2, threads = 128;  // a warp has 16 rows and all columns of a tile
constexpr int pitch = slice + 4;                                 // floats: fragments then touch all banks
constexpr int depth = 128, depthPitch = depth + 8;               // columns of D that a block has gradients of
constexpr int gradientPitch = tile + 4;
constexpr int unitWarps = 8;
constexpr size_t productBytes = sizeof(float) * stages * 2 * tile * pitch;
constexpr size_t gradientBytes = productBytes + sizeof(float) * tile * depthPitch;
static_assert(sizeof(float) * tile * gradientPitch <= productBytes, "gradients take the products' place");

// Below this norm a vector has no direction: its cosine counts as 0 and it gets no gradient.
constexpr double smallestNorm = 1e-8;

int64_t roundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Unit vectors [padded rows, padded D] and 1 / ‖x‖, or 0.
struct Units {
  const float *vectors, *inverses;
  int64_t rows;  // without padding
};

struct Problem {
  Units frames, labels;
  int64_t cols, padded;  // D
  const int32_t *labelOf;
  float sharpness;     // 1 / temperature
  float2 *statistics;  // of a frame: its largest cosine, 1 / Σ exp((cos - largest) · sharpness)
};

// --- unit vectors: a warp a row ------------------------------------------------------------------
template <typename T>
__global__ void __launch_bounds__(unitWarps * 32)
    unitKernel(Strided<const T> x, bool aligned, int64_t rows, int64_t cols, float *units, int64_t padded,
               float *inverses) {
  constexpr int width = 4;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * unitWarps + threadIdx.x / 32;
  const int64_t first = threadIdx.x % 32 * width;
  double squares = 0;
  float values[width];
  if (row < rows) {
    for (int64_t column = first; column < cols; column += 32 * width) {
      loadSome(x.at(0, row, column), x.colStride, cols - column, aligned, values);
      for (int j = 0; j < width; ++j) squares += static_cast<double>(values[j]) * static_cast<double>(values[j]);
    }
  }
  const double norm = sqrt(warpSum(squares));
  const float inverse = norm > smallestNorm ? static_cast<float>(1 / norm) : 0.0f;
  if (first == 0) inverses[row] = inverse;
  for (int64_t column = first; column < padded; column += 32 * width) {
    for (int j = 0; j < width; ++j) values[j] = 0;
    if (row < rows && column < cols) {
      loadSome(x.at(0, row, column), x.colStride, cols - column, aligned, values);
    }
    for (int j = 0; j < width; ++j) values[j] *= inverse;
    storeVector(units + row * padded + column, values);
  }
}

// --- products of fp32 ----------------------------------------------------------------------------
// x = high + low to some 21 bits; the tensor core cuts off what of `low` is past tf32.
__device__ inline void split(float x, uint32_t &high, uint32_t &low) {
  high = bitsOf(x) & 0xFFFFE000u;
  low = bitsOf(x - floatOf(high));
}
// Rows g and g + 8 of a fragment of A, 16 columns from `a` on, in shared memory: two steps of the tensor cores.
struct Fragment {
  uint32_t high[2][4], low[2][4];
};
__device__ inline Fragment splitRows(const float *a, int rowPitch) {
  Fragment result;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    split(a[i % 2 * 8 * rowPitch + i / 2 * 4], result.high[i / 4][i % 4], result.low[i / 4][i % 4]);
  }
  return result;
}
// d += a b over 16 of k, of which b has rows t, t + 4, t + 8 and t + 12: a sum of its parts, the small ones first, that
// an fp32 addition adds to d. Tensor cores cut their sums off instead of rounding them, which over all of k costs more.
__device__ inline void multiply(float (&d)[4], const Fragment &a, const float (&b)[4]) {
  uint32_t high[2][2], low[2][2];
#pragma unroll
  for (int i = 0; i < 4; ++i) split(b[i], high[i / 2][i % 2], low[i / 2][i % 2]);
  float sum[4] = {};
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    mmaTf32(sum, a.low[step], high[step]);
    mmaTf32(sum, a.high[step], low[step]);
  }
#pragma unroll
  for (int step = 0; step < 2; ++step) mmaTf32(sum, a.high[step], high[step]);
#pragma unroll
  for (int e = 0; e < 4; ++e) d[e] += sum[e];
}

// Cosines of a warp's 16 rows with 64 columns, in mma's layout. Call when all threads are done with `shared`; ends with
// all copies of this thread arrived, and other warps maybe still reading.
__device__ inline void formCosines(const float *rows, const float *columns, int64_t padded, float *shared,
                                   float (&cosines)[8][4]) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, g = thread % 32 / 4, t = thread % 4;
  const int steps = static_cast<int>(padded / slice);
  const auto copy = [&](int step) {
    if (step < steps) {
      float *a = shared + step % stages * 2 * tile * pitch, *b = a + tile * pitch;
#pragma unroll
      for (int i = thread; i < tile * slice / 4; i += threads) {
        const int row = i / (slice / 4), column = i % (slice / 4) * 4;
        const int64_t from = row * padded + step * slice + column;
        copyAsync(a + row * pitch + column, rows + from);
        copyAsync(b + row * pitch + column, columns + from);
      }
    }
    commitCopies();
  };
  for (int step = 0; step < stages - 1; ++step) copy(step);
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    for (int i = 0; i < 4; ++i) cosines[j][i] = 0;
  }
  for (int step = 0; step < steps; ++step) {
    waitForCopies<stages - 2>();
    __syncthreads();
    copy(step + stages - 1);
    const float *a = shared + step % stages * 2 * tile * pitch + (warp * 16 + g) * pitch + t;
    const float *b = shared + (step % stages * 2 + 1) * tile * pitch + g * pitch + t;
#pragma unroll 1  // more at once would take more registers than there are
    for (int k = 0; k < slice; k += 16) {
      const Fragment left = splitRows(a + k, pitch);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const float *right = b + j * 8 * pitch + k;
        multiply(cosines[j], left, {right[0], right[4], right[8], right[12]});
      }
    }
  }
  waitForCopies<0>();
}

// --- forward: a block 64 frames ------------------------------------------------------------------
__global__ void __launch_bounds__(threads, 3) cosineLossKernel(Problem problem, int64_t labelTiles, RowLoss *losses) {
  auto *shared = reinterpret_cast<float *>(sharedMemory());
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32), t = lane % 4;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * tile;
  const float sharpness = problem.sharpness;
  // Of this thread's columns, for its two rows; labels before the frame's own, and it and those behind.
  float before[2], rest[2], own[2], largest[2], sum[2];
  int64_t frame[2], label[2];
  for (int half = 0; half < 2; ++half) {
    before[half] = rest[half] = own[half] = largest[half] = -INFINITY;
    sum[half] = 0;
    frame[half] = first + warp * 16 + half * 8 + lane / 4;
    label[half] = frame[half] < problem.frames.rows ? problem.labelOf[frame[half]] : 0;
  }
  for (int64_t at = 0; at < labelTiles; ++at) {
    float cosines[8][4];
    if (at > 0) __syncthreads();
    formCosines(problem.frames.vectors + first * problem.padded, problem.labels.vectors + at * tile * problem.padded,
                problem.padded, shared, cosines);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = largest[half];
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const int64_t k = at * tile + i / 2 * 8 + 2 * t + i % 2;
        if (k >= problem.labels.rows) continue;
        const float value = cosines[i / 2][2 * half + i % 2];
        most = fmaxf(most, value);
        if (k < label[half]) {
          before[half] = fmaxf(before[half], value);
        } else {
          rest[half] = fmaxf(rest[half], value);
        }
        if (k == label[half]) own[half] = value;
      }
      float total = 0;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        if (at * tile + i / 2 * 8 + 2 * t + i % 2 >= problem.labels.rows) continue;
        total += expf((cosines[i / 2][2 * half + i % 2] - most) * sharpness);
      }
      // Nothing was there before: its sum is 0.
      if (sum[half] > 0) total += sum[half] * expf((largest[half] - most) * sharpness);
      sum[half] = total;
      largest[half] = most;
    }
  }
  for (int half = 0; half < 2; ++half) {
    const float most = warpMax(largest[half], 4);
    const float total = warpSum(sum[half] > 0 ? sum[half] * expf((largest[half] - most) * sharpness) : 0.0f, 4);
    const float mostBefore = warpMax(before[half], 4), mostOfRest = warpMax(rest[half], 4), its = warpMax(own[half], 4);
    if (t != 0 || frame[half] >= problem.frames.rows) continue;
    problem.statistics[frame[half]] = make_float2(most, 1.0f / total);
    losses[frame[half]] = {logf(total) - (its - most) * sharpness, its == mostOfRest && mostBefore < its ? 1 : 0};
  }
}

// --- backward ------------------------------------------------------------------------------------
// Gradients of 64 rows in 128 columns of D from the columns of chunk blockIdx.z; ofFrames: rows are frames. T: what
// they are stored as; item z of `out` takes those of chunk z.
template <typename T, bool ofFrames>
__global__ void __launch_bounds__(threads, 2)
    cosineGradientKernel(Problem problem, float scale, int64_t columnTiles, int64_t chunkTiles, Strided<T> out) {
  auto *shared = reinterpret_cast<float *>(sharedMemory());
  float *others = shared + productBytes / sizeof(float);  // [tile, depthPitch]: the columns' vectors
  const Units &rows = ofFrames ? problem.frames : problem.labels, &columns = ofFrames ? problem.labels : problem.frames;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32, g = lane / 4, t = lane % 4;
  float *gradients = shared + warp * 16 * gradientPitch;  // [16, gradientPitch], in the products' place
  const int64_t first = static_cast<int64_t>(blockIdx.x) * tile, firstDepth = static_cast<int64_t>(blockIdx.y) * depth;
  const int64_t begin = blockIdx.z * chunkTiles,
                end = begin + chunkTiles < columnTiles ? begin + chunkTiles : columnTiles;
  float sums[depth / 8][4] = {}, products[2] = {};  // Σ G y, and Σ G cos of this thread's columns
  for (int64_t at = begin; at < end; ++at) {
    if (at > begin) __syncthreads();
    for (int i = thread; i < tile * depth / 4; i += threads) {
      const int row = i / (depth / 4), column = i % (depth / 4) * 4;
      const bool is = firstDepth + column < problem.padded;
      copyAsync(others + row * depthPitch + column,
                columns.vectors + (at * tile + row) * problem.padded + (is ? firstDepth + column : 0), is ? 16 : 0);
    }
    commitCopies();
    float cosines[8][4];
    formCosines(rows.vectors + first * problem.padded, columns.vectors + at * tile * problem.padded, problem.padded,
                shared, cosines);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      const int half = i / 2 % 2, column = i / 4 * 8 + 2 * t + i % 2;
      const int64_t x = first + warp * 16 + half * 8 + g, y = at * tile + column;
      const int64_t frame = ofFrames ? x : y, label = ofFrames ? y : x;
      float gradient = 0;
      if (x < rows.rows && y < columns.rows) {
        const float2 its = problem.statistics[frame];
        const float probability = expf((cosines[i / 4][i % 4] - its.x) * problem.sharpness) * its.y;
        gradient = (label == problem.labelOf[frame] ? probability - 1.0f : probability) * scale;
        products[half] += gradient * cosines[i / 4][i % 4];
      }
      gradients[(half * 8 + g) * gradientPitch + column] = gradient;
    }
    __syncwarp();
#pragma unroll 1
    for (int k = 0; k < tile; k += 16) {
      const Fragment left = splitRows(gradients + g * gradientPitch + k + t, gradientPitch);
#pragma unroll
      for (int j = 0; j < depth / 8; ++j) {
        const float *right = others + (k + t) * depthPitch + j * 8 + g;
        multiply(sums[j], left, {right[0], right[4 * depthPitch], right[8 * depthPitch], right[12 * depthPitch]});
      }
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float product = warpSum(products[half], 4);
    const int64_t x = first + warp * 16 + half * 8 + g;
    if (x >= rows.rows) continue;
    const float inverse = rows.inverses[x];
#pragma unroll
    for (int j = 0; j < depth / 8; ++j) {
      for (int i = 0; i < 2; ++i) {
        const int64_t d = firstDepth + j * 8 + 2 * t + i;
        if (d >= problem.cols) continue;
        const float unit = rows.vectors[x * problem.padded + d];
        *out.at(blockIdx.z, x, d) = fromFloat<T>((sums[j][2 * half + i] - unit * product) * inverse);
      }
    }
  }
}

// out += the chunks, in order.
__global__ void __launch_bounds__(256)
    addChunksKernel(const float *partials, int64_t chunks, int64_t rows, int64_t cols, Strided<float> out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i >= rows * cols) return;
  double total = 0;
#pragma unroll 4
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += static_cast<double>(partials[chunk * rows * cols + i]);
  float *target = out.at(0, i / cols, i % cols);
  *target = static_cast<float>(static_cast<double>(*target) + total);
}

}  // namespace

template <>
void CudaBackend::perform(const CosineCrossEntropy &loss) {
  const int64_t N = loss.z.rows, D = loss.z.cols, K = loss.embeddings.rows;
  if (N == 0) {
    addLosses(nullptr, 0, loss.result.as<float>(), stream());
    return;
  }
  const int64_t padded = roundUp(D, slice), frames = roundUp(N, tile), labels = roundUp(K, tile);
  const int64_t chunk = roundUp(std::max<int64_t>(512, (N + 31) / 32), tile), chunks = (N + chunk - 1) / chunk;
  size_t bytes = 0;
  const auto take = [&](int64_t count, size_t size) {
    const size_t at = bytes;
    bytes += (static_cast<size_t>(count) * size + 255) / 256 * 256;
    return at;
  };
  const size_t framesAt = take(frames * padded, 4), labelsAt = take(labels * padded, 4);
  const size_t frameInversesAt = take(frames, 4), labelInversesAt = take(labels, 4);
  const size_t statisticsAt = take(N, sizeof(float2)), lossesAt = take(N, sizeof(RowLoss));
  const size_t partialsAt = take(loss.dEmbeddings ? chunks * K * D : 0, 4);
  auto *memory = static_cast<char *>(scratch(bytes));
  const auto at = [&](size_t offset) { return reinterpret_cast<float *>(memory + offset); };
  auto *losses = reinterpret_cast<RowLoss *>(memory + lossesAt);

  Problem problem;
  problem.frames = {at(framesAt), at(frameInversesAt), N};
  problem.labels = {at(labelsAt), at(labelInversesAt), K};
  problem.cols = D;
  problem.padded = padded;
  problem.labelOf = loss.labels;
  problem.sharpness = 1 / loss.temperature;
  problem.statistics = reinterpret_cast<float2 *>(memory + statisticsAt);
  const float scale = loss.gradientScale / loss.temperature;
  const auto frameTiles = static_cast<uint32_t>(frames / tile), labelTiles = static_cast<uint32_t>(labels / tile);
  const uint32_t depths = blocksFor(D, depth);

  launch(unitKernel<float>, blocksFor(labels, unitWarps), unitWarps * 32, 0, stream(),
         strided<const float>(loss.embeddings), rowsAligned(loss.embeddings), K, D, at(labelsAt), padded,
         at(labelInversesAt));
  withType(loss.z.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    launch(unitKernel<T>, blocksFor(frames, unitWarps), unitWarps * 32, 0, stream(), strided<const T>(loss.z),
           rowsAligned(loss.z), N, D, at(framesAt), padded, at(frameInversesAt));
    launch(cosineLossKernel, frameTiles, threads, productBytes, stream(), problem, labelTiles, losses);
    if (loss.dz) {
      launch(cosineGradientKernel<T, true>, dim3(frameTiles, depths), threads, gradientBytes, stream(), problem, scale,
             labelTiles, labelTiles, strided<T>(loss.dz));
    }
  });
  addLosses(losses, N, loss.result.as<float>(), stream());
  if (!loss.dEmbeddings) return;
  const View partials = batched(at(partialsAt), DType::f32, chunks, K, D, K * D, D);
  launch(cosineGradientKernel<float, false>, dim3(labelTiles, depths, static_cast<uint32_t>(chunks)), threads,
         gradientBytes, stream(), problem, scale, frameTiles, chunk / tile, strided<float>(partials));
  launch(addChunksKernel, blocksFor(K * D, 256), 256, 0, stream(), at(partialsAt), chunks, K, D,
         strided<float>(loss.dEmbeddings));
}

}  // namespace emoframe
