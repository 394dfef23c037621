#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "memory.h"

// What is put off, and what of the host's memory it will read.
struct SimtLater {
  std::function<cudaError_t()> work;
  const void *reads = nullptr;
};
// That of a stream, first to last, and how many came before the first.
struct SimtStream {
  std::deque<SimtLater> queue;
  uint64_t done = 0;
};
// A place in a stream: behind so many of what it was asked for.
struct SimtEvent {
  SimtStream *stream = nullptr;
  uint64_t place = 0;
};
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
  std::vector<bool> enabled;
  std::vector<std::vector<size_t>> after;
  uint64_t launches = 0;
};

namespace {

std::string fault;  // the report; empty: none

constexpr size_t mostSharedBytes = 227 * 1024;  // of a block

cudaError_t now() { return fault.empty() ? cudaSuccess : cudaErrorLaunchFailure; }

// What every call asks first: whether it is the one that is to fail.
cudaError_t planned(const char *call) {
  simt::Plan &plan = simt::machine().plan;
  if (plan.calls) plan.calls->push_back(call);
  ++plan.asked;
  if (const auto before = plan.before) before(plan.asked);
  const bool fails = plan.failAt != 0 && (plan.lasting ? plan.asked >= plan.failAt : plan.asked == plan.failAt);
  return fails ? plan.status : cudaSuccess;
}
// A release is done all the same: what fails was asked for before.
cudaError_t after(cudaError_t done, const char *call) {
  const cudaError_t error = planned(call);
  return error != cudaSuccess ? error : done;
}

struct Held {
  std::map<const void *, size_t> pinned;  // and their sizes
  size_t events = 0, pools = 0, graphs = 0, executables = 0;
};
Held &held() {
  static Held its;
  return its;
}

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

// What a kernel may have of dynamic shared memory, where it was asked for.
std::map<const void *, size_t> &sharedLimits() {
  static std::map<const void *, size_t> all;
  return all;
}

// As it is when the launch is run, not when it was asked for or put into a graph.
cudaError_t run(const simt::Call &call, dim3 grid, dim3 block, size_t sharedBytes) {
  constexpr size_t withoutAsking = 48 * 1024;
  const auto limit = sharedLimits().find(call.kernel);
  if (sharedBytes > (limit == sharedLimits().end() ? withoutAsking : limit->second)) {
    return fail("A launch with " + std::to_string(sharedBytes) +
                " bytes of shared memory, more than its kernel is allowed (cudaFuncSetAttribute)");
  }
  std::string report;
  return simt::execute(call, grid, block, sharedBytes, &report) ? cudaSuccess : fail(report);
}

cudaError_t run(const SimtWork &work) {
  return work.call ? run(*work.call, work.grid, work.block, work.sharedBytes)
                   : copy(work.to, work.from, work.bytes, work.kind);
}

std::set<SimtStream *> &streams() {
  static std::set<SimtStream *> live;
  return live;
}
SimtStream *known(cudaStream_t stream) {
  static SimtStream usual;
  return stream ? stream : &usual;
}

// Does what the stream was asked for up to a place.
cudaError_t catchUp(SimtStream *stream, uint64_t place) {
  while (stream->done < place && !stream->queue.empty()) {
    const SimtLater next = std::move(stream->queue.front());
    stream->queue.pop_front();
    ++stream->done;
    if (now() == cudaSuccess) next.work();
  }
  return now();
}
cudaError_t catchUp(SimtStream *stream) { return catchUp(stream, stream->done + stream->queue.size()); }

cudaError_t take(void **pointer, size_t bytes) {
  if (now() != cudaSuccess) return now();
  *pointer = simt::allocateGlobal(bytes);
  return *pointer ? cudaSuccess : cudaErrorMemoryAllocation;
}

// Where in which stream's order allocations were made: until then the memory may be another's.
std::map<const void *, SimtEvent> &births() {
  static std::map<const void *, SimtEvent> all;
  return all;
}
bool isBorn(const void *address, const SimtStream *seenBy) {
  const simt::Allocation *found = simt::allocationAt(address);
  if (!found) return true;
  const auto birth = births().find(reinterpret_cast<const void *>(found->begin));
  if (birth == births().end()) return true;
  const SimtEvent &at = birth->second;
  return at.stream == seenBy || !streams().count(at.stream) || at.stream->done >= at.place;
}

cudaError_t release(void *pointer) {
  births().erase(pointer);
  if (!pointer || simt::freeGlobal(pointer)) return now();
  return fail("A release of " + simt::describe(pointer) + ", where no live allocation starts");
}

// At once, or behind what was put off. What fails then is reported by whatever comes after, as on a GPU.
cudaError_t ask(cudaStream_t asked, bool late, std::function<cudaError_t()> work, const void *reads = nullptr) {
  SimtStream *stream = known(asked);
  if (now() != cudaSuccess) return now();
  if (!late && stream->queue.empty()) {
    ++stream->done;
    return work();
  }
  stream->queue.push_back({std::move(work), reads});
  return now();
}
bool lateCopies() { return simt::settings().late == simt::Late::copies || simt::settings().late == simt::Late::all; }
bool lateKernels() { return simt::settings().late == simt::Late::kernels || simt::settings().late == simt::Late::all; }

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
  const simt::Call *held = executable->works[node->number].call.get();
  if (!simt::machine().updatesFunctions && held && held->kernel != work.call->kernel) {
    return cudaErrorGraphExecUpdateFailure;
  }
  if (!simt::machine().forgetsUpdates) executable->works[node->number] = work;
  return now();
}

