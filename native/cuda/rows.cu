// Moving whole rows: packing and unpacking utterances, the mask embedding, and frames picked by index.
// Bound by the bytes moved; a warp moves a row, 8 elements a lane where the rows allow it. Runs of rows
// may be narrow (a group of the positional convolution has 48 columns of each), so there threads go on
// from row to row: none is idle but at the end.
#include <algorithm>

#include "backend.h"
#include "column_sums.cuh"
#include "elements.cuh"
#include "launch.cuh"

namespace emoframe {

namespace {

constexpr int warps = 8;  // of a block: rows that it moves
constexpr int width = 8;

template <typename From, typename To>
__device__ void copyRow(const From *from, int64_t fromStride, To *to, int64_t toStride, int64_t cols, bool aligned) {
  for (int64_t column = threadIdx.x * width; column < cols; column += 32 * width) {
    float values[width];
    loadSome(from + column * fromStride, fromStride, cols - column, aligned, values);
    storeSome(to + column * toStride, toStride, cols - column, aligned, values);
  }
}

// The grid goes over the elements of the longest run, the runs and the batch. `gelu` may be absent.
constexpr int runThreads = 256;
template <typename From, typename To, bool accumulate>
__global__ void __launch_bounds__(runThreads)
    copyRunsKernel(Strided<const From> in, Strided<To> out, Strided<To> gelu, int32_t count, const int32_t *source,
                   const int32_t *target, const int32_t *length, int64_t cols, uint32_t perRow, bool aligned) {
  const uint32_t index = blockIdx.x * runThreads + threadIdx.x, row = index / perRow;
  const int64_t column = static_cast<int64_t>(index - row * perRow) * width, n = cols - column;
  for (int32_t run = static_cast<int32_t>(blockIdx.y); run < count; run += static_cast<int32_t>(gridDim.y)) {
    if (row >= static_cast<uint32_t>(length[run])) continue;
    To *place = out.at(blockIdx.z, target[run] + static_cast<int64_t>(row), column);
    float values[width] = {};
    if (source[run] >= 0) {
      loadSome(in.at(blockIdx.z, source[run] + static_cast<int64_t>(row), column), in.colStride, n, aligned, values);
    }
    if (accumulate) {
      float sums[width];
      loadSome(place, out.colStride, n, aligned, sums);
      for (int i = 0; i < width; ++i) values[i] += sums[i];
    }
    storeSome(place, out.colStride, n, aligned, values);
    if (!gelu.data) continue;
    for (int i = 0; i < width; ++i) values[i] = geluOf(values[i]);
    storeSome(gelu.at(blockIdx.z, target[run] + static_cast<int64_t>(row), column), gelu.colStride, n, aligned, values);
  }
}

template <typename T>
__global__ void __launch_bounds__(32 * warps) maskKernel(Strided<T> x, int64_t rows, int64_t cols, const uint8_t *mask,
                                                         const float *embedding, int64_t stride, bool aligned) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * warps + threadIdx.y;
  if (row >= rows || !mask[row]) return;
  copyRow(embedding, stride, x.row(row), x.colStride, cols, aligned);
}

// Sums the masked rows, and clears them: each element by the thread that read it.
template <typename T>
__global__ void __launch_bounds__(256) maskGradientKernel(Strided<T> dx, int64_t rows, int64_t cols, int64_t grain,
                                                          const uint8_t *mask, bool aligned, double *partials) {
  sumColumns(rows, cols, grain, partials,
             [&](int64_t row, int64_t column, int64_t n, float(&values)[ColumnSums::width]) {
               for (int i = 0; i < ColumnSums::width; ++i) values[i] = 0;
               if (!mask[row]) return;
               T *place = dx.row(row) + column * dx.colStride;
               const float zeros[ColumnSums::width] = {};
               loadSome(place, dx.colStride, n, aligned, values);
               storeSome(place, dx.colStride, n, aligned, zeros);
             });
}

// scatter: rows of `in` go to rows index[i] of `out`; else rows index[i] of `in` go to rows i.
template <typename T, bool scatter>
__global__ void __launch_bounds__(32 * warps)
    indexKernel(Strided<const T> in, Strided<T> out, const int32_t *index, int64_t count, int64_t cols, bool aligned) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * warps + threadIdx.y;
  if (row >= count) return;
  const int64_t other = index[row];
  copyRow(in.row(scatter ? row : other), in.colStride, out.row(scatter ? other : row), out.colStride, cols, aligned);
}

