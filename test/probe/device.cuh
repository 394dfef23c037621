// Memory and launches for the probe's kernels, on a GPU and on the emulation. Every call is checked.
#pragma once

#include <cuda_runtime.h>

#include <cstring>
#include <string>
#include <vector>

#include "probe.h"

namespace probe {

inline void require(cudaError_t status, const char *what) {
  if (status != cudaSuccess) throw Fault(std::string(what) + ": " + cudaGetErrorString(status));
}

// `count` T on the device. Those that nothing was put in hold 0xFF bytes, so that what a kernel leaves out is seen.
template <typename T>
class Buffer {
 public:
  explicit Buffer(size_t count) : count_(count) {
    require(cudaMalloc(&memory_, count * sizeof(T)), "allocating");
    const std::vector<unsigned char> poison(count * sizeof(T), 0xFF);
    require(cudaMemcpyAsync(memory_, poison.data(), poison.size(), cudaMemcpyHostToDevice, nullptr), "uploading");
  }
  explicit Buffer(const std::vector<T> &values) : count_(values.size()) {
    require(cudaMalloc(&memory_, count_ * sizeof(T)), "allocating");
    require(cudaMemcpyAsync(memory_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice, nullptr), "uploading");
  }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() { cudaFree(memory_); }
  T *get() const { return static_cast<T *>(memory_); }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    require(cudaMemcpyAsync(values.data(), memory_, count_ * sizeof(T), cudaMemcpyDeviceToHost, nullptr), "running");
    require(cudaStreamSynchronize(nullptr), "running");
    return values;
  }
  Words words() const {
    static_assert(sizeof(T) % 4 == 0, "whole words");
    const std::vector<T> values = read();
    Words result(values.size() * sizeof(T) / 4);
    std::memcpy(result.data(), values.data(), result.size() * 4);
    return result;
  }

 private:
  void *memory_ = nullptr;
  size_t count_;
};

template <typename T>
struct Given {  // keeps a parameter's type from being deduced from the argument
  using type = T;
};
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes,
            typename Given<Parameters>::type... arguments) {
  const void *function = reinterpret_cast<const void *>(kernel);
#ifdef EMOFRAME_SIMT
  simt::know(kernel);
#endif
  if (sharedBytes > 48 * 1024) {
    require(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(sharedBytes)),
            "asking for shared memory");
  }
  void *addresses[] = {&arguments..., nullptr};
  require(cudaLaunchKernel(function, grid, block, addresses, sharedBytes, nullptr), "launching");
}

inline void append(Words *to, const Words &more) { to->insert(to->end(), more.begin(), more.end()); }
inline uint32_t wordOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
inline uint16_t bf16Of(float value) { return static_cast<uint16_t>(wordOf(value) >> 16); }  // of one that is exact

}  // namespace probe
