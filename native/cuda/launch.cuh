// How a kernel is launched, on a GPU and on the emulation: launch(kernel, grid, block, sharedBytes, stream,
// arguments...). Arguments are converted to the kernel's parameters and copied; all that a kernel needs beside device
// memory (small tables too, up to 4 KB) goes that way. An empty grid launches nothing. What fails becomes an Error (see
// status.h).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "stream.h"

namespace emoframe {

template <typename T>
struct Given {  // keeps a parameter's type from being deduced from the argument
  using type = T;
};

template <typename... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes, Stream &stream,
            typename Given<Parameters>::type... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || stream.goesNowhere()) return;
#ifdef EMOFRAME_SIMT
  simt::know(kernel);
#endif
  static_assert(((alignof(Parameters) <= 16) && ...), "copies of arguments are aligned to 16 bytes");
  static constexpr uint16_t sizes[] = {sizeof(Parameters)..., 0};
  void *addresses[] = {&arguments..., nullptr};
  stream.launch(
      {reinterpret_cast<const void *>(kernel), grid, block, sharedBytes, addresses, sizes, sizeof...(Parameters)});
}

// ceil(count / size) as a grid's extent.
inline uint32_t blocksFor(int64_t count, int64_t size) { return static_cast<uint32_t>((count + size - 1) / size); }

}  // namespace emoframe
