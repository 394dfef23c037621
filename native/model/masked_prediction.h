// Masked prediction: z = final_proj(h) at masked frames, cosine logits over trainable label embeddings, cross-entropy.
#pragma once

#include "linear.h"
#include "packing.h"

namespace emoframe {

class MaskedPrediction {
 public:
  MaskedPrediction(const MaskedPredictionHead &head, int64_t hidden, Parameters &parameters);

  // The masked frames with their labels; ERR_LABEL names a frame whose label is no cluster.
  struct Targets {
    int64_t count = 0;
    const int32_t *frames = nullptr, *labels = nullptr;  // backend memory
  };
  Targets targets(const TrainStep &step, int64_t frames, Workspace &workspace) const;

  // Loss and correct frames, to sums f32 [2], and dHidden [T, C]; gradients carry 1 / denominator.
  void step(const Context &context, const Targets &targets, double denominator, const View &hidden, const View &dHidden,
            const View &sums) const;

 private:
  MaskedPredictionHead head_;
  Linear projection_;
  int32_t embeddings_;
};

}  // namespace emoframe
