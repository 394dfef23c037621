// Frame and utterance emotion by alignment: frame logits from a network that sees a frame's neighbourhood alone, and
// forward-backward over islands of emotion between neutral frames (IslandAlignment), whose sums over all paths
// are the utterance's logits and whose occupancies say when.
#pragma once

#include "alignment_network.h"
#include "chunked_states.h"
#include "results.h"

namespace emoframe {

// What an alignment of frame logits alone is done with.
struct AlignSettings {
  int32_t neutral = 0;
  float scale = 0.1f, switchingCost = 4;
  std::vector<float> bias;  // [C]
};
// Of utterances whose frame logits [T, C] are known already, as after inference by windows: logits and occupancies.
// ERR_ARGUMENT where sizes do not fit together.
Aligned align(Backend &backend, const float *frameLogits, int64_t size, const std::vector<int32_t> &offsets,
              const AlignSettings &settings);

class Alignment {
 public:
  Alignment(const AlignmentHead &head, const HubertShape &shape, Parameters &parameters);

  // What a pass reads beside its batch, in backend memory.
  struct Inputs {
    LocalAxis axis;
    Chunks chunks;                          // where it reads states
    const int32_t *classes = nullptr;       // of utterances, of a pass that trains
    const int32_t *frameClasses = nullptr;  // [T], where some are known
    const float *frameShares = nullptr;     // [T]: 1 / known frames of the utterance, 0 where a frame's is not known
  };
  // ERR_LABEL names an utterance or a frame whose label is no class. `step`: of training. `largest`: see ChunkedStates.
  Inputs layOut(const TrainStep *step, const Packing &packing, const Transformer &transformer, bool largest,
                Workspace &workspace) const;
  // Of the transformer, where it reads those; else it reads features.
  const ChunkedStates *states() const { return states_.get(); }

  // Loss and correct utterances, to sums f32 [2]; gradients carry 1 / denominator. x [T, source] and mel as the network
  // reads them; dX is absent when nothing below is trained.
  void step(const Context &context, const Segments &segments, const Inputs &inputs, double denominator, const View &x,
            const View &mel, const View &dX, const View &sums) const;

  // Where the results of frames that are kept come.
  void addResults(const Selection &selection, Results &results, Aligned &aligned) const;
  // x and mel are of all frames; results are of those selected, from which the utterance's follow.
  void classify(const Context &context, const Inputs &inputs, const Selection &selection, const View &x,
                const View &mel, const Results &results, const Aligned &aligned) const;

 private:
  IslandAlignment islands(const Context &context, const Segments &segments, const View &logits) const;

  AlignmentHead head_;
  AlignmentNetwork network_;
  int32_t bias_;
  std::unique_ptr<ChunkedStates> states_;
};

}  // namespace emoframe
