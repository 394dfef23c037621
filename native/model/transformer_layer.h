// One transformer layer, in both orders of its norms. A layer is two branches, each added to a residual and normed:
//
//   post-LN (base)   o = attention(h)         y = LN1(h + o)        f = feedForward(y)    h' = LN2(y + f)
//   pre-LN (large)   o = attention(LN1(h))    s = h + o, y = LN2(s) f = feedForward(y)    h' = s + f
//
// In both, a branch's output is added and then normed at once (AddNorm). In the pre-LN form the second of these sums is
// normed by what comes next: LN1 of the next layer, or the encoder's final norm. So a layer takes `input`, what
// attention reads, and `residual`, and gives the same two for the next; post-LN has one tensor for both.
//
// WavLM's attention has a bias of the distance that is gated by the query: a linear layer of 8 outputs reads each
// head's part of attention's input, and PositionGate makes the gate of them.
#pragma once

#include "feed_forward.h"
#include "packing.h"

namespace emoframe {

class TransformerLayer {
 public:
  TransformerLayer(const HubertShape &shape, int64_t index, Parameters &parameters);

  void packForInference(Parameters &parameters) const;
  bool trainable(const Parameters &parameters) const;
  // The norm of attention's input in the pre-LN form.
  const LayerNorm &inputNorm() const { return firstNorm_; }

  // What the attention of all layers shares in a pass.
  struct Scope {
    Segments segments;
    View table = {};       // of DistanceBias; absent where there is none
    int32_t unbiased = 0;  // rows of each utterance, likewise
  };
  // What flows between layers. [T, C]
  struct Stream {
    View input, residual;
  };
  struct Saved {
    Stream in;
    View qkv;        // [T, 3C]
    View context;    // [T, C]
    View logSumExp;  // f32 [T, H]
    PositionGate gate;
    AddNorm afterAttention;
    FeedForward::Saved feedForward;
    AddNorm afterFeedForward;
  };
  // `next`: the norm of the last sum in the pre-LN form; nullptr gives the sum alone (out.input absent).
  void forward(const Context &context, const Scope &scope, const Stream &in, const LayerNorm *next, Saved &saved,
               const Stream &out) const;

  // Gradients of `out` (residual absent: zero) to those of `in`, in new memory of the workspace unless given. In the
  // post-LN form both are in `input` and `residual` is absent. dTable is added to; absent where it is not trained.
  struct Gradient {
    View input, residual;
  };
  void backward(const Context &context, const Scope &scope, const LayerNorm *next, const Saved &saved,
                const Gradient &dOut, const Gradient &dIn, const View &dTable) const;

 private:
  Attention attention(const Context &context, const Scope &scope, const Saved &saved) const;
  View byHead(const View &x) const;  // [T, C] seen as [T · H, D]
  void gateForward(const Context &context, const View &input, PositionGate &gate) const;
  void gateBackward(const Context &context, const Saved &saved, const View &dGate, const View &dInput) const;

  int64_t index_, hidden_, heads_;
  bool preNorm_, gated_;
  float attentionDropout_, hiddenDropout_, activationDropout_;
  Linear qkv_, output_, gate_;
  int32_t gateScale_ = -1;
  FeedForward feedForward_;
  LayerNorm firstNorm_, secondNorm_;
};

}  // namespace emoframe
