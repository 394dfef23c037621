#include "packed.h"

#include <algorithm>

#include "blocks.h"

namespace emoframe {

PackedOperand::PackedOperand(const View &b, int64_t depth, int64_t cols, DType dtype, int threads)
    : dtype_(dtype),
      K_(b.rows),
      N_(b.cols),
      depth_(depth),
      cols_(cols),
      chunksK_(chunkCount(b.rows, depth)),
      chunksN_(chunkCount(b.cols, cols)) {
  struct Block {
    int64_t item, k0, n0, offset;
  };
  std::vector<Block> blocks;
  int64_t floats = 0;
  for (int64_t item = 0; item < b.batch; ++item) {
    for (int64_t k0 = 0; k0 < K_; k0 += depth_) {
      for (int64_t n0 = 0; n0 < N_; n0 += cols_) {
        blocks.push_back({item, k0, n0, floats});
        floats += static_cast<int64_t>((onednn::packedBytes(layout(k0, n0)) + 63) / 64 * 64 / sizeof(float));
      }
    }
  }
  float *memory = memory_.floats(floats);
  for (const Block &block : blocks) blocks_.push_back(memory + block.offset);
  parallelFor(threads, static_cast<int64_t>(blocks.size()), 1, [&](int64_t i, int64_t) {
    static thread_local ThreadBuffer widened;
    const Block &block = blocks[i];
    const onednn::PackedLayout layout = this->layout(block.k0, block.n0);
    View from = b.item(block.item).rowRange(block.k0, layout.depth).colRange(block.n0, layout.cols);
    if (from.dtype != dtype_) {
      const bool transposed = from.colStride != 1;
      const View runs = transposed ? from.transposed() : from;
      float *values = widened.floats(runs.rows * runs.cols);
      for (int64_t r = 0; r < runs.rows; ++r) readBlock(runs, 0, r, 0, runs.cols, values + r * runs.cols);
      const View plain = matrix(values, DType::f32, runs.rows, runs.cols);
      from = transposed ? plain.transposed() : plain;
    }
    onednn::pack(layout, from, const_cast<void *>(blocks_[i]));
  });
}

const PackedOperand *CpuBackend::PackedWeights::find(const View &b, uint64_t key, int64_t depth, int64_t cols,
                                                     DType dtype, int threads) {
  const Place place{b.as<const char>(), b.batch, b.rows, b.cols, b.batchStride, b.rowStride, b.colStride, depth};
  Entry &entry = entries_[place];
  if (entry.key != key) {
    entry.key = key;
    entry.packed.reset();
  }
  if (!entry.packed) entry.packed = std::make_unique<PackedOperand>(b, depth, cols, dtype, threads);
  return entry.packed.get();
}

void CpuBackend::PackedWeights::take(const View &b, uint64_t key, int64_t depth, int64_t cols, DType dtype,
                                     int threads) {
  taken_[b.as<const char>()] = {key, std::make_unique<PackedOperand>(b, depth, cols, dtype, threads)};
}

const PackedOperand *CpuBackend::PackedWeights::taken(const View &b, uint64_t key) const {
  const auto found = taken_.find(b.as<const char>());
  return found == taken_.end() || found->second.key != key ? nullptr : found->second.packed.get();
}

void CpuBackend::PackedWeights::forget(const char *begin, size_t bytes) noexcept {
  const auto inside = [&](const Place &place) { return std::get<0>(place) < begin + bytes; };
  auto entry = entries_.lower_bound(Place{begin, 0, 0, 0, 0, 0, 0, 0});
  while (entry != entries_.end() && inside(entry->first)) entry = entries_.erase(entry);
  taken_.erase(taken_.lower_bound(begin), taken_.lower_bound(begin + bytes));
}

}  // namespace emoframe
