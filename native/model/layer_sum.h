// The sum of all hidden states, weighted by the softmax of weights that are trained: states 0 to L - 1 as they are, and
// as the last the model's output, which in the pre-norm form has been through the final norm.
//
// A pass that trains has the states lie in memory for the layers' own gradients, so that nothing is kept for this sum
// but where they are. One that does not adds each state while it is there.
#pragma once

#include "transformer.h"

namespace emoframe {

class LayerSum {
 public:
  LayerSum(const HubertShape &shape, Parameters &parameters);

  bool trainable(const Parameters &parameters) const { return parameters.trainable(weights_); }

  struct Saved {
    Transformer::Saved transformed;
    std::vector<View> states;  // [T, C], of depths 0 to L; without training they lie there no more
    View softmax;              // f32 [1, L + 1]
    View factors;              // f32 [L + 1, C]: the same for every column
  };
  // embedded [T, C] → sum f32 [T, C]
  void forward(const Context &context, Transformer &transformer, const Packing &packing, const View &embedded,
               Saved &saved, const View &sum) const;
  // Of the weights: dSum f32 [T, C].
  void backwardToWeights(const Context &context, const Saved &saved, const View &dSum) const;
  // Of the states, through the transformer: dEmbedded [T, C], absent when nothing below it is trained.
  void backwardToStates(const Context &context, Transformer &transformer, const Packing &packing, const Saved &saved,
                        const View &dSum, const View &dEmbedded) const;

 private:
  int64_t layers_, hidden_;
  int32_t weights_;
};

}  // namespace emoframe
