// The second branch of a transformer layer: y = dropout(gelu(x W₁ᵀ + b₁)) W₂ᵀ + b₂.
//
// What lies between the two products is their epilogues' work. Forward, the first writes GELU's output, and for
// training its slope, dropout's factors in both; backward, the product that gives the gradient of GELU's output is
// multiplied by that slope before it is written, and its columns summed for b₁. So of what is as wide as the branch is
// inside, two tensors are written and one is read forward, and one is written for one read backward.
#pragma once

#include "linear.h"

namespace emoframe {

class FeedForward {
 public:
  FeedForward() = default;
  FeedForward(Parameters &parameters, const std::string &name, int64_t hidden, int64_t intermediate);

  void packForInference(Parameters &parameters) const;

  struct Saved {
    View x;             // [T, C]
    View slope;         // d intermediate / d (x W₁ᵀ + b₁) [T, I]
    View intermediate;  // [T, I]
  };
  void forward(const Context &context, const View &x, const Dropout &dropout, Saved &saved, const View &y) const;
  // dx is added to when `accumulate`.
  void backward(const Context &context, const Saved &saved, const View &dy, const View &dx, bool accumulate) const;

 private:
  int64_t intermediate_ = 0;
  Linear up_, down_;
};

}  // namespace emoframe
