// What follows pooling in a head: dense layers, each a linear layer, a LayerNorm and an activation, and the output. All
// in f32, a row an utterance. Where there are dense layers, dropout comes before each of them and before the output.
#pragma once

#include "linear.h"

namespace emoframe {

class DenseLayers {
 public:
  DenseLayers(const ClassifierHead &head, int64_t in, float dropout, Parameters &parameters);

  const Linear &output() const { return output_; }

  struct Saved {
    struct Layer {
      View in;
      AddNorm norm;
      View out;
    };
    std::vector<Layer> layers;
    View in;  // of the output
  };
  // x [N, in] → out [N, outputs]
  void forward(const Context &context, const View &x, Saved &saved, const View &out) const;
  // dOut [N, outputs] → dX [N, in], which may be absent
  void backward(const Context &context, const Saved &saved, const View &dOut, const View &dX) const;

 private:
  struct Layer {
    Linear linear;
    bool normed = false;
    LayerNorm norm;
    Activation activation = Activation::none;
  };
  Dropout dropout(const Context &context, size_t before) const;

  float dropout_;
  std::vector<Layer> layers_;
  Linear output_;
};

}  // namespace emoframe
