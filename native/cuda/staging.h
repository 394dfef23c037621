// What uploads pass through, so that they need not wait for the device.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>

#include "status.h"

namespace emoframe {

// Two blocks of pinned memory that take turns: while one is on its way to the device, the other is filled.
class Staging {
 public:
  static constexpr size_t blockBytes = size_t(4) << 20, totalBytes = 2 * blockBytes;

  Staging() {
    for (Block &block : blocks_) {
      check(cudaMallocHost(&block.memory, blockBytes));
      check(cudaEventCreateWithFlags(&block.sent, cudaEventDisableTiming));
    }
  }
  ~Staging() {
    for (Block &block : blocks_) {
      if (block.sent) cudaEventDestroy(block.sent);
      if (block.memory) cudaFreeHost(block.memory);
    }
  }
  void send(void *target, const void *source, size_t bytes, cudaStream_t stream) {
    for (size_t at = 0; at < bytes; at += blockBytes) {
      Block &block = blocks_[next_];
      next_ = 1 - next_;
      const size_t part = std::min(blockBytes, bytes - at);
      check(cudaEventSynchronize(block.sent));
      std::memcpy(block.memory, static_cast<const char *>(source) + at, part);
      check(cudaMemcpyAsync(static_cast<char *>(target) + at, block.memory, part, cudaMemcpyHostToDevice, stream));
      check(cudaEventRecord(block.sent, stream));
    }
  }

 private:
  struct Block {
    void *memory = nullptr;
    cudaEvent_t sent = nullptr;
  };
  Block blocks_[2];
  int next_ = 0;
};

// One block for all that a step uploads, since its graph reads it when it is launched: it is filled anew when the
// device has read what was in it.
class StepStaging {
 public:
  StepStaging() = default;
  ~StepStaging() {
    if (sent_) cudaEventDestroy(sent_);
    if (memory_) cudaFreeHost(memory_);
  }
  StepStaging(const StepStaging &) = delete;
  StepStaging &operator=(const StepStaging &) = delete;

  const unsigned char *memory() const { return memory_; }
  size_t bytes() const { return capacity_; }
  void begin() {
    waitUntilRead();
    used_ = 0;
  }
  // Where in memory() the bytes lie from now on.
  size_t add(const void *source, size_t bytes) {
    const size_t at = used_;
    if (at + bytes > capacity_) grow(at + bytes);
    std::memcpy(memory_ + at, source, bytes);
    used_ = at + rounded(bytes);
    return at;
  }
  // The same for a backend that only counts.
  size_t count(size_t bytes) {
    const size_t at = used_;
    used_ = at + rounded(bytes);
    capacity_ = std::max(capacity_, used_);
    return at;
  }
  // The device is to read what was added, by what was put on the stream so far.
  void sent(cudaStream_t stream) {
    if (used_ == 0) return;
    if (!sent_) check(cudaEventCreateWithFlags(&sent_, cudaEventDisableTiming));
    check(cudaEventRecord(sent_, stream));
    reading_ = true;
  }

 private:
  static size_t rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }
  void waitUntilRead() {
    if (reading_) check(cudaEventSynchronize(sent_));
    reading_ = false;
  }
  void grow(size_t bytes) {
    waitUntilRead();
    unsigned char *larger = nullptr;
    const size_t size = std::max(rounded(bytes), 2 * capacity_);
    check(cudaMallocHost(reinterpret_cast<void **>(&larger), size));
    if (memory_) {
      std::memcpy(larger, memory_, used_);
      cudaFreeHost(memory_);
    }
    memory_ = larger;
    capacity_ = size;
  }

  unsigned char *memory_ = nullptr;
  size_t capacity_ = 0, used_ = 0;
  cudaEvent_t sent_ = nullptr;
  bool reading_ = false;
};

}  // namespace emoframe
