// Sums over rows, for gradients of what is added to every row: two launches. The first cuts the rows into at most 128
// chunks, by their number alone, and gives each chunk's sums in double; the second adds the chunks in order.
//
// Block (32, 8): thread (x, y) sums columns 4 x to 4 x + 3 of the block's 128 over the chunk's rows y, y + 8, ...: 32
// rows in fp32, then into double.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "elements.cuh"
#include "launch.cuh"

namespace emoframe {

struct ColumnSums {
  static constexpr int lanes = 32, width = 4, columns = lanes * width, strips = 8;

  explicit ColumnSums(int64_t rows, int64_t cols)
      : rows(rows), cols(cols), grain(std::max<int64_t>(64, (rows + 127) / 128)), chunks((rows + grain - 1) / grain) {}

  size_t partialBytes() const { return sizeof(double) * static_cast<size_t>(chunks * cols); }
  dim3 grid() const { return dim3(blocksFor(cols, columns), static_cast<uint32_t>(chunks)); }
  static dim3 block() { return dim3(lanes, strips); }
  static constexpr size_t sharedBytes() { return sizeof(double) * strips * columns; }
  // out f32 [cols] += the sums.
  void addInto(const View &out, const double *partials, Stream &stream) const;

  int64_t rows, cols, grain, chunks;
};

// The second launch alone: out f32 [cols] += partials [count, stride], in double and in a fixed order.
void addPartialSums(const float *partials, int64_t count, int64_t stride, const View &out, Stream &stream);

// The first launch's work, for a kernel on ColumnSums' grid and block: take(row, column, n, values) gives the values of
// columns [column, column + n) of a row. Shared memory: sharedBytes(); partials [chunks, cols].
template <typename Take>
__device__ inline void sumColumns(int64_t rows, int64_t cols, int64_t grain, double *partials, Take take) {
  constexpr int width = ColumnSums::width;
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int64_t column = static_cast<int64_t>(blockIdx.x) * ColumnSums::columns + x * width;
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * grain, end = begin + grain < rows ? begin + grain : rows;
  const int64_t n = cols - column < width ? cols - column : width;
  double totals[width] = {};
  if (n > 0) {
    int64_t row = begin + y;
    while (row < end) {
      float sums[width] = {};
      for (int i = 0; i < 32 && row < end; ++i, row += ColumnSums::strips) {
        float values[width];
        take(row, column, n, values);
        for (int j = 0; j < width; ++j) sums[j] += values[j];
      }
      for (int j = 0; j < width; ++j) totals[j] += static_cast<double>(sums[j]);
    }
  }
  auto *strips = reinterpret_cast<double *>(sharedMemory());  // [strips, columns]
  for (int j = 0; j < width; ++j) strips[y * ColumnSums::columns + x * width + j] = totals[j];
  __syncthreads();
  if (y != 0) return;
  for (int j = 0; j < width; ++j) {
    if (j >= n) break;
    double total = 0;
    for (int strip = 0; strip < ColumnSums::strips; ++strip)
      total += strips[strip * ColumnSums::columns + x * width + j];
    partials[blockIdx.y * cols + column + j] = total;
  }
}

}  // namespace emoframe
