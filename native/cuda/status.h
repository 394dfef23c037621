// CUDA's error codes as Errors. A fault in a kernel is sticky: each later call on the device gives it again, so each
// later op says so; nothing aborts.
#pragma once

#include <cuda_runtime.h>

#include <string>

namespace emoframe {

// "cudaMemcpyAsync: cudaErrorUnknown: unknown error". Of the call its name, or all of it as it is in the source.
std::string describe(cudaError_t status, const char *call);
// ERR_OUT_OF_MEMORY, ERR_DEVICE, ERR_DEVICE_DRIVER, or else ERR_DEVICE_FAULT; its text has the description.
[[noreturn]] void throwStatus(cudaError_t status, const char *call);
inline void check(cudaError_t status, const char *call) {
  if (status != cudaSuccess) throwStatus(status, call);
}
// A call of the runtime that is to succeed. A macro, because what is asked for names itself in the error.
#define CHECK_CUDA(call) ::emoframe::check((call), #call)

}  // namespace emoframe
