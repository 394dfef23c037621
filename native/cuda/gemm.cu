// Matrix products: the cut into tiles and splits of K, and the sum of splits.
//
// A tile of 128 x 128 reads (128 + 128) · 2 bytes of bf16 for 128² products, a byte for 32: 32 bytes a cycle of an
// A100's SM at its full rate of 1024; one of 64 x 64 twice that. Memory gives each operand about once, as tiles that
// run at one time share their rows and columns in L2: products of the model's sizes (M thousands of frames, N and K 768
// to 3072) have hundreds of products a byte and are bound by the tensor cores; those of few rows by the bytes of B.
//
// Where a product has fewer tiles than a large device has places for blocks and a long K (weight gradients: K is the
// number of frames), K is split: partial products go to scratch memory in fp32 and are added in order. How often
// follows from the shape alone, so the bits are the same on every device.
#include <algorithm>

#include "backend.h"
#include "divisor.cuh"
#include "gemm_epilogue.cuh"
#include "gemm_plan.h"
#include "launch.cuh"

namespace emoframe {

namespace {

constexpr int64_t enoughBlocks = 256;  // about two for each SM of the largest devices
constexpr int64_t leastDepth = 512;    // of a split: below it, writing and reading partial sums costs more than they do
constexpr int64_t tileDepth = 32;      // a multiple of both types'
constexpr int sumThreads = 256, sumColumns = 8;

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

GemmPlan planFor(const Gemm &gemm) {
  const int64_t M = gemm.a.rows, N = gemm.b.cols, K = gemm.a.cols;
  GemmPlan plan{layoutOf(gemm), 64, 64, 1, 0};
  const auto tiles = [&] { return gemm.a.batch * int64_t{blocksFor(M, plan.rows)} * int64_t{blocksFor(N, plan.cols)}; };
  const auto splits = [&] { return std::max<int64_t>(1, std::min(enoughBlocks / tiles(), K / leastDepth)); };
  if (plan.layout != GemmLayout::gathered) {
    if ((gemm.a.dtype == DType::bf16 || gemm.tf32) && M > 64) plan.rows = 128;
    if (N > 64 && (plan.rows == 128 || !gemm.tf32)) plan.cols = 128;
    // Half of the blocks are enough for large tiles: they do more than twice the work of small ones for a byte.
    if (tiles() * splits() < enoughBlocks / 2) plan.rows = plan.cols = 64;
  }
  const int64_t pieces = std::max<int64_t>(1, blocksFor(K, tileDepth)), piecesASplit = blocksFor(pieces, splits());
  plan.depth = static_cast<int>(piecesASplit * tileDepth);
  plan.splits = static_cast<int>(blocksFor(pieces, piecesASplit));
  return plan;
}

GemmTarget targetOf(const View &view) {
  return {view.data, view.batchStride, view.rowStride, view.dtype == DType::f32, rowsAligned(view)};
}

// A thread adds 8 columns of a row: partials [splits, batch, M, columns rounded up to 8] in fp32. `rows`: batch · M.
__global__ void __launch_bounds__(sumThreads) sumSplitsKernel(const float *partials, int splits, int rows, Divisor M,
                                                              int N, Divisor groups, GemmEpilogue epilogue) {
  const int64_t stride = static_cast<int64_t>(rows) * groups.value() * sumColumns;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * sumThreads + threadIdx.x;
  const uint32_t row = groups.quotient(static_cast<uint32_t>(index));
  if (row >= static_cast<uint32_t>(rows)) return;
  const int column = static_cast<int>(static_cast<uint32_t>(index) - row * groups.value()) * sumColumns, n = N - column;
  const float *from = partials + index * sumColumns;
  float sums[sumColumns], biases[sumColumns];
  loadSome(from, 1, n, true, sums);
#pragma unroll 4
  for (int split = 1; split < splits; ++split) {
    float values[sumColumns];
    loadSome(from + split * stride, 1, n, true, values);
#pragma unroll
    for (int i = 0; i < sumColumns; ++i) sums[i] += values[i];
  }
  const uint32_t item = M.quotient(row);
  epilogue.loadBias(item, column, n, biases);
  epilogue.finish(item, static_cast<int>(row - item * M.value()), column, n, biases, sums);
}

}  // namespace

void CudaBackend::gemm(const Gemm &gemm) {
  const int64_t batch = gemm.a.batch, M = gemm.a.rows, N = gemm.b.cols;
  if (batch == 0 || M == 0 || N == 0) return;
  const GemmPlan plan = planFor(gemm);
  const GemmEpilogue epilogue{targetOf(gemm.out),
                              targetOf(gemm.gelu),
                              gemm.bias.as<const float>(),
                              gemm.bias.batch > 1 ? gemm.bias.batchStride : 0,
                              gemm.bias.colStride,
                              rowsAligned(gemm.bias),
                              gemm.accumulate};
  const auto multiply = gemm.a.dtype == DType::bf16 ? multiplyBf16 : gemm.tf32 ? multiplyTf32 : multiplyFp32;
  if (plan.splits == 1) return multiply(gemm, plan, epilogue, stream());

  const int64_t groups = blocksFor(N, sumColumns), width = groups * sumColumns;
  auto *partials = static_cast<float *>(scratch(sizeof(float) * static_cast<size_t>(plan.splits * batch * M * width)));
  GemmEpilogue toPartials{};
  toPartials.out = {partials, M * width, width, true, true};
  multiply(gemm, plan, toPartials, stream());
  launch(sumSplitsKernel, blocksFor(batch * M * groups, sumThreads), sumThreads, 0, stream(), partials, plan.splits,
         static_cast<int>(batch * M), Divisor(M), static_cast<int>(N), Divisor(groups), epilogue);
}

}  // namespace emoframe
