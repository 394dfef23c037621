// From frames to a row an utterance: their mean, sum or maximum, or means and deviations weighted by scores.
#pragma once

#include "linear.h"

namespace emoframe {

class FramePooling {
 public:
  FramePooling(PoolingKind kind, int64_t width, Parameters &parameters);

  bool deviates() const { return kind_ == PoolingKind::stats || kind_ == PoolingKind::attentiveStats; }
  int64_t width() const { return deviates() ? 2 * width_ : width_; }
  // Whether a network of its own scores frames, which are then f32.
  bool scoresGiven() const { return kind_ == PoolingKind::attentiveStats; }
  bool trainable(const Parameters &parameters) const { return parameters.anyTrainable("pooling."); }

  struct Saved {
    Pooling pooling;
    View hidden;  // of the network, f32 [T, width]: tanh(W h + b)
  };
  // What the network scores frames h [T, width] by, f32 [1, T]; absent where there is none.
  View scores(const Context &context, const View &h, Saved &saved) const;
  // Of such frames; where its results come is left to the caller.
  Pooling pooling(const Context &context, const Segments &segments, const View &h, const View &scores) const;
  // dPooled [B, width()] → dH [T, width], by saved.pooling as it was run.
  void backward(const Context &context, const Saved &saved, const View &dPooled, const View &dH) const;

 private:
  PoolingKind kind_;
  int64_t width_;
  int32_t weight_ = -1;
  Linear linear_;
};

}  // namespace emoframe
