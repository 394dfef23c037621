// Kernels in order, with copies of their arguments: what a step asks for, before it is done.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace emoframe {

// How the values of a kernel's parameters are kept: each aligned as its type asks,
// up to 64 bytes (a tensor map of TMA).
struct ParameterLayout {
  static constexpr size_t alignment = 64;  // of them all

  const uint16_t *offsets, *sizes;  // [count], bytes
  size_t count;
  size_t bytes;  // of all, a multiple of the alignment
};

// A kernel, how it is launched, and the values of its parameters.
struct Launch {
  const void *function;
  dim3 grid, block;
  size_t sharedBytes;
  void **arguments;  // addresses, as many as the layout has
  const ParameterLayout *layout;
};

class Commands {
 public:
  void add(const Launch &launch);
  void clear();
  size_t size() const { return commands_.size(); }

  cudaKernelNodeParams kernel(size_t i);                       // good until the next call
  bool same(size_t i, const Commands &other, size_t j) const;  // as that one's `j`, in all that it would do
  const std::vector<const void *> &functions() const { return functions_; }

 private:
  struct Command {
    dim3 grid, block;
    size_t sharedBytes;
    const ParameterLayout *layout;
    size_t begin;  // of its values, in blocks
  };
  struct alignas(ParameterLayout::alignment) Block {
    unsigned char bytes[ParameterLayout::alignment];
  };
  std::vector<Command> commands_;
  std::vector<const void *> functions_;
  std::vector<Block> blocks_;
  std::vector<void *> addresses_;
};

}  // namespace emoframe
