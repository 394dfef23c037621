// The device that the probe runs on: the first one.
#include <cuda_runtime.h>

#include "workers.h"

namespace probe {

Device takeDevice() {
  Device device;
  int count = 0;
  cudaDriverGetVersion(&device.driver);
  cudaRuntimeGetVersion(&device.runtime);
  if (device.driver == 0) {
    device.problem = "this machine has no NVIDIA driver";
    return device;
  }
  cudaDeviceProp properties;
  cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) status = cudaSetDevice(0);
  if (status == cudaSuccess) status = cudaFree(nullptr);  // makes the context
  if (status == cudaSuccess) status = cudaGetDeviceProperties(&properties, 0);
  if (status != cudaSuccess) {
    device.problem = std::string("the driver gives none: ") + cudaGetErrorString(status);
    return device;
  }
  device.name = properties.name;
  device.major = properties.major;
  device.minor = properties.minor;
  device.multiprocessors = properties.multiProcessorCount;
  return device;
}

}  // namespace probe
