// Matrix products. The output is cut into tiles whose size follows from the shapes alone, and each tile is a product on one
// thread, so the bits do not depend on the number of threads. A tile takes K in panels: an operand that oneDNN can read where
// it lies is read there; one that it cannot (bf16, or rows that overlap more than a few times) is first widened or gathered
// into a panel that fits the L2 cache. Rows that overlap a little (a convolution's windows: row stride s·C, K = k·C) are read
// in place, K being cut into pieces of one row stride, each added to the ones before it.
#include <algorithm>

#include "backend.h"
#include "onednn.h"
#include "packed.h"
#include "parallel.h"
#include "scratch.h"
#include "simd.h"

namespace emoframe {

namespace {

constexpr int64_t largestPieces = 4;       // overlapping rows: at most so many pieces of K in place
constexpr int64_t panelFloats = 96 * 1024;  // 384 KB: half of a 1 MB L2 with room for the other operand

template <typename T> EMOFRAME_SIMD void widen(const T *in, float *out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = load(in + i);
}

EMOFRAME_SIMD void addBiasRow(const float *bias, float *row, int64_t count) {
  for (int64_t i = 0; i < count; ++i) row[i] += bias[i];
}

EMOFRAME_SIMD void narrowRow(const float *in, Bf16 *out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) store(out + i, in[i]);
}

EMOFRAME_SIMD void narrowBiasRow(const float *in, const float *bias, Bf16 *out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) store(out + i, in[i] + bias[i]);
}

void widenRun(const View &x, const void *at, float *out, int64_t count) {
  if (x.dtype == DType::f32) widen(static_cast<const float *>(at), out, count);
  else widen(static_cast<const Bf16 *>(at), out, count);
}

// An operand as the product reads it: rows (or, transposed, columns) contiguous, `ld` apart.
struct Panel {
  const float *data;
  int64_t ld;
};

// How one operand reaches the product.
struct Operand {
  View x;           // one batch item, [rows, cols]
  bool transposed;  // columns are contiguous
  bool direct;      // f32, and no run overlaps the next by more than the pieces allow

  int64_t runStride() const { return transposed ? x.colStride : x.rowStride; }

  // Elements [r0, r0 + rows) x [c0, c0 + cols), in place or copied to scratch.
  Panel panel(int64_t r0, int64_t rows, int64_t c0, int64_t cols, Scratch &scratch) const {
    if (direct) return {static_cast<const float *>(x.at(0, r0, c0)), runStride()};
    const int64_t runs = transposed ? cols : rows, run = transposed ? rows : cols;
    float *out = scratch.floats(runs * run);
    for (int64_t i = 0; i < runs; ++i) {
      widenRun(x, transposed ? x.at(0, r0, c0 + i) : x.at(0, r0 + i, c0), out + i * run, run);
    }
    return {out, run};
  }
};

int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Tiling {
  int64_t M, N, K;  // of a tile and a panel
};

// Tiles of about 256 x 768, smaller when that leaves too few to share, but never so small that a call costs more than its work.
Tiling chooseTiles(int64_t batch, int64_t M, int64_t N, int64_t K) {
  int64_t tileM = std::min<int64_t>(M, 256), tileN = std::min<int64_t>(N, 768);
  const auto tiles = [&] { return batch * ceilDivide(M, tileM) * ceilDivide(N, tileN); };
  while (tiles() < 8 && 2.0 * static_cast<double>(tileM) * static_cast<double>(tileN) * static_cast<double>(K) > 8e6) {
    int64_t &larger = tileN >= tileM ? tileN : tileM;
    if (larger < 96) break;
    larger = (larger / 2 + 15) / 16 * 16;
  }
  return {tileM, tileN, K};
}

}  // namespace