cudaError_t runInSomeOrder(const std::vector<SimtWork> &works, const std::vector<bool> &enabled,
                           const std::vector<std::vector<size_t>> &after, uint64_t seed) {
  const size_t count = works.size();
  std::vector<size_t> waits(count), ready;
  std::vector<std::vector<size_t>> followers(count);
  for (size_t i = 0; i < count; ++i) {
    waits[i] = after[i].size();
    for (const size_t before : after[i]) followers[before].push_back(i);
    if (waits[i] == 0) ready.push_back(i);
  }
  std::minstd_rand random(static_cast<uint32_t>(seed));
  while (!ready.empty()) {
    std::swap(ready[random() % ready.size()], ready.back());
    const size_t next = ready.back();
    ready.pop_back();
    if (enabled[next]) {
      if (cudaError_t error = run(works[next])) return error;
    }
    for (const size_t follower : followers[next]) {
      if (--waits[follower] == 0) ready.push_back(follower);
    }
  }
  return now();
}

}  // namespace

namespace simt {

void clearFault() { fault.clear(); }
bool hasFault() { return !fault.empty(); }
Machine &machine() {
  static Machine one;
  return one;
}
void limitMemory(const void *begin, size_t bytes) { limitGlobal(begin, bytes); }

std::string whatLives(bool memory) {
  const auto some = [](size_t count, const char *what) { return std::to_string(count) + " " + what; };
  const Held &its = held();
  return (memory ? some(globalBytesHeld(), "bytes of memory, ") + some(its.pools, "pools, ") +
                       some(its.pinned.size(), "blocks of the host's, ")
                 : "") +
         some(streams().size(), "streams, ") + some(its.events, "events, ") + some(its.graphs, "graphs, ") +
         some(its.executables, "executable graphs");
}

void know(const void *function, MakeCall make) { knownKernels()[function] = make; }

}  // namespace simt

cudaError_t cudaDriverGetVersion(int *version) {
  if (const cudaError_t error = planned(__func__)) return error;
  *version = simt::machine().driverVersion;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
  if (const cudaError_t error = planned(__func__)) return error;
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count) {
  if (const cudaError_t error = planned(__func__)) return error;
  *count = 0;
  if (simt::machine().counting != cudaSuccess) return simt::machine().counting;
  if (simt::machine().driverVersion < 13000) return cudaErrorInsufficientDriver;
  if (simt::machine().devices == 0) return cudaErrorNoDevice;
  *count = simt::machine().devices;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (const cudaError_t error = planned(__func__)) return error;
  if (simt::machine().taking != cudaSuccess) return simt::machine().taking;
  return device < simt::machine().devices ? now() : cudaErrorInvalidDevice;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  if (const cudaError_t error = planned(__func__)) return error;
  if (device >= simt::machine().devices) return cudaErrorInvalidDevice;
  *properties = {};
  std::strcpy(properties->name, "emulation");
  properties->totalGlobalMem = simt::settings().memoryBytes;
  properties->sharedMemPerBlockOptin = mostSharedBytes;
  properties->major = simt::machine().major;
  properties->minor = simt::machine().minor;
  properties->multiProcessorCount = 4;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
  if (const cudaError_t error = planned(__func__)) return error;
  *value = attribute == cudaDevAttrClockRate ? 1000000 : 1;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  if (const cudaError_t error = planned(__func__)) return error;
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
    case cudaErrorUnknown:
      return "unknown error";
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
    case cudaErrorUnknown:
      return "cudaErrorUnknown";
    default:
      return "another error";
  }
}
cudaError_t cudaGetLastError() { return now(); }
cudaError_t cudaDeviceSynchronize() {
  if (const cudaError_t error = planned(__func__)) return error;
  for (SimtStream *stream : streams()) catchUp(stream);
  return catchUp(known(nullptr));
}

