// Matrix products: the cut into tiles and splits of K, and the sum of splits.
//
// A tile of 128 x 128 reads (128 + 128) · 2 bytes of bf16 for 128² products, a byte for 32: 32 bytes a cycle of an
// A100's SM at its full rate of 1024; one of 64 x 64 twice that. Memory gives each operand about once, as tiles that
// run at one time share their rows and columns in L2: products of the model's sizes (M thousands of frames, N and K 768
// to 3072) have hundreds of products a byte and are bound by the tensor cores; those of few rows by the bytes of B.
//
// Where a product has too few tiles to fill a large device's places for blocks, or its last wave of them is nearly
// empty, and K is long (weight gradients: K is the number of frames), K is split: partial products go to scratch memory
// in fp32 and are added in order. How often follows from the shape alone, so the bits are the same on every device.
#include <algorithm>

#include "backend.h"
#include "column_sums.cuh"
#include "divisor.cuh"
#include "gemm_epilogue.cuh"
#include "gemm_plan.h"
#include "launch.cuh"

namespace emoframe {

namespace {

constexpr int64_t places = 264;      // for blocks: two on each of an H100's 132 multiprocessors
constexpr int64_t leastDepth = 512;  // of a split: below it, writing and reading partial sums costs more than they do
constexpr int64_t tileDepth = 32;    // a multiple of both types'
constexpr int sumThreads = 256, sumWidth = 8;

// The layout of a product that needs no gathering, if there is one.
GemmLayout layoutOf(const Gemm &gemm) {
  const View aT = gemm.a.transposed(), bT = gemm.b.transposed();
  if (rowsAligned(gemm.a)) {
    if (rowsAligned(bT)) return GemmLayout::normalTransposed;
    if (rowsAligned(gemm.b)) return GemmLayout::normalNormal;
  }
  if (rowsAligned(aT) && rowsAligned(gemm.b)) return GemmLayout::transposedNormal;
  return GemmLayout::gathered;
}

// The splits of K that take least time by estimate, counted in steps of K of one wave: what fills its places last, the
// longest split with the filling and emptying of a block (about 10 steps), and 8 bytes of partial sums for each element
// of the output, which cost a tile 1 / 18 of a step (reckoned with 3 TB/s and 350 TFLOP/s; neither was measured).
int splitsFor(int64_t tiles, int64_t steps, int64_t most) {
  int64_t best = 1, least = INT64_MAX;
  for (int64_t splits = 1; splits <= most; ++splits) {
    const int64_t depth = blocksFor(steps, splits), waves = blocksFor(tiles * splits, places);
    const int64_t cost = 18 * waves * (depth + 10) + (splits > 1 ? splits * tiles : 0);
    if (cost < least) best = splits, least = cost;
  }
  return static_cast<int>(best);
}

GemmPlan planFor(const Gemm &gemm) {
  const int64_t M = gemm.a.rows, N = gemm.b.cols, K = gemm.a.cols, most = std::max<int64_t>(1, K / leastDepth);
  GemmPlan plan{layoutOf(gemm), 64, 64, 1, 0};
  const auto tiles = [&] { return gemm.a.batch * int64_t{blocksFor(M, plan.rows)} * int64_t{blocksFor(N, plan.cols)}; };
  if (plan.layout != GemmLayout::gathered) {
    if ((gemm.a.dtype == DType::bf16 || gemm.tf32) && M > 64) plan.rows = 128;
    if (N > 64 && (plan.rows == 128 || !gemm.tf32)) plan.cols = 128;
    // Half of the places are enough for large tiles: they do more than twice the work of small ones for a byte.
    if (tiles() * most < places / 2) plan.rows = plan.cols = 64;
  }
  const int64_t steps = std::max<int64_t>(1, blocksFor(K, tileDepth));
  const int64_t stepsASplit = blocksFor(steps, splitsFor(tiles(), steps, most));
  plan.depth = static_cast<int>(stepsASplit * tileDepth);
  plan.splits = static_cast<int>(blocksFor(steps, stepsASplit));
  return plan;
}

GemmTarget targetOf(const View &view) {
  return {view.data, view.batchStride, view.rowStride, view.dtype == DType::f32, rowsAligned(view)};
}

GemmEpilogue epilogueOf(const Gemm &gemm) {
  GemmEpilogue epilogue{};
  epilogue.out = targetOf(gemm.out);
  epilogue.gelu = targetOf(gemm.gelu);
  epilogue.slope = targetOf(gemm.slope);
  epilogue.factor = targetOf(gemm.factor);
  epilogue.bias = gemm.bias.as<const float>();
  epilogue.biasBatchStride = gemm.bias.batch > 1 ? gemm.bias.batchStride : 0;
  epilogue.biasColStride = gemm.bias.colStride;
  epilogue.biasAligned = rowsAligned(gemm.bias);
  epilogue.dropout = gemm.dropout;
  epilogue.M = static_cast<int>(gemm.a.rows);
  epilogue.N = static_cast<int>(gemm.b.cols);
  epilogue.accumulate = gemm.accumulate;
  return epilogue;
}

// A thread adds 8 columns of a row: partials [splits, batch, M, columns rounded up to 8] in fp32. `rows`: batch · M.
__global__ void __launch_bounds__(sumThreads)
    sumSplitsKernel(const float *partials, int splits, int rows, Divisor M, Divisor groups, GemmEpilogue epilogue) {
  const int64_t stride = static_cast<int64_t>(rows) * groups.value() * sumWidth;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * sumThreads + threadIdx.x;
  const uint32_t row = groups.quotient(static_cast<uint32_t>(index));
  if (row >= static_cast<uint32_t>(rows)) return;
  const int column = static_cast<int>(static_cast<uint32_t>(index) - row * groups.value()) * sumWidth;
  const int n = epilogue.N - column;
  const float *from = partials + index * sumWidth;
  float sums[sumWidth], biases[sumWidth];
  loadSome(from, 1, n, true, sums);
#pragma unroll 4
  for (int split = 1; split < splits; ++split) {
    float values[sumWidth];
    loadSome(from + split * stride, 1, n, true, values);
#pragma unroll
    for (int i = 0; i < sumWidth; ++i) sums[i] += values[i];
  }
  const uint32_t item = M.quotient(row);
  epilogue.loadBias(item, column, n, biases);
  epilogue.finish(item, static_cast<int>(row - item * M.value()), column, n, biases, sums);
}

}  // namespace

template <>
void CudaBackend::perform(const Gemm &gemm) {
  const int64_t batch = gemm.a.batch, M = gemm.a.rows, N = gemm.b.cols;
  if (batch == 0 || M == 0 || N == 0) return;
  const GemmPlan plan = planFor(gemm);
  GemmEpilogue epilogue = epilogueOf(gemm);
  const int64_t groups = blocksFor(N, sumWidth), width = groups * sumWidth;
  const auto multiply = gemm.a.dtype == DType::bf16 ? multiplyBf16 : gemm.tf32 ? multiplyTf32 : multiplyFp32;
  if (plan.splits == 1 && gemm.columnSum) {
    const int64_t halves = batch * blocksFor(M, plan.rows) * 2;
    epilogue.columnSums = static_cast<float *>(scratch(sizeof(float) * static_cast<size_t>(halves * width)));
    epilogue.sumStride = width;
    multiply(gemm, plan, epilogue, stream());
    addPartialSums(epilogue.columnSums, halves, width, gemm.columnSum, stream());
  } else if (plan.splits == 1) {
    multiply(gemm, plan, epilogue, stream());
  } else {
    const auto size = static_cast<size_t>(plan.splits * batch * M * width);
    auto *partials = static_cast<float *>(scratch(sizeof(float) * size));
    GemmEpilogue toPartials{};
    toPartials.out = {partials, M * width, width, true, true};
    toPartials.M = epilogue.M;
    toPartials.N = epilogue.N;
    multiply(gemm, plan, toPartials, stream());
    launch(sumSplitsKernel, blocksFor(batch * M * groups, sumThreads), sumThreads, 0, stream(), partials, plan.splits,
           static_cast<int>(batch * M), Divisor(M), Divisor(groups), epilogue);
    // So few rows, or so long a K, that reading the output again does not matter.
    if (gemm.columnSum) perform(ColumnSum{gemm.out, gemm.columnSum});
  }
}

}  // namespace emoframe
