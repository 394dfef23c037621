// The grouped positional convolution: y = GELU(conv(x) + b), same length, weight-normed per tap.
//
// Each group is its own matrix product over overlapping rows, so x is laid out group by group, [G, Tp, C/G], with
// kernel/2 zero rows before, between and behind the utterances; row v of the view is the window [v, v + kernel) of
// padded rows. An even kernel gives one frame too many at the end, which is not taken (transformers drops it too).
#pragma once

#include "linear.h"
#include "packing.h"

namespace emoframe {

class PositionalConv {
 public:
  PositionalConv(const HubertShape &shape, Parameters &parameters);
  ~PositionalConv();
  PositionalConv(const PositionalConv &) = delete;
  PositionalConv &operator=(const PositionalConv &) = delete;

  size_t heldBytes() const;  // normed weights

  struct Saved {
    View padded;      // [G, Tp, C/G]
    View activation;  // what GELU reads [T, C]
  };
  // Fills packing.padded.
  void layOut(Packing &packing, Workspace &workspace) const;
  void forward(const Context &context, const Packing &packing, const View &x, Saved &saved, const View &y);
  // dX [T, C] is added to, absent when nothing below is trained; it may be dY's memory.
  void backward(const Context &context, const Packing &packing, const Saved &saved, const View &dY, const View &dX);

 private:
  View byGroup(const View &x) const;  // [T, C] seen as [G, T, C/G]
  View overlappingRows(const View &padded, int64_t rows) const;
  View pad(const Context &context, const PaddedAxis &axis, const View &x) const;
  void normalizeWeight(const Context &context);

  int64_t hidden_, kernel_, groups_, groupSize_;
  int32_t g_, v_, bias_;
  Backend *backend_ = nullptr;
  void *weight_ = nullptr, *flipped_ = nullptr;  // [C, k, C/G] each, as activations
  size_t weightBytes_ = 0;                       // of each
  uint64_t weightVersion_ = 0;
};

}  // namespace emoframe
