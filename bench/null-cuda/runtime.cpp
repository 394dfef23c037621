// The part of the CUDA runtime that native/cuda uses, as a device that is done with everything at once: it computes
// nothing, has 80 GB of memory in which nothing lies, and counts what it is asked for. So what is left of a step's time
// is the host's. What is downloaded is zeros.
//
// Types and names are those of the emulation's header (test/simt/include), which kernels need to be host C++; they are
// compiled but never run.
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda_runtime.h"
#include "null_cuda.h"

struct SimtStream {
  bool busy = false;  // it was asked for something since the host last waited for it
};
struct SimtEvent {
  SimtStream *stream = nullptr;
};
struct SimtPool {};
struct SimtNode {
  size_t number;
};
struct SimtGraph {
  std::vector<std::unique_ptr<SimtNode>> nodes;
};
struct SimtGraphExec {
  std::vector<bool> enabled;
  size_t kernels;  // that are enabled
};

namespace {

using Clock = std::chrono::steady_clock;

struct State {
  std::mutex mutex;  // engines have threads of their own
  nullcuda::Counts counts;
  bool waited = false, launched = false;  // since then
  Clock::time_point waitEnd, lastLaunch;
};
State &state() {
  static State one;
  return one;
}

template <typename Change>
cudaError_t count(const Change &change) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  change(state().counts);
  return cudaSuccess;
}

double since(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

void launched(cudaStream_t stream) {
  State &its = state();
  stream->busy = true;
  its.lastLaunch = Clock::now();
  if (its.waited && !its.launched) its.counts.firstLaunchSeconds += since(its.waitEnd, its.lastLaunch);
  its.launched = true;
}

cudaError_t waitFor(cudaStream_t stream) {
  return count([&](nullcuda::Counts &counts) {
    if (!stream->busy) return;
    stream->busy = false;
    ++counts.waits;
    State &its = state();
    if (its.waited && its.launched) counts.lastLaunchSeconds += since(its.waitEnd, its.lastLaunch);
    its.waited = true;
    its.launched = false;
    its.waitEnd = Clock::now();
  });
}

// Addresses of memory that nobody may touch. What is released is given out again for the same size.
class Memory {
 public:
  static constexpr size_t capacity = size_t(80) << 30;

  void *take(size_t bytes) {
    bytes = (bytes + alignment - 1) / alignment * alignment;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (bytes > capacity - held_) return nullptr;
    uintptr_t at = 0;
    const auto found = free_.find(bytes);
    if (found != free_.end()) {
      at = found->second;
      free_.erase(found);
    } else {
      if (bytes > range - used_) return nullptr;
      at = begin_ + used_;
      used_ += bytes;
    }
    sizes_[at] = bytes;
    held_ += bytes;
    return reinterpret_cast<void *>(at);
  }
  void giveBack(void *pointer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = sizes_.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == sizes_.end()) return;
    held_ -= found->second;
    free_.emplace(found->second, found->first);
    sizes_.erase(found);
  }
  size_t held() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return held_;
  }

 private:
  static constexpr size_t alignment = 512, range = size_t(1) << 43;

  std::mutex mutex_;
  const uintptr_t begin_ =
      reinterpret_cast<uintptr_t>(mmap(nullptr, range, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  size_t used_ = 0, held_ = 0;
  std::map<uintptr_t, size_t> sizes_;
  std::multimap<size_t, uintptr_t> free_;
};
Memory &memory() {
  static Memory one;
  return one;
}

cudaError_t allocate(void **pointer, size_t bytes) {
  *pointer = memory().take(std::max<size_t>(bytes, 1));
  if (!*pointer) return cudaErrorMemoryAllocation;
  return count([](nullcuda::Counts &counts) { ++counts.allocations; });
}

}  // namespace

namespace nullcuda {

Counts counts() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  return state().counts;
}
void reset() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().counts = {};
  state().waited = false;
}

}  // namespace nullcuda

