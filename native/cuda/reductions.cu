// Sums over rows, sums of squares, and softmax over rows. All read their input once (softmax: three
// times, from the cache) and are bound by that. Sums are wide and in a fixed order: see
// column_sums.cuh; squares go into double by eights.
#include <algorithm>

#include "backend.h"
#include "column_sums.cuh"
#include "divisor.cuh"
#include "elements.cuh"
#include "launch.cuh"
#include "reduce.cuh"

namespace emoframe {

namespace {

// --- columns -------------------------------------------------------------------------------------
template <typename T>
__global__ void __launch_bounds__(256, 1) columnSumKernel(Strided<const T> x, Divisor rowsPerItem, int64_t rows,
                                                          int64_t cols, int64_t grain, bool aligned, double *partials) {
  sumColumns(rows, cols, grain, partials,
             [&](int64_t row, int64_t column, int64_t n, float(&values)[ColumnSums::width]) {
               const uint32_t item = rowsPerItem.quotient(static_cast<uint32_t>(row));
               loadSome(x.at(item, row - item * rowsPerItem.value(), column), x.colStride, n, aligned, values);
             });
}

// Block (32, 8): 32 columns, the chunks of each in 8 strips, which are added in order.
constexpr size_t addChunksBytes = sizeof(double) * 8 * 32;
template <typename T>
__global__ void __launch_bounds__(256)
    addChunksKernel(const T *partials, int64_t chunks, int64_t stride, int64_t cols, float *out, int64_t outStride) {
  auto *strips = reinterpret_cast<double *>(sharedMemory());  // [8, 32]
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int64_t column = static_cast<int64_t>(blockIdx.x) * 32 + x;
  double total = 0;
  if (column < cols) {
#pragma unroll 4
    for (int64_t chunk = y; chunk < chunks; chunk += 8) total += partials[chunk * stride + column];
  }
  strips[y * 32 + x] = total;
  __syncthreads();
  if (y != 0 || column >= cols) return;
  for (int strip = 1; strip < 8; ++strip) total += strips[strip * 32 + x];
  float *target = out + column * outStride;
  *target = static_cast<float>(static_cast<double>(*target) + total);
}

// --- squares -------------------------------------------------------------------------------------
// Tensors of one launch, in its arguments; tensor i has blocks [firstBlock[i], firstBlock[i + 1]).
struct SquaredTensors {
  static constexpr int most = 48;
  struct Tensor {
    const void *data;
    int64_t cols, rowStride;  // one row when it lies without gaps
    Divisor groupsPerRow;
    uint32_t groups;
    bool half, aligned;  // bf16; rows start at multiples of 16 bytes
  };
  Tensor tensors[most];
  int32_t firstBlock[most + 1];
  int32_t count = 0;
};
constexpr int squareThreads = 256, squareWidth = 8, squareGroups = 8;  // of squareWidth elements, a thread

template <typename T>
__device__ double sumOfSquares(const SquaredTensors::Tensor &tensor, uint32_t block) {
  const auto *data = static_cast<const T *>(tensor.data);
  double total = 0;
  for (int i = 0; i < squareGroups; ++i) {
    const uint32_t group = (block * squareGroups + i) * squareThreads + threadIdx.x;
    if (group >= tensor.groups) break;
    const uint32_t row = tensor.groupsPerRow.quotient(group);
    const int64_t column = static_cast<int64_t>(group - row * tensor.groupsPerRow.value()) * squareWidth;
    float values[squareWidth];
    loadSome(data + row * tensor.rowStride + column, 1, tensor.cols - column, tensor.aligned, values);
    float sum = 0;
    for (int j = 0; j < squareWidth; ++j) sum += values[j] * values[j];
    total += static_cast<double>(sum);
  }
  return total;
}

__global__ void __launch_bounds__(squareThreads) squaresKernel(SquaredTensors table, double *partials) {
  int tensor = 0;
  while (static_cast<int32_t>(blockIdx.x) >= table.firstBlock[tensor + 1]) ++tensor;
  const SquaredTensors::Tensor its = table.tensors[tensor];
  const uint32_t block = blockIdx.x - static_cast<uint32_t>(table.firstBlock[tensor]);
  double total = its.half ? sumOfSquares<bf16>(its, block) : sumOfSquares<float>(its, block);
  total = blockSum(total, reinterpret_cast<double *>(sharedMemory()));
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

// One block adds them all: thread i takes i, i + 1024, ...
__global__ void __launch_bounds__(1024) addSquaresKernel(const double *partials, int64_t count, float *out) {
  double total = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < count; i += 1024) total += partials[i];
  total = blockSum(total, reinterpret_cast<double *>(sharedMemory()));
  if (threadIdx.x == 0) *out = static_cast<float>(total);
}

// --- softmax -------------------------------------------------------------------------------------
constexpr int softmaxWarps = 4;

// A warp for a row.
__global__ void __launch_bounds__(softmaxWarps * 32)
    softmaxKernel(Strided<const float> x, Strided<float> y, int64_t rows, int64_t cols) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * softmaxWarps + threadIdx.x / 32;
  if (row >= rows) return;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float *in = x.row(row);
  float *out = y.row(row);
  float largest = -INFINITY;
  for (int64_t c = lane; c < cols; c += 32) largest = fmaxf(largest, in[c * x.colStride]);
  largest = warpMax(largest);
  float sum = 0;
  for (int64_t c = lane; c < cols; c += 32) sum += expf(in[c * x.colStride] - largest);
  const float factor = 1.0f / warpSum(sum);
  for (int64_t c = lane; c < cols; c += 32) out[c * y.colStride] = expf(in[c * x.colStride] - largest) * factor;
}

}  // namespace

