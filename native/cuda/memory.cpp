// The device's memory. Allocations come from one pool of the backend's own, which keeps what is released for the
// next ones; all go in the order of one stream. A backend that only counts has imaginary memory instead.
#include <algorithm>
#include <cstring>
#include <utility>

#include "../error.h"
#include "backend.h"
#include "launch.cuh"
#include "status.h"
#include "upload_stream.h"

namespace emoframe {

#ifdef EMOFRAME_SIMT
namespace {
// On the emulation the ops that follow may touch no more than they asked for; in their order, as they may be of a step.
void limitKernel(const void *begin, size_t bytes) { simt::limitMemory(begin, bytes); }
}  // namespace
#endif

void CudaBackend::openMemory() {
  cudaMemPoolProps pool = {};
  pool.allocType = cudaMemAllocationTypePinned;
  pool.location.type = cudaMemLocationTypeDevice;
  pool.location.id = index_;
  CHECK_CUDA(cudaMemPoolCreate(&pool_, &pool));
  uint64_t keepAll = UINT64_MAX;
  CHECK_CUDA(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keepAll));
}

void *CudaBackend::take(size_t bytes) {
  if (imaginary_) return imaginary_->take(bytes);
  account_.require(bytes);
  void *pointer = nullptr;
  const cudaStream_t stream = this->stream().handle();
  cudaError_t status = cudaMallocFromPoolAsync(&pointer, std::max<size_t>(bytes, 1), pool_, stream);
  if (status == cudaErrorMemoryAllocation) {
    // What was released may be fragmented: give it back, and ask once more.
    cudaGetLastError();
    CHECK_CUDA(cudaStreamSynchronize(stream));
    CHECK_CUDA(cudaMemPoolTrimTo(pool_, 0));
    status = cudaMallocFromPoolAsync(&pointer, std::max<size_t>(bytes, 1), pool_, stream);
  }
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    CHECK_CUDA(cudaMemGetInfo(&free, &total));
    throw Error("ERR_OUT_OF_MEMORY",
                "Device 'cuda:" + std::to_string(index_) + "' has not enough memory: " + megabytes(bytes) +
                    " needed, " + megabytes(free) + " of " + megabytes(total) + " free, " + megabytes(account_.held()) +
                    " in use here. Use a smaller batch or model, or end other work on the device.");
  }
  check(status, "cudaMallocFromPoolAsync");
  account_.take(bytes);
  stream_->allocated();
  return pointer;
}

void CudaBackend::giveBack(void *pointer, size_t bytes) noexcept {
  if (imaginary_) return imaginary_->giveBack(pointer);
  account_.giveBack(bytes);
  constexpr const char *what = "Memory could not be given back";
  stream_->keep(what, cudaSetDevice(index_), "cudaSetDevice");
  try {
    stream_->flush();  // what a step has still to do may use it
  } catch (const std::exception &) {
    // The stream keeps it as well.
  }
  stream_->keep(what, cudaFreeAsync(pointer, stream_->handle()), "cudaFreeAsync");
}

void *CudaBackend::allocate(size_t bytes) {
  void *pointer = take(bytes);
  allocations_[pointer] = bytes;
  return pointer;
}

void CudaBackend::release(void *pointer) noexcept {
  const auto found = allocations_.find(pointer);
  // Inputs may still be on their way to memory of a stream that is not whole: it goes back at the engine's end.
  if (found == allocations_.end() || !stream_->isWhole()) return;
  giveBack(pointer, found->second);
  allocations_.erase(found);
}

// The stream's order lets the memory go while ops that were launched before still use it.
void CudaBackend::growScratch(size_t bytes) {
  if (scratch_) giveBack(scratch_, scratchBytes_);
  scratch_ = nullptr;
  scratchBytes_ = 0;
  scratch_ = take(bytes);
  scratchBytes_ = bytes;
}

void *CudaBackend::scratch(size_t bytes) {
  if (bytes == 0) return nullptr;
  if (bytes > scratchBytes_) growScratch(imaginary_ ? bytes : std::max(bytes, 2 * scratchBytes_));
#ifdef EMOFRAME_SIMT
  launch(limitKernel, 1, 1, 0, stream(), scratch_, bytes);
#endif
  return scratch_;
}

void CudaBackend::reserveScratch(size_t bytes) {
  if (bytes > scratchBytes_) growScratch(bytes);
}

void CudaBackend::upload(void *target, const void *hostSource, size_t bytes) {
  stream().upload(target, hostSource, bytes);
}

std::unique_ptr<UploadStream> CudaBackend::uploadStream() {
  return std::make_unique<CudaUploadStream>(*stream_, index_);
}

void CudaBackend::download(void *hostTarget, const void *source, size_t bytes) {
  if (imaginary_) {
    std::memset(hostTarget, 0, bytes);
    return;
  }
  stream().flush();
  if (idle_) {
    const std::function<void()> idle = std::exchange(idle_, nullptr);  // what it does is not to call it again
    idle();
    idle_ = idle;
    CHECK_CUDA(cudaSetDevice(index_));
  }
  if (bytes > 0) CHECK_CUDA(cudaMemcpyAsync(hostTarget, source, bytes, cudaMemcpyDeviceToHost, stream_->handle()));
  synchronize();
}

MemoryUse CudaBackend::memory() const {
  const MemoryAccount &account = imaginary_ ? imaginary_->account() : account_;
  MemoryUse use;
  use.held = account.held();
  use.peak = account.peak();
  use.scratch = scratchBytes_;
  use.staging = stream_->stagingBytes();
  if (imaginary_) return use;
  CHECK_CUDA(cudaSetDevice(index_));
  size_t free = 0, total = 0;
  uint64_t reserved = 0, used = 0;
  CHECK_CUDA(cudaMemGetInfo(&free, &total));
  CHECK_CUDA(cudaMemPoolGetAttribute(pool_, cudaMemPoolAttrReservedMemCurrent, &reserved));
  CHECK_CUDA(cudaMemPoolGetAttribute(pool_, cudaMemPoolAttrUsedMemCurrent, &used));
  use.available = std::min(account_.left(), free + static_cast<size_t>(reserved - used));
  return use;
}

std::unique_ptr<Backend> CudaBackend::counting() const {
  return std::unique_ptr<Backend>(new CudaBackend(*this, Counting()));
}

}  // namespace emoframe
