// A backend that keeps, for each op and shape, how often it was asked for, how long it took and how many floating-point
// operations it did. Steps are not passed on as such meanwhile: each op is done as it is asked for.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "nvtx_range.h"
#include "op_clock.h"
#include "op_description.h"
#include "wrapped_backend.h"

namespace emoframe {

struct OpTime {
  int64_t calls = 0;
  double seconds = 0, flops = 0;
};

class TimedBackend final : public WrappedBackend {
 public:
  explicit TimedBackend(std::unique_ptr<Backend> inner) : WrappedBackend(std::move(inner)), clock_(clockOf(*inner_)) {}

  // Without, everything is passed on as it is, steps too.
  bool timing = true;
  void finish() { clock_->finish(); }  // `times` has all ops so far
  std::map<std::string, OpTime> times;

  void beginStep() override {
    if (!timing) inner_->beginStep();
  }
  void endStep() override {
    if (!timing) inner_->endStep();
  }
  void run(const Op &op) override {
    if (!timing) return inner_->run(op);
    const std::string name = describe(op);
    const NvtxRange range(name);
    OpTime &entry = times[name];
    clock_->begin();
    inner_->run(op);
    clock_->end(entry.seconds);
    entry.flops += flopsOf(op);
    ++entry.calls;
  }

 private:
  std::unique_ptr<OpClock> clock_;
};

}  // namespace emoframe
