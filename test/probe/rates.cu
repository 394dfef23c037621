// What a device does in a second, and what launches cost: figures that models of time stand on.
#include "ptx.cuh"
#include "rate.cuh"

namespace probe {

using namespace emoframe;

namespace {

// --- arithmetic ----------------------------------------------------------------------------------
constexpr int chains = 8, rounds = 4096;

// A bf16 pair between 1 and 2 in size, of both signs: no zeros, and nothing that grows without bounds.
__device__ uint32_t pairFor(uint32_t i) {
  i = (i ^ 61) * 0x9E3779B1u;
  return 0x3F803F80u ^ ((i ^ i >> 13) & 0x807F807Fu);
}
__global__ void __launch_bounds__(256, 2) productRateKernel(float *out) {
  const uint32_t thread = blockIdx.x * blockDim.x + threadIdx.x;
  uint32_t a[4], b[2];
  for (int i = 0; i < 4; ++i) a[i] = pairFor(thread * 8 + i);
  for (int i = 0; i < 2; ++i) b[i] = pairFor(thread * 8 + 4 + i);
  float sums[chains][4] = {};
#pragma unroll 4
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < chains; ++i) mmaBf16(sums[i], a, b);
  }
  float sum = 0;
  for (int i = 0; i < chains; ++i) sum += sums[i][0] + sums[i][1] + sums[i][2] + sums[i][3];
  out[thread] = sum;
}
Outcome productRate() {
  const int blocks = 2 * multiprocessors();
  const Buffer<float> out(blocks * 256);
  const double seconds = deviceSeconds([&] { launch(productRateKernel, dim3(blocks), dim3(256), 0, out.get()); });
  return measurement(blocks * 8.0 * rounds * chains * (2 * 16 * 8 * 16) / seconds / 1e12, "TFLOP/s");
}

__global__ void __launch_bounds__(256) exp2RateKernel(float *out) {
  const uint32_t thread = blockIdx.x * blockDim.x + threadIdx.x;
  float values[chains];
  for (int i = 0; i < chains; ++i) values[i] = static_cast<float>(thread % 97 + i) * -0.01f;
#pragma unroll 4
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < chains; ++i) values[i] = exp2Fast(-values[i]);
  }
  float sum = 0;
  for (int i = 0; i < chains; ++i) sum += values[i];
  out[thread] = sum;
}
Outcome exp2Rate() {
  const int blocks = 8 * multiprocessors();
  const Buffer<float> out(blocks * 256);
  const double seconds = deviceSeconds([&] { launch(exp2RateKernel, dim3(blocks), dim3(256), 0, out.get()); });
  return measurement(blocks * 256.0 * rounds * chains / seconds / 1e9, "G/s");
}

// --- memory --------------------------------------------------------------------------------------
Outcome deviceCopy() {
  constexpr size_t bytes = size_t(1) << 30;
  void *from = nullptr, *to = nullptr;
  require(cudaMalloc(&from, bytes), "allocating");
  require(cudaMalloc(&to, bytes), "allocating");
  require(cudaMemset(from, 0x5A, bytes), "filling");
  const double seconds =
      deviceSeconds([&] { require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, nullptr), "copying"); });
  cudaFree(from);
  cudaFree(to);
  return measurement(2.0 * bytes / seconds / 1e9, "GB/s read and written");
}
Outcome pinnedCopy(cudaMemcpyKind kind) {
  constexpr size_t bytes = size_t(128) << 20;
  void *host = nullptr, *device = nullptr;
  require(cudaMallocHost(&host, bytes), "allocating pinned memory");
  require(cudaMalloc(&device, bytes), "allocating");
  std::memset(host, 0x5A, bytes);
  const bool up = kind == cudaMemcpyHostToDevice;
  const double seconds = deviceSeconds(
      [&] { require(cudaMemcpyAsync(up ? device : host, up ? host : device, bytes, kind, nullptr), "copying"); });
  cudaFreeHost(host);
  cudaFree(device);
  return measurement(bytes / seconds / 1e9, "GB/s");
}

// --- launches ------------------------------------------------------------------------------------
struct Arguments {  // as many bytes as kernels of the backend take
  uint64_t words[16];
};
__global__ void emptyKernel(Arguments) {}

constexpr int nodes = 500;

void launchEmpty(uint64_t i) { launch(emptyKernel, dim3(1), dim3(32), 0, Arguments{{i}}); }

// A chain of empty kernels as a graph.
struct Chain {
  Chain() {
    require(cudaGraphCreate(&graph, 0), "making a graph");
    Arguments arguments{};
    void *addresses[] = {&arguments};
    for (int i = 0; i < nodes; ++i) {
      const cudaKernelNodeParams params = paramsOf(addresses);
      require(cudaGraphAddKernelNode(&all[i], graph, i > 0 ? &all[i - 1] : nullptr, i > 0 ? 1 : 0, &params),
              "adding a node");
    }
    require(cudaGraphInstantiate(&executable, graph, 0), "making a graph");
  }
  Chain(const Chain &) = delete;
  ~Chain() {
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }
  static cudaKernelNodeParams paramsOf(void **addresses) {
    cudaKernelNodeParams params{};
    params.func = reinterpret_cast<void *>(emptyKernel);
    params.gridDim = dim3(1);
    params.blockDim = dim3(32);
    params.kernelParams = addresses;
    return params;
  }
  void launch() const { require(cudaGraphLaunch(executable, nullptr), "launching a graph"); }
  void update(uint64_t value) {
    Arguments arguments{{value}};
    void *addresses[] = {&arguments};
    const cudaKernelNodeParams params = paramsOf(addresses);
    for (const cudaGraphNode_t node : all) {
      require(cudaGraphExecKernelNodeSetParams(executable, node, &params), "changing a node");
    }
  }
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cudaGraphNode_t all[nodes] = {};
};

