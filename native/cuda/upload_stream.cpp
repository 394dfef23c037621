#include "upload_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "status.h"

namespace emoframe {

namespace {
constexpr size_t alignment = 64;
size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }
}  // namespace

CudaUploadStream::~CudaUploadStream() {
  wait();
  if (read_) cudaEventDestroy(read_);
  stream_.pin(-static_cast<int64_t>(pinned_.size()));
}

void CudaUploadStream::open() {
  CHECK_CUDA(cudaSetDevice(device_));
  if (!read_) CHECK_CUDA(cudaEventCreateWithFlags(&read_, cudaEventDisableTiming));
}

void CudaUploadStream::reserve(size_t bytes) {
  if (stream_.goesNowhere() || bytes <= pinned_.size()) return;
  begin();
  grow(bytes);
}

void CudaUploadStream::begin() {
  if (stream_.goesNowhere()) return;
  open();
  pinned_.wait();
  used_ = 0;
  runs_.clear();
}

void CudaUploadStream::grow(size_t bytes) {
  PinnedMemory larger(rounded(bytes, 4096));
  if (used_ > 0) std::memcpy(larger.bytes(), pinned_.bytes(), used_);
  stream_.pin(static_cast<int64_t>(larger.size()) - static_cast<int64_t>(pinned_.size()));
  pinned_ = std::move(larger);
}

// What lies next to what came before goes along with it, and so does a gap that alignment left.
void CudaUploadStream::upload(void *target, const void *hostSource, size_t bytes) {
  if (bytes == 0 || stream_.goesNowhere()) return;
  const auto to = reinterpret_cast<uintptr_t>(target);
  size_t at = rounded(used_, alignment);
  const uintptr_t end = runs_.empty() ? 0 : runs_.back().target + runs_.back().bytes;
  const bool joins = end != 0 && to >= end && to - end < alignment;
  if (joins) at = used_ + (to - end);
  if (at + bytes > pinned_.size()) grow(std::max(at + bytes, 2 * pinned_.size()));
  std::memset(pinned_.bytes() + used_, 0, at - used_);
  std::memcpy(pinned_.bytes() + at, hostSource, bytes);
  used_ = at + bytes;
  if (joins) {
    runs_.back().bytes = used_ - runs_.back().offset;
  } else {
    runs_.push_back({to, at, bytes});
  }
}

void CudaUploadStream::send() {
  if (stream_.goesNowhere() || runs_.empty()) return;
  stream_.requireWhole();
  open();
  const cudaStream_t uploads = stream_.uploads();
  // Memory that is new belongs to the stream of ops first.
  if (allocations_ != stream_.allocations()) CHECK_CUDA(cudaEventRecord(read_, stream_.handle()));
  allocations_ = stream_.allocations();
  CHECK_CUDA(cudaStreamWaitEvent(uploads, read_));
  for (const Run &run : runs_) pinned_.send(reinterpret_cast<void *>(run.target), run.offset, run.bytes, uploads);
  pinned_.sent(uploads);
}

void CudaUploadStream::await() {
  if (stream_.goesNowhere() || runs_.empty()) return;
  CHECK_CUDA(cudaSetDevice(device_));
  CHECK_CUDA(cudaStreamWaitEvent(stream_.handle(), pinned_.read()));
}

// Where it fails, what is sent next waits for a later place in the stream, which it records itself.
void CudaUploadStream::release() noexcept {
  if (stream_.goesNowhere() || !read_) return;
  cudaSetDevice(device_);
  const bool recorded = cudaEventRecord(read_, stream_.handle()) == cudaSuccess;
  allocations_ = recorded ? stream_.allocations() : UINT64_MAX;
}

void CudaUploadStream::wait() noexcept {
  if (!pinned_.underWay()) return;
  cudaSetDevice(device_);
  stream_.keep("Inputs that were sent could not be waited for", pinned_.settle(), "cudaDeviceSynchronize");
}

}  // namespace emoframe
