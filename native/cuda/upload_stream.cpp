#include "upload_stream.h"

#include <algorithm>
#include <cstring>

#include "status.h"

namespace emoframe {

namespace {
constexpr size_t alignment = 64;
size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }
}  // namespace

CudaUploadStream::~CudaUploadStream() {
  wait();
  if (sent_) cudaEventDestroy(sent_);
  if (read_) cudaEventDestroy(read_);
  if (pinned_) cudaFreeHost(pinned_);
  stream_.pin(-static_cast<int64_t>(capacity_));
}

void CudaUploadStream::open() {
  check(cudaSetDevice(device_));
  if (!sent_) check(cudaEventCreateWithFlags(&sent_, cudaEventDisableTiming));
  if (!read_) check(cudaEventCreateWithFlags(&read_, cudaEventDisableTiming));
}

void CudaUploadStream::reserve(size_t bytes) {
  if (stream_.goesNowhere() || bytes <= capacity_) return;
  begin();
  grow(bytes);
}

void CudaUploadStream::begin() {
  if (stream_.goesNowhere()) return;
  open();
  if (underWay_) check(cudaEventSynchronize(sent_));
  underWay_ = false;
  used_ = 0;
  runs_.clear();
}

void CudaUploadStream::grow(size_t bytes) {
  unsigned char *larger = nullptr;
  const size_t size = rounded(bytes, 4096);
  check(cudaMallocHost(reinterpret_cast<void **>(&larger), size));
  if (pinned_) {
    std::memcpy(larger, pinned_, used_);
    cudaFreeHost(pinned_);
  }
  stream_.pin(static_cast<int64_t>(size) - static_cast<int64_t>(capacity_));
  pinned_ = larger;
  capacity_ = size;
}

// What lies next to what came before goes along with it, and so does a gap that alignment left.
void CudaUploadStream::upload(void *target, const void *hostSource, size_t bytes) {
  if (bytes == 0 || stream_.goesNowhere()) return;
  const auto to = reinterpret_cast<uintptr_t>(target);
  size_t at = rounded(used_, alignment);
  const uintptr_t end = runs_.empty() ? 0 : runs_.back().target + runs_.back().bytes;
  const bool joins = end != 0 && to >= end && to - end < alignment;
  if (joins) at = used_ + (to - end);
  if (at + bytes > capacity_) grow(std::max(at + bytes, 2 * capacity_));
  std::memset(pinned_ + used_, 0, at - used_);
  std::memcpy(pinned_ + at, hostSource, bytes);
  used_ = at + bytes;
  if (joins) {
    runs_.back().bytes = used_ - runs_.back().offset;
  } else {
    runs_.push_back({to, at, bytes});
  }
}

void CudaUploadStream::send() {
  if (stream_.goesNowhere()) return;
  stream_.requireWhole();
  open();
  const cudaStream_t uploads = stream_.uploads();
  // Memory that is new belongs to the stream of ops first.
  if (allocations_ != stream_.allocations()) check(cudaEventRecord(read_, stream_.handle()));
  allocations_ = stream_.allocations();
  check(cudaStreamWaitEvent(uploads, read_));
  underWay_ = true;
  for (const Run &run : runs_) {
    check(cudaMemcpyAsync(reinterpret_cast<void *>(run.target), pinned_ + run.offset, run.bytes, cudaMemcpyHostToDevice,
                          uploads));
  }
  check(cudaEventRecord(sent_, uploads));
}

void CudaUploadStream::await() {
  if (stream_.goesNowhere()) return;
  check(cudaSetDevice(device_));
  check(cudaStreamWaitEvent(stream_.handle(), sent_));
}

// Where it fails, what is sent next waits for a later place in the stream, which it records itself.
void CudaUploadStream::release() noexcept {
  if (stream_.goesNowhere() || !read_) return;
  cudaSetDevice(device_);
  const bool recorded = cudaEventRecord(read_, stream_.handle()) == cudaSuccess;
  allocations_ = recorded ? stream_.allocations() : UINT64_MAX;
}

void CudaUploadStream::wait() noexcept {
  if (!underWay_) return;
  cudaSetDevice(device_);
  cudaEventSynchronize(sent_);
  underWay_ = false;
}

}  // namespace emoframe