Outcome streamGap() {
  return measurement(deviceSeconds([] {
                       for (int i = 0; i < nodes; ++i) launchEmpty(i);
                     }) / nodes *
                         1e6,
                     "us a kernel");
}
Outcome graphGap() {
  const Chain chain;
  return measurement(deviceSeconds([&] { chain.launch(); }) / nodes * 1e6, "us a kernel");
}
Outcome launchCost() {
  return measurement(hostSeconds([] {
                       for (int i = 0; i < nodes; ++i) launchEmpty(i);
                     }) / nodes *
                         1e6,
                     "us of host");
}
Outcome graphLaunchCost() {
  const Chain chain;
  return measurement(hostSeconds([&] { chain.launch(); }) * 1e6, "us of host");
}
Outcome nodeCost() {
  Chain chain;
  uint64_t value = 0;
  return measurement(hostSeconds([&] { chain.update(++value); }) / nodes * 1e6, "us of host a node");
}
Outcome changedLaunchCost() {
  Chain chain;
  uint64_t value = 0;
  const double changed = hostSeconds([&] {
    chain.update(++value);
    chain.launch();
  });
  return measurement((changed - hostSeconds([&] { chain.update(++value); })) * 1e6, "us of host");
}
Outcome changedDeviceTime() {
  Chain chain;
  uint64_t value = 0;
  return measurement(deviceSeconds([&] {  // the host's changes are in it: an upper bound
                       chain.update(++value);
                       chain.launch();
                     }) / nodes *
                         1e6,
                     "us a kernel");
}
Outcome smallCopyCost() {
  void *host = nullptr;
  require(cudaMallocHost(&host, 4096), "allocating pinned memory");
  const Buffer<unsigned char> device(4096);
  const double seconds = hostSeconds([&] {
    for (int i = 0; i < 100; ++i) {
      require(cudaMemcpyAsync(device.get(), host, 4096, cudaMemcpyHostToDevice, nullptr), "copying");
    }
  });
  cudaFreeHost(host);
  return measurement(seconds / 100 * 1e6, "us of host");
}
// A small download that is waited for, as a loss is read.
Outcome downloadTime() {
  void *host = nullptr;
  require(cudaMallocHost(&host, 4096), "allocating pinned memory");
  const Buffer<unsigned char> device(4096);
  const double seconds = hostSeconds([&] {
    require(cudaMemcpyAsync(host, device.get(), 4, cudaMemcpyDeviceToHost, nullptr), "copying");
    require(cudaStreamSynchronize(nullptr), "waiting");
  });
  cudaFreeHost(host);
  return measurement(seconds * 1e6, "us until it is there");
}
Outcome eventCost(bool waits) {
  cudaEvent_t event;
  cudaStream_t stream;
  require(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  require(cudaEventRecord(event, nullptr), "recording an event");
  const double seconds = hostSeconds([&] {
    for (int i = 0; i < 100; ++i) {
      require(waits ? cudaStreamWaitEvent(stream, event, 0) : cudaEventRecord(event, nullptr), "an event");
    }
  });
  cudaStreamDestroy(stream);
  cudaEventDestroy(event);
  return measurement(seconds / 100 * 1e6, "us of host");
}

}  // namespace

std::vector<Part> rateParts() {
  return {
      {"rate of mma.sync bf16", nullptr, productRate},
      {"rate of exp2Fast", nullptr, exp2Rate},
      {"rate of copies on the device", nullptr, deviceCopy},
      {"rate of pinned uploads", nullptr, [] { return pinnedCopy(cudaMemcpyHostToDevice); }},
      {"rate of pinned downloads", nullptr, [] { return pinnedCopy(cudaMemcpyDeviceToHost); }},
      {"kernels one after another in a stream", nullptr, streamGap},
      {"kernels one after another in a graph", nullptr, graphGap},
      {"the same, every node changed before", nullptr, changedDeviceTime},
      {"cudaLaunchKernel", nullptr, launchCost},
      {"cudaGraphExecKernelNodeSetParams", nullptr, nodeCost},
      {"cudaGraphLaunch of 500 kernels", nullptr, graphLaunchCost},
      {"the same, every node changed before it", nullptr, changedLaunchCost},
      {"cudaMemcpyAsync of 4 KB up", nullptr, smallCopyCost},
      {"a download of 4 bytes", nullptr, downloadTime},
      {"cudaEventRecord", nullptr, [] { return eventCost(false); }},
      {"cudaStreamWaitEvent", nullptr, [] { return eventCost(true); }},
  };
}

}  // namespace probe