cudaError_t cudaMalloc(void **pointer, size_t bytes) {
  if (const cudaError_t error = planned(__func__)) return error;
  return take(pointer, bytes);
}
cudaError_t cudaFree(void *pointer) { return after(release(pointer), __func__); }
cudaError_t cudaMallocHost(void **pointer, size_t bytes) {
  if (const cudaError_t error = planned(__func__)) return error;
  *pointer = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (!*pointer) return cudaErrorMemoryAllocation;
  held().pinned[*pointer] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void *pointer) {
  const auto found = held().pinned.find(pointer);
  if (found == held().pinned.end()) return after(cudaErrorInvalidValue, __func__);
  const char *begin = static_cast<const char *>(pointer), *end = begin + found->second;
  held().pinned.erase(found);
  for (const SimtStream *stream : streams()) {
    for (const SimtLater &later : stream->queue) {
      if (later.reads >= begin && later.reads < end) fail("Memory of the host is freed that a copy is still to read");
    }
  }
  std::free(pointer);
  return after(cudaSuccess, __func__);
}
cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const cudaMemPoolProps *) {
  if (const cudaError_t error = planned(__func__)) return error;
  *pool = new SimtPool;
  ++held().pools;
  return now();
}
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  delete pool;
  --held().pools;
  return after(now(), __func__);
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *) {
  if (const cudaError_t error = planned(__func__)) return error;
  return now();
}
// The pool keeps nothing of what was released.
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *value) {
  if (const cudaError_t error = planned(__func__)) return error;
  *static_cast<uint64_t *>(value) = simt::globalBytesHeld();
  return now();
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) {
  if (const cudaError_t error = planned(__func__)) return error;
  return now();
}
cudaError_t cudaMallocFromPoolAsync(void **pointer, size_t bytes, cudaMemPool_t, cudaStream_t asked) {
  if (const cudaError_t error = planned(__func__)) return error;
  const cudaError_t error = take(pointer, bytes);
  SimtStream *stream = known(asked);
  if (error == cudaSuccess) births()[*pointer] = {stream, stream->done + stream->queue.size()};
  return error;
}
cudaError_t cudaFreeAsync(void *pointer, cudaStream_t stream) {
  const auto work = [=] { return release(pointer); };
  return after(now() == cudaSuccess ? ask(stream, false, work) : work(), __func__);
}
// From and to memory that is not pinned, as all downloads here are, the host waits.
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (const cudaError_t error = planned(__func__)) return error;
  const bool down = kind == cudaMemcpyDeviceToHost;
  const auto work = [=] {
    if (!down && !isBorn(to, known(stream))) {
      return fail("A copy to " + simt::describe(to) + " by a stream that has not waited for the allocation");
    }
    return copy(to, from, bytes, kind);
  };
  const cudaError_t error = ask(stream, !down && lateCopies(), work, kind == cudaMemcpyHostToDevice ? from : nullptr);
  return down ? catchUp(known(stream)) : error;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  if (const cudaError_t error = planned(__func__)) return error;
  *stream = new SimtStream;
  streams().insert(*stream);
  return now();
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  catchUp(stream);
  streams().erase(stream);
  delete stream;
  return after(now(), __func__);
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t error = planned(__func__)) return error;
  return catchUp(known(stream));
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (const cudaError_t error = planned(__func__)) return error;
  if (simt::machine().forgetsStreamWaits || !event->stream) return now();
  // The event as it is now: it may be recorded anew.
  return ask(stream, false,
             [its = *event] { return streams().count(its.stream) ? catchUp(its.stream, its.place) : now(); });
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  if (const cudaError_t error = planned(__func__)) return error;
  *event = new SimtEvent;
  ++held().events;
  return now();
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  --held().events;
  return after(now(), __func__);
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const cudaError_t error = planned(__func__)) return error;
  if (!event) return cudaErrorInvalidValue;
  *event = {stream, stream->done + stream->queue.size()};
  return now();
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const cudaError_t error = planned(__func__)) return error;
  if (simt::machine().forgetsHostWaits || !streams().count(event->stream)) return now();
  return catchUp(event->stream, event->place);
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *) {
  if (const cudaError_t error = planned(__func__)) return error;
  *attributes = {};
  return simt::machine().hasKernels ? now() : cudaErrorNoKernelImageForDevice;
}
cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute, int value) {
  if (const cudaError_t error = planned(__func__)) return error;
  if (knownKernels().count(function) == 0 || value < 0 || static_cast<size_t>(value) > mostSharedBytes) {
    return cudaErrorInvalidValue;
  }
  sharedLimits()[function] = static_cast<size_t>(value);
  return now();
}
cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t sharedBytes,
                             cudaStream_t stream) {
  if (const cudaError_t error = planned(__func__)) return error;
  if (now() != cudaSuccess) return now();
  const std::shared_ptr<const simt::Call> call = makeCall(function, arguments);
  if (!call) return cudaErrorInvalidValue;
  return ask(stream, lateKernels(), [=] { return run(*call, grid, block, sharedBytes); });
}

