// The table of attention's bias by the distance (DistanceBias), made once a pass for all layers: of learned values of
// T5's buckets of distances, as in WavLM, or of slopes times learned factors (ALiBi), as in data2vec 2.0.
//
// Every distance is in one bucket, so the table is a product of ones and zeros with the learned values, exact and with
// the transposed product as its gradient. Beyond `biasReach` all distances are in the last bucket of their sign. A
// table of slopes reaches as far as the longest utterance of the pass.
#pragma once

#include "linear.h"
#include "packing.h"

namespace emoframe {

class DistanceTable {
 public:
  DistanceTable(const HubertShape &shape, Parameters &parameters, Backend &backend);
  ~DistanceTable();
  DistanceTable(const DistanceTable &) = delete;
  DistanceTable &operator=(const DistanceTable &) = delete;

  size_t heldBytes() const { return static_cast<size_t>(membership_.size()) * sizeof(float); }
  bool trainable(const Parameters &parameters) const { return parameters.trainable(learned_); }

  // Fills packing.reach. `longest`: frames that an utterance may have, for planning; 0: those of these.
  void layOut(Packing &packing, int64_t longest) const;
  View forward(const Context &context, const Packing &packing) const;  // f32 [2 reach + 1, H]
  View zeroGradient(const Context &context, const Packing &packing) const;
  void backward(const Context &context, const View &dTable) const;

 private:
  View tensor(const Context &context, const Packing &packing) const;

  int64_t heads_, reach_;  // reach 0: of slopes
  Backend &backend_;
  int32_t learned_;
  View membership_;  // f32 [2 reach + 1, buckets]
};

// T5's bucket of a distance (key - query), of so many for both signs: half of each sign's hold one distance, the others
// ever more, and all from `reach` on share the last. In float32, as WavLM has been trained.
int64_t distanceBucket(int64_t distance, int64_t buckets, int64_t reach);

}  // namespace emoframe
