#include "commands.h"

#include <cstring>

namespace emoframe {

namespace {

bool equal(const dim3 &a, const dim3 &b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

}  // namespace

void Commands::add(const Launch &launch) {
  const ParameterLayout &layout = *launch.layout;
  const size_t begin = blocks_.size();
  blocks_.resize(begin + layout.bytes / sizeof(Block));  // zeros, between arguments too
  auto *values = reinterpret_cast<unsigned char *>(blocks_.data() + begin);
  for (size_t i = 0; i < layout.count; ++i)
    std::memcpy(values + layout.offsets[i], launch.arguments[i], layout.sizes[i]);
  commands_.push_back({launch.grid, launch.block, launch.sharedBytes, &layout, begin});
  functions_.push_back(launch.function);
}

void Commands::clear() {
  commands_.clear();
  functions_.clear();
  blocks_.clear();
}

cudaKernelNodeParams Commands::kernel(size_t i) {
  const Command &its = commands_[i];
  auto *values = reinterpret_cast<unsigned char *>(blocks_.data() + its.begin);
  addresses_.clear();
  for (size_t k = 0; k < its.layout->count; ++k) addresses_.push_back(values + its.layout->offsets[k]);
  addresses_.push_back(nullptr);
  return {const_cast<void *>(functions_[i]),      its.grid,          its.block,
          static_cast<unsigned>(its.sharedBytes), addresses_.data(), nullptr};
}

// Arguments are compared with the gaps inside of structs: what lies there may differ for
// nothing, but never the other way round.
bool Commands::same(size_t i, const Commands &other, size_t j) const {
  const Command &a = commands_[i], &b = other.commands_[j];
  return functions_[i] == other.functions_[j] && equal(a.grid, b.grid) && equal(a.block, b.block) &&
         a.sharedBytes == b.sharedBytes &&
         std::memcmp(blocks_.data() + a.begin, other.blocks_.data() + b.begin, a.layout->bytes) == 0;
}

}  // namespace emoframe
