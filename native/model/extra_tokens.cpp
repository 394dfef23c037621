#include "extra_tokens.h"

#include <limits>

#include "../error.h"

namespace emoframe {

ExtraTokens::ExtraTokens(const HubertShape &shape, Parameters &parameters)
    : count_(shape.extraTokens), hidden_(shape.hiddenSize) {
  tokens_ = parameters.add("encoder.extra_tokens", {count_, hidden_});
}

void ExtraTokens::layOut(Packing &packing, Workspace &workspace) const {
  TokenAxis &axis = packing.tokens;
  if (packing.total() + packing.count * count_ > std::numeric_limits<int32_t>::max()) {
    throw Error("ERR_BATCH", "The batch holds more frames than an index can count; make it smaller.");
  }
  axis.offsets.host.push_back(0);
  for (int32_t b = 0; b < packing.count; ++b) {
    const int64_t at = axis.total(), frames = packing.frames[static_cast<size_t>(b)];
    axis.tokens.add(0, at, count_);
    axis.collected.add(at, b * count_, count_);
    axis.frames.add(packing.offsets.host[static_cast<size_t>(b)], at + count_, frames);
    axis.offsets.host.push_back(static_cast<int32_t>(at + count_ + frames));
  }
  axis.offsets.upload(workspace);
  for (RunTable *table : {&axis.tokens, &axis.collected, &axis.frames}) table->upload(workspace);
}

View ExtraTokens::prepend(const Context &context, const Packing &packing, const View &frames) const {
  const TokenAxis &axis = packing.tokens;
  const View rows = context.tensor(axis.total(), hidden_);
  context.run(CopyRows{frames, axis.frames.runs(), rows});
  context.run(CopyRows{context.parameters.master(tokens_), axis.tokens.runs(), rows});
  return rows;
}

void ExtraTokens::drop(const Context &context, const Packing &packing, const View &rows, const View &frames) const {
  context.run(CopyRows{rows, packing.tokens.frames.inverse(), frames});
}

View ExtraTokens::dropBackward(const Context &context, const Packing &packing, const View &dFrames) const {
  const View dRows = context.workspace.zeros(dFrames.dtype, packing.tokens.total(), hidden_);
  context.run(CopyRows{dFrames, packing.tokens.frames.runs(), dRows});
  return dRows;
}

void ExtraTokens::addToFrames(const Context &context, const Packing &packing, const View &frames,
                              const View &rows) const {
  context.run(CopyRows{frames, packing.tokens.frames.runs(), rows, true});
}

void ExtraTokens::prependBackward(const Context &context, const Packing &packing, const View &dRows,
                                  const View &dFrames) const {
  const TokenAxis &axis = packing.tokens;
  Scratch scratch(context.workspace);
  drop(context, packing, dRows, dFrames);
  if (!context.parameters.trainable(tokens_)) return;
  // An utterance's rows as one, so that the sum over utterances is one of columns.
  const View collected = context.tensor(packing.count * count_, hidden_);
  context.run(CopyRows{dRows, axis.collected.runs(), collected});
  const View gradient = context.parameters.gradient(tokens_);
  context.run(ColumnSum{matrix(collected.data, collected.dtype, packing.count, gradient.size()),
                        vector(gradient.data, DType::f32, gradient.size())});
}

}  // namespace emoframe
