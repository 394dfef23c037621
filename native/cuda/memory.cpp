// The device's memory. Allocations come from one pool of the backend's own, which keeps what is released for the
// next ones; all go in the order of one stream.
#include <algorithm>

#include "../error.h"
#include "backend.h"
#include "status.h"

namespace emoframe {

namespace {

std::string megabytes(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MB"; }

}  // namespace

void CudaBackend::openMemory() {
  cudaMemPoolProps pool = {};
  pool.allocType = cudaMemAllocationTypePinned;
  pool.location.type = cudaMemLocationTypeDevice;
  pool.location.id = index_;
  check(cudaMemPoolCreate(&pool_, &pool));
  uint64_t keepAll = UINT64_MAX;
  check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keepAll));
  staging_ = std::make_unique<Staging>();
}

void *CudaBackend::take(size_t bytes) {
  void *pointer = nullptr;
  cudaError_t status = cudaMallocFromPoolAsync(&pointer, std::max<size_t>(bytes, 1), pool_, stream());
  if (status == cudaErrorMemoryAllocation) {
    // What was released may lie in pieces: give it back, and ask once more.
    cudaGetLastError();
    check(cudaStreamSynchronize(stream_));
    check(cudaMemPoolTrimTo(pool_, 0));
    status = cudaMallocFromPoolAsync(&pointer, std::max<size_t>(bytes, 1), pool_, stream_);
  }
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total));
    throw Error("ERR_OUT_OF_MEMORY",
                "Device 'cuda:" + std::to_string(index_) + "' has not enough memory: " + megabytes(bytes) +
                    " needed, " + megabytes(free) + " of " + megabytes(total) + " free, " +
                    megabytes(held_ + scratchBytes_) +
                    " in use here. Use a smaller batch or model, or end other work on the device.");
  }
  check(status);
  return pointer;
}

void *CudaBackend::allocate(size_t bytes) {
  void *pointer = take(bytes);
  allocations_[pointer] = bytes;
  held_ += bytes;
  return pointer;
}

void CudaBackend::release(void *pointer) noexcept {
  const auto found = allocations_.find(pointer);
  if (found == allocations_.end()) return;
  held_ -= found->second;
  allocations_.erase(found);
  cudaSetDevice(index_);
  cudaFreeAsync(pointer, stream_);  // a failure is sticky, and the next op tells it
}

void *CudaBackend::scratch(size_t bytes) {
  if (bytes > scratchBytes_) {
    cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(stream(), &capturing));
    if (capturing != cudaStreamCaptureStatusNone) {
      throw Error("ERR_INTERNAL",
                  "Temporary memory of " + std::to_string(bytes) +
                      " bytes is asked for in a step that is being captured, and which never ran before.");
    }
    const size_t size = std::max(bytes, 2 * scratchBytes_);
    scratch_.push_back(take(size));
    scratchBytes_ = size;
  }
  if (bytes == 0) return nullptr;
#ifdef EMOFRAME_SIMT
  simt::limitMemory(scratch_.back(), bytes);
#endif
  return scratch_.back();
}

void CudaBackend::upload(void *target, const void *hostSource, size_t bytes) {
  if (bytes > 0) staging_->send(target, hostSource, bytes, stream());
}

void CudaBackend::download(void *hostTarget, const void *source, size_t bytes) {
  if (bytes > 0) check(cudaMemcpyAsync(hostTarget, source, bytes, cudaMemcpyDeviceToHost, stream()));
  synchronize();
}

}  // namespace emoframe