cudaError_t cudaGraphCreate(cudaGraph_t *graph, unsigned) {
  if (const cudaError_t error = planned(__func__)) return error;
  *graph = new SimtGraph;
  ++held().graphs;
  return now();
}
cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                                   size_t count, const cudaKernelNodeParams *params) {
  if (const cudaError_t error = planned(__func__)) return error;
  SimtWork work;
  return read(*params, &work) ? addNode(node, graph, dependencies, count, work) : cudaErrorInvalidValue;
}
cudaError_t cudaGraphAddMemcpyNode1D(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                                     size_t count, void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = planned(__func__)) return error;
  if (bytes == 0) return cudaErrorInvalidValue;
  SimtWork work;
  work.to = to;
  work.from = from;
  work.bytes = bytes;
  work.kind = kind;
  return addNode(node, graph, dependencies, count, work);
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
  if (const cudaError_t error = planned(__func__)) return error;
  if (!simt::machine().makesGraphs) return cudaErrorMemoryAllocation;
  auto made = std::make_unique<SimtGraphExec>();
  made->graph = graph;
  for (const auto &node : graph->nodes) {
    made->works.push_back(node->work);
    made->enabled.push_back(true);
    made->after.push_back(node->after);
  }
  *executable = made.release();
  ++held().executables;
  return now();
}
cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t executable, cudaGraphNode_t node,
                                             const cudaKernelNodeParams *params) {
  if (const cudaError_t error = planned(__func__)) return error;
  SimtWork work;
  return read(*params, &work) ? setNode(executable, node, work) : cudaErrorInvalidValue;
}
cudaError_t cudaGraphExecMemcpyNodeSetParams1D(cudaGraphExec_t executable, cudaGraphNode_t node, void *to,
                                               const void *from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = planned(__func__)) return error;
  SimtWork work;
  work.to = to;
  work.from = from;
  work.bytes = bytes;
  work.kind = kind;
  return bytes > 0 ? setNode(executable, node, work) : cudaErrorInvalidValue;
}
cudaError_t cudaGraphNodeSetEnabled(cudaGraphExec_t executable, cudaGraphNode_t node, unsigned enabled) {
  if (const cudaError_t error = planned(__func__)) return error;
  if (!executable->graph->has(node)) return cudaErrorInvalidValue;
  if (!simt::machine().forgetsSwitching) executable->enabled[node->number] = enabled != 0;
  return now();
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (const cudaError_t error = planned(__func__)) return error;
  const uint64_t seed = simt::settings().seed + ++executable->launches;
  // What is changed of it later is not of this launch.
  return ask(stream, lateKernels(),
             [seed, works = executable->works, enabled = executable->enabled, after = executable->after] {
               return runInSomeOrder(works, enabled, after, seed);
             });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  --held().graphs;
  return after(cudaSuccess, __func__);
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  --held().executables;
  return after(cudaSuccess, __func__);
}
