// Positional convolutions, the stack of layers, and the norms around them; layerdrop; hidden states at any depth. What
// some families have besides (a table of distances for attention, tokens before the frames) is made here, for all
// layers.
#pragma once

#include <functional>

#include "distance_table.h"
#include "extra_tokens.h"
#include "positional_conv.h"
#include "positional_stack.h"
#include "transformer_layer.h"

namespace emoframe {

class Transformer {
 public:
  Transformer(const HubertShape &shape, Parameters &parameters, Backend &backend);

  void packForInference(Parameters &parameters) const {
    for (const TransformerLayer &layer : layers_) layer.packForInference(parameters);
  }
  size_t heldBytes() const;  // made of parameters, and constants
  int64_t layers() const { return static_cast<int64_t>(layers_.size()); }
  // Whether anything in the transformer is trained.
  bool trainable(const Parameters &parameters) const { return parameters.anyTrainable("encoder."); }

  struct Saved {
    PositionalConv::Saved positional;
    PositionalStack::Saved positionalStack;
    View table;                                   // of the bias of distances
    AddNorm embedding;                            // x + positional, normed in the post-LN form
    std::vector<int64_t> kept;                    // layers that layerdrop left in
    std::vector<TransformerLayer::Saved> layers;  // one for each kept
    AddNorm inputNorm;   // pre-LN: what the first kept layer's attention reads, or the final norm
    bool final = false;  // whether that of the model's output was asked for
  };
  // Given each hidden state on the way, from depth 0 on, while it lies there.
  using Visit = std::function<void(int64_t depth, const View &state)>;
  // Adds the tables of its own to a packing. `longest`: frames that an utterance may have, for planning; 0: those of
  // these.
  void layOut(Packing &packing, int64_t longest, Workspace &workspace) const;
  // x [T, C] → hidden state at `depth` (0 = what enters layer 0), in `hidden` [T, C]; or, at modelOutput, the last one
  // after the final norm of the pre-LN form.
  void forward(const Context &context, const Packing &packing, const View &x, int64_t depth, Saved &saved,
               const View &hidden, const Visit &visit = nullptr);
  // dHidden is the gradient of what forward gave. dX [T, C] is absent when nothing below is trained. Where hidden
  // states have gradients of their own, `reached` adds those of each depth below the last to what it is given; that may
  // be dHidden where layers were left out.
  void backward(const Context &context, const Packing &packing, const Saved &saved, const View &dHidden, const View &dX,
                const Visit &reached = nullptr);

 private:
  // The norm behind position i of the kept layers in the pre-LN form.
  const LayerNorm *normAfter(const Saved &saved, size_t position) const;
  TransformerLayer::Scope scope(const Packing &packing, const Saved &saved) const;

  int64_t hidden_;
  bool preNorm_;
  float hiddenDropout_, layerdrop_;
  std::unique_ptr<PositionalConv> positional_;  // or
  std::unique_ptr<PositionalStack> positionalStack_;
  std::unique_ptr<ExtraTokens> tokens_;       // where there are any
  std::unique_ptr<DistanceTable> distances_;  // likewise
  LayerNorm norm_;
  std::vector<TransformerLayer> layers_;
};

}  // namespace emoframe
