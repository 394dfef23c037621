// CUDA's error codes as Errors. A fault in a kernel is sticky: each later call on the device gives it again, so each
// later op says so; nothing aborts.
#pragma once

#include <cuda_runtime.h>

namespace emoframe {

// ERR_OUT_OF_MEMORY, ERR_DEVICE, ERR_DEVICE_DRIVER, or else ERR_DEVICE_FAULT.
[[noreturn]] void throwStatus(cudaError_t status);
inline void check(cudaError_t status) {
  if (status != cudaSuccess) throwStatus(status);
}

}  // namespace emoframe
