#include "alignment.h"

#include <algorithm>

#include "../error.h"
#include "finite.h"
#include "targets.h"

namespace emoframe {

Aligned align(Backend &backend, const float *frameLogits, int64_t size, const std::vector<int32_t> &offsets,
              const AlignSettings &settings) {
  const auto classes = static_cast<int64_t>(settings.bias.size());
  if (classes < 2 || settings.neutral < 0 || settings.neutral >= classes) {
    throw Error("ERR_ARGUMENT", "Expected at least two biases, one of them that of class " +
                                    std::to_string(settings.neutral) + ", neutral, but received " +
                                    std::to_string(classes) + ".");
  }
  if (offsets.size() < 2 || offsets[0] != 0 || !std::is_sorted(offsets.begin(), offsets.end()) ||
      offsets.back() * classes != size) {
    throw Error("ERR_ARGUMENT", "Expected offsets from 0, in order, to the number of frames, of which " +
                                    std::to_string(size) + " logits of " + std::to_string(classes) +
                                    " classes were given.");
  }
  Workspace workspace(backend);
  const auto utterances = static_cast<int32_t>(offsets.size() - 1);
  IslandAlignment islands;
  const View logits = workspace.upload(frameLogits, size);
  islands.logits = matrix(logits.data, DType::f32, offsets.back(), classes);
  islands.bias = workspace.upload(settings.bias.data(), classes);
  islands.segments = {utterances, offsets.data(), workspace.upload(offsets)};
  islands.neutral = settings.neutral;
  islands.scale = settings.scale;
  islands.switchingCost = settings.switchingCost;
  islands.utteranceLogits = workspace.tensor(DType::f32, utterances, classes);
  islands.occupancies = workspace.tensor(DType::f32, offsets.back(), classes);
  backend.run(islands);
  Aligned aligned;
  for (auto [target, view] :
       {std::make_pair(&aligned.logits, &islands.utteranceLogits), {&aligned.occupancies, &islands.occupancies}}) {
    target->resize(static_cast<size_t>(view->size()));
    backend.download(target->data(), view->data, target->size() * sizeof(float));
  }
  return aligned;
}

Alignment::Alignment(const AlignmentHead &head, const HubertShape &shape, Parameters &parameters)
    : head_(head),
      network_(head, head.source == AlignmentSource::features ? shape.convDim.back() : shape.hiddenSize, parameters) {
  bias_ = parameters.add("alignment.utterance_bias", {head.classes});
  if (head.source != AlignmentSource::features) states_ = std::make_unique<ChunkedStates>(head, shape, parameters);
}

Alignment::Inputs Alignment::layOut(const TrainStep *step, const Packing &packing, const Transformer &transformer,
                                    bool largest, Workspace &workspace) const {
  Inputs inputs;
  inputs.axis = network_.layOut(packing, workspace);
  if (states_) inputs.chunks = states_->layOut(packing, transformer, largest, workspace);
  if (!step) return inputs;
  inputs.classes = utteranceClasses(*step, packing.count, head_.classes, workspace);
  if (!step->frameLabels) return inputs;
  std::vector<float> shares(static_cast<size_t>(packing.total()), 0.0f);
  for (int32_t b = 0; b < packing.count; ++b) {
    const int64_t first = packing.offsets.host[b], end = packing.offsets.host[b + 1];
    int64_t known = 0;
    for (int64_t t = first; t < end; ++t) {
      const int32_t label = step->frameLabels[t];
      if (label < -1 || label >= head_.classes) {
        throw Error("ERR_LABEL", utteranceOfBatch(b) + " has the label " + std::to_string(label) + " at frame " +
                                     std::to_string(t - first) + ", which is neither one of the " +
                                     std::to_string(head_.classes) + " classes nor -1, for unknown.");
      }
      known += label >= 0;
    }
    for (int64_t t = first; t < end; ++t) {
      if (step->frameLabels[t] >= 0) shares[static_cast<size_t>(t)] = 1 / static_cast<float>(known);
    }
  }
  inputs.frameClasses = workspace.upload(std::vector<int32_t>(step->frameLabels, step->frameLabels + packing.total()));
  inputs.frameShares = workspace.upload(shares.data(), packing.total()).as<float>();
  return inputs;
}

IslandAlignment Alignment::islands(const Context &context, const Segments &segments, const View &logits) const {
  IslandAlignment islands;
  islands.logits = logits;
  islands.bias = context.parameters.master(bias_);
  islands.segments = segments;
  islands.neutral = head_.neutral;
  islands.scale = head_.scale;
  islands.switchingCost = head_.switchingCost;
  return islands;
}

void Alignment::step(const Context &context, const Segments &segments, const Inputs &inputs, double denominator,
                     const View &x, const View &mel, const View &dX, const View &sums) const {
  Workspace &workspace = context.workspace;
  Parameters &parameters = context.parameters;
  Scratch scratch(workspace);
  const auto ofFrames = [&] { return workspace.tensor(DType::f32, x.rows, head_.classes); };
  const auto ofUtterances = [&] { return workspace.tensor(DType::f32, segments.count, head_.classes); };
  AlignmentNetwork::Saved saved;
  const View logits = ofFrames();
  network_.forward(context, inputs.axis, x, mel, saved, logits);
  IslandAlignment islands = this->islands(context, segments, logits);
  islands.utteranceLogits = ofUtterances();
  islands.occupancies = ofFrames();
  context.run(islands);

  SoftmaxCrossEntropy loss;
  loss.logits = islands.utteranceLogits;
  loss.labels = inputs.classes;
  loss.gradientScale = static_cast<float>(1 / denominator);
  loss.result = sums;
  loss.dLogits = ofUtterances();
  context.run(loss);
  if (parameters.trainable(bias_)) context.run(ColumnSum{loss.dLogits, parameters.gradient(bias_)});
  const View dLogits = ofFrames();
  context.run(IslandAlignmentBackward{islands, loss.dLogits, dLogits});

  if (inputs.frameClasses) {
    SoftmaxCrossEntropy ofKnown;
    ofKnown.logits = logits;
    ofKnown.labels = inputs.frameClasses;
    ofKnown.shares = inputs.frameShares;
    ofKnown.gradientScale = loss.gradientScale;
    ofKnown.result = workspace.tensor(DType::f32, 1, 2);
    ofKnown.dLogits = ofFrames();
    context.run(ofKnown);
    context.run(Add{dLogits, ofKnown.dLogits, dLogits});
    const View total = sums.colRange(0, 1);  // what is correct is counted of utterances
    context.run(Add{total, ofKnown.result.colRange(0, 1), total});
  }
  network_.backward(context, inputs.axis, saved, dLogits, dX);
}

void Alignment::addResults(const Selection &selection, Results &results, Aligned &aligned) const {
  results.add(aligned.logits, selection.count, head_.classes);
  results.add(aligned.frameLogits, selection.total(), head_.classes);
  results.add(aligned.occupancies, selection.total(), head_.classes);
}

void Alignment::classify(const Context &context, const Inputs &inputs, const Selection &selection, const View &x,
                         const View &mel, const Results &results, const Aligned &aligned) const {
  Scratch scratch(context.workspace);
  AlignmentNetwork::Saved saved;
  const View kept = results.of(aligned.frameLogits);
  const bool all = selection.rows.source.host.empty();
  const View logits = all ? kept : context.workspace.tensor(DType::f32, x.rows, head_.classes);
  network_.forward(context, inputs.axis, x, mel, saved, logits);
  if (!all) context.run(CopyRows{logits, selection.rows.runs(), kept});
  IslandAlignment islands = this->islands(context, selection.segments(), kept);
  islands.utteranceLogits = results.of(aligned.logits);
  islands.occupancies = results.of(aligned.occupancies);
  context.run(islands);
}

}  // namespace emoframe
