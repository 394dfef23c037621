// The positional convolution of HuBERT, wav2vec 2.0 and WavLM: y = GELU(conv(x) + b), grouped, weight-normed per tap.
#pragma once

#include "grouped_conv.h"

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
  void layOut(Packing &packing, Workspace &workspace) const { conv_.layOut(packing, workspace); }
  void forward(const Context &context, const Packing &packing, const View &x, Saved &saved, const View &y);
  // dX [T, C] is added to, absent when nothing below is trained; it may be dY's memory.
  void backward(const Context &context, const Packing &packing, const Saved &saved, const View &dY, const View &dX);

 private:
  void normalizeWeight(const Context &context);

  GroupedConv conv_;
  int64_t hidden_;
  int32_t g_, v_, bias_;
  Backend *backend_ = nullptr;
  void *weight_ = nullptr, *flipped_ = nullptr;  // [C, k, C/G] each, as activations
  size_t weightBytes_ = 0;                       // of each
  uint64_t weightVersion_ = 0;
};

}  // namespace emoframe
