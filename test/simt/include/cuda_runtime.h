// The part of the CUDA runtime that native/cuda uses, on the emulation (../simt.h): found in place of NVIDIA's header
// when the kernels' own sources are compiled as host C++.
//
// A stream does in order what it is asked for: at once, or as late as events and waits allow where the settings say so
// (simt::Late). So what two streams leave to chance comes out one way or the other. After a fault every call gives its
// error, as on a GPU; cudaGetErrorString then gives the emulation's report.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../simt.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

// --- seen from a kernel --------------------------------------------------------------------------
#define threadIdx (simt::threadIndex())
#define blockIdx (simt::blockIndex())
#define blockDim (simt::blockSize())
#define gridDim (simt::gridSize())

inline void __syncthreads(const char *file = __builtin_FILE(), int line = __builtin_LINE()) {
  simt::barrier(file, line);
}
inline void __syncwarp(uint32_t mask = 0xFFFFFFFFu) { simt::warpBarrier(mask); }

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(16) int4 {
  int32_t x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

struct dim3 : simt::Triple {
  dim3(uint32_t itsX = 1, uint32_t itsY = 1, uint32_t itsZ = 1) : simt::Triple{itsX, itsY, itsZ} {}
};

// --- the runtime ---------------------------------------------------------------------------------
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInitializationError = 3,
  cudaErrorInsufficientDriver = 35,
  cudaErrorDevicesUnavailable = 46,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorUnsupportedPtxVersion = 222,
  cudaErrorSystemNotReady = 802,
  cudaErrorSystemDriverMismatch = 803,
  cudaErrorCompatNotSupportedOnDevice = 804,
  cudaErrorLaunchFailure = 719,
  cudaErrorGraphExecUpdateFailure = 910,
  cudaErrorUnknown = 999,
};
struct SimtStream;
struct SimtEvent;
struct SimtPool;
struct SimtNode;
struct SimtGraph;
struct SimtGraphExec;
using cudaStream_t = SimtStream *;
using cudaEvent_t = SimtEvent *;
using cudaMemPool_t = SimtPool *;
using cudaGraphNode_t = SimtNode *;
using cudaGraph_t = SimtGraph *;
using cudaGraphExec_t = SimtGraphExec *;

struct cudaKernelNodeParams {
  void *func;
  dim3 grid, block;  // gridDim and blockDim, which are macros here: the members are known by their order
  unsigned sharedMemBytes;
  void **kernelParams;
  void **extra;
};

struct cudaFuncAttributes {
  size_t sharedSizeBytes;  // that is not dynamic
  int numRegs;
};
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  size_t sharedMemPerBlockOptin;
  int major, minor, multiProcessorCount;
};
enum cudaDeviceAttr { cudaDevAttrClockRate = 13, cudaDevAttrMemoryPoolsSupported = 115 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaMemLocationType { cudaMemLocationTypeDevice = 1 };
enum cudaMemAllocationType { cudaMemAllocationTypePinned = 1 };
struct cudaMemPoolProps {
  cudaMemAllocationType allocType;
  struct {
    cudaMemLocationType type;
    int id;
  } location;
};
enum cudaMemPoolAttr {
  cudaMemPoolAttrReleaseThreshold = 4,
  cudaMemPoolAttrReservedMemCurrent = 5,
  cudaMemPoolAttrUsedMemCurrent = 7
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaMemGetInfo(size_t *free, size_t *total);
const char *cudaGetErrorString(cudaError_t error);
const char *cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaDeviceSynchronize();

cudaError_t cudaMalloc(void **pointer, size_t bytes);
cudaError_t cudaFree(void *pointer);
cudaError_t cudaMallocHost(void **pointer, size_t bytes);
cudaError_t cudaFreeHost(void *pointer);
cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const cudaMemPoolProps *properties);
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *value);
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytesToKeep);
cudaError_t cudaMallocFromPoolAsync(void **pointer, size_t bytes, cudaMemPool_t pool, cudaStream_t stream);
cudaError_t cudaFreeAsync(void *pointer, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end);

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *function);
cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute attribute, int value);
cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t sharedBytes,
                             cudaStream_t stream);

