// Learned rows that precede the frames of each utterance in the transformer's layers, and are seen nowhere else:
// data2vec 2.0 gives attention a place to look at that is no frame. The layers then work on a row axis of their own.
#pragma once

#include "linear.h"
#include "packing.h"

namespace emoframe {

class ExtraTokens {
 public:
  ExtraTokens(const HubertShape &shape, Parameters &parameters);

  int32_t count() const { return static_cast<int32_t>(count_); }
  bool trainable(const Parameters &parameters) const { return parameters.trainable(tokens_); }

  // Fills packing.tokens.
  void layOut(Packing &packing, Workspace &workspace) const;
  View prepend(const Context &context, const Packing &packing, const View &frames) const;  // [T, C] → [rows, C]
  void drop(const Context &context, const Packing &packing, const View &rows, const View &frames) const;
  // Of drop: gradients of frames, and zeros.
  View dropBackward(const Context &context, const Packing &packing, const View &dFrames) const;
  // rows += frames
  void addToFrames(const Context &context, const Packing &packing, const View &frames, const View &rows) const;
  void prependBackward(const Context &context, const Packing &packing, const View &dRows, const View &dFrames) const;

 private:
  int64_t count_, hidden_;
  int32_t tokens_;
};

}  // namespace emoframe
