// What the parts of Hopper's instructions share on the host: layouts as
// native/cuda/hopper.cuh states them, and tensor maps.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <vector>

#include "probe.h"

namespace probe {

// Where a byte of a tile that starts at a multiple of 1024 bytes lies in the 128-byte swizzle.
inline uint32_t swizzled(uint32_t offset) { return offset ^ (offset >> 7 & 7) << 4; }
// Element (row of M or N, k) of a K-major tile of `rows` rows, and of an MN-major one of `depth` k, of bf16.
inline uint32_t offsetKMajor(int row, int k, int rows, int size) {
  const int perRow = 128 / size;
  return swizzled(static_cast<uint32_t>((k / perRow * rows + row) * 128 + k % perRow * size));
}
inline uint32_t offsetMnMajor(int row, int k, int depth) {
  return swizzled(static_cast<uint32_t>((row / 64 * depth + k) * 128 + row % 64 * 2));
}

// The innermost dimension first; strides, in bytes, are those of the others.
struct Tensor {
  CUtensorMapDataType type;
  void *memory;
  std::vector<cuuint64_t> sizes, strides;
  std::vector<cuuint32_t> box;
  bool swizzle = false;
};
// Throws std::runtime_error if the driver refuses it.
CUtensorMap encode(const Tensor &tensor);

}  // namespace probe
