// The kernel that is made of a main loop and an epilogue, and its launch for the layouts that a product may have.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "elements.cuh"
#include "gemm_mainloop.cuh"
#include "gemm_plan.h"
#include "launch.cuh"

namespace emoframe {

template <typename T>
struct GemmProblem {
  GemmOperand<T> a, b;
  int M, N, K;
  int tilesDown, tilesAcross;
  int depth;  // of K, for each of the grid's y
};

// Grid (tiles, splits of K, batch). With splits, what the epilogue calls an item is split · batch + item.
//
// Tiles are taken 8 rows of them at a time, down before across: what runs at one time then reads few rows of A and few
// columns of B, which stay in the L2 cache.
template <typename Loop, int residentBlocks, typename Epilogue>
__global__ void __launch_bounds__(Loop::threads, residentBlocks)
    gemmKernel(GemmProblem<typename Loop::Element> problem, Epilogue epilogue) {
  constexpr int groupRows = 8;
  const int tile = static_cast<int>(blockIdx.x), group = tile / (groupRows * problem.tilesAcross);
  const int within = tile - group * groupRows * problem.tilesAcross, above = group * groupRows;
  const int down = problem.tilesDown - above < groupRows ? problem.tilesDown - above : groupRows;
  const int row = (above + within % down) * Loop::rows, column = within / down * Loop::cols;
  const int k = static_cast<int>(blockIdx.y) * problem.depth;
  const int end = problem.K - k < problem.depth ? problem.K : k + problem.depth;
  typename Loop::Accumulators accumulators;
  Loop::run(problem.a, problem.b, blockIdx.z, row, problem.M, column, problem.N, k, end, accumulators);
  epilogue(Loop(), accumulators, static_cast<int64_t>(blockIdx.y) * gridDim.z + blockIdx.z, row, column);
}

// Operands of a product, as launches and plans see them: [batch, other, K].
template <typename T>
GemmOperand<T> operandOf(const View &view) {
  return {static_cast<const T *>(view.data), view.batchStride, view.rowStride, view.colStride};
}

template <typename Loop, int residentBlocks, typename Epilogue>
void launchGemm(const Gemm &gemm, const GemmPlan &plan, const Epilogue &epilogue, Stream &stream) {
  using T = typename Loop::Element;
  const View bT = gemm.b.transposed();
  const auto M = static_cast<int>(gemm.a.rows), N = static_cast<int>(bT.rows), K = static_cast<int>(gemm.a.cols);
  const auto down = static_cast<int>(blocksFor(M, Loop::rows)), across = static_cast<int>(blocksFor(N, Loop::cols));
  const GemmProblem<T> problem{operandOf<T>(gemm.a), operandOf<T>(bT), M, N, K, down, across, plan.depth};
  const dim3 grid(static_cast<uint32_t>(down * across), static_cast<uint32_t>(plan.splits),
                  static_cast<uint32_t>(gemm.a.batch));
  launch(gemmKernel<Loop, residentBlocks, Epilogue>, grid, Loop::threads, Loop::sharedBytes, stream, problem, epilogue);
}

// By the operands' layouts: a bT, a b and aT b are kernels of their own; what is left (aT bT, and runs that do not
// start at multiples of 16 bytes, in small products) is gathered.
template <typename T, int rows, int cols, int residentBlocks, bool gathers, Tf32 precision = Tf32::thrice,
          typename Epilogue>
void launchGemmByLayout(const Gemm &gemm, const GemmPlan &plan, const Epilogue &epilogue, Stream &stream) {
  const auto go = [&](auto loop) { launchGemm<decltype(loop), residentBlocks>(gemm, plan, epilogue, stream); };
  constexpr Along k = Along::k, other = Along::other, gathered = Along::gathered;
  switch (plan.layout) {
    case GemmLayout::normalTransposed:
      return go(GemmMainloop<T, rows, cols, k, k, precision>());
    case GemmLayout::normalNormal:
      return go(GemmMainloop<T, rows, cols, k, other, precision>());
    case GemmLayout::transposedNormal:
      return go(GemmMainloop<T, rows, cols, other, other, precision>());
    case GemmLayout::gathered:
      if constexpr (gathers) return go(GemmMainloop<T, rows, cols, gathered, gathered, precision>());
  }
}

}  // namespace emoframe
