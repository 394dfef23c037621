// Matrix products. The output is cut into tiles whose size follows from the shapes alone, and each tile is a product on
// one thread, so the bits do not depend on the number of threads. A tile takes K in panels: an operand that oneDNN can
// read where it lies is read there; one that it cannot (bf16 where the CPU has no bf16 products, or rows that overlap
// more than a few times) is first widened or gathered into a panel that fits the L2 cache. Rows that overlap a little
// (a convolution's windows: row stride s·C, K = k·C) are read in place, K being cut into parts of one row stride, each
// added to the ones before it.
//
// Measured on one core, GFLOP/s. Skylake (150 at most in fp32): oneDNN's bf16 without bf16 instructions 25, widened
// panels 90-115, fp32 in tiles 105-125, by packed weights 120-145. Zen 4: fp32 100-112 in tiles, 113-116 by packed
// weights; bf16 165-222 and 220-231.
#include <algorithm>
#include <cstring>

#include "backend.h"
#include "blocks.h"
#include "onednn.h"
#include "packed.h"
#include "thread_buffer.h"

namespace emoframe {

namespace {

constexpr int64_t largestParts = 4;                      // overlapping rows: at most so many parts of K in place
constexpr int64_t panelFloats = 96 * 1024;               // 384 KB: half of a 1 MB L2 with room for the other operand
constexpr int64_t packedCols = 384, packedDepth = 1024;  // of a block of packed weights

EMOFRAME_SIMD void geluSlopeRow(const float *x, float *slope, int64_t count) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) slope[i] = geluDerivative(x[i]);
}

// What the product is formed in, and so its shape.
const View &resultOf(const Gemm &gemm) { return gemm.out ? gemm.out : gemm.gelu; }

// n elements from (b, r, c) on, as floats, to `target`.
void copyBlock(const View &x, int64_t b, int64_t r, int64_t c, int64_t n, float *target) {
  const float *values = readBlock(x, b, r, c, n, target);
  if (values != target) std::copy(values, values + n, target);
}

// A part of an operand as the product reads it: rows (or, transposed, columns) contiguous, `ld` apart.
struct Panel {
  const void *data;
  int64_t ld;
};

// Elements [r0, r0 + rows) x [c0, c0 + cols) of a matrix as `dtype`: in place, or copied to scratch.
Panel panelOf(const View &x, bool direct, DType dtype, int64_t r0, int64_t rows, int64_t c0, int64_t cols,
              ThreadBuffer &scratch) {
  const bool transposed = x.colStride != 1;
  const View from = transposed ? x.transposed() : x;
  if (transposed) {
    std::swap(r0, c0);
    std::swap(rows, cols);
  }
  // A stride means nothing for a single run, and oneDNN checks it all the same.
  if (direct && x.dtype == dtype) return {from.at(0, r0, c0), std::max(from.rowStride, cols)};
  float *out = scratch.floats(rows * cols);
  for (int64_t i = 0; i < rows; ++i) {
    if (x.dtype == dtype) {
      const size_t bytes = static_cast<size_t>(cols) * sizeOf(dtype);
      std::memcpy(reinterpret_cast<char *>(out) + static_cast<size_t>(i) * bytes, from.at(0, r0 + i, c0), bytes);
    } else {
      copyBlock(from, 0, r0 + i, c0, cols, out + i * cols);
    }
  }
  return {out, cols};
}

// gelu and slope of row r of an item, columns from c on, whose sums, `row`, still lie in the cache.
void activateRow(const Gemm &gemm, int64_t item, int64_t r, int64_t c, int64_t n, float *row, ThreadBuffer &scratch) {
  float *buffer = scratch.floats(3 * n), *slope = nullptr, *factors = nullptr;
  if (gemm.slope) {
    slope = writeBlock(gemm.slope, item, r, c, buffer);
    geluSlopeRow(row, slope, n);
  }
  float *activated = writeBlock(gemm.gelu, item, r, c, buffer + n);
  applyGelu(row, activated, n);
  if (gemm.dropout.p > 0) {
    factors = buffer + 2 * n;
    const int64_t first = (item * gemm.gelu.rows + r) * gemm.gelu.cols + c;
    dropoutFactors(gemm.dropout, static_cast<uint64_t>(first), n, factors);
    multiply(activated, factors, activated, n);
    if (slope) multiply(slope, factors, slope, n);
  }
  storeBlock(gemm.gelu, item, r, c, n, activated);
  if (slope) storeBlock(gemm.slope, item, r, c, n, slope);
}

// How a product is cut: the size of a tile (M, N) and of a panel (K), and which operands are read where they lie.
struct Plan {
  int64_t M, N, K;
  bool aDirect, bDirect;
  DType dtype;  // in which the operands are multiplied
  const PackedOperand *packed = nullptr;
};

