// One transformer layer, in both orders of its norms. A layer is two branches, each added to a residual and normed:
//
//   post-LN (base)   o = attention(h)         y = LN1(h + o)        f = feedForward(y)    h' = LN2(y + f)
//   pre-LN (large)   o = attention(LN1(h))    s = h + o, y = LN2(s) f = feedForward(y)    h' = s + f
//
// In both, a branch's output is added and then normed at once (AddNorm). In the pre-LN form the second of these sums is
// normed by what comes next: LN1 of the next layer, or the encoder's final norm. So a layer takes `input`, what
// attention reads, and `residual`, and gives the same two for the next; post-LN has one tensor for both.
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

  // What flows between layers. [T, C]
  struct Stream {
    View input, residual;
  };
  struct Saved {
    Stream in;
    View qkv;        // [T, 3C]
    View context;    // [T, C]
    View logSumExp;  // f32 [T, H]
    AddNorm afterAttention;
    FeedForward::Saved feedForward;
    AddNorm afterFeedForward;
  };
  // `next`: the norm of the last sum in the pre-LN form; nullptr gives the sum alone (out.input absent).
  void forward(const Context &context, const Segments &segments, const Stream &in, const LayerNorm *next, Saved &saved,
               const Stream &out) const;

  // Gradients of `out` (residual absent: zero) to those of `in`, in new memory of the workspace unless given. In the
  // post-LN form both are in `input` and `residual` is absent.
  struct Gradient {
    View input, residual;
  };
  void backward(const Context &context, const Segments &segments, const LayerNorm *next, const Saved &saved,
                const Gradient &dOut, const Gradient &dIn) const;

 private:
  Attention attention(const Context &context, const Segments &segments, const Saved &saved) const;

  int64_t index_, hidden_, heads_;
  bool preNorm_;
  float attentionDropout_, hiddenDropout_, activationDropout_;
  Linear qkv_, output_;
  FeedForward feedForward_;
  LayerNorm firstNorm_, secondNorm_;
};

}  // namespace emoframe
