// Working memory of one thread, kept between calls: grown when needed, never cleared, 64-byte aligned.
#pragma once

#include <cstdlib>
#include <memory>

#include "../error.h"

namespace emoframe {

class ThreadBuffer {
 public:
  // The first `count` floats of this buffer; what an earlier call returned is gone.
  float *floats(int64_t count) {
    if (count > capacity_) {
      const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64;
      memory_.reset(static_cast<float *>(std::aligned_alloc(64, bytes)));
      capacity_ = memory_ ? count : 0;
      if (!memory_)
        throw Error("ERR_OUT_OF_MEMORY", "Could not allocate " + std::to_string(bytes) + " bytes of scratch memory.");
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(float *p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> memory_;
  int64_t capacity_ = 0;
};

}  // namespace emoframe
