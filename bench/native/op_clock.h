// How long an op takes: by the host's clock, or on a GPU by events before and after it in the stream that it runs on.
#pragma once

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "backend.h"
#ifdef EMOFRAME_CUDA
#include "cuda/backend.h"
#include "cuda/status.h"
#endif

namespace emoframe {

class OpClock {
 public:
  virtual ~OpClock() = default;
  virtual void begin() = 0;
  virtual void end(double &seconds) = 0;  // of what began last, added by the time `finish` returns
  virtual void finish() {}
};

class HostClock final : public OpClock {
 public:
  void begin() override { started_ = std::chrono::steady_clock::now(); }
  void end(double &seconds) override {
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  }

 private:
  std::chrono::steady_clock::time_point started_;
};

#ifdef EMOFRAME_CUDA
class EventClock final : public OpClock {
 public:
  explicit EventClock(cudaStream_t stream) : stream_(stream) {}
  ~EventClock() override {
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
  }
  void begin() override { CHECK_CUDA(cudaEventRecord(next(), stream_)); }
  void end(double &seconds) override {
    CHECK_CUDA(cudaEventRecord(next(), stream_));
    waiting_.push_back(&seconds);
  }
  void finish() override {
    CHECK_CUDA(cudaStreamSynchronize(stream_));
    for (size_t i = 0; i < waiting_.size(); ++i) {
      float milliseconds = 0;
      CHECK_CUDA(cudaEventElapsedTime(&milliseconds, events_[2 * i], events_[2 * i + 1]));
      *waiting_[i] += 1e-3 * milliseconds;
    }
    waiting_.clear();
    used_ = 0;
  }

 private:
  cudaEvent_t next() {
    if (used_ == events_.size()) {
      events_.emplace_back();
      CHECK_CUDA(cudaEventCreate(&events_.back()));
    }
    return events_[used_++];
  }

  cudaStream_t stream_;
  std::vector<cudaEvent_t> events_;  // before and after ops, in turn
  std::vector<double *> waiting_;    // for the time between them
  size_t used_ = 0;
};
#endif

inline std::unique_ptr<OpClock> clockOf(Backend &backend) {
#ifdef EMOFRAME_CUDA
  if (auto *cuda = dynamic_cast<CudaBackend *>(&backend)) return std::make_unique<EventClock>(cuda->streamHandle());
#endif
  return std::make_unique<HostClock>();
}

}  // namespace emoframe
