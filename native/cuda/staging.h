// What uploads in the order of ops pass through, so that they need not wait for the device.
#pragma once

#include <algorithm>
#include <cstring>

#include "pinned.h"

namespace emoframe {

// Two blocks of pinned memory that take turns: while one is on its way to the device, the other is filled.
class Staging {
 public:
  static constexpr size_t blockBytes = size_t(4) << 20, totalBytes = 2 * blockBytes;

  void send(void *target, const void *source, size_t bytes, cudaStream_t stream) {
    for (size_t at = 0; at < bytes; at += blockBytes) {
      PinnedMemory &block = blocks_[next_];
      next_ = 1 - next_;
      const size_t part = std::min(blockBytes, bytes - at);
      block.wait();
      std::memcpy(block.bytes(), static_cast<const char *>(source) + at, part);
      block.send(static_cast<char *>(target) + at, 0, part, stream);
      block.sent(stream);
    }
  }

 private:
  PinnedMemory blocks_[2] = {PinnedMemory(blockBytes), PinnedMemory(blockBytes)};
  int next_ = 0;
};

}  // namespace emoframe