// A graph's nodes run in some order that their dependencies allow, not always the one in which they were added.
cudaError_t cudaGraphCreate(cudaGraph_t *graph, unsigned flags);
cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                                   size_t count, const cudaKernelNodeParams *params);
cudaError_t cudaGraphAddMemcpyNode1D(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                                     size_t count, void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t executable, cudaGraphNode_t node,
                                             const cudaKernelNodeParams *params);
cudaError_t cudaGraphExecMemcpyNodeSetParams1D(cudaGraphExec_t executable, cudaGraphNode_t node, void *to,
                                               const void *from, size_t bytes, cudaMemcpyKind kind);
// A node that is off does nothing, and what comes after it waits for what comes before.
cudaError_t cudaGraphNodeSetEnabled(cudaGraphExec_t executable, cudaGraphNode_t node, unsigned enabled);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

// --- kernels by address --------------------------------------------------------------------------
namespace simt {

// How a call is made of a kernel's address and those of its arguments, which are copied.
using MakeCall = const Call *(*)(const void *function, void *const *arguments);
void know(const void *function, MakeCall make);

template <typename... Parameters>
struct KernelCall final : Call {
  KernelCall(void (*itsFunction)(Parameters...), std::tuple<Parameters...> itsArguments)
      : function(itsFunction), arguments(std::move(itsArguments)) {
    kernel = reinterpret_cast<const void *>(function);
    bytes = sizeof *this;
  }
  void run() const override { std::apply(function, arguments); }

  void (*function)(Parameters...);
  std::tuple<Parameters...> arguments;
};

template <typename... Parameters, size_t... Index>
const Call *makeCall(void (*function)(Parameters...), void *const *arguments, std::index_sequence<Index...>) {
  return new KernelCall<Parameters...>(function,
                                       std::tuple<Parameters...>(*static_cast<Parameters *>(arguments[Index])...));
}

// A kernel's parameters are not known from its address: each is registered before its first launch.
template <typename... Parameters>
void know(void (*kernel)(Parameters...)) {
  know(reinterpret_cast<const void *>(kernel), [](const void *function, void *const *arguments) {
    return makeCall(reinterpret_cast<void (*)(Parameters...)>(const_cast<void *>(function)), arguments,
                    std::index_sequence_for<Parameters...>());
  });
}

// --- for tests
// Ends a fault: the device is as new, and allocations stay.
void clearFault();
bool hasFault();
// Which call of the runtime is to fail, counted from 1 and from where `asked` is 0.
struct Plan {
  uint64_t failAt = 0;  // 0: none
  cudaError_t status = cudaErrorUnknown;
  bool lasting = false;                        // and all after it, as those of a device that is lost
  uint64_t asked = 0;                          // calls so far
  std::vector<const char *> *calls = nullptr;  // gets the name of each
  std::function<void(uint64_t call)> before;   // each; it may make another plan
};
// All that is not released, as a text to compare; `memory`: that of the device and pinned memory of the host too.
std::string whatLives(bool memory = true);
// What the next calls are to find: a device that there is not, or a driver that is none or too old.
struct Machine {
  int driverVersion = 13000, devices = 1, major = 8, minor = 0;
  cudaError_t counting = cudaSuccess;  // what asking for the number of devices gives
  cudaError_t taking = cudaSuccess;    // what making a device current gives
  bool hasKernels = true;              // else the build has none for the device
  bool makesGraphs = true;             // else instantiation finds no memory
  bool updatesGraphs = true;           // else changing a node is refused
  bool updatesFunctions = true;        // else changing it to run another kernel is refused
  bool forgetsUpdates = false;         // changing a node says that all is well and does nothing
  bool forgetsSwitching = false;       // so does switching it on or off
  bool forgetsStreamWaits = false;     // a stream that is to wait for an event does not
  bool forgetsHostWaits = false;       // nor does the host
  Plan plan;
};
Machine &machine();
// What a sub-allocating pool says of its memory (native/cuda/launch.cuh): only the first `bytes` from `begin`, where an
// allocation starts, may be touched from now on, and nothing has been written there.
void limitMemory(const void *begin, size_t bytes);

}  // namespace simt
