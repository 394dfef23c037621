// A stretch of ops that a backend may do as one (Backend::beginStep). Where it is left by an error, what was asked for
// until then is still done, as it would have been op by op.
#pragma once

#include "../error.h"
#include "../ops.h"

namespace emoframe {

class Step {
 public:
  explicit Step(Backend &backend) : backend_(backend) { backend_.beginStep(); }
  ~Step() {
    if (ended_) return;
    try {
      backend_.endStep();
    } catch (const Error &) {
      // The error that is on its way tells more; what is wrong with a device shows again.
    }
  }
  Step(const Step &) = delete;
  Step &operator=(const Step &) = delete;
  void end() {
    ended_ = true;
    backend_.endStep();
  }

 private:
  Backend &backend_;
  bool ended_ = false;
};

}  // namespace emoframe
