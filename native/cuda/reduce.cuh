// Reductions with a fixed tree, so that results do not depend on timing.
#pragma once

#include <cuda_runtime.h>

#include "ptx.cuh"

namespace emoframe {

// Over the lanes of a warp (or each group of `width` lanes); every lane gets the result.
template <typename T>
__device__ inline T warpSum(T value, int width = 32) {
  for (int step = width / 2; step > 0; step /= 2) value += shuffleXor(value, step, width);
  return value;
}
template <typename T>
__device__ inline T warpMax(T value, int width = 32) {
  for (int step = width / 2; step > 0; step /= 2) {
    const T other = shuffleXor(value, step, width);
    value = value > other ? value : other;
  }
  return value;
}

// Over a block of whole warps; thread 0 gets the sum, the others a part of it. `partials`: shared memory for one T a
// warp, free for other use after the next barrier.
template <typename T>
__device__ inline T blockSum(T value, T *partials) {
  const int thread = static_cast<int>(threadIdx.x), warps = static_cast<int>(blockDim.x / 32);
  value = warpSum(value);
  if (thread % 32 == 0) partials[thread / 32] = value;
  __syncthreads();
  T total = 0;
  if (thread == 0) {
    for (int warp = 0; warp < warps; ++warp) total += partials[warp];
  }
  return total;
}

}  // namespace emoframe
