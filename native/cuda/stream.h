// Where a backend's kernels and copies go, in order.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace emoframe {

// A kernel, how it is launched, and the values of its parameters, which are copied.
struct Launch {
  const void *function;
  dim3 grid, block;
  size_t sharedBytes;
  void **arguments;       // [count], addresses
  const uint16_t *sizes;  // [count], bytes
  size_t count;
};

class Stream {
 public:
  struct Nowhere {};
  explicit Stream(Nowhere) {}  // of a backend that only counts: nothing is done
  Stream();                    // on the current device
  ~Stream();
  Stream(const Stream &) = delete;
  Stream &operator=(const Stream &) = delete;

  bool goesNowhere() const { return stream_ == nullptr; }
  void launch(const Launch &launch);
  void wait();  // until all is done
  cudaStream_t handle() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace emoframe
