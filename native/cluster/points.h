// Points in backend memory, a chunk at a time: all of them when they fit a limit, else sent again at every visit. Chunk
// bounds depend on the number of points alone, so results do not depend on which.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../ops.h"

namespace emoframe {

class DeviceMemory {
 public:
  DeviceMemory(Backend &backend, size_t bytes)
      : backend_(backend), data_(backend.allocate(std::max<size_t>(bytes, 1))) {}
  ~DeviceMemory() { backend_.release(data_); }
  DeviceMemory(const DeviceMemory &) = delete;
  DeviceMemory &operator=(const DeviceMemory &) = delete;
  void *get() const { return data_; }

 private:
  Backend &backend_;
  void *data_;
};

class Points {
 public:
  static constexpr int64_t kChunkRows = 16384;

  Points(Backend &backend, const float *host, int64_t count, int64_t dimension)
      : backend_(backend),
        host_(host),
        count_(count),
        dimension_(dimension),
        resident_(count * dimension * 4 <= kResidentBytes),
        memory_(backend, static_cast<size_t>((resident_ ? count : std::min(count, kChunkRows)) * dimension) * 4) {
    if (resident_) backend.upload(memory_.get(), host, static_cast<size_t>(count * dimension) * 4);
  }

  int64_t count() const { return count_; }
  int64_t dimension() const { return dimension_; }
  const float *row(int64_t i) const { return host_ + i * dimension_; }

  // visit(first row, view [n, C])
  template <typename Visit>
  void forEachChunk(const Visit &visit) {
    auto *data = static_cast<float *>(memory_.get());
    for (int64_t first = 0; first < count_; first += kChunkRows) {
      const int64_t rows = std::min(kChunkRows, count_ - first);
      if (!resident_) backend_.upload(data, row(first), static_cast<size_t>(rows * dimension_) * 4);
      visit(first, matrix(resident_ ? data + first * dimension_ : data, DType::f32, rows, dimension_));
    }
  }

 private:
  static constexpr int64_t kResidentBytes = int64_t{8} << 30;

  Backend &backend_;
  const float *host_;
  int64_t count_, dimension_;
  bool resident_;
  DeviceMemory memory_;
};

}  // namespace emoframe
