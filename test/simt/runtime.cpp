#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "cuda_runtime.h"
#include "memory.h"

struct SimtStream {};
struct SimtEvent {};
struct SimtPool {};

namespace {

std::string fault;  // the report; empty: none

cudaError_t now() { return fault.empty() ? cudaSuccess : cudaErrorLaunchFailure; }

cudaError_t fail(const std::string &report) {
  fault = report;
  return cudaErrorLaunchFailure;
}

std::map<const void *, simt::MakeCall> &knownKernels() {
  static std::map<const void *, simt::MakeCall> all;
  return all;
}

cudaError_t checkRange(const void *address, size_t bytes, const char *what) {
  std::string why;
  if (simt::liesInGlobal(address, bytes, &why)) return cudaSuccess;
  return fail(std::string(what) + " of " + std::to_string(bytes) + " bytes at " + simt::describe(address) + ": " + why);
}

cudaError_t copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0) return cudaSuccess;
  if (kind != cudaMemcpyHostToDevice) {
    if (cudaError_t error = checkRange(from, bytes, "A copy")) return error;
  }
  if (kind != cudaMemcpyDeviceToHost) {
    if (cudaError_t error = checkRange(to, bytes, "A copy")) return error;
  }
  std::memmove(to, from, bytes);
  if (kind == cudaMemcpyHostToDevice) simt::markGlobal(to, bytes, simt::written);
  if (kind == cudaMemcpyDeviceToDevice) simt::copyMarks(to, from, bytes);
  return cudaSuccess;
}

}  // namespace

namespace simt {

void clearFault() { fault.clear(); }
Machine &machine() {
  static Machine one;
  return one;
}
void limitMemory(const void *begin, size_t bytes) { limitGlobal(begin, bytes); }

void know(const void *function, MakeCall make) { knownKernels()[function] = make; }

}  // namespace simt

cudaError_t cudaDriverGetVersion(int *version) {
  *version = simt::machine().driverVersion;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count) {
  *count = 0;
  if (simt::machine().driverVersion < 13000) return cudaErrorInsufficientDriver;
  if (simt::machine().devices == 0) return cudaErrorNoDevice;
  *count = simt::machine().devices;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device < simt::machine().devices ? now() : cudaErrorInvalidDevice; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  if (device >= simt::machine().devices) return cudaErrorInvalidDevice;
  *properties = {};
  std::strcpy(properties->name, "emulation");
  properties->totalGlobalMem = simt::settings().memoryBytes;
  properties->sharedMemPerBlockOptin = 227 * 1024;
  properties->major = simt::machine().major;
  properties->minor = simt::machine().minor;
  properties->multiProcessorCount = 4;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int) {
  *value = 1;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  *total = simt::settings().memoryBytes;
  *free = *total - std::min(*total, simt::globalBytesHeld());
  return now();
}
const char *cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInsufficientDriver:
      return "the driver is too old";
    case cudaErrorNoDevice:
      return "no device";
    case cudaErrorInvalidDevice:
      return "no such device";
    case cudaErrorLaunchFailure:
      return fault.c_str();
    default:
      return "a value that the call does not take";
  }
}
const char *cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorLaunchFailure ? "cudaErrorLaunchFailure" : "another error";
}
cudaError_t cudaGetLastError() { return now(); }

cudaError_t cudaMalloc(void **pointer, size_t bytes) {
  if (now() != cudaSuccess) return now();
  *pointer = simt::allocateGlobal(bytes);
  return *pointer ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *pointer) {
  if (!pointer || simt::freeGlobal(pointer)) return now();
  return fail("A release of " + simt::describe(pointer) + ", where no live allocation starts");
}
cudaError_t cudaMallocHost(void **pointer, size_t bytes) {
  *pointer = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  return *pointer ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void *pointer) {
  std::free(pointer);
  return cudaSuccess;
}
cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const cudaMemPoolProps *) {
  *pool = new SimtPool;
  return now();
}
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  delete pool;
  return now();
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *) { return now(); }
// The pool keeps nothing of what was released.
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *value) {
  *static_cast<uint64_t *>(value) = simt::globalBytesHeld();
  return now();
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return now(); }
cudaError_t cudaMallocFromPoolAsync(void **pointer, size_t bytes, cudaMemPool_t, cudaStream_t) {
  return cudaMalloc(pointer, bytes);
}
cudaError_t cudaFreeAsync(void *pointer, cudaStream_t) { return cudaFree(pointer); }
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  return now() == cudaSuccess ? copy(to, from, bytes, kind) : now();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  *stream = new SimtStream;
  return now();
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return now();
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return now(); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return now(); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  *event = new SimtEvent;
  return now();
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return now();
}
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return now(); }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return now(); }

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute, int) {
  return knownKernels().count(function) > 0 ? now() : cudaErrorInvalidValue;
}
cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t sharedBytes,
                             cudaStream_t) {
  if (now() != cudaSuccess) return now();
  const auto known = knownKernels().find(function);
  if (known == knownKernels().end()) return cudaErrorInvalidValue;
  const std::unique_ptr<const simt::Call> call(known->second(function, arguments));
  std::string report;
  return simt::execute(*call, grid, block, sharedBytes, &report) ? cudaSuccess : fail(report);
}