void CpuBackend::gemm(const Gemm &gemm) {
  const View &out = gemm.out;
  const int64_t M = out.rows, N = out.cols, K = gemm.a.cols, batch = out.batch;
  if (batch == 0 || M == 0 || N == 0) return;

  Tiling tile = chooseTiles(batch, M, N, std::max<int64_t>(K, 1));
  const bool aTransposed = gemm.a.colStride != 1, bTransposed = gemm.b.colStride != 1;
  bool aDirect = gemm.a.dtype == DType::f32, bDirect = gemm.b.dtype == DType::f32;
  // In place, a run may not be longer than the distance to the next. Runs along K are cut by the panels; runs along M or N by
  // the tiles.
  const auto fitAlongK = [&](int64_t stride, bool &direct) {
    if (!direct || stride >= K) return;
    if (stride > 0 && ceilDivide(K, stride) <= largestPieces) tile.K = std::min(tile.K, stride);
    else direct = false;
  };
  const auto fitTile = [&](int64_t stride, int64_t &extent, bool &direct) {
    if (!direct || stride >= extent) return;
    if (stride >= 32) extent = stride;
    else direct = false;
  };
  if (aTransposed) fitTile(gemm.a.colStride, tile.M, aDirect);
  else if (M > 1) fitAlongK(gemm.a.rowStride, aDirect);
  if (!bTransposed) fitTile(gemm.b.rowStride, tile.N, bDirect);
  else if (N > 1) fitAlongK(gemm.b.colStride, bDirect);
  if (!aDirect) tile.K = std::min(tile.K, std::max<int64_t>(256, panelFloats / tile.M / 16 * 16));
  if (!bDirect) tile.K = std::min(tile.K, std::max<int64_t>(256, 2 * panelFloats / tile.N / 16 * 16));

  const int64_t tilesM = ceilDivide(M, tile.M), tilesN = ceilDivide(N, tile.N);
  const bool widened = out.dtype != DType::f32;
  parallelFor(threads_, batch * tilesM * tilesN, 1, [&](int64_t index, int64_t) {
    static thread_local Scratch scratchA, scratchB, scratchC;
    const int64_t item = index / (tilesM * tilesN);
    // Neighbouring tiles share rows of A.
    const int64_t m0 = index / tilesN % tilesM * tile.M, n0 = index % tilesN * tile.N;
    const int64_t rows = std::min(tile.M, M - m0), cols = std::min(tile.N, N - n0);
    const Operand a{gemm.a.item(item), aTransposed, aDirect}, b{gemm.b.item(item), bTransposed, bDirect};

    float *c = widened ? scratchC.floats(rows * cols) : static_cast<float *>(out.at(item, m0, n0));
    const int64_t ldc = widened ? cols : out.rowStride;
    if (widened && gemm.accumulate) {
      for (int64_t r = 0; r < rows; ++r) widen(static_cast<const Bf16 *>(out.at(item, m0 + r, n0)), c + r * ldc, cols);
    }
    if (K == 0 && !gemm.accumulate) {
      for (int64_t r = 0; r < rows; ++r) std::fill_n(c + r * ldc, cols, 0.0f);
    }
    for (int64_t k0 = 0; k0 < K; k0 += tile.K) {
      const int64_t depth = std::min(tile.K, K - k0);
      const Panel pa = a.panel(m0, rows, k0, depth, scratchA), pb = b.panel(k0, depth, n0, cols, scratchB);
      // A stride means nothing for a single run, and oneDNN checks it all the same.
      const int64_t lda = std::max(pa.ld, aTransposed ? rows : depth), ldb = std::max(pb.ld, bTransposed ? depth : cols);
      onednn::sgemm(aTransposed, bTransposed, rows, cols, depth, pa.data, lda, pb.data, ldb,
                    k0 > 0 || gemm.accumulate ? 1.0f : 0.0f, c, std::max(ldc, cols));
    }
    const float *bias = gemm.bias ? static_cast<const float *>(gemm.bias.at(gemm.bias.batch > 1 ? item : 0, 0, n0)) : nullptr;
    for (int64_t r = 0; r < rows && (widened || bias); ++r) {
      if (!widened) {
        addBiasRow(bias, c + r * ldc, cols);
        continue;
      }
      Bf16 *target = static_cast<Bf16 *>(out.at(item, m0 + r, n0));
      if (bias) narrowBiasRow(c + r * ldc, bias, target, cols);
      else narrowRow(c + r * ldc, target, cols);
    }
  });
}

}  // namespace emoframe
