// How a kernel is launched, on a GPU and on the emulation: launch(kernel, grid, block, sharedBytes,
// stream, arguments...). Arguments are converted to the kernel's parameters and copied; all that a kernel
// needs beside device memory (small tables too, up to 4 KB) goes that way. An empty grid launches
// nothing. What fails becomes an Error (see status.h).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "stream.h"

namespace emoframe {

template <typename... Parameters>
struct ParameterOffsets {
  static_assert(((alignof(Parameters) <= ParameterLayout::alignment) && ...), "copies of arguments are aligned so far");
  static_assert(((sizeof(Parameters) <= 4096) && ...), "more would have to lie in the device's memory");

  uint16_t offsets[sizeof...(Parameters) + 1] = {}, sizes[sizeof...(Parameters) + 1] = {sizeof(Parameters)..., 0};
  size_t bytes = 0;

  constexpr ParameterOffsets() {
    constexpr size_t alignments[] = {alignof(Parameters)..., ParameterLayout::alignment};
    for (size_t i = 0; i <= sizeof...(Parameters); ++i) {
      bytes = (bytes + alignments[i] - 1) / alignments[i] * alignments[i];
      offsets[i] = static_cast<uint16_t>(bytes);
      bytes += sizes[i];
    }
  }
};
template <typename... Parameters>
const ParameterLayout &layoutOf() {
  static constexpr ParameterOffsets<Parameters...> its;
  static constexpr ParameterLayout layout = {its.offsets, its.sizes, sizeof...(Parameters), its.bytes};
  return layout;
}

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
  void *addresses[] = {&arguments..., nullptr};
  stream.launch(
      {reinterpret_cast<const void *>(kernel), grid, block, sharedBytes, addresses, &layoutOf<Parameters...>()});
}

// ceil(count / size) as a grid's extent.
inline uint32_t blocksFor(int64_t count, int64_t size) { return static_cast<uint32_t>((count + size - 1) / size); }

}  // namespace emoframe
