// Positional convolution, the stack of layers, and the norms around them; layerdrop; hidden states at any depth.
#pragma once

#include <functional>

#include "positional_conv.h"
#include "transformer_layer.h"

namespace emoframe {

class Transformer {
 public:
  Transformer(const HubertShape &shape, Parameters &parameters);

  void packForInference(Parameters &parameters) const {
    for (const TransformerLayer &layer : layers_) layer.packForInference(parameters);
  }
  size_t heldBytes() const { return positional_->heldBytes(); }  // made of parameters
  int64_t layers() const { return static_cast<int64_t>(layers_.size()); }
  // Whether anything in the transformer is trained.
  bool trainable(const Parameters &parameters) const { return parameters.anyTrainable("encoder."); }

  struct Saved {
    PositionalConv::Saved positional;
    AddNorm embedding;                            // x + positional, normed in the post-LN form
    std::vector<int64_t> kept;                    // layers that layerdrop left in
    std::vector<TransformerLayer::Saved> layers;  // one for each kept
    AddNorm inputNorm;   // pre-LN: what the first kept layer's attention reads, or the final norm
    bool final = false;  // whether that of the model's output was asked for
  };
  // Given each hidden state on the way, from depth 0 on, while it lies there.
  using Visit = std::function<void(int64_t depth, const View &state)>;
  // Adds the tables of its own to a packing.
  void layOut(Packing &packing, Workspace &workspace) const { positional_->layOut(packing, workspace); }
  // x [T, C] → hidden state at `depth` (0 = what enters layer 0), in `hidden` [T, C]; or, at modelOutput, the last one
  // after the final norm of the pre-LN form.
  void forward(const Context &context, const Packing &packing, const View &x, int64_t depth, Saved &saved,
               const View &hidden, const Visit &visit = nullptr);
  // dHidden is the gradient of what forward gave. dX [T, C] is absent when nothing below is trained.
  void backward(const Context &context, const Packing &packing, const Saved &saved, const View &dHidden,
                const View &dX);

 private:
  // The norm behind position i of the kept layers in the pre-LN form.
  const LayerNorm *normAfter(const Saved &saved, size_t position) const;

  int64_t hidden_;
  bool preNorm_;
  float hiddenDropout_, layerdrop_;
  std::unique_ptr<PositionalConv> positional_;
  LayerNorm norm_;
  std::vector<TransformerLayer> layers_;
};

}  // namespace emoframe
