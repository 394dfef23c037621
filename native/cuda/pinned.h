// Memory of the host that the device's copies read on their own. It is written anew or freed only when they have done
// so. Where a wait for them fails there are wider ones; where all fail, as on a device that is lost, nobody can know,
// and the memory is kept for good.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

#include "status.h"

namespace emoframe {

class PinnedMemory {
 public:
  PinnedMemory() = default;
  ~PinnedMemory() { free(); }
  PinnedMemory(PinnedMemory &&other) noexcept { swap(other); }
  PinnedMemory &operator=(PinnedMemory &&other) noexcept {
    swap(other);
    return *this;
  }

  // Memory of so many bytes and the event that says when it was read; nothing is under way from it.
  explicit PinnedMemory(size_t bytes) {
    try {
      CHECK_CUDA(cudaEventCreateWithFlags(&read_, cudaEventDisableTiming));
      CHECK_CUDA(cudaMallocHost(reinterpret_cast<void **>(&bytes_), bytes));
      size_ = bytes;
    } catch (...) {
      free();
      throw;
    }
  }

  unsigned char *bytes() const { return bytes_; }
  size_t size() const { return size_; }
  cudaEvent_t read() const { return read_; }
  bool underWay() const { return underWay_; }

  // Copies from it go to a stream, one stream between two waits, and then it is said that these are all.
  void send(void *target, size_t offset, size_t bytes, cudaStream_t stream) {
    stream_ = stream;
    underWay_ = true;
    recorded_ = false;
    CHECK_CUDA(cudaMemcpyAsync(target, bytes_ + offset, bytes, cudaMemcpyHostToDevice, stream));
  }
  void sent(cudaStream_t stream) {
    CHECK_CUDA(cudaEventRecord(read_, stream));
    recorded_ = true;
  }

  // Until it has been read. A copy behind which the event could not be put is waited for with all of its stream.
  void wait() {
    if (underWay_) {
      if (recorded_) {
        CHECK_CUDA(cudaEventSynchronize(read_));
      } else {
        CHECK_CUDA(cudaStreamSynchronize(stream_));
      }
    }
    underWay_ = false;
  }
  // As well as can be; gives the status of the last wait that was tried.
  cudaError_t settle() noexcept {
    if (!underWay_) return cudaSuccess;
    cudaError_t status = recorded_ ? cudaEventSynchronize(read_) : cudaErrorUnknown;
    if (status != cudaSuccess) status = cudaStreamSynchronize(stream_);
    if (status != cudaSuccess) status = cudaDeviceSynchronize();
    if (status == cudaSuccess) underWay_ = false;
    return status;
  }

 private:
  void free() noexcept {
    if (bytes_ && settle() == cudaSuccess) cudaFreeHost(bytes_);
    if (read_) cudaEventDestroy(read_);
  }
  void swap(PinnedMemory &other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    std::swap(read_, other.read_);
    std::swap(stream_, other.stream_);
    std::swap(underWay_, other.underWay_);
    std::swap(recorded_, other.recorded_);
  }

  unsigned char *bytes_ = nullptr;
  size_t size_ = 0;
  cudaEvent_t read_ = nullptr;  // after the last copy from it, where that is recorded
  cudaStream_t stream_ = nullptr;
  bool underWay_ = false, recorded_ = false;
};

}  // namespace emoframe
