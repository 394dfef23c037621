// Inputs on their way beside the ops: two streams and two events.
//
//   upload stream    waits for `read`   copies   records `sent`
//   stream of ops                                               waits for `sent`   ops   records `read`
//
// The device's copy engine brings the next step's inputs while this one computes. What was uploaded is put together in
// pinned memory as it will lie on the device, so that it goes as one copy.
#pragma once

#include <vector>

#include "../backend.h"
#include "pinned.h"
#include "stream.h"

namespace emoframe {

class CudaUploadStream final : public UploadStream {
 public:
  CudaUploadStream(Stream &stream, int32_t device) : stream_(stream), device_(device) {}
  ~CudaUploadStream() override;
  CudaUploadStream(const CudaUploadStream &) = delete;
  CudaUploadStream &operator=(const CudaUploadStream &) = delete;

  void reserve(size_t bytes) override;
  void begin() override;
  void upload(void *target, const void *hostSource, size_t bytes) override;
  void send() override;
  void await() override;
  void release() noexcept override;
  void wait() noexcept override;

 private:
  // Bytes that lie side by side in pinned memory and on the device.
  struct Run {
    uintptr_t target;
    size_t offset, bytes;
  };
  void open();
  void grow(size_t bytes);

  Stream &stream_;
  int32_t device_;
  PinnedMemory pinned_;
  size_t used_ = 0;
  std::vector<Run> runs_;
  cudaEvent_t read_ = nullptr;  // by ops
  uint64_t allocations_ = 0;    // of the stream, that `read_` comes after
};

}  // namespace emoframe
