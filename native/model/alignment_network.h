// The network that gives each frame its logits from its neighbourhood alone:
//
//   standardized columns → linear → blocks of r + dropout(GELU(conv(LayerNorm(r)))) → LayerNorm → linear
//
// A frame's logits follow from Σ h frames on either side, h being the blocks' half-widths, and from nothing else. A
// block's sum and the norm that reads it are one op (AddNorm).
#pragma once

#include "linear.h"
#include "local_conv.h"

namespace emoframe {

class AlignmentNetwork {
 public:
  // `source`: columns of its source; mel bands come behind them where it has any.
  AlignmentNetwork(const AlignmentHead &head, int64_t source, Parameters &parameters);

  struct Saved {
    View input;                           // source and mel bands, standardized
    std::vector<AddNorm> norms;           // of the stream: before each block, and the last, whose output is f32
    std::vector<LocalConv::Saved> convs;  // a block each
  };
  LocalAxis layOut(const Packing &packing, Workspace &workspace) const {
    return layOutLocally(packing, gap_, workspace);
  }
  // x [T, source], mel [T, bands] (absent where there are none) → logits f32 [T, classes]
  void forward(const Context &context, const LocalAxis &axis, const View &x, const View &mel, Saved &saved,
               const View &logits) const;
  // dLogits f32; dX [T, source] is absent when nothing below is trained.
  void backward(const Context &context, const LocalAxis &axis, const Saved &saved, const View &dLogits,
                const View &dX) const;

 private:
  int64_t source_, bands_, width_, gap_ = 0;
  float dropout_;
  int32_t inputMean_, inputFactor_;  // of the inputs of training: not trained themselves
  Linear projection_;
  std::vector<LayerNorm> norms_;
  std::vector<LocalConv> convs_;
  Linear output_;
};

}  // namespace emoframe
