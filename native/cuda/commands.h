// Kernels in order, with copies of their arguments: what a step asks for, before it is done.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace emoframe {

// A kernel, how it is launched, and the values of its parameters.
struct Launch {
  const void *function;
  dim3 grid, block;
  size_t sharedBytes;
  void **arguments;       // [count], addresses
  const uint16_t *sizes;  // [count], bytes
  size_t count;
};

class Commands {
 public:
  void add(const Launch &launch);
  void clear();
  size_t size() const { return commands_.size(); }

  cudaKernelNodeParams kernel(size_t i);             // good until the next call
  bool same(size_t i, const Commands &other) const;  // in all that it would do
  // The same kernels in the same order, whatever their arguments.
  bool alike(const Commands &other) const;
  uint64_t likeness() const;  // equal where they are alike

 private:
  struct Command {
    const void *function;
    dim3 grid, block;
    size_t sharedBytes;
    size_t first, count;  // arguments in offsets_
    size_t begin, end;    // their bytes
  };
  std::vector<Command> commands_;
  std::vector<size_t> offsets_;
  std::vector<unsigned char> bytes_;
  std::vector<void *> addresses_;
};

}  // namespace emoframe
