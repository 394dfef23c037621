// Where a backend's kernels and copies go, in order; and beside it the way of inputs (upload_stream.h).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>

#include "../backend.h"
#include "graphs.h"
#include "staging.h"

namespace emoframe {

class Stream {
 public:
  struct Nowhere {};
  explicit Stream(Nowhere) {}  // of a backend that only counts: nothing is done
  // On the current device, whose blocks can be given so much shared memory; steps are done as graphs.
  Stream(bool asGraphs, size_t mostSharedBytes);
  ~Stream();
  Stream(const Stream &) = delete;
  Stream &operator=(const Stream &) = delete;

  bool goesNowhere() const { return stream_ == nullptr; }
  void launch(const Launch &launch);
  void upload(void *target, const void *source, size_t bytes);
  // Within a step, launches are kept: the first so many go as soon as they are there, so that the device has work while
  // the host goes through the rest, which is done at the step's end, or when `flush` says so because the host or memory
  // has to wait for it.
  void beginStep();
  void flush();
  void endStep();
  void wait();  // until all is done
  // What cannot be thrown where it fails: kept unless something was before it, and nothing goes any more.
  void keep(const char *what, cudaError_t status, const char *call) noexcept;
  bool isWhole() const { return !broken_; }
  void requireWhole() const;  // ERR_DEVICE_FAULT: something was kept, or a step was cut off
  cudaStream_t handle() const { return stream_; }
  cudaStream_t uploads() const { return uploads_; }
  // How many allocations were made in this stream's order.
  uint64_t allocations() const { return allocations_; }
  void allocated() { ++allocations_; }
  void pin(int64_t bytes) { pinned_ += bytes; }  // more, or less, memory of the host is taken for inputs
  size_t stagingBytes() const { return Staging::totalBytes + static_cast<size_t>(pinned_); }
  GraphUse graphs() const;

 private:
  static constexpr size_t ahead = 64;

  void allowShared(const Launch &launch);
  void launchOneByOne();
  void cutOff(const char *why);
  void close() noexcept;

  cudaStream_t stream_ = nullptr, uploads_ = nullptr;
  uint64_t allocations_ = 0;
  int64_t pinned_ = 0;
  bool asGraphs_ = false, inStep_ = false, begun_ = false;  // begun: the step's first launches went
  size_t mostSharedBytes_ = 0;
  Graphs::Way way_ = Graphs::Way::tooFew;  // in which the step was done so far: the worst of its parts'
  GraphUse use_;
  std::unordered_set<const void *> sharing_;  // kernels that were allowed as much
  Commands commands_;
  Graphs graphs_;
  std::unique_ptr<Staging> staging_;  // of uploads in the order of ops
  const char *broken_ = nullptr;      // what failed first of that after which nothing goes
  std::string why_;
};

}  // namespace emoframe
