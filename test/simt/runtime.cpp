#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "memory.h"

struct SimtStream {};
struct SimtEvent {};
struct SimtPool {};

// What a node does: runs a call, or copies.
struct SimtWork {
  std::shared_ptr<const simt::Call> call;  // null: a copy
  dim3 grid, block;
  size_t sharedBytes = 0;
  void *to = nullptr;
  const void *from = nullptr;
  size_t bytes = 0;
  cudaMemcpyKind kind = cudaMemcpyHostToDevice;
};
struct SimtNode {
  SimtWork work;
  std::vector<size_t> after;  // nodes by their numbers
  size_t number = 0;
};
struct SimtGraph {
  std::vector<std::unique_ptr<SimtNode>> nodes;
  bool has(const SimtNode *node) const {
    return node && node->number < nodes.size() && nodes[node->number].get() == node;
  }
};
struct SimtGraphExec {
  const SimtGraph *graph;  // its nodes name this one's
  std::vector<SimtWork> works;
  std::vector<std::vector<size_t>> after;
  uint64_t launches = 0;
};

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

cudaError_t run(const simt::Call &call, dim3 grid, dim3 block, size_t sharedBytes) {
  std::string report;
  return simt::execute(call, grid, block, sharedBytes, &report) ? cudaSuccess : fail(report);
}

cudaError_t run(const SimtWork &work) {
  return work.call ? run(*work.call, work.grid, work.block, work.sharedBytes)
                   : copy(work.to, work.from, work.bytes, work.kind);
}

std::unique_ptr<const simt::Call> makeCall(const void *function, void *const *arguments) {
  const auto known = knownKernels().find(function);
  if (known == knownKernels().end()) return nullptr;
  return std::unique_ptr<const simt::Call>(known->second(function, arguments));
}

// False: the node cannot be one.
bool read(const cudaKernelNodeParams &params, SimtWork *work) {
  work->call = makeCall(params.func, params.kernelParams);
  work->grid = params.grid;
  work->block = params.block;
  work->sharedBytes = params.sharedMemBytes;
  return work->call != nullptr;
}

cudaError_t addNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies, size_t count,
                    const SimtWork &work) {
  auto made = std::make_unique<SimtNode>();
  made->work = work;
  made->number = graph->nodes.size();
  for (size_t i = 0; i < count; ++i) {
    if (!graph->has(dependencies[i])) return cudaErrorInvalidValue;
    made->after.push_back(dependencies[i]->number);
  }
  *node = made.get();
  graph->nodes.push_back(std::move(made));
  return now();
}

cudaError_t setNode(cudaGraphExec_t executable, cudaGraphNode_t node, const SimtWork &work) {
  if (!executable->graph->has(node) || !node->work.call != !work.call) return cudaErrorInvalidValue;
  if (!simt::machine().updatesGraphs) return cudaErrorGraphExecUpdateFailure;
  if (!simt::machine().forgetsUpdates) executable->works[node->number] = work;
  return now();
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
  if (simt::machine().counting != cudaSuccess) return simt::machine().counting;
  if (simt::machine().driverVersion < 13000) return cudaErrorInsufficientDriver;
  if (simt::machine().devices == 0) return cudaErrorNoDevice;
  *count = simt::machine().devices;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (simt::machine().taking != cudaSuccess) return simt::machine().taking;
  return device < simt::machine().devices ? now() : cudaErrorInvalidDevice;
}
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
    case cudaErrorGraphExecUpdateFailure:
      return "the graph cannot be changed so";
    default:
      return "a value that the call does not take";
  }
}
const char *cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorGraphExecUpdateFailure:
      return "cudaErrorGraphExecUpdateFailure";
    default:
      return "another error";
  }
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

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *, const void *) {
  return simt::machine().hasKernels ? now() : cudaErrorNoKernelImageForDevice;
}
cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute, int) {
  return knownKernels().count(function) > 0 ? now() : cudaErrorInvalidValue;
}
cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t sharedBytes,
                             cudaStream_t) {
  if (now() != cudaSuccess) return now();
  const std::unique_ptr<const simt::Call> call = makeCall(function, arguments);
  return call ? run(*call, grid, block, sharedBytes) : cudaErrorInvalidValue;
}

cudaError_t cudaGraphCreate(cudaGraph_t *graph, unsigned) {
  *graph = new SimtGraph;
  return now();
}
cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                                   size_t count, const cudaKernelNodeParams *params) {
  SimtWork work;
  return read(*params, &work) ? addNode(node, graph, dependencies, count, work) : cudaErrorInvalidValue;
}
cudaError_t cudaGraphAddMemcpyNode1D(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                                     size_t count, void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0) return cudaErrorInvalidValue;
  SimtWork work;
  work.to = to;
  work.from = from;
  work.bytes = bytes;
  work.kind = kind;
  return addNode(node, graph, dependencies, count, work);
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
  if (!simt::machine().makesGraphs) return cudaErrorMemoryAllocation;
  auto made = std::make_unique<SimtGraphExec>();
  made->graph = graph;
  for (const auto &node : graph->nodes) {
    made->works.push_back(node->work);
    made->after.push_back(node->after);
  }
  *executable = made.release();
  return now();
}
cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t executable, cudaGraphNode_t node,
                                             const cudaKernelNodeParams *params) {
  SimtWork work;
  return read(*params, &work) ? setNode(executable, node, work) : cudaErrorInvalidValue;
}
cudaError_t cudaGraphExecMemcpyNodeSetParams1D(cudaGraphExec_t executable, cudaGraphNode_t node, void *to,
                                               const void *from, size_t bytes, cudaMemcpyKind kind) {
  SimtWork work;
  work.to = to;
  work.from = from;
  work.bytes = bytes;
  work.kind = kind;
  return bytes > 0 ? setNode(executable, node, work) : cudaErrorInvalidValue;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  if (now() != cudaSuccess) return now();
  const size_t count = executable->works.size();
  std::vector<size_t> waits(count), ready;
  std::vector<std::vector<size_t>> followers(count);
  for (size_t i = 0; i < count; ++i) {
    waits[i] = executable->after[i].size();
    for (const size_t before : executable->after[i]) followers[before].push_back(i);
    if (waits[i] == 0) ready.push_back(i);
  }
  std::minstd_rand random(static_cast<uint32_t>(simt::settings().seed + ++executable->launches));
  while (!ready.empty()) {
    std::swap(ready[random() % ready.size()], ready.back());
    const size_t next = ready.back();
    ready.pop_back();
    if (cudaError_t error = run(executable->works[next])) return error;
    for (const size_t follower : followers[next]) {
      if (--waits[follower] == 0) ready.push_back(follower);
    }
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
