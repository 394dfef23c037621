// The account of a device's memory: what is held of it, the most that was, and how much may be.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "error.h"

namespace emoframe {

// For messages.
inline std::string megabytes(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MB"; }

class MemoryAccount {
 public:
  explicit MemoryAccount(size_t limit = 0) : limit_(limit > 0 ? limit : SIZE_MAX) {}

  size_t held() const { return held_; }
  size_t peak() const { return peak_; }
  bool limited() const { return limit_ != SIZE_MAX; }
  size_t left() const { return limit_ - std::min(limit_, held_); }
  // ERR_OUT_OF_MEMORY where the limit leaves less.
  void require(size_t bytes) const {
    if (bytes <= left()) return;
    throw Error("ERR_OUT_OF_MEMORY", "The memory limit of this engine is too small: " + megabytes(bytes) +
                                         " more needed, " + megabytes(left()) + " of " + megabytes(limit_) +
                                         " left. Use a smaller batch or model, or raise memoryLimit.");
  }
  void take(size_t bytes) {
    held_ += bytes;
    peak_ = std::max(peak_, held_);
  }
  void giveBack(size_t bytes) { held_ -= bytes; }

 private:
  size_t limit_, held_ = 0, peak_ = 0;
};

// Memory that is not there: addresses as a device gives them, which nobody may touch, and the account of them.
class ImaginaryMemory {
 public:
  void *take(size_t bytes) {
    const uintptr_t at = next_;
    next_ += (bytes + alignment) / alignment * alignment;
    blocks_[at] = bytes;
    account_.take(bytes);
    return reinterpret_cast<void *>(at);
  }
  void giveBack(void *pointer) noexcept {
    const auto found = blocks_.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == blocks_.end()) return;
    account_.giveBack(found->second);
    blocks_.erase(found);
  }
  const MemoryAccount &account() const { return account_; }

 private:
  static constexpr uintptr_t alignment = 512;
  uintptr_t next_ = alignment;
  std::map<uintptr_t, size_t> blocks_;
  MemoryAccount account_;
};

}  // namespace emoframe
