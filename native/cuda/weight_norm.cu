// Weight norm of the positional convolution over dim 2: weight[:, k, :] = g[k] v[:, k, :] / ‖v[:, k, :]‖.
//
// A tap's norm (in backward also v · dW) is summed in double by blocks of 64 rows of v, in chunks that its shape alone
// gives; the second launch's blocks add those chunks in order, each for itself, and go over the elements again. Bound
// by the bytes: v twice and the results once, some 60 MB at 768 channels and 128 taps, much of it from L2.
#include "backend.h"
#include "elements.cuh"
#include "launch.cuh"
#include "reduce.cuh"

namespace emoframe {

namespace {

constexpr int threads = 256, chunkRows = 64, width = 4;  // columns at once
constexpr int side = 64, sideStride = side + 1;          // of a tile that is turned

struct Sums {
  double squares, products;  // of v, and of v and dW
};

// v as [rows, taps, columns].
struct Taps {
  const float *v;
  int64_t stride, rows, columns;  // columns of one tap
  bool aligned;                   // vectors of 4 are so

  __device__ const float *at(int64_t row, int64_t tap, int64_t column) const {
    return v + row * stride + tap * columns + column;
  }
};

// body(row, column) for each group of 4 columns of the block's tap (blockIdx.x) and rows (blockIdx.y).
template <typename Body>
__device__ inline void overChunk(const Taps &taps, Body body) {
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * chunkRows, left = taps.rows - begin;
  const int groups = static_cast<int>((taps.columns + width - 1) / width);
  const int count = groups * static_cast<int>(left < chunkRows ? left : chunkRows);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += threads) {
    const int row = i / groups;
    body(begin + row, static_cast<int64_t>(i - row * groups) * width);
  }
}

// Grid (taps, chunks of rows); sums [chunks, taps]. dWeight may be absent.
__global__ void __launch_bounds__(threads) sumsKernel(Taps taps, Taps dWeight, Sums *sums) {
  double squares = 0, products = 0;
  overChunk(taps, [&](int64_t row, int64_t column) {
    const int64_t n = taps.columns - column;
    float v[width], d[width] = {};
    loadSome(taps.at(row, blockIdx.x, column), 1, n, taps.aligned, v);
    if (dWeight.v) loadSome(dWeight.at(row, blockIdx.x, column), 1, n, dWeight.aligned, d);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      squares += static_cast<double>(v[i]) * static_cast<double>(v[i]);
      products += static_cast<double>(v[i]) * static_cast<double>(d[i]);
    }
  });
  auto *partials = reinterpret_cast<double *>(sharedMemory());  // [2, warps]
  squares = blockSum(squares, partials);
  products = blockSum(products, partials + threads / 32);
  if (threadIdx.x == 0) sums[blockIdx.y * gridDim.x + blockIdx.x] = {squares, products};
}

__device__ inline Sums sumsOfTap(const Sums *sums, int64_t tap, int64_t count, int64_t rows) {
  Sums total = {0, 0};
  for (int64_t chunk = 0; chunk * chunkRows < rows; ++chunk) {
    total.squares += sums[chunk * count + tap].squares;
    total.products += sums[chunk * count + tap].products;
  }
  return total;
}

// Grid (taps, groups, tiles of 64 x 64 of one tap and group); block (16, 16).
template <typename T>
__global__ void __launch_bounds__(threads)
    weightKernel(Taps taps, const float *g, int64_t gStride, const Sums *sums, int64_t perGroup, Strided<T> weight,
                 bool weightAligned, Strided<T> flipped, bool flippedAligned) {
  auto *tile = reinterpret_cast<float *>(sharedMemory());  // [side, sideStride]: rows o, columns i
  const int64_t tap = blockIdx.x, count = gridDim.x, group = blockIdx.y;
  const int64_t across = (taps.columns + side - 1) / side;
  const int64_t o = blockIdx.z / across * side, i = blockIdx.z % across * side;  // the tile's first
  const int x = static_cast<int>(threadIdx.x) * width, y = static_cast<int>(threadIdx.y);
  const double norm = sqrt(sumsOfTap(sums, tap, count, taps.rows).squares);
  const auto factor = static_cast<float>(static_cast<double>(g[tap * gStride]) / norm);
#pragma unroll
  for (int row = y; row < side; row += 16) {
    const int64_t channel = group * perGroup + o + row, n = taps.columns - i - x;
    if (o + row >= perGroup || n <= 0) continue;
    float values[width];
    loadSome(taps.at(channel, tap, i + x), 1, n, taps.aligned, values);
#pragma unroll
    for (int j = 0; j < width; ++j) {
      values[j] *= factor;
      tile[row * sideStride + x + j] = values[j];
    }
    if (weight.data) storeSome(weight.row(channel) + tap * taps.columns + i + x, 1, n, weightAligned, values);
  }
  if (!flipped.data) return;
  __syncthreads();
#pragma unroll
  for (int row = y; row < side; row += 16) {
    const int64_t n = perGroup - o - x;
    if (i + row >= taps.columns || n <= 0) continue;
    float values[width];
#pragma unroll
    for (int j = 0; j < width; ++j) values[j] = j < n ? tile[(x + j) * sideStride + row] : 0.0f;
    storeSome(flipped.row(group * taps.columns + i + row) + (count - 1 - tap) * perGroup + o + x, 1, n, flippedAligned,
              values);
  }
}

