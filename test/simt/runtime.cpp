#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "memory.h"

struct SimtGraph {
  std::vector<std::function<cudaError_t()>> steps;
};
struct SimtStream {
  std::unique_ptr<SimtGraph> capture;
};
struct SimtEvent {};
struct SimtPool {};

namespace {

std::string fault;  // the report; empty: none

cudaError_t now() { return fault.empty() ? cudaSuccess : cudaErrorLaunchFailure; }

// Does a step, or records it.
cudaError_t doOrRecord(cudaStream_t stream, std::function<cudaError_t()> step) {
  if (now() != cudaSuccess) return now();
  if (!stream || !stream->capture) return step();
  stream->capture->steps.push_back(std::move(step));
  return cudaSuccess;
}

cudaError_t fail(const std::string &report) {
  fault = report;
  return cudaErrorLaunchFailure;
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

cudaError_t launch(const Call *given, dim3 grid, dim3 block, size_t sharedBytes, cudaStream_t stream) {
  const std::shared_ptr<const Call> call(given);
  return doOrRecord(stream, [=] {
    std::string report;
    return execute(*call, grid, block, sharedBytes, &report) ? cudaSuccess : fail(report);
  });
}

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
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return now(); }
cudaError_t cudaMallocFromPoolAsync(void **pointer, size_t bytes, cudaMemPool_t, cudaStream_t) {
  return cudaMalloc(pointer, bytes);
}
cudaError_t cudaFreeAsync(void *pointer, cudaStream_t) { return cudaFree(pointer); }
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return doOrRecord(stream, [=] { return copy(to, from, bytes, kind); });
}
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  return doOrRecord(stream, [=] {
    if (bytes == 0) return cudaSuccess;
    if (cudaError_t error = checkRange(to, bytes, "A fill")) return error;
    std::memset(to, value, bytes);
    simt::markGlobal(to, bytes, simt::written);
    return cudaSuccess;
  });
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

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->capture = std::make_unique<SimtGraph>();
  return now();
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  if (!stream->capture) return cudaErrorInvalidValue;
  *graph = stream->capture.release();
  return now();
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
  *status = stream->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return now();
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
  *executable = new SimtGraph(*graph);
  return now();
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  for (const auto &step : executable->steps) {
    if (cudaError_t error = step()) return error;
  }
  return now();
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
