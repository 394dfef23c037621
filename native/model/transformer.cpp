#include "transformer.h"

#include "../philox.h"

namespace emoframe {

Transformer::Transformer(const HubertShape &shape, Parameters &parameters)
    : hidden_(shape.hiddenSize),
      preNorm_(shape.stableLayerNorm),
      hiddenDropout_(shape.hiddenDropout),
      layerdrop_(shape.layerdrop) {
  positional_ = std::make_unique<PositionalConv>(shape, parameters);
  norm_ = addLayerNorm(parameters, "encoder.layer_norm", hidden_, shape.layerNormEpsilon);
  for (int64_t i = 0; i < shape.layers; ++i) layers_.emplace_back(shape, i, parameters);
}

const LayerNorm *Transformer::normAfter(const Saved &saved, size_t position) const {
  if (position + 1 < saved.kept.size()) return &layers_[saved.kept[position + 1]].inputNorm();
  return saved.final ? &norm_ : nullptr;
}

void Transformer::forward(const Context &context, const Packing &packing, const View &x, int64_t depth, Saved &saved,
                          const View &hidden, const Visit &visit) {
  const int64_t rows = x.rows;
  const auto activations = [&] { return context.tensor(rows, hidden_); };
  const bool final = saved.final = depth == modelOutput;
  if (final) depth = layers();
  for (int64_t i = 0; i < depth; ++i) {
    const bool dropped = context.dropping && layerdrop_ > 0 &&
                         philoxUniformAt(context.seed, context.step, site::layer(i, site::layerdrop), 0) < layerdrop_;
    if (!dropped) saved.kept.push_back(i);
  }
  saved.layers.resize(saved.kept.size());

  // What is last writes `hidden` itself. A sum has the activations' dtype: it is converted where `hidden` has another.
  const bool empty = saved.kept.empty();
  const bool takesSum = hidden.dtype == context.dtype;

  // Post-LN: h0 = dropout(LN(x + positional)); pre-LN: h0 = dropout(x + positional), and LN reads it.
  const View positional = activations();
  positional_->forward(context, packing, x, saved.positional, positional);
  AddNorm &embedding = saved.embedding;
  embedding.x = positional;
  embedding.residual = x;
  if (preNorm_ || context.training) {
    embedding.sum = preNorm_ && empty && !final && takesSum ? hidden : activations();
  }
  View h = embedding.sum;
  if (!preNorm_) {
    h = embedding.y = empty ? hidden : activations();
    useLayerNorm(context, norm_, embedding);
  }
  context.run(embedding);
  const Dropout dropout = context.dropout(hiddenDropout_, site::embedding);
  if (dropout.p > 0) context.run(ApplyDropout{h, dropout, h});

  if (visit) visit(0, h);

  TransformerLayer::Stream stream{h, h};
  if (preNorm_ && (final || !empty)) {
    AddNorm &inputNorm = saved.inputNorm;
    inputNorm.x = h;
    stream.input = inputNorm.y = empty ? hidden : activations();
    useLayerNorm(context, empty ? norm_ : layers_[saved.kept[0]].inputNorm(), inputNorm);
    context.run(inputNorm);
  }
  // Without a backward pass to follow, two streams take turns.
  TransformerLayer::Stream turns[2];
  for (size_t i = 0; i < saved.kept.size(); ++i) {
    TransformerLayer::Stream &out = turns[i & 1];
    const TransformerLayer &layer = layers_[saved.kept[i]];
    const LayerNorm *next = preNorm_ ? normAfter(saved, i) : nullptr;
    const bool last = i + 1 == saved.kept.size();
    if (context.training || i < 2) {
      if (!last) out.input = activations();
      if (preNorm_) out.residual = activations();
    }
    if (last && (!preNorm_ || next)) out.input = hidden;
    if (last && preNorm_ && !next && takesSum) out.residual = hidden;
    if (!preNorm_) out.residual = out.input;
    layer.forward(context, packing.segments(), stream, next, saved.layers[i], out);
    stream = out;
    if (preNorm_ && !next) stream.input = stream.residual;
    if (visit) visit(saved.kept[i] + 1, stream.residual);
  }
  if (stream.input.data != hidden.data) context.run(Convert{stream.input, hidden});
}

void Transformer::backward(const Context &context, const Packing &packing, const Saved &saved, const View &dHidden,
                           const View &dX) {
  const Parameters &parameters = context.parameters;
  Scratch scratch(context.workspace);
  const int64_t rows = dHidden.rows;
  const auto activations = [&] { return context.tensor(rows, hidden_); };

  // Nothing needs a gradient below the lowest trained part.
  const bool embeddingTrained =
      dX || parameters.anyTrainable("encoder.pos_conv_embed.") || (!preNorm_ && parameters.trainable(norm_.gamma, 2));
  size_t lowest = 0;
  if (!embeddingTrained) {
    while (lowest < saved.kept.size() && !layers_[saved.kept[lowest]].trainable(parameters)) ++lowest;
  }

  // In the pre-LN form a hidden state, unlike the output, is the residual stream itself.
  const bool ofStream = preNorm_ && !saved.final;
  TransformerLayer::Gradient gradient{ofStream ? View{} : dHidden, ofStream ? dHidden : View{}};
  TransformerLayer::Gradient turns[2];
  for (size_t i = saved.kept.size(); i-- > lowest;) {
    TransformerLayer::Gradient &in = turns[i & 1];
    if (!in.input) in = {activations(), preNorm_ ? activations() : View{}};
    layers_[saved.kept[i]].backward(context, packing.segments(), preNorm_ ? normAfter(saved, i) : nullptr,
                                    saved.layers[i], gradient, in);
    gradient = in;
  }
  if (preNorm_ && lowest > 0 && gradient.input) {
    // The lowest norm that is reached was applied by the layer below it, which is not visited.
    layerNormBackward(context, *normAfter(saved, lowest - 1),
                      {saved.layers[lowest - 1].afterFeedForward, gradient.input, gradient.residual, activations()});
  }
  if (!embeddingTrained && lowest > 0) return;

  // The gradient of x + positional, to which the positional branch adds its own.
  const View dSum = dX ? dX : activations();
  View dEmbedding = gradient.input;
  if (preNorm_ && !gradient.input) {
    context.run(Convert{gradient.residual, dSum});
    dEmbedding = dSum;
  } else if (preNorm_) {
    layerNormBackward(context, saved.kept.empty() ? norm_ : layers_[saved.kept[0]].inputNorm(),
                      {saved.inputNorm, gradient.input, gradient.residual, dSum});
    dEmbedding = dSum;
  }
  if (!embeddingTrained) return;
  const Dropout dropout = context.dropout(hiddenDropout_, site::embedding);
  if (dropout.p > 0) {
    context.run(ApplyDropout{dEmbedding, dropout, dSum});
    dEmbedding = dSum;
  }
  if (!preNorm_) layerNormBackward(context, norm_, {saved.embedding, dEmbedding, View{}, dSum});
  positional_->backward(context, packing, saved.positional, dSum, dX);
}

}  // namespace emoframe
