// Points where the backend can read them, a chunk at a time: in the host's memory if that will do, else all of them
// uploaded when they fit a limit, else sent again at every visit. Chunk bounds depend on the number of points alone, so
// results do not depend on which.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "../backend.h"

namespace emoframe {

class DeviceMemory {
 public:
  DeviceMemory(Memory &memory, size_t bytes) : memory_(memory), data_(memory.allocate(std::max<size_t>(bytes, 1))) {}
  ~DeviceMemory() { memory_.release(data_); }
  DeviceMemory(const DeviceMemory &) = delete;
  DeviceMemory &operator=(const DeviceMemory &) = delete;
  void *get() const { return data_; }

 private:
  Memory &memory_;
  void *data_;
};

class Points {
 public:
  static constexpr int64_t kChunkRows = 65536;

  Points(Backend &backend, const float *host, int64_t count, int64_t dimension)
      : backend_(backend),
        host_(host),
        count_(count),
        dimension_(dimension),
        resident_(static_cast<const float *>(backend.readable(host))) {
    if (resident_) return;
    const bool all = count * dimension * 4 <= kResidentBytes;
    memory_ = std::make_unique<DeviceMemory>(
        backend, static_cast<size_t>((all ? count : std::min(count, kChunkRows)) * dimension) * 4);
    if (!all) return;
    backend.upload(memory_->get(), host, static_cast<size_t>(count * dimension) * 4);
    resident_ = static_cast<const float *>(memory_->get());
  }

  int64_t count() const { return count_; }
  int64_t dimension() const { return dimension_; }
  const float *row(int64_t i) const { return host_ + i * dimension_; }

  // visit(first row, view [n, C])
  template <typename Visit>
  void forEachChunk(const Visit &visit) {
    for (int64_t first = 0; first < count_; first += kChunkRows) {
      const int64_t rows = std::min(kChunkRows, count_ - first);
      const float *data = resident_ ? resident_ + first * dimension_ : static_cast<const float *>(memory_->get());
      if (!resident_) backend_.upload(memory_->get(), row(first), static_cast<size_t>(rows * dimension_) * 4);
      // Views do not say what is only read; nothing writes to points.
      visit(first, matrix(const_cast<float *>(data), DType::f32, rows, dimension_));
    }
  }

 private:
  static constexpr int64_t kResidentBytes = int64_t{8} << 30;

  Backend &backend_;
  const float *host_;
  int64_t count_, dimension_;
  const float *resident_;  // all points, in memory that the backend reads; or null
  std::unique_ptr<DeviceMemory> memory_;
};

}  // namespace emoframe
