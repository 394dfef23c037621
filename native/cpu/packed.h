// Weights kept in the form that the matrix product reads fastest, by Gemm.weightKey. A weight is cut into blocks
// [depth, cols], each packed by itself: a tile of a product reads one column of blocks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "backend.h"
#include "onednn.h"
#include "thread_buffer.h"

namespace emoframe {

class PackedOperand {
 public:
  // B [batch, K, N] of any dtype in blocks of at most depth x cols, held as `dtype`.
  PackedOperand(const View &b, int64_t depth, int64_t cols, DType dtype, int threads);

  onednn::PackedLayout layout(int64_t k0, int64_t n0) const {
    return {std::min(depth_, K_ - k0), std::min(cols_, N_ - n0), dtype_};
  }
  int64_t depth() const { return depth_; }
  int64_t cols() const { return cols_; }
  DType dtype() const { return dtype_; }
  const void *block(int64_t item, int64_t k0, int64_t n0) const {
    return blocks_[static_cast<size_t>((item * chunksK_ + k0 / depth_) * chunksN_ + n0 / cols_)];
  }

 private:
  DType dtype_;
  int64_t K_, N_, depth_, cols_, chunksK_, chunksN_;
  ThreadBuffer memory_;
  std::vector<const void *> blocks_;
};

// Packed kernels are made for multiples of so many rows, and for fewer.
constexpr int64_t kernelRows = 32;

// C [rows, cols] (+)= A [rows, depth] · the block of a packed operand at (item, k0, n0), C without gaps, on the calling
// thread. rowsFrom(first, count) gives the rows of A, without gaps. Returns how many rows were done: fewer than all
// when oneDNN has no fast kernel for the rest.
template <typename RowsFrom>
int64_t multiplyPacked(const PackedOperand &operand, int64_t item, int64_t k0, int64_t n0, int64_t rows,
                       const RowsFrom &rowsFrom, bool accumulate, float *c) {
  const onednn::PackedLayout layout = operand.layout(k0, n0);
  int64_t done = 0;
  while (done < rows) {
    const int64_t some = rows - done < kernelRows ? rows - done : (rows - done) / kernelRows * kernelRows;
    if (!onednn::packedProduct(layout, some, rowsFrom(done, some), operand.block(item, k0, n0), accumulate,
                               c + done * layout.cols))
      break;
    done += some;
  }
  return done;
}

struct CpuBackend::PackedWeights {
  // The packed form of b if its key was seen before: a weight that is used once is not worth packing.
  const PackedOperand *find(const View &b, uint64_t key, int64_t depth, int64_t cols, DType dtype, int threads);
  // Packs b for good: `taken` finds it whatever the product's other operand, and b itself is not read again.
  void take(const View &b, uint64_t key, int64_t depth, int64_t cols, DType dtype, int threads);
  const PackedOperand *taken(const View &b, uint64_t key) const;
  // Drops what was packed from inside [begin, begin + bytes).
  void forget(const char *begin, size_t bytes) noexcept;

 private:
  // Where a weight lies and how it is cut.
  using Place = std::tuple<const char *, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>;
  struct Entry {
    uint64_t key = 0;
    std::unique_ptr<PackedOperand> packed;
  };
  std::map<Place, Entry> entries_;
  std::map<const char *, Entry> taken_;  // by where they lay
};

}  // namespace emoframe
