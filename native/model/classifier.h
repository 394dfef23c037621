// Utterance emotion: dropout → pooling over frames → linear; and the same linear on each frame for frame posteriors.
#pragma once

#include "linear.h"
#include "packing.h"
#include "results.h"

namespace emoframe {

class Classifier {
 public:
  Classifier(const ClassifierHead &head, const HubertShape &shape, Parameters &parameters);

  // Loss and correct utterances, to sums f32 [2], and dHidden [T, C]; gradients carry 1 / denominator.
  void step(const Context &context, const Segments &segments, const int32_t *labels, double denominator,
            const View &hidden, const View &dHidden, const View &sums) const;

  // What `classify` reads beside its input, in backend memory.
  void layOut(Selection &selection, Workspace &workspace) const;
  // Where the results of the frames selected come: all but the offsets.
  void addResults(const Selection &selection, Results &results, Classified &result) const;
  // hidden [T, C] f32: the frames selected.
  void classify(const Context &context, const Selection &selection, const View &hidden, const Results &results,
                const Classified &result) const;

 private:
  Pooling pooling(const Context &context, const Segments &segments, const View &hidden) const;
  void logits(const Context &context, const View &pooled, const View &out) const;

  ClassifierHead head_;
  int64_t hidden_, pooled_;
  float dropout_;
  int32_t score_ = -1;
  Linear linear_;
};

}  // namespace emoframe
