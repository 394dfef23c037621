// What the loop families share: views seen as blocks of floats. A leaf then only ever works on contiguous fp32,
// whatever the dtype and strides of its views; for bf16 that costs one more pass over a block that lies in L1.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "../ops.h"
#include "parallel.h"
#include "simd.h"

namespace emoframe {

constexpr int64_t blockSize = 1024;  // floats: 4 KiB, so that a few of them stay in L1

// Rows of so many columns that a thread takes at a time.
inline int64_t rowGrain(int64_t cols) { return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, cols)); }

// n elements from (b, r, c) on as floats: the view's own memory when it is fp32 and contiguous, else `buffer`, filled.
const float *readBlock(const View &view, int64_t b, int64_t r, int64_t c, int64_t n, float *buffer);
// Where to form n elements that go to (b, r, c): the view's own memory, or `buffer`. storeBlock then brings them home.
float *writeBlock(const View &view, int64_t b, int64_t r, int64_t c, float *buffer);
void storeBlock(const View &view, int64_t b, int64_t r, int64_t c, int64_t n, const float *values);

// Dropout factors (0 or what kept elements are scaled by) of elements [first, first + n), n <= blockSize or any when
// rows are longer.
void dropoutFactors(const Dropout &dropout, uint64_t first, int64_t n, float *factors);
// Of an attention's probabilities: keys [0, keys) of the query in `row` (packed row · heads + head) and of the eighth
// after it, which have the same Philox blocks. Bit 3 of the query's place in its utterance is 0.
void attentionDropoutFactors(const Dropout &dropout, uint64_t row, int64_t keys, float *factors,
                             float *factorsOfEighth);

void addTo(float *sums, const float *x, int64_t n);                    // sums += x
void addTo(double *sums, const float *x, int64_t n);                   // sums += x
void add(const float *a, const float *b, float *out, int64_t n);       // may alias
void multiply(const float *a, const float *b, float *out, int64_t n);  // may alias
void applyGelu(const float *x, float *y, int64_t n);                   // may alias
void fillFloats(float *out, float value, int64_t n);
float dotProduct(const float *a, const float *b, int64_t n);
double sumOfSquares(const float *x, int64_t n);  // in double

// Sums over rows, in a way that does not depend on threads: rows go in at most 128 fixed chunks; in a chunk, 64 rows
// are added in fp32 and then taken into double; chunks are added in order.
class ColumnSums {
 public:
  static int64_t grain(int64_t rows) { return std::max<int64_t>(64, chunkCount(rows, 128)); }

  ColumnSums(int64_t rows, int64_t cols)
      : cols_(cols), chunks_(chunkCount(rows, grain(rows))), partials_(static_cast<size_t>(chunks_ * cols), 0.0) {}

  // One chunk's accumulator: after each row, `rowDone`; at the end, `finish`.
  class Chunk {
   public:
    Chunk(ColumnSums &sums, int64_t chunk)
        : floats(static_cast<size_t>(sums.cols_), 0.0f), totals_(sums.partials_.data() + chunk * sums.cols_) {}
    void rowDone() {
      if (++rows_ == 64) finish();
    }
    void finish() {
      addTo(totals_, floats.data(), static_cast<int64_t>(floats.size()));
      fillFloats(floats.data(), 0, static_cast<int64_t>(floats.size()));
      rows_ = 0;
    }
    std::vector<float> floats;

   private:
    double *totals_;
    int rows_ = 0;
  };

  void addInto(const View &out) const {  // f32 [cols], +=
    for (int64_t c = 0; c < cols_; ++c) {
      double total = 0;
      for (int64_t chunk = 0; chunk < chunks_; ++chunk) total += partials_[chunk * cols_ + c];
      float *target = static_cast<float *>(out.at(0, 0, c));
      *target = static_cast<float>(*target + total);
    }
  }

 private:
  int64_t cols_, chunks_;
  std::vector<double> partials_;
};

// body(b, r, c, n) for blocks that cover the views' common shape, in parallel. Views that all lie without gaps become
// one long row first, so the views are changed; element indices row · cols + col stay the same.
template <typename Body>
void forEachBlock(int threads, std::initializer_list<View *> views, Body &&body) {
  bool flat = true;
  for (const View *v : views) flat = flat && v->isContiguous();
  const View shape = **views.begin();
  if (shape.size() == 0) return;
  if (flat) {
    for (View *v : views) *v = vector(v->data, v->dtype, shape.size());
  }
  const int64_t rows = flat ? 1 : shape.rows, cols = flat ? shape.size() : shape.cols;
  const int64_t perRow = chunkCount(cols, blockSize);
  const int64_t blocks = (flat ? 1 : shape.batch) * rows * perRow;
  const int64_t grain = std::max<int64_t>(1, 32 * blockSize / std::min(cols, blockSize));
  parallelFor(threads, blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / perRow, c = i % perRow * blockSize;
      body(row / rows, row % rows, c, std::min(blockSize, cols - c));
    }
  });
}

}  // namespace emoframe