template <bool scatter>
void moveByIndex(Stream &stream, const View &in, const View &out, const int32_t *index, int64_t count) {
  if (count == 0 || in.cols == 0) return;
  withType(in.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    launch(indexKernel<T, scatter>, blocksFor(count, warps), dim3(32, warps), 0, stream, strided<const T>(in),
           strided<T>(out), index, count, in.cols, rowsAligned(in) && rowsAligned(out));
  });
}

}  // namespace

template <>
void CudaBackend::perform(const CopyRows &op) {
  int32_t longest = 0;
  for (int32_t i = 0; i < op.runs.count; ++i) longest = std::max(longest, op.runs.length[i]);
  if (longest == 0 || op.in.cols == 0) return;
  const int64_t perRow = (op.in.cols + width - 1) / width;
  const dim3 grid(blocksFor(longest * perRow, runThreads), static_cast<uint32_t>(std::min(op.runs.count, 65535)),
                  static_cast<uint32_t>(op.in.batch));
  const bool aligned = rowsAligned(op.in) && rowsAligned(op.out) && rowsAligned(op.gelu);
  const auto copy = [&](auto kernel, auto from, auto to) {
    using From = typename decltype(from)::Type;
    using To = typename decltype(to)::Type;
    launch(kernel, grid, runThreads, 0, stream(), strided<const From>(op.in), strided<To>(op.out), strided<To>(op.gelu),
           op.runs.count, op.runs.deviceSource, op.runs.deviceTarget, op.runs.deviceLength, op.in.cols,
           static_cast<uint32_t>(perRow), aligned);
  };
  withType(op.in.dtype, [&](auto from) {
    using From = typename decltype(from)::Type;
    if (op.accumulate) return copy(copyRunsKernel<From, From, true>, from, from);
    withType(op.out.dtype, [&](auto to) {
      using To = typename decltype(to)::Type;
      copy(copyRunsKernel<From, To, false>, from, to);
    });
  });
}

template <>
void CudaBackend::perform(const MaskRows &op) {
  if (op.x.size() == 0) return;
  withType(op.x.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    launch(maskKernel<T>, blocksFor(op.x.rows, warps), dim3(32, warps), 0, stream(), strided<T>(op.x), op.x.rows,
           op.x.cols, op.mask, op.embedding.as<float>(), op.embedding.colStride,
           rowsAligned(op.x) && rowsAligned(op.embedding));
  });
}

template <>
void CudaBackend::perform(const MaskRowsBackward &op) {
  if (op.dx.size() == 0) return;
  const ColumnSums sums(op.dx.rows, op.dx.cols);
  auto *partials = static_cast<double *>(scratch(sums.partialBytes()));
  withType(op.dx.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    launch(maskGradientKernel<T>, sums.grid(), ColumnSums::block(), ColumnSums::sharedBytes(), stream(),
           strided<T>(op.dx), op.dx.rows, op.dx.cols, sums.grain, op.mask, rowsAligned(op.dx), partials);
  });
  sums.addInto(op.dEmbedding, partials, stream());
}

template <>
void CudaBackend::perform(const GatherRows &op) {
  moveByIndex<false>(stream(), op.x, op.out, op.index, op.out.rows);
}

template <>
void CudaBackend::perform(const ScatterRows &op) {
  perform(Fill{op.dx, 0});
  moveByIndex<true>(stream(), op.dOut, op.dx, op.index, op.dOut.rows);
}

}  // namespace emoframe
