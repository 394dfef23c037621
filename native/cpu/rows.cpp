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

void addRow(const View &in, int64_t from, const View &out, int64_t to, int64_t b) {
  float buffer[blockSize], old[blockSize], sum[blockSize];
  for (int64_t c = 0; c < in.cols; c += blockSize) {
    const int64_t n = std::min(blockSize, in.cols - c);
    float *target = writeBlock(out, b, to, c, sum);
    add(readBlock(out, b, to, c, n, old), readBlock(in, b, from, c, n, buffer), target, n);
    storeBlock(out, b, to, c, n, target);
  }
}

void geluRow(const View &in, int64_t from, const View &out, int64_t to, int64_t b) {
  float buffer[blockSize], result[blockSize];
  for (int64_t c = 0; c < in.cols; c += blockSize) {
    const int64_t n = std::min(blockSize, in.cols - c);
    float *target = writeBlock(out, b, to, c, result);
    applyGelu(readBlock(in, b, from, c, n, buffer), target, n);
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

}  // namespace

template <>
void CpuBackend::perform(const CopyRows &op) {
  // Rows of all runs on one axis: run i has rows [first[i], first[i + 1]).
  std::vector<int64_t> first(1, 0);
  for (int32_t i = 0; i < op.runs.count; ++i) first.push_back(first.back() + op.runs.length[i]);
  const int64_t rows = first.back();
  parallelFor(threads_, op.in.batch * rows, rowGrain(op.in.cols), [&](int64_t begin, int64_t end) {
    size_t run = std::upper_bound(first.begin(), first.end(), begin % rows) - first.begin() - 1;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % rows;
      if (row == 0) run = 0;
      while (row >= first[run + 1]) ++run;
      const int64_t from = op.runs.source[run] + row - first[run], to = op.runs.target[run] + row - first[run],
                    b = i / rows;
      if (op.accumulate) {
        if (op.runs.source[run] >= 0) addRow(op.in, from, op.out, to, b);
      } else if (op.runs.source[run] < 0) {
        clearRow(op.out, to, b);
        if (op.gelu) clearRow(op.gelu, to, b);
      } else {
        copyRow(op.in, from, op.out, to, b);
        if (op.gelu) geluRow(op.in, from, op.gelu, to, b);
      }
    }
  });
}

template <>
void CpuBackend::perform(const MaskRows &op) {
  parallelFor(threads_, op.x.rows, rowGrain(op.x.cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (op.mask[r]) copyRow(op.embedding, 0, op.x, r, 0);
    }
  });
}

template <>
void CpuBackend::perform(const MaskRowsBackward &op) {
  ColumnSums sums(op.dx.rows, op.dx.cols);
  parallelChunks(threads_, op.dx.rows, ColumnSums::grain(op.dx.rows), [&](int64_t chunk, int64_t begin, int64_t end) {
    ColumnSums::Chunk partial(sums, chunk);
    std::vector<float> buffer(static_cast<size_t>(op.dx.cols));
    for (int64_t r = begin; r < end; ++r) {
      if (!op.mask[r]) continue;
      addTo(partial.floats.data(), readBlock(op.dx, 0, r, 0, op.dx.cols, buffer.data()), op.dx.cols);
      partial.rowDone();
      clearRow(op.dx, r, 0);
    }
    partial.finish();
  });
  sums.addInto(op.dEmbedding);
}

template <>
void CpuBackend::perform(const GatherRows &op) {
  parallelFor(threads_, op.out.rows, rowGrain(op.out.cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) copyRow(op.x, op.index[r], op.out, r, 0);
  });
}

template <>
void CpuBackend::perform(const ScatterRows &op) {
  perform(Fill{op.dx, 0});
  parallelFor(threads_, op.dOut.rows, rowGrain(op.dOut.cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) copyRow(op.dOut, r, op.dx, op.index[r], 0);
  });
}

}  // namespace emoframe
