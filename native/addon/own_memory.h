// Memory that the addon made and JavaScript has in typed arrays: large results and largeFloats. Work that uses some
// holds the memory itself, which then stays as long as the work, whatever becomes of its array: detaching or collecting
// that frees nothing that is held.
#pragma once

#include <cstddef>
#include <map>
#include <memory>

namespace emoframe::addon {

class OwnMemory {
 public:
  void add(const std::shared_ptr<void> &memory, size_t bytes) {
    blocks_[static_cast<const char *>(memory.get())] = {bytes, memory};
  }
  void forget(const void *memory) { blocks_.erase(static_cast<const char *>(memory)); }
  // The block that all of these bytes lie in; null: they are not, or no longer, the addon's.
  std::shared_ptr<void> find(const void *begin, size_t bytes) const {
    const auto first = static_cast<const char *>(begin);
    auto found = blocks_.upper_bound(first);
    if (found == blocks_.begin()) return nullptr;
    --found;
    const auto before = static_cast<size_t>(first - found->first);
    if (before > found->second.bytes || bytes > found->second.bytes - before) return nullptr;
    return found->second.memory.lock();
  }

 private:
  struct Block {
    size_t bytes;
    std::weak_ptr<void> memory;
  };
  std::map<const char *, Block> blocks_;  // by address
};

}  // namespace emoframe::addon
