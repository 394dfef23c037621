// Moving whole rows: packing and unpacking utterances, the mask embedding, and frames picked by index.
#include "backend.h"
#include "blocks.h"

namespace emoframe {

namespace {

void copyRow(const View &in, int64_t from, const View &out, int64_t to, int64_t b) {
  float buffer[blockSize];
  for (int64_t c = 0; c < in.cols; c += blockSize) {
    const int64_t n = std::min(blockSize, in.cols - c);
    storeBlock(out, b, to, c, n, readBlock(in, b, from, c, n, buffer));
  }
}

EMOFRAME_SIMD void addLeaf(const float *a, const float *b, float *out, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}
EMOFRAME_SIMD void geluLeaf(const float *x, float *y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = gelu(x[i]);
}

void addRow(const View &in, int64_t from, const View &out, int64_t to, int64_t b) {
  float buffer[blockSize], old[blockSize], sum[blockSize];
  for (int64_t c = 0; c < in.cols; c += blockSize) {
    const int64_t n = std::min(blockSize, in.cols - c);
    float *target = writeBlock(out, b, to, c, sum);
    addLeaf(readBlock(out, b, to, c, n, old), readBlock(in, b, from, c, n, buffer), target, n);
    storeBlock(out, b, to, c, n, target);
  }
}

void geluRow(const View &in, int64_t from, const View &out, int64_t to, int64_t b) {
  float buffer[blockSize], result[blockSize];
  for (int64_t c = 0; c < in.cols; c += blockSize) {
    const int64_t n = std::min(blockSize, in.cols - c);
    float *target = writeBlock(out, b, to, c, result);
    geluLeaf(readBlock(in, b, from, c, n, buffer), target, n);
    storeBlock(out, b, to, c, n, target);
  }
}

void clearRow(const View &out, int64_t row, int64_t b) {
  float buffer[blockSize];
  for (int64_t c = 0; c < out.cols; c += blockSize) {
    const int64_t n = std::min(blockSize, out.cols - c);
    float *target = writeBlock(out, b, row, c, buffer);
    fillFloats(target, 0, n);
    storeBlock(out, b, row, c, n, target);
  }
}

int64_t rowGrain(int64_t cols) { return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, cols)); }

}  // namespace

void CpuBackend::copyRows(const View &in, const RowRuns &runs, const View &out, bool accumulate, const View &gelu) {
  // Rows of all runs on one axis: run i has rows [first[i], first[i + 1]).
  std::vector<int64_t> first(1, 0);
  for (int32_t i = 0; i < runs.count; ++i) first.push_back(first.back() + runs.length[i]);
  const int64_t rows = first.back();
  parallelFor(threads_, in.batch * rows, rowGrain(in.cols), [&](int64_t begin, int64_t end) {
    size_t run = std::upper_bound(first.begin(), first.end(), begin % rows) - first.begin() - 1;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % rows;
      if (row == 0) run = 0;
      while (row >= first[run + 1]) ++run;
      const int64_t from = runs.source[run] + row - first[run], to = runs.target[run] + row - first[run], b = i / rows;
      if (accumulate) {
        if (runs.source[run] >= 0) addRow(in, from, out, to, b);
      } else if (runs.source[run] < 0) {
        clearRow(out, to, b);
        if (gelu) clearRow(gelu, to, b);
      } else {
        copyRow(in, from, out, to, b);
        if (gelu) geluRow(in, from, gelu, to, b);
      }
    }
  });
}

void CpuBackend::maskRows(const View &x, const uint8_t *mask, const View &embedding) {
  parallelFor(threads_, x.rows, rowGrain(x.cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (mask[r]) copyRow(embedding, 0, x, r, 0);
    }
  });
}

void CpuBackend::maskRowsBackward(const View &dx, const uint8_t *mask, const View &dEmbedding) {
  ColumnSums sums(dx.rows, dx.cols);
  parallelChunks(threads_, dx.rows, ColumnSums::grain(dx.rows), [&](int64_t chunk, int64_t begin, int64_t end) {
    ColumnSums::Chunk partial(sums, chunk);
    std::vector<float> buffer(static_cast<size_t>(dx.cols));
    for (int64_t r = begin; r < end; ++r) {
      if (!mask[r]) continue;
      addTo(partial.floats.data(), readBlock(dx, 0, r, 0, dx.cols, buffer.data()), dx.cols);
      partial.rowDone();
      clearRow(dx, r, 0);
    }
    partial.finish();
  });
  sums.addInto(dEmbedding);
}

void CpuBackend::gatherRows(const View &x, const int32_t *index, const View &out) {
  parallelFor(threads_, out.rows, rowGrain(out.cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) copyRow(x, index[r], out, r, 0);
  });
}

void CpuBackend::scatterRows(const View &dOut, const int32_t *index, const View &dx) {
  fill(dx, 0);
  parallelFor(threads_, dOut.rows, rowGrain(dOut.cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) copyRow(dOut, r, dx, index[r], 0);
  });
}

}  // namespace emoframe
