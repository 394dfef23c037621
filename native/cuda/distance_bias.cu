// What attention's distance biases are made of. WavLM's gates: a thread for each row and head, whose eight numbers are
// one sector of memory; bound by reading them. ALiBi's table is a few kilobytes. The sums over rows of their gradients
// are those of column_sums.cuh.
#include "../slopes.h"
#include "backend.h"
#include "column_sums.cuh"
#include "elements.cuh"
#include "launch.cuh"

namespace emoframe {

namespace {

constexpr int threads = 256;

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// σ of the sums of the first and of the last four of a head's numbers.
struct Gates {
  float a, b;

  __device__ Gates(const float *x, bool aligned) {
    float values[8];
    loadSome(x, 1, 8, aligned, values);
    a = sigmoid(values[0] + values[1] + values[2] + values[3]);
    b = sigmoid(values[4] + values[5] + values[6] + values[7]);
  }
};

__global__ void __launch_bounds__(threads) gateKernel(Strided<const float> x, Strided<const float> scale,
                                                      Strided<float> gate, int64_t rows, int64_t heads, bool aligned) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (item >= rows * heads) return;
  const int64_t row = item / heads, head = item - row * heads;
  const Gates gates(x.row(item), aligned);
  *gate.at(0, row, head) = gates.a * (gates.b * *scale.at(0, 0, head) - 1.0f) + 2.0f;
}

__global__ void __launch_bounds__(256, 1)
    gateGradientKernel(Strided<const float> x, Strided<const float> scale, Strided<const float> dGate,
                       Strided<float> dx, int64_t rows, int64_t heads, int64_t grain, bool aligned, double *partials) {
  sumColumns(rows, heads, grain, partials,
             [&](int64_t row, int64_t column, int64_t n, float(&values)[ColumnSums::width]) {
               for (int j = 0; j < ColumnSums::width; ++j) {
                 if (j >= n) break;
                 const int64_t head = column + j, item = row * heads + head;
                 const Gates gates(x.row(item), aligned);
                 const float c = *scale.at(0, 0, head), gradient = *dGate.at(0, row, head);
                 const float ofA = gradient * (gates.b * c - 1.0f) * gates.a * (1.0f - gates.a);
                 const float ofB = gradient * gates.a * c * gates.b * (1.0f - gates.b);
                 const float all[8] = {ofA, ofA, ofA, ofA, ofB, ofB, ofB, ofB};
                 storeSome(dx.row(item), 1, 8, aligned, all);
                 values[j] = gradient * gates.a * gates.b;
               }
             });
}

// slope · distance in row `row` of a table [2 reach + 1, heads], below 0.
__device__ inline float slopeTimesDistance(int64_t row, int64_t rows, int64_t head, int64_t heads) {
  const int64_t distance = row - (rows - 1) / 2;
  return -slopeOf(head, heads) * static_cast<float>(distance < 0 ? -distance : distance);
}

__global__ void __launch_bounds__(threads)
    slopeTableKernel(Strided<const float> scale, Strided<float> table, int64_t rows, int64_t heads) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (item >= rows * heads) return;
  const int64_t row = item / heads, head = item - row * heads;
  const float by = *scale.at(0, 0, head);
  *table.at(0, row, head) = slopeTimesDistance(row, rows, head, heads) * (by < 0.0f ? 0.0f : by);
}

__global__ void __launch_bounds__(256, 1)
    slopeGradientKernel(Strided<const float> scale, Strided<const float> dTable, int64_t rows, int64_t heads,
                        int64_t grain, double *partials) {
  sumColumns(rows, heads, grain, partials,
             [&](int64_t row, int64_t column, int64_t n, float(&values)[ColumnSums::width]) {
               for (int j = 0; j < ColumnSums::width; ++j) {
                 if (j >= n) break;
                 const int64_t head = column + j;
                 const float slope = slopeTimesDistance(row, rows, head, heads);
                 values[j] = *scale.at(0, 0, head) < 0.0f ? 0.0f : slope * *dTable.at(0, row, head);
               }
             });
}

}  // namespace

template <>
void CudaBackend::perform(const PositionGate &op) {
  launch(gateKernel, blocksFor(op.gate.size(), threads), threads, 0, stream(), strided<const float>(op.x),
         strided<const float>(op.scale), strided<float>(op.gate), op.gate.rows, op.gate.cols, rowsAligned(op.x));
}

template <>
void CudaBackend::perform(const PositionGateBackward &op) {
  if (op.dGate.size() == 0) return;
  const ColumnSums sums(op.dGate.rows, op.dGate.cols);
  auto *partials = static_cast<double *>(scratch(sums.partialBytes()));
  launch(gateGradientKernel, sums.grid(), ColumnSums::block(), ColumnSums::sharedBytes(), stream(),
         strided<const float>(op.forward.x), strided<const float>(op.forward.scale), strided<const float>(op.dGate),
         strided<float>(op.dx), sums.rows, sums.cols, sums.grain, rowsAligned(op.forward.x) && rowsAligned(op.dx),
         partials);
  if (op.dScale) sums.addInto(op.dScale, partials, stream());
}

template <>
void CudaBackend::perform(const SlopeTable &op) {
  launch(slopeTableKernel, blocksFor(op.table.size(), threads), threads, 0, stream(), strided<const float>(op.scale),
         strided<float>(op.table), op.table.rows, op.table.cols);
}

template <>
void CudaBackend::perform(const SlopeTableBackward &op) {
  const ColumnSums sums(op.dTable.rows, op.dTable.cols);
  auto *partials = static_cast<double *>(scratch(sums.partialBytes()));
  launch(slopeGradientKernel, sums.grid(), ColumnSums::block(), ColumnSums::sharedBytes(), stream(),
         strided<const float>(op.scale), strided<const float>(op.dTable), sums.rows, sums.cols, sums.grain, partials);
  sums.addInto(op.dScale, partials, stream());
}

}  // namespace emoframe
