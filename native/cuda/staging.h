// What uploads in the order of ops pass through, so that they need not wait for the device.
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
    try {
      for (Block &block : blocks_) {
        check(cudaMallocHost(&block.memory, blockBytes));
        check(cudaEventCreateWithFlags(&block.sent, cudaEventDisableTiming));
      }
    } catch (...) {
      free();
      throw;
    }
  }
  ~Staging() { free(); }
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
  void free() noexcept {
    for (Block &block : blocks_) {
      if (block.sent) cudaEventDestroy(block.sent);
      if (block.memory) cudaFreeHost(block.memory);
    }
  }

  Block blocks_[2];
  int next_ = 0;
};

}  // namespace emoframe