void ColumnSums::addInto(const View &out, const double *partials, Stream &stream) const {
  launch(addChunksKernel<double>, blocksFor(cols, 32), dim3(32, 8), addChunksBytes, stream, partials, chunks, cols,
         cols, out.as<float>(), out.colStride);
}

void addPartialSums(const float *partials, int64_t count, int64_t stride, const View &out, Stream &stream) {
  launch(addChunksKernel<float>, blocksFor(out.cols, 32), dim3(32, 8), addChunksBytes, stream, partials, count, stride,
         out.cols, out.as<float>(), out.colStride);
}

template <>
void CudaBackend::perform(const ColumnSum &op) {
  if (op.x.size() == 0) return;
  const ColumnSums sums(op.x.batch * op.x.rows, op.x.cols);
  auto *partials = static_cast<double *>(scratch(sums.partialBytes()));
  withType(op.x.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    launch(columnSumKernel<T>, sums.grid(), ColumnSums::block(), ColumnSums::sharedBytes(), stream(),
           strided<const T>(op.x), Divisor(op.x.rows), sums.rows, sums.cols, sums.grain, rowsAligned(op.x), partials);
  });
  sums.addInto(op.out, partials, stream());
}

template <>
void CudaBackend::perform(const SumSquares &op) {
  std::vector<SquaredTensors> tables;
  int64_t blocks = 0;
  for (const View &view : op.xs) {
    for (int64_t item = 0; item < (view.isContiguous() ? 1 : view.batch); ++item) {
      View x = view.isContiguous() ? vector(view.data, view.dtype, view.size()) : view.item(item);
      if (x.colStride != 1) x = x.transposed();
      if (x.size() == 0) continue;
      if (tables.empty() || tables.back().count == SquaredTensors::most) tables.emplace_back();
      SquaredTensors &table = tables.back();
      if (table.count == 0) table.firstBlock[0] = 0;
      const int64_t perRow = (x.cols + squareWidth - 1) / squareWidth, groups = x.rows * perRow;
      const auto its = static_cast<int32_t>(blocksFor(groups, squareThreads * squareGroups));
      table.tensors[table.count] = {
          x.data,        x.cols, x.rowStride, Divisor(perRow), static_cast<uint32_t>(groups), x.dtype == DType::bf16,
          rowsAligned(x)};
      ++table.count;
      table.firstBlock[table.count] = table.firstBlock[table.count - 1] + its;
      blocks += its;
    }
  }
  auto *partials = static_cast<double *>(scratch(sizeof(double) * static_cast<size_t>(blocks)));
  int64_t done = 0;
  for (const SquaredTensors &table : tables) {
    const int32_t its = table.firstBlock[table.count];
    launch(squaresKernel, static_cast<uint32_t>(its), squareThreads, sizeof(double) * squareThreads / 32, stream(),
           table, partials + done);
    done += its;
  }
  launch(addSquaresKernel, 1, 1024, sizeof(double) * 32, stream(), partials, blocks, op.out.as<float>());
}

template <>
void CudaBackend::perform(const SoftmaxRows &op) {
  if (op.x.size() == 0) return;
  launch(softmaxKernel, blocksFor(op.x.rows, softmaxWarps), softmaxWarps * 32, 0, stream(), strided<const float>(op.x),
         strided<float>(op.y), op.x.rows, op.x.cols);
}

}  // namespace emoframe