// With n = ‖v_k‖ and s = v_k · dW_k: dg = s / n, dv = g / n (dW - v s / n²). Grid as of the sums.
__global__ void __launch_bounds__(threads)
    gradientKernel(Taps taps, Taps dWeight, const float *g, int64_t gStride, const Sums *sums, float *dv,
                   int64_t dvStride, bool dvAligned, float *dg, int64_t dgStride) {
  const int64_t tap = blockIdx.x;
  const Sums total = sumsOfTap(sums, tap, gridDim.x, taps.rows);
  const double norm = sqrt(total.squares), outer = static_cast<double>(g[tap * gStride]) / norm;
  const double inner = total.products / total.squares;
  overChunk(taps, [&](int64_t row, int64_t column) {
    const int64_t n = taps.columns - column;
    float v[width], d[width], gradient[width];
    float *target = dv + row * dvStride + tap * taps.columns + column;
    loadSome(taps.at(row, tap, column), 1, n, taps.aligned, v);
    loadSome(dWeight.at(row, tap, column), 1, n, dWeight.aligned, d);
    loadSome(target, 1, n, dvAligned, gradient);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      gradient[i] += static_cast<float>(outer * (static_cast<double>(d[i]) - static_cast<double>(v[i]) * inner));
    }
    storeSome(target, 1, n, dvAligned, gradient);
  });
  if (blockIdx.y == 0 && threadIdx.x == 0) {
    float *target = dg + tap * dgStride;
    *target = static_cast<float>(static_cast<double>(*target) + total.products / norm);
  }
}

// Whether vectors of 4 at a tap's columns, of which a tap has `columns`, are aligned.
bool tapsAligned(const View &view, int64_t columns) { return rowsAligned(view) && columns % width == 0; }
Taps tapsOf(const View &v, int64_t kernel) {
  const int64_t columns = v.cols / kernel;
  return {v.as<const float>(), v.rowStride, v.rows, columns, tapsAligned(v, columns)};
}
constexpr size_t sumBytes = 2 * sizeof(double) * threads / 32;

}  // namespace

template <>
void CudaBackend::perform(const WeightNorm &op) {
  if (op.v.size() == 0 || !(op.weight || op.flipped)) return;
  const Taps taps = tapsOf(op.v, op.kernel);
  const int64_t perGroup = op.v.rows / op.groups;
  const uint32_t chunks = blocksFor(op.v.rows, chunkRows), taken = static_cast<uint32_t>(op.kernel);
  auto *sums = static_cast<Sums *>(scratch(sizeof(Sums) * chunks * static_cast<size_t>(op.kernel)));
  launch(sumsKernel, dim3(taken, chunks), threads, sumBytes, stream(), taps, Taps{}, sums);
  const dim3 grid(taken, static_cast<uint32_t>(op.groups), blocksFor(perGroup, side) * blocksFor(taps.columns, side));
  withType(op.weight ? op.weight.dtype : op.flipped.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    launch(weightKernel<T>, grid, dim3(16, 16), sizeof(float) * side * sideStride, stream(), taps,
           op.g.as<const float>(), op.g.colStride, sums, perGroup, strided<T>(op.weight),
           tapsAligned(op.weight, taps.columns), strided<T>(op.flipped), tapsAligned(op.flipped, perGroup));
  });
}

template <>
void CudaBackend::perform(const WeightNormBackward &op) {
  if (op.v.size() == 0) return;
  const Taps taps = tapsOf(op.v, op.kernel), gradient = tapsOf(op.dWeight, op.kernel);
  const dim3 grid(static_cast<uint32_t>(op.kernel), blocksFor(op.v.rows, chunkRows));
  auto *sums = static_cast<Sums *>(scratch(sizeof(Sums) * grid.x * grid.y));
  launch(sumsKernel, grid, threads, sumBytes, stream(), taps, gradient, sums);
  launch(gradientKernel, grid, threads, 0, stream(), taps, gradient, op.g.as<const float>(), op.g.colStride, sums,
         op.dv.as<float>(), op.dv.rowStride, tapsAligned(op.dv, taps.columns), op.dg.as<float>(), op.dg.colStride);
}

}  // namespace emoframe