// In place, a run may not be longer than the distance to the next. Along K, panels are made short enough.
bool fitsPanel(int64_t runs, int64_t stride, int64_t K, int64_t &panel) {
  if (runs <= 1 || stride >= K) return true;
  if (stride < 1 || chunkCount(K, stride) > largestParts) return false;
  panel = std::min(panel, stride);
  return true;
}
// Along M or N, tiles are.
bool fitsTile(int64_t runs, int64_t stride, int64_t &extent) {
  if (runs <= 1 || stride >= extent) return true;
  if (stride < 32) return false;
  extent = stride;
  return true;
}

// Tiles of at most 384 x 768, smaller when that leaves too few to share, but never so
// small that a call costs more than its work.
Plan planPlain(const Gemm &gemm) {
  const View &out = resultOf(gemm);
  const int64_t M = out.rows, N = out.cols, K = gemm.a.cols;
  const DType dtype = onednn::multiplies(gemm.a.dtype) ? gemm.a.dtype : DType::f32;
  Plan plan{std::min<int64_t>(M, 384), std::min<int64_t>(N, 768), std::max<int64_t>(K, 1), true, true, dtype};
  const auto work = [&] {
    return 2.0 * static_cast<double>(plan.M) * static_cast<double>(plan.N) * static_cast<double>(K);
  };
  while (out.batch * chunkCount(M, plan.M) * chunkCount(N, plan.N) < 8 && work() > 8e6) {
    int64_t &larger = plan.N >= plan.M ? plan.N : plan.M;
    if (larger < 96) break;
    larger = (larger / 2 + 15) / 16 * 16;
  }
  const bool aTransposed = gemm.a.colStride != 1, bTransposed = gemm.b.colStride != 1;
  plan.aDirect = gemm.a.dtype == dtype &&
                 (aTransposed ? fitsTile(K, gemm.a.colStride, plan.M) : fitsPanel(M, gemm.a.rowStride, K, plan.K));
  plan.bDirect = gemm.b.dtype == dtype &&
                 (bTransposed ? fitsPanel(N, gemm.b.colStride, K, plan.K) : fitsTile(K, gemm.b.rowStride, plan.N));
  if (!plan.aDirect) plan.K = std::min(plan.K, std::max<int64_t>(256, panelFloats / plan.M / 16 * 16));
  if (!plan.bDirect) plan.K = std::min(plan.K, std::max<int64_t>(256, 2 * panelFloats / plan.N / 16 * 16));
  return plan;
}

// Columns of a packed block: equal parts of whole vectors.
int64_t packedColsOf(int64_t N) { return std::min(N, chunkCount(chunkCount(N, chunkCount(N, packedCols)), 16) * 16); }

// Tiles that read packed blocks: their columns and depth do not depend on M, so one packed form serves every call.
Plan planPacked(const Gemm &gemm, DType dtype) {
  const View &out = resultOf(gemm);
  const int64_t M = out.rows, N = out.cols, K = gemm.a.cols;
  Plan plan{256, packedColsOf(N), K, true, true, dtype};
  while (plan.M > 64 && out.batch * chunkCount(M, plan.M) * chunkCount(N, plan.N) < 8) plan.M /= 2;
  plan.aDirect = gemm.a.dtype == dtype && fitsPanel(M, gemm.a.rowStride, K, plan.K);
  // What has to be copied is copied in panels; what lies without gaps is read as it is.
  if (!plan.aDirect || gemm.a.rowStride != plan.K) plan.K = std::min(plan.K, packedDepth);
  return plan;
}

}  // namespace

bool CpuBackend::takeWeight(const View &b, uint64_t key) {
  const DType native = onednn::packs(b.dtype) ? b.dtype : DType::f32;
  if (!onednn::packs(native) || key == 0 || b.rows == 0 || b.cols == 0) return false;
  packed_->take(b, key, b.rows, packedColsOf(b.cols), native, threads_);
  return true;
}

