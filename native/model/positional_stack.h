// The positional convolutions of data2vec, one after another: x = GELU(LN(conv(x) + b)), grouped, the norm without
// affine.
#pragma once

#include "grouped_conv.h"

namespace emoframe {

class PositionalStack {
 public:
  PositionalStack(const HubertShape &shape, Parameters &parameters, Backend &backend);
  ~PositionalStack();
  PositionalStack(const PositionalStack &) = delete;
  PositionalStack &operator=(const PositionalStack &) = delete;

  size_t heldBytes() const { return static_cast<size_t>(2 * hidden_) * sizeof(float); }

  struct SavedLayer {
    View padded;  // [G, Tp, C/G]
    AddNorm norm;
  };
  struct Saved {
    std::vector<SavedLayer> layers;
  };
  // Fills packing.padded.
  void layOut(Packing &packing, Workspace &workspace) const { conv_.layOut(packing, workspace); }
  void forward(const Context &context, const Packing &packing, const View &x, Saved &saved, const View &y) const;
  // dX [T, C] is added to, absent when nothing below is trained; it may be dY's memory.
  void backward(const Context &context, const Packing &packing, const Saved &saved, const View &dY,
                const View &dX) const;

 private:
  View flipped(const Context &context, int32_t weight) const;

  GroupedConv conv_;
  int64_t hidden_;
  std::vector<Linear> layers_;  // their weights are [C, k, C/G]
  Backend &backend_;
  void *memory_;
  View ones_, zeros_;  // the norms' affine part, f32 [C]
};

}  // namespace emoframe
