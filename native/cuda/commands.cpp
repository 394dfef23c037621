#include "commands.h"

#include <cstring>

namespace emoframe {

namespace {

constexpr size_t alignment = 16;  // of an argument

bool equal(const dim3 &a, const dim3 &b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

}  // namespace

void Commands::add(const Launch &launch) {
  const size_t begin = bytes_.size(), first = offsets_.size();
  for (size_t i = 0; i < launch.count; ++i) {
    const size_t at = bytes_.size();
    offsets_.push_back(at);
    bytes_.resize(at + (launch.sizes[i] + alignment - 1) / alignment * alignment);
    std::memcpy(bytes_.data() + at, launch.arguments[i], launch.sizes[i]);
  }
  commands_.push_back(
      {launch.function, launch.grid, launch.block, launch.sharedBytes, first, launch.count, begin, bytes_.size()});
}

void Commands::clear() {
  commands_.clear();
  offsets_.clear();
  bytes_.clear();
}

cudaKernelNodeParams Commands::kernel(size_t i) {
  const Command &its = commands_[i];
  addresses_.clear();
  for (size_t k = 0; k < its.count; ++k) addresses_.push_back(bytes_.data() + offsets_[its.first + k]);
  addresses_.push_back(nullptr);
  return {const_cast<void *>(its.function),       its.grid,          its.block,
          static_cast<unsigned>(its.sharedBytes), addresses_.data(), nullptr};
}

// Arguments are compared with the gaps inside of structs: what lies there may differ for nothing, but never the other
// way round.
bool Commands::same(size_t i, const Commands &other) const {
  const Command &a = commands_[i], &b = other.commands_[i];
  return a.function == b.function && equal(a.grid, b.grid) && equal(a.block, b.block) &&
         a.sharedBytes == b.sharedBytes && a.end - a.begin == b.end - b.begin &&
         std::memcmp(bytes_.data() + a.begin, other.bytes_.data() + b.begin, a.end - a.begin) == 0;
}

bool Commands::alike(const Commands &other) const {
  if (commands_.size() != other.commands_.size()) return false;
  for (size_t i = 0; i < commands_.size(); ++i) {
    if (commands_[i].function != other.commands_[i].function) return false;
  }
  return true;
}

uint64_t Commands::likeness() const {
  uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a, a word at a time
  for (const Command &command : commands_) {
    hash = (hash ^ reinterpret_cast<uintptr_t>(command.function)) * 0x100000001B3u;
  }
  return hash;
}

}  // namespace emoframe