template <>
void CpuBackend::perform(const Gemm &gemm) {
  const View &out = resultOf(gemm);
  const int64_t M = out.rows, N = out.cols, K = gemm.a.cols;
  if (out.batch == 0 || M == 0 || N == 0) return;

  Plan plan = planPlain(gemm);
  const DType native = onednn::packs(gemm.a.dtype) ? gemm.a.dtype : DType::f32;
  const PackedOperand *taken = gemm.weightKey == 0 ? nullptr : packed_->taken(gemm.b, gemm.weightKey);
  if (taken) {
    plan = planPacked(gemm, taken->dtype());
    plan.K = taken->depth();
    plan.aDirect = plan.aDirect && gemm.a.rowStride == plan.K;
    plan.packed = taken;
  } else if (gemm.weightKey != 0 && K > 0 && M >= kernelRows && gemm.a.colStride == 1 && onednn::packs(native)) {
    Plan packed = planPacked(gemm, native);
    packed.packed = packed_->find(gemm.b, gemm.weightKey, packed.K, packed.N, native, threads_);
    if (packed.packed) plan = packed;
  }

  // A few rows more than whole tiles go with the last: a tile of their own would read packed blocks for little.
  const int64_t merged = plan.packed ? kernelRows - 1 : 0;
  const int64_t tilesM = chunkCount(std::max(M - merged, int64_t{1}), plan.M), tilesN = chunkCount(N, plan.N);
  std::vector<double> sums(gemm.columnSum ? static_cast<size_t>(out.batch * tilesM * N) : 0, 0.0);  // of rows of tiles
  parallelFor(threads_, out.batch * tilesM * tilesN, 1, [&](int64_t index, int64_t) {
    static thread_local ThreadBuffer scratchA, scratchB, scratchC, scratchPacked, scratchRow;
    // Neighbouring tiles share rows of A.
    const int64_t item = index / (tilesM * tilesN), m0 = index / tilesN % tilesM * plan.M, n0 = index % tilesN * plan.N;
    const int64_t rows = m0 / plan.M == tilesM - 1 ? M - m0 : plan.M, cols = std::min(plan.N, N - n0);
    const View a = gemm.a.item(item), b = gemm.b.item(item);

    // Packed kernels write without gaps between rows.
    const bool inPlace = out.dtype == DType::f32 && (!plan.packed || out.rowStride == cols);
    float *c = inPlace ? static_cast<float *>(out.at(item, m0, n0)) : scratchC.floats(rows * cols);
    const int64_t ldc = inPlace ? std::max(out.rowStride, cols) : cols;
    for (int64_t r = 0; r < rows; ++r) {
      if (!inPlace && gemm.accumulate) copyBlock(out, item, m0 + r, n0, cols, c + r * ldc);
      if (K == 0 && !gemm.accumulate) fillFloats(c + r * ldc, 0, cols);
    }
    for (int64_t k0 = 0; k0 < K; k0 += plan.K) {
      const int64_t depth = std::min(plan.K, K - k0);
      const bool accumulate = k0 > 0 || gemm.accumulate;
      int64_t done = 0;
      if (plan.packed) {
        const bool direct = plan.aDirect && a.rowStride == depth;
        const auto rowsFrom = [&](int64_t first, int64_t count) {
          return panelOf(a, direct, plan.dtype, m0 + first, count, k0, depth, scratchA).data;
        };
        done = multiplyPacked(*plan.packed, item, k0, n0, rows, rowsFrom, accumulate, c);
      }
      if (done < rows) {
        const Panel pa = panelOf(a, plan.aDirect, plan.dtype, m0 + done, rows - done, k0, depth, scratchA);
        Panel pb;
        if (taken) {  // where it lay there may be nothing any more
          pb = {scratchPacked.floats(depth * cols), cols};
          onednn::unpack(taken->layout(k0, n0), taken->block(item, k0, n0), const_cast<void *>(pb.data));
        } else {
          pb = panelOf(b, plan.bDirect, plan.dtype, k0, depth, n0, cols, scratchB);
        }
        onednn::product(plan.dtype, rows - done, cols, depth, {pa.data, pa.ld, a.colStride != 1},
                        {pb.data, pb.ld, !taken && b.colStride != 1}, accumulate, c + done * ldc, ldc);
      }
    }
    const float *bias =
        gemm.bias ? static_cast<const float *>(gemm.bias.at(gemm.bias.batch > 1 ? item : 0, 0, n0)) : nullptr;
    for (int64_t r = 0; r < rows; ++r) {
      float *row = c + r * ldc;
      if (bias) addTo(row, bias, cols);
      if (gemm.factor) {
        multiply(row, readBlock(gemm.factor, item, m0 + r, n0, cols, scratchRow.floats(cols)), row, cols);
      }
      if (gemm.columnSum) addTo(sums.data() + index / tilesN * N + n0, row, cols);
      if (gemm.out && !inPlace) storeBlock(out, item, m0 + r, n0, cols, row);
      if (gemm.gelu) activateRow(gemm, item, m0 + r, n0, cols, row, scratchRow);
    }
  });
  for (int64_t n = 0; gemm.columnSum && n < N; ++n) {
    double total = 0;
    for (size_t i = static_cast<size_t>(n); i < sums.size(); i += static_cast<size_t>(N)) total += sums[i];
    float *target = static_cast<float *>(gemm.columnSum.at(0, 0, n));
    *target = static_cast<float>(*target + total);
  }
}

}  // namespace emoframe
