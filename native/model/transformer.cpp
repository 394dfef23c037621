#include "transformer.h"

#include "../philox.h"

namespace emoframe {

Transformer::Transformer(const HubertShape &shape, Parameters &parameters, Backend &backend)
    : hidden_(shape.hiddenSize),
      preNorm_(shape.stableLayerNorm),
      hiddenDropout_(shape.hiddenDropout),
      layerdrop_(shape.layerdrop) {
  if (shape.positionalDepth > 0) {
    positionalStack_ = std::make_unique<PositionalStack>(shape, parameters, backend);
  } else {
    positional_ = std::make_unique<PositionalConv>(shape, parameters);
  }
  if (shape.extraTokens > 0) tokens_ = std::make_unique<ExtraTokens>(shape, parameters);
  if (shape.positionBias != PositionBias::none && shape.layers > 0) {
    distances_ = std::make_unique<DistanceTable>(shape, parameters, backend);
  }
  norm_ = addLayerNorm(parameters, "encoder.layer_norm", hidden_, shape.layerNormEpsilon);
  for (int64_t i = 0; i < shape.layers; ++i) layers_.emplace_back(shape, i, parameters);
}

size_t Transformer::heldBytes() const {
  return (positional_ ? positional_->heldBytes() : positionalStack_->heldBytes()) +
         (distances_ ? distances_->heldBytes() : 0);
}

void Transformer::layOut(Packing &packing, int64_t longest, Workspace &workspace) const {
  if (positional_) {
    positional_->layOut(packing, workspace);
  } else {
    positionalStack_->layOut(packing, workspace);
  }
  if (tokens_) tokens_->layOut(packing, workspace);
  if (distances_) distances_->layOut(packing, longest);
}

TransformerLayer::Scope Transformer::scope(const Packing &packing, const Saved &saved) const {
  if (!tokens_) return {packing.segments(), saved.table, 0};
  const IndexArray &offsets = packing.tokens.offsets;
  return {{packing.count, offsets.host.data(), offsets.device}, saved.table, tokens_->count()};
}

const LayerNorm *Transformer::normAfter(const Saved &saved, size_t position) const {
  if (position + 1 < saved.kept.size()) return &layers_[saved.kept[position + 1]].inputNorm();
  return saved.final ? &norm_ : nullptr;
}

void Transformer::forward(const Context &context, const Packing &packing, const View &x, int64_t depth, Saved &saved,
                          const View &hidden, const Visit &visit) {
  const int64_t rows = tokens_ ? packing.tokens.total() : x.rows;
  const auto activations = [&] { return context.tensor(rows, hidden_); };
  const bool final = saved.final = depth == modelOutput;
  if (final) depth = layers();
  for (int64_t i = 0; i < depth; ++i) {
    const bool dropped = context.dropping && layerdrop_ > 0 &&
                         philoxUniformAt(context.seed, context.step, site::layer(i, site::layerdrop), 0) < layerdrop_;
    if (!dropped) saved.kept.push_back(i);
  }
  saved.layers.resize(saved.kept.size());

  // What is last writes `hidden` itself, where its rows are those of the layers. A sum has the activations' dtype: it
  // is converted where `hidden` has another.
  const bool empty = saved.kept.empty();
  const bool takesSum = hidden.dtype == context.dtype;
  const View last = tokens_ ? context.workspace.tensor(hidden.dtype, rows, hidden_) : hidden;
  View seen;
  const auto show = [&](int64_t at, const View &state) {
    if (!visit) return;
    if (!tokens_) return visit(at, state);
    // In training states stay, without their tokens too.
    if (!seen || context.training) seen = context.tensor(x.rows, hidden_);
    tokens_->drop(context, packing, state, seen);
    visit(at, seen);
  };

  // Post-LN: h0 = dropout(LN(x + positional)); pre-LN: h0 = dropout(x + positional), and LN reads it.
  const View positional = context.tensor(x.rows, hidden_);
  if (positional_) {
    positional_->forward(context, packing, x, saved.positional, positional);
  } else {
    positionalStack_->forward(context, packing, x, saved.positionalStack, positional);
  }
  AddNorm &embedding = saved.embedding;
  embedding.x = positional;
  embedding.residual = x;
  if (tokens_) {
    context.run(Add{positional, x, positional});
    embedding.x = tokens_->prepend(context, packing, positional);
    embedding.residual = {};
  }
  if (preNorm_ || (context.training && !tokens_)) {
    embedding.sum = preNorm_ && empty && !final && takesSum ? last : activations();
  }
  View h = embedding.sum;
  if (!preNorm_) {
    h = embedding.y = empty ? last : activations();
    useLayerNorm(context, norm_, embedding);
  }
  context.run(embedding);
  const Dropout dropout = context.dropout(hiddenDropout_, site::embedding);
  if (dropout.p > 0) context.run(ApplyDropout{h, dropout, h});

  show(0, h);
  if (distances_ && !empty) saved.table = distances_->forward(context, packing);

  TransformerLayer::Stream stream{h, h};
  if (preNorm_ && (final || !empty)) {
    AddNorm &inputNorm = saved.inputNorm;
    inputNorm.x = h;
    stream.input = inputNorm.y = empty ? last : activations();
    useLayerNorm(context, empty ? norm_ : layers_[saved.kept[0]].inputNorm(), inputNorm);
    context.run(inputNorm);
  }
  // Without a backward pass to follow, two streams take turns.
  TransformerLayer::Stream turns[2];
  for (size_t i = 0; i < saved.kept.size(); ++i) {
    TransformerLayer::Stream &out = turns[i & 1];
    const TransformerLayer &layer = layers_[saved.kept[i]];
    const LayerNorm *next = preNorm_ ? normAfter(saved, i) : nullptr;
    const bool isLast = i + 1 == saved.kept.size();
    if (context.training || i < 2) {
      if (!isLast) out.input = activations();
      if (preNorm_) out.residual = activations();
    }
    if (isLast && (!preNorm_ || next)) out.input = last;
    if (isLast && preNorm_ && !next && takesSum) out.residual = last;
    if (!preNorm_) out.residual = out.input;
    layer.forward(context, scope(packing, saved), stream, next, saved.layers[i], out);
    stream = out;
    if (preNorm_ && !next) stream.input = stream.residual;
    show(saved.kept[i] + 1, stream.residual);
  }
  if (stream.input.data != last.data) context.run(Convert{stream.input, last});
  if (tokens_) tokens_->drop(context, packing, last, hidden);
}

void Transformer::backward(const Context &context, const Packing &packing, const Saved &saved, const View &dHidden,
                           const View &dX, const Visit &reached) {
  const Parameters &parameters = context.parameters;
  Scratch scratch(context.workspace);
  const View dLast = tokens_ ? tokens_->dropBackward(context, packing, dHidden) : dHidden;
  const int64_t rows = dLast.rows;
  const auto activations = [&] { return context.tensor(rows, hidden_); };

  // Nothing needs a gradient below the lowest trained part.
  const bool embeddingTrained = dX || parameters.anyTrainable("encoder.pos_conv_embed.") ||
                                (tokens_ && tokens_->trainable(parameters)) ||
                                (!preNorm_ && parameters.trainable(norm_.gamma, 2));
  const View dTable =
      saved.table && distances_->trainable(parameters) ? distances_->zeroGradient(context, packing) : View{};
  size_t lowest = 0;
  if (!embeddingTrained && !dTable) {
    while (lowest < saved.kept.size() && !layers_[saved.kept[lowest]].trainable(parameters)) ++lowest;
  }

  // In the pre-LN form a hidden state, unlike the output, is the residual stream itself.
  const bool ofStream = preNorm_ && !saved.final;
  TransformerLayer::Gradient gradient{ofStream ? View{} : dLast, ofStream ? dLast : View{}};
  TransformerLayer::Gradient turns[2];
  // Of what the first `position` layers kept give: the states at its depth, and at those of layers left out above it.
  const auto reach = [&](size_t position) {
    if (!reached || (position == lowest && !embeddingTrained)) return;
    const int64_t first = position == 0 ? 0 : saved.kept[position - 1] + 1;
    const int64_t end = position < saved.kept.size() ? saved.kept[position] + 1 : layers();
    if (preNorm_ && first < end && !gradient.residual) {
      gradient.residual = context.workspace.zeros(context.dtype, rows, hidden_);
    }
    const View &dState = preNorm_ ? gradient.residual : gradient.input;
    for (int64_t depth = first; depth < end; ++depth) {
      if (!tokens_) {
        reached(depth, dState);
        continue;
      }
      Scratch ofFrames(context.workspace);
      const View dFrames = context.workspace.zeros(context.dtype, dHidden.rows, hidden_);
      reached(depth, dFrames);
      tokens_->addToFrames(context, packing, dFrames, dState);
    }
  };
  reach(saved.kept.size());
  for (size_t i = saved.kept.size(); i-- > lowest;) {
    TransformerLayer::Gradient &in = turns[i & 1];
    if (!in.input) in = {activations(), preNorm_ ? activations() : View{}};
    layers_[saved.kept[i]].backward(context, scope(packing, saved), preNorm_ ? normAfter(saved, i) : nullptr,
                                    saved.layers[i], gradient, in, dTable);
    gradient = in;
    reach(i);
  }
  if (dTable) distances_->backward(context, dTable);
  if (preNorm_ && lowest > 0 && gradient.input) {
    // The lowest norm that is reached was applied by the layer below it, which is not visited.
    layerNormBackward(context, *normAfter(saved, lowest - 1),
                      {saved.layers[lowest - 1].afterFeedForward, gradient.input, gradient.residual, activations()});
  }
  if (!embeddingTrained && lowest > 0) return;

  // The gradient of x + positional, to which the positional branch adds its own.
  const View dSum = dX && !tokens_ ? dX : activations();
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
  View dFrames = dSum;
  if (tokens_) {
    dFrames = dX ? dX : context.tensor(dHidden.rows, hidden_);
    tokens_->prependBackward(context, packing, dSum, dFrames);
  }
  if (positional_) {
    positional_->backward(context, packing, saved.positional, dFrames, dX);
  } else {
    positionalStack_->backward(context, packing, saved.positionalStack, dFrames, dX);
  }
}

}  // namespace emoframe
