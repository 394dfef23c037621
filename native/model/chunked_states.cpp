#include "chunked_states.h"

#include <algorithm>
#include <limits>

#include "../error.h"

namespace emoframe {

namespace {

// A chunk of frames [first, end) with its context, of which [core, coreEnd) are its own.
struct Chunk {
  int64_t first, end, core, coreEnd;
};

std::vector<Chunk> chunksOf(const Packing &packing, int64_t frames, int64_t context) {
  std::vector<Chunk> chunks;
  for (int32_t b = 0; b < packing.count; ++b) {
    const int64_t begin = packing.offsets.host[b], end = packing.offsets.host[b + 1];
    for (int64_t core = begin; core < end; core += frames) {
      const int64_t coreEnd = std::min(core + frames, end);
      chunks.push_back({std::max(core - context, begin), std::min(coreEnd + context, end), core, coreEnd});
    }
  }
  return chunks;
}

// Equal shares of the most rows and of the most chunks: an utterance of all frames has the most context, and utterances
// that end with one frame of a chunk have the most chunks.
std::vector<Chunk> largestChunks(const Packing &packing, int64_t frames, int64_t context) {
  const int64_t total = packing.total(), utterances = packing.count;
  Packing one;
  one.count = 1;
  one.offsets.host = {0, static_cast<int32_t>(total)};
  int64_t rows = 0;
  for (const Chunk &chunk : chunksOf(one, frames, context)) rows += chunk.end - chunk.first;
  const int64_t count = utterances + (total - utterances) / frames;
  std::vector<Chunk> chunks;
  for (int64_t i = 0; i < count; ++i) {
    chunks.push_back({i * rows / count, (i + 1) * rows / count, i * total / count, (i + 1) * total / count});
  }
  return chunks;
}

}  // namespace

ChunkedStates::ChunkedStates(const AlignmentHead &head, const HubertShape &shape, Parameters &parameters)
    : depth_(head.layer),
      chunkFrames_(head.chunkFrames),
      contextFrames_(head.contextFrames),
      hidden_(shape.hiddenSize) {
  if (head.source == AlignmentSource::layers) weights_ = parameters.add("alignment.layer_weights", {depth_ + 1});
}

Chunks ChunkedStates::layOut(const Packing &packing, const Transformer &transformer, bool largest,
                             Workspace &workspace) const {
  Chunks chunks;
  const std::vector<Chunk> all =
      largest ? largestChunks(packing, chunkFrames_, contextFrames_) : chunksOf(packing, chunkFrames_, contextFrames_);
  // Chunks so far apart that their contexts do not meet share a table.
  if (contextFrames_ > 0) {
    const int64_t apart = 1 + (2 * contextFrames_ + chunkFrames_ - 1) / chunkFrames_;
    chunks.spread.resize(std::min(static_cast<size_t>(apart), all.size()));
  }
  Packing &rows = chunks.packing;
  rows.offsets.host.push_back(0);
  for (const Chunk &chunk : all) {
    const int64_t at = rows.total(), length = chunk.end - chunk.first;
    if (!chunks.spread.empty()) {
      chunks.spread[static_cast<size_t>(rows.count) % chunks.spread.size()].add(chunk.first, at, length);
    }
    chunks.core.add(at + chunk.core - chunk.first, chunk.core, chunk.coreEnd - chunk.core);
    rows.frames.push_back(length);
    if (at + length > std::numeric_limits<int32_t>::max()) {
      throw Error("ERR_BATCH", "The batch's chunks hold more frames than an index can count; make it smaller.");
    }
    rows.offsets.host.push_back(static_cast<int32_t>(at + length));
    ++rows.count;
  }
  rows.offsets.upload(workspace);
  transformer.layOut(rows, largest ? chunkFrames_ + 2 * contextFrames_ : 0, workspace);
  for (RunTable &table : chunks.spread) table.upload(workspace);
  chunks.core.upload(workspace);
  if (weighted()) {
    const int64_t layers = depth_ + 1;
    std::vector<float> differences(static_cast<size_t>((layers + 1) * layers), 0.0f);
    for (int64_t i = 0; i < layers; ++i) {
      differences[static_cast<size_t>(i * layers + i)] = 1;
      differences[static_cast<size_t>(layers * layers + i)] = -1;
    }
    const View uploaded = workspace.upload(differences.data(), static_cast<int64_t>(differences.size()));
    chunks.differences = matrix(uploaded.data, DType::f32, layers + 1, layers);
  }
  return chunks;
}

void ChunkedStates::forward(const Context &context, Transformer &transformer, const Chunks &chunks,
                            const View &embedded, Saved &saved, const View &x) const {
  Workspace &workspace = context.workspace;
  const int64_t rows = chunks.packing.total(), layers = depth_ + 1;
  const auto row = [&](int64_t i) { return saved.states.rowRange(i, 1); };
  const auto asFrames = [&](const View &v) { return matrix(v.data, DType::f32, x.rows, hidden_); };
  if (weighted()) saved.states = workspace.tensor(DType::f32, layers + 1, x.size());
  if (weighted()) saved.softmax = workspace.tensor(DType::f32, 1, layers);
  const Workspace::Mark mark = workspace.mark();
  View input = embedded;
  if (!chunks.spread.empty()) {
    input = context.tensor(rows, hidden_);
    for (const RunTable &table : chunks.spread) context.run(CopyRows{embedded, table.runs(), input});
  }
  const View hidden = chunks.spread.empty() ? x : context.tensor(rows, hidden_);
  if (!weighted()) {
    transformer.forward(context, chunks.packing, input, depth_, saved.transformed, hidden);
    if (!chunks.spread.empty()) context.run(CopyRows{hidden, chunks.core.runs(), x});
  } else {
    transformer.forward(context, chunks.packing, input, depth_, saved.transformed, hidden,
                        [&](int64_t depth, const View &state) {
                          context.run(CopyRows{state, chunks.core.runs(), asFrames(row(depth))});
                        });
    context.run(SoftmaxRows{context.parameters.master(weights_), saved.softmax});
    context.run(Gemm{saved.softmax, saved.states.rowRange(0, layers), row(layers)});
    context.run(Convert{asFrames(row(layers)), x});
  }
  if (!context.training) workspace.rewind(mark);
}

void ChunkedStates::backward(const Context &context, Transformer &transformer, const Chunks &chunks, const Saved &saved,
                             const View &dX, const View &dEmbedded) const {
  Scratch scratch(context.workspace);
  if (chunks.spread.empty()) {
    return transformer.backward(context, chunks.packing, saved.transformed, dX, dEmbedded);
  }
  const int64_t rows = chunks.packing.total();
  const View dHidden = context.workspace.zeros(context.dtype, rows, hidden_);
  context.run(CopyRows{dX, chunks.core.inverse(), dHidden});
  const View dInput = dEmbedded ? context.tensor(rows, hidden_) : View{};
  transformer.backward(context, chunks.packing, saved.transformed, dHidden, dInput);
  if (!dEmbedded) return;
  context.run(Fill{dEmbedded, 0});
  for (const RunTable &table : chunks.spread) context.run(CopyRows{dInput, table.inverse(), dEmbedded, true});
}

// With p = softmax(w) and s = Σ p h: dw_i = p_i (dx · h_i - dx · s). All products with dx at once, s being the last row
// of the states, and then the differences to the last.
void ChunkedStates::backwardToWeights(const Context &context, const Chunks &chunks, const Saved &saved,
                                      const View &dX) const {
  Workspace &workspace = context.workspace;
  Scratch scratch(workspace);
  View exact = dX;
  if (dX.dtype != DType::f32) {
    exact = workspace.tensor(DType::f32, dX.rows, dX.cols);
    context.run(Convert{dX, exact});
  }
  const View products = workspace.tensor(DType::f32, 1, saved.states.rows);
  context.run(Gemm{matrix(exact.data, DType::f32, 1, dX.size()), saved.states.transposed(), products});
  const View gradient = context.parameters.gradient(weights_), own = workspace.tensor(DType::f32, 1, gradient.cols);
  Gemm gemm{products, chunks.differences, own};
  gemm.factor = saved.softmax;
  context.run(gemm);
  context.run(Add{gradient, own, gradient});
}

}  // namespace emoframe