namespace simt {
void know(const void *, MakeCall) {}
}  // namespace simt

cudaError_t cudaDriverGetVersion(int *version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
// As large as an H100: how products are cut follows from it.
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int) {
  *properties = {};
  std::strcpy(properties->name, "null");
  properties->totalGlobalMem = Memory::capacity;
  properties->sharedMemPerBlockOptin = 227 * 1024;
  properties->major = 9;
  properties->minor = 0;
  properties->multiProcessorCount = 132;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrClockRate ? 1980000 : 1;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  *total = Memory::capacity;
  *free = Memory::capacity - memory().held();
  return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t) { return "an error of the runtime that computes nothing"; }
const char *cudaGetErrorName(cudaError_t) { return "an error"; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }

cudaError_t cudaMalloc(void **pointer, size_t bytes) { return allocate(pointer, bytes); }
cudaError_t cudaFree(void *pointer) {
  memory().giveBack(pointer);
  return cudaSuccess;
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
  return cudaSuccess;
}
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  delete pool;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *) { return cudaSuccess; }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *value) {
  *static_cast<uint64_t *>(value) = memory().held();
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }
cudaError_t cudaMallocFromPoolAsync(void **pointer, size_t bytes, cudaMemPool_t, cudaStream_t) {
  return allocate(pointer, bytes);
}
cudaError_t cudaFreeAsync(void *pointer, cudaStream_t) { return cudaFree(pointer); }
// A copy to the device is its copy engine's; one to memory that is not pinned the host waits for.
cudaError_t cudaMemcpyAsync(void *to, const void *, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (kind == cudaMemcpyDeviceToHost) {
    std::memset(to, 0, bytes);
    count([&](nullcuda::Counts &counts) {
      ++counts.downloads;
      counts.downloadedBytes += bytes;
      stream->busy = true;
    });
    return waitFor(stream);
  }
  return count([&](nullcuda::Counts &counts) {
    if (kind == cudaMemcpyHostToDevice) {
      ++counts.uploads;
      counts.uploadedBytes += bytes;
    }
    stream->busy = true;
  });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  *stream = new SimtStream;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return waitFor(stream); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  *event = new SimtEvent;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 0;
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *) {
  *attributes = {};
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int) {
  return count([](nullcuda::Counts &counts) { ++counts.attributes; });
}
cudaError_t cudaLaunchKernel(const void *, dim3, dim3, void **, size_t, cudaStream_t stream) {
  return count([&](nullcuda::Counts &counts) {
    ++counts.kernels;
    launched(stream);
  });
}

cudaError_t cudaGraphCreate(cudaGraph_t *graph, unsigned) {
  *graph = new SimtGraph;
  return cudaSuccess;
}
cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *, size_t,
                                   const cudaKernelNodeParams *) {
  graph->nodes.push_back(std::make_unique<SimtNode>(SimtNode{graph->nodes.size()}));
  *node = graph->nodes.back().get();
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
  *executable = new SimtGraphExec{std::vector<bool>(graph->nodes.size(), true), graph->nodes.size()};
  return count([&](nullcuda::Counts &counts) {
    ++counts.graphsMade;
    counts.nodesMade += graph->nodes.size();
  });
}
cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t, cudaGraphNode_t, const cudaKernelNodeParams *) {
  return count([](nullcuda::Counts &counts) { ++counts.nodeUpdates; });
}
cudaError_t cudaGraphNodeSetEnabled(cudaGraphExec_t executable, cudaGraphNode_t node, unsigned enabled) {
  if (executable->enabled[node->number] != (enabled != 0)) executable->kernels += enabled ? 1 : -1;
  executable->enabled[node->number] = enabled != 0;
  return count([](nullcuda::Counts &counts) { ++counts.nodeSwitches; });
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return count([&](nullcuda::Counts &counts) {
    ++counts.graphs;
    counts.graphKernels += executable->kernels;
    launched(stream);
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
