// How a kernel is launched, on a GPU and on the emulation: launch(kernel, grid, block, sharedBytes, stream,
// arguments...). Arguments are converted to the kernel's parameters and copied; all that a kernel needs beside device
// memory (small tables too, up to 4 KB) goes that way, so that a captured graph can be replayed. An empty grid launches
// nothing. What fails becomes an Error (see status.h).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <tuple>

#include "status.h"

namespace emoframe {

template <typename T>
struct Given {  // keeps a parameter's type from being deduced from the argument
  using type = T;
};

template <typename... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes, cudaStream_t stream,
            typename Given<Parameters>::type... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#ifdef EMOFRAME_SIMT
  check(simt::launch(new simt::KernelCall<Parameters...>(kernel, std::tuple<Parameters...>(arguments...)), grid, block,
                     sharedBytes, stream));
#else
  const auto *function = reinterpret_cast<const void *>(kernel);
  constexpr size_t withoutAsking = 48 * 1024;
  if (sharedBytes > withoutAsking) {
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(sharedBytes)));
  }
  void *pointers[] = {&arguments..., nullptr};
  check(cudaLaunchKernel(function, grid, block, pointers, sharedBytes, stream));
#endif
}

// ceil(count / size) as a grid's extent.
inline uint32_t blocksFor(int64_t count, int64_t size) { return static_cast<uint32_t>((count + size - 1) / size); }

}  // namespace emoframe
