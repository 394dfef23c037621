// Hidden states that know their neighbourhood alone: the transformer runs over chunks of an utterance in place of the
// whole, each with some frames of context on either side (clipped at the utterance's ends) that are computed and
// dropped. A frame's states then follow from its chunk and that context, and from nothing else.
//
// Chunks are the utterances of a packing of their own, whose rows are frames, some of them more than once. What the
// network gets is the state at one depth, or the sum of all up to it, weighted by the softmax of weights that are
// trained; into these states themselves no gradient goes.
#pragma once

#include "transformer.h"

namespace emoframe {

struct Chunks {
  Packing packing;
  // Frames → rows, in tables none of which names a frame twice, so that gradients can be added up the other way; none
  // where rows are frames.
  std::vector<RunTable> spread;
  RunTable core;     // rows, but for the context → frames
  View differences;  // f32 [layers + 1, layers]: see ChunkedStates::backward
};

class ChunkedStates {
 public:
  ChunkedStates(const AlignmentHead &head, const HubertShape &shape, Parameters &parameters);

  // `largest`: in place of the chunks of these utterances, as many and as long ones as so many frames of so many
  // utterances may have: for planning.
  Chunks layOut(const Packing &packing, const Transformer &transformer, bool largest, Workspace &workspace) const;

  bool weighted() const { return weights_ >= 0; }

  struct Saved {
    Transformer::Saved transformed;
    View states;   // weighted: f32 [layers + 1, T · C], and in the last row their sum
    View softmax;  // weighted: f32 [1, layers]
  };
  // embedded [T, C] → x [T, C]
  void forward(const Context &context, Transformer &transformer, const Chunks &chunks, const View &embedded,
               Saved &saved, const View &x) const;
  // Of the states at one depth: dX [T, C] → dEmbedded [T, C], absent when nothing below the transformer is trained.
  void backward(const Context &context, Transformer &transformer, const Chunks &chunks, const Saved &saved,
                const View &dX, const View &dEmbedded) const;
  // Of the weights.
  void backwardToWeights(const Context &context, const Chunks &chunks, const Saved &saved, const View &dX) const;
  bool trainsWeights(const Parameters &parameters) const { return weighted() && parameters.trainable(weights_); }

 private:
  int64_t depth_, chunkFrames_, contextFrames_, hidden_;
  int32_t weights_ = -1;
};

}  // namespace emoframe
