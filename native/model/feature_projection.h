// LayerNorm → linear → dropout, then the mask embedding in place of masked frames.
#pragma once

#include "linear.h"

namespace emoframe {

class FeatureProjection {
 public:
  FeatureProjection(const HubertShape &shape, Parameters &parameters);

  bool trainable(const Parameters &parameters, bool masking) const;

  struct Saved {
    View features;
    AddNorm norm;
    View input;                     // of the linear: normalised features, or the features themselves
    const uint8_t *mask = nullptr;  // backend memory [T], or nullptr
  };
  // features [T, F] → out [T, C]
  void forward(const Context &context, const View &features, const uint8_t *mask, Saved &saved, const View &out) const;
  // dOut [T, C] is overwritten; dFeatures [T, F] is absent when the feature encoder is not trained.
  void backward(const Context &context, const Saved &saved, const View &dOut, const View &dFeatures) const;

 private:
  bool normed_;
  float dropout_;
  int32_t maskEmbedding_;
  LayerNorm norm_;
  Linear linear_;
};

}  // namespace emoframe
