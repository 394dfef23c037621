// Where a backend's kernels and copies go, in order.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "graphs.h"
#include "staging.h"

namespace emoframe {

class Stream {
 public:
  struct Nowhere {};
  explicit Stream(Nowhere) {}      // of a backend that only counts: nothing is done
  explicit Stream(bool asGraphs);  // on the current device; steps are done as graphs
  ~Stream();
  Stream(const Stream &) = delete;
  Stream &operator=(const Stream &) = delete;

  bool goesNowhere() const { return stream_ == nullptr; }
  void launch(const Launch &launch);
  void upload(void *target, const void *source, size_t bytes);
  // Within a step, launches and uploads are kept, and done at its end, or when `flush` says so because the host or
  // memory has to wait for them.
  void beginStep();
  void flush();
  void endStep();
  void wait();  // until all is done
  cudaStream_t handle() const { return stream_; }
  size_t stagingBytes() const;
  const GraphUse &graphs() const { return graphs_.use(); }

 private:
  void launchOneByOne();

  cudaStream_t stream_ = nullptr;
  bool asGraphs_ = false, inStep_ = false;
  Commands commands_;
  Graphs graphs_;
  std::unique_ptr<Staging>
      staging_;  // of uploads outside of steps; none: a step was cut off, and nothing goes any more
  StepStaging stepStaging_;
};

}  // namespace emoframe
