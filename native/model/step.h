// Ops that a backend may do as one (Steps::beginStep). Where they are left by an error, what was asked for until then
// is still done, as it would have been op by op.
#pragma once

#include "../backend.h"
#include "../error.h"

namespace emoframe {

class Step {
 public:
  explicit Step(Steps &steps) : steps_(steps) { steps_.beginStep(); }
  ~Step() {
    if (ended_) return;
    try {
      steps_.endStep();
    } catch (const Error &) {
      // The error that is on its way says more; what is wrong with a device shows again.
    }
  }
  Step(const Step &) = delete;
  Step &operator=(const Step &) = delete;
  void end() {
    ended_ = true;
    steps_.endStep();
  }

 private:
  Steps &steps_;
  bool ended_ = false;
};

}  // namespace emoframe
