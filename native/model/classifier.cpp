#include "classifier.h"

#include <limits>

#include "../error.h"
#include "finite.h"
#include "targets.h"

namespace emoframe {

namespace {

constexpr float kNormEpsilon = 1e-5f;

// Scores of frames, one after another in memory.
View asColumn(const View &row) { return matrix(row.data, DType::f32, row.cols, 1); }
View asRow(const View &column) { return matrix(column.data, DType::f32, 1, column.rows); }

}  // namespace

Classifier::Classifier(const ClassifierHead &head, const HubertShape &shape, Parameters &parameters)
    : head_(head),
      hidden_(shape.hiddenSize),
      width_(head.projector > 0 ? head.projector : shape.hiddenSize),
      dropout_(shape.finalDropout),
      layerSum_(head.layers ? std::make_unique<LayerSum>(shape, parameters) : nullptr),
      projector_(head.projector > 0 ? addLinear(parameters, "projector", shape.hiddenSize, head.projector) : Linear{}),
      pooling_(head.pooling, width_, parameters),
      dense_(head, pooling_.width(), shape.finalDropout, parameters) {}

Classifier::Inputs Classifier::layOut(const TrainStep &step, const Packing &packing, Workspace &workspace) const {
  Inputs inputs;
  if (!regression()) {
    inputs.classes = utteranceClasses(step, packing.count, head_.classes, workspace);
  } else if (!step.outputsOnly) {
    inputs.targets = utteranceTargets(step, head_.classes, workspace);
    inputs.otherOutputs = otherOutputs(step, head_.classes, workspace);
  }
  return inputs;
}

Classifier::Inputs Classifier::layOut(const Packing &packing, const Selection &selection, bool largest,
                                      Workspace &workspace) const {
  Inputs inputs;
  if (head_.inputNorm == InputNorm::utterance) {
    if (packing.total() * hidden_ > std::numeric_limits<int32_t>::max()) {
      throw Error("ERR_BATCH", "The batch holds more values of frames than an index can count; make it smaller.");
    }
    for (int32_t b = 0; b < packing.count; ++b) {
      inputs.first.host.push_back(static_cast<int32_t>(packing.offsets.host[b] * hidden_));
      inputs.length.host.push_back(static_cast<int32_t>(packing.frames[b] * hidden_));
    }
    inputs.first.upload(workspace);
    inputs.length.upload(workspace);
  }
  if (head_.frameWindow > 0) {
    inputs.windows = layOutWindows(packing, selection, head_.frameWindow, head_.frameHop, largest, workspace);
  } else if (pooling_.deviates()) {
    std::vector<int32_t> &owners = inputs.owners.host;
    for (int32_t b = 0; b < selection.count; ++b) owners.resize(static_cast<size_t>(selection.offsets.host[b + 1]), b);
    inputs.owners.upload(workspace);
  }
  return inputs;
}

View Classifier::frames(const Context &context, const View &x, Saved &saved) const {
  Workspace &workspace = context.workspace;
  View h = x;
  if (head_.inputNorm == InputNorm::frame) {
    AddNorm &norm = saved.norm;
    norm.x = h;
    norm.gamma = workspace.tensor(DType::f32, 1, hidden_);
    norm.beta = workspace.tensor(DType::f32, 1, hidden_);
    norm.epsilon = kNormEpsilon;
    norm.mean = workspace.tensor(DType::f32, 1, h.rows);
    norm.rstd = workspace.tensor(DType::f32, 1, h.rows);
    norm.y = h = workspace.tensor(h.dtype, h.rows, h.cols);
    context.run(Fill{norm.gamma, 1});
    context.run(Fill{norm.beta, 0});
    context.run(norm);
  }
  const Dropout dropout = context.dropout(dropout_, site::classifier);
  if (dropout.p > 0) {
    const View kept = workspace.tensor(h.dtype, h.rows, h.cols);
    context.run(ApplyDropout{h, dropout, kept});
    h = kept;
  }
  if ((projects() || pooling_.scoresGiven()) && h.dtype != DType::f32) {
    const View exact = workspace.tensor(DType::f32, h.rows, h.cols);
    context.run(Convert{h, exact});
    h = exact;
  }
  saved.input = saved.frames = h;
  if (projects()) {
    saved.frames = workspace.tensor(DType::f32, h.rows, width_);
    exactForward(context, projector_, h, saved.frames);
  }
  return saved.frames;
}

// Each part's gradient comes where the next one wants it, the last in dX.
void Classifier::framesBackward(const Context &context, const Saved &saved, const View &dPooled, const View &dX) const {
  Workspace &workspace = context.workspace;
  const bool normed = head_.inputNorm == InputNorm::frame;
  const bool converted = dX && saved.input.dtype != dX.dtype;
  const bool direct = dX && !normed && !converted;  // what the projector reads has its gradient in dX
  const auto like = [&](const View &v) { return workspace.tensor(v.dtype, v.rows, v.cols); };
  View d = direct && !projects() ? dX : like(saved.frames);
  pooling_.backward(context, saved.pooled, dPooled, d);
  if (projects()) {
    const View dFrames = d;
    d = !dX ? View{} : direct ? dX : like(saved.input);
    exactBackward(context, projector_, saved.input, dFrames, d);
  }
  if (!dX) return;
  if (converted) {
    const View typed = normed ? like(dX) : dX;
    context.run(Convert{d, typed});
    d = typed;
  }
  const Dropout dropout = context.dropout(dropout_, site::classifier);
  if (dropout.p > 0) context.run(ApplyDropout{d, dropout, d});
  if (normed) context.run(AddNormBackward{saved.norm, d, View{}, dX});
}

void Classifier::forward(const Context &context, const Segments &segments, const View &x, Saved &saved,
                         const View &outputs) const {
  Workspace &workspace = context.workspace;
  const View frames = this->frames(context, x, saved);
  const View scores = pooling_.scores(context, frames, saved.pooled);
  Pooling &pooling = saved.pooled.pooling = pooling_.pooling(context, segments, frames, scores);
  pooling.attention = workspace.tensor(DType::f32, 1, frames.rows);
  pooling.pooled = workspace.tensor(DType::f32, segments.count, pooling_.width());
  context.run(pooling);
  dense_.forward(context, pooling.pooled, saved.dense, outputs);
}

void Classifier::outputs(const Context &context, const Segments &segments, const View &x, const View &outputs) const {
  Scratch scratch(context.workspace);
  Saved saved;
  forward(context, segments, x, saved, outputs);
}

View Classifier::crossEntropy(const Context &context, const Inputs &inputs, double denominator, const View &outputs,
                              const View &sums) const {
  SoftmaxCrossEntropy loss;
  loss.logits = outputs;
  loss.labels = inputs.classes;
  loss.gradientScale = static_cast<float>(1 / denominator);
  loss.result = sums;
  loss.dLogits = context.workspace.tensor(DType::f32, outputs.rows, outputs.cols);
  context.run(loss);
  return loss.dLogits;
}

// Over the batch's outputs and those of the other passes behind them. The pass's share of the loss is its share of the
// utterances.
View Classifier::concordance(const Context &context, const Inputs &inputs, const View &outputs,
                             const View &sums) const {
  Workspace &workspace = context.workspace;
  const View &others = inputs.otherOutputs, &targets = inputs.targets;
  Concordance loss;
  loss.outputs = outputs;
  loss.targets = targets;
  if (others) {
    loss.outputs = workspace.tensor(DType::f32, targets.rows, targets.cols);
    context.run(Convert{outputs, loss.outputs.rowRange(0, outputs.rows)});
    context.run(Convert{others, loss.outputs.rowRange(outputs.rows, others.rows)});
  }
  loss.result = sums;
  loss.dOutputs = workspace.tensor(DType::f32, targets.rows, targets.cols);
  context.run(loss);
  context.run(Scale{sums.colRange(0, 1), static_cast<float>(outputs.rows) / static_cast<float>(targets.rows)});
  return loss.dOutputs.rowRange(0, outputs.rows);
}

void Classifier::step(const Context &context, const Segments &segments, const Inputs &inputs, double denominator,
                      const View &x, const View &dX, const View &sums) const {
  Workspace &workspace = context.workspace;
  Scratch scratch(workspace);
  Saved saved;
  const View outputs = workspace.tensor(DType::f32, segments.count, head_.classes);
  forward(context, segments, x, saved, outputs);
  const View dOutputs = regression() ? concordance(context, inputs, outputs, sums)
                                     : crossEntropy(context, inputs, denominator, outputs, sums);
  const bool frames = dX || pooling_.trainable(context.parameters) || context.parameters.anyTrainable("projector.");
  const View dPooled = frames ? workspace.tensor(DType::f32, segments.count, pooling_.width()) : View{};
  dense_.backward(context, saved.dense, dOutputs, dPooled);
  if (frames) framesBackward(context, saved, dPooled, dX);
}

void Classifier::addResults(const Selection &selection, Results &results, Classified &result) const {
  const int64_t B = selection.count, T = selection.total();
  results.add(result.logits, B, head_.classes);
  results.add(result.framePosteriors, T, head_.classes);
  results.add(result.attention, 1, T);
  results.add(result.pooled, B, pooling_.width());
  results.add(result.scoreLogSums, 1, B);
}

void Classifier::classify(const Context &context, const Inputs &inputs, const Selection &selection, const View &x,
                          const Results &results, const Classified &result) const {
  Workspace &workspace = context.workspace;
  if (head_.inputNorm == InputNorm::utterance) {
    const IndexArray &first = inputs.first, &length = inputs.length;
    NormalizeWaveforms norm;
    norm.samples = matrix(x.data, DType::f32, 1, x.size());
    norm.count = static_cast<int32_t>(first.host.size());
    norm.start = first.host.data();
    norm.length = length.host.data();
    norm.deviceStart = first.device;
    norm.deviceLength = length.device;
    norm.epsilon = kNormEpsilon;
    context.run(norm);
  }
  Saved saved;
  const View all = frames(context, x, saved);
  const View allScores = pooling_.scores(context, all, saved.pooled);
  const auto selected = [&](const View &rows) {
    if (!rows || selection.rows.source.host.empty()) return rows;
    const View kept = workspace.tensor(DType::f32, selection.total(), rows.cols);
    context.run(CopyRows{rows, selection.rows.runs(), kept});
    return kept;
  };
  const View kept = selected(all);
  const View scores = allScores ? asRow(selected(asColumn(allScores))) : View{};

  Pooling pooling = pooling_.pooling(context, selection.segments(), kept, scores);
  pooling.attention = results.of(result.attention);
  pooling.pooled = results.of(result.pooled);
  pooling.logSums = results.of(result.scoreLogSums);
  context.run(pooling);
  dense_.forward(context, pooling.pooled, saved.dense, results.of(result.logits));
  const View out = results.of(result.framePosteriors);
  if (head_.frameWindow > 0) {
    windowOutputs(context, inputs.windows, all, allScores, out);
  } else {
    frameOutputs(context, inputs, kept, pooling.pooled, out);
  }
}

// What the output makes of each frame by itself.
void Classifier::frameOutputs(const Context &context, const Inputs &inputs, const View &frames, const View &pooled,
                              const View &out) const {
  const Parameters &parameters = context.parameters;
  const Linear &output = dense_.output();
  const View weight = parameters.master(output.weight);
  Gemm gemm{frames, weight.colRange(0, width_).transposed(), out};
  const View bias = output.bias >= 0 ? parameters.master(output.bias) : View{};
  if (!pooling_.deviates()) {
    gemm.bias = bias;
  } else {
    // The output reads [h_t ; σ] with σ of the whole utterance: a bias of its own for each utterance.
    Gemm deviation{pooled.colRange(width_, width_), weight.colRange(width_, width_).transposed(),
                   context.workspace.tensor(DType::f32, pooled.rows, head_.classes)};
    deviation.bias = bias;
    context.run(deviation);
    context.run(GatherRows{deviation.out, inputs.owners.device, gemm.out});
    gemm.accumulate = true;
  }
  context.run(gemm);
  if (!regression()) context.run(SoftmaxRows{out, out});
}

// What the head makes of the window of frames around each.
void Classifier::windowOutputs(const Context &context, const FrameWindows &windows, const View &frames,
                               const View &scores, const View &out) const {
  Workspace &workspace = context.workspace;
  Scratch scratch(workspace);
  const View outputs = workspace.tensor(DType::f32, windows.count, head_.classes);
  int64_t first = 0;
  for (const FrameWindows::Block &block : windows.blocks) {
    Scratch ofBlock(workspace);
    const auto copied = [&](const View &rows) {
      const View copy = workspace.tensor(DType::f32, block.rows(), rows.cols);
      context.run(CopyRows{rows, block.frames.runs(), copy});
      return copy;
    };
    const View its = copied(frames), itsScores = scores ? asRow(copied(asColumn(scores))) : View{};
    Pooling pooling = pooling_.pooling(context, block.segments(), its, itsScores);
    pooling.attention = workspace.tensor(DType::f32, 1, block.rows());
    pooling.pooled = workspace.tensor(DType::f32, block.count(), pooling_.width());
    context.run(pooling);
    DenseLayers::Saved dense;
    dense_.forward(context, pooling.pooled, dense, outputs.rowRange(first, block.count()));
    first += block.count();
  }
  if (!regression()) context.run(SoftmaxRows{outputs, outputs});
  context.run(GatherRows{outputs, windows.nearest.device, out});
}

}  // namespace emoframe
