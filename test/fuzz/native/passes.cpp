// Batches, targets and calls in any order on tiny models of every family. As in the addon, a list is as long as it
// says; what is in it may be anything.
#include <algorithm>

#include "../../native/harness.h"
#include "targets.h"

namespace emoframe {
namespace fuzz {

namespace {

std::unique_ptr<Model> makeModel(size_t kind) {
  MaskedPredictionHead masked;
  masked.clusters = testing::kClusters;
  masked.dimension = 8;
  ClassifierHead pooled = testing::plainHead(PoolingKind::attention);
  AlignmentHead aligned;
  HubertShape shape = testing::baseShape();
  switch (kind) {
    case 0:
      aligned = testing::alignmentHead();
      break;
    case 1:
      shape = testing::withDropout(testing::largeShape());
      pooled = testing::wholeHead(PoolingKind::attentiveStats);
      aligned = testing::alignmentHead(AlignmentSource::hidden, 1);
      break;
    case 2:
      shape = testing::wavlmShape(true);
      pooled.task = HeadTask::regression;
      aligned = testing::alignmentHead(AlignmentSource::layers, 2);
      break;
    case 3:
      shape = testing::emotion2vecShape();
      pooled.pooling = PoolingKind::max;
      pooled.inputNorm = InputNorm::utterance;
      break;
    default:
      shape = testing::melShape();
      pooled.classes = 0;
      aligned = testing::alignmentHead();
      aligned.melBands = 6;
  }
  auto model = std::make_unique<Model>(smallBackend(), shape, kind == 1 ? Precision::bf16 : Precision::fp32, masked,
                                       pooled, aligned);
  testing::randomize(*model);
  return model;
}
constexpr size_t kKinds = 5;

// What a batch and a step point at.
struct Held {
  std::vector<std::vector<float>> samples;
  std::vector<float> mean, covariance, targets, others, otherTargets;
  std::vector<int32_t> labels, frameLabels;
  std::vector<uint8_t> mask;
  HostBatch batch;
};

std::string anyKey(Input &input) { return std::string(1, static_cast<char>('a' + input.below(4))); }

void fillBatch(Input &input, const HubertShape &shape, Held &held) {
  HostBatch &batch = held.batch;
  const size_t count = input.below(5);
  if (input.below(4) == 0) {
    for (size_t b = 0; b < count; ++b) batch.features.push_back(anyKey(input));
  } else {
    const auto stride = static_cast<int32_t>(shape.stride());
    int64_t at = 0;
    for (size_t b = 0; b < count; ++b) {
      held.samples.push_back(input.floats(input.below(256) * (1 + input.below(4))));
      const auto length = static_cast<int32_t>(held.samples.back().size());
      batch.lengths.push_back(length);
      batch.starts.push_back(input.below(8) == 0 ? input.index() : static_cast<int32_t>(at));
      at += (length + stride - 1) / stride * stride;
      batch.utterances.push_back(held.samples.back().data());
      batch.sampleCount = std::max(batch.sampleCount, batch.starts[b] + int64_t{length});
    }
    batch.normalize = input.flag();
    batch.epsilon = input.realOr(1e-7);
    if (input.below(8) == 0) {
      batch.waveform.resize(input.flag() ? 2 * count : input.below(9));
      for (double &value : batch.waveform) value = input.realOr(1);
    }
  }
  if (input.below(8) == 0) {
    const auto kernel = static_cast<size_t>(shape.convKernel[0]);
    held.mean = input.floats(input.flag() ? count * kernel : input.below(40));
    held.covariance = input.floats(input.flag() ? count * kernel * kernel : input.below(400));
    batch.windowMean = held.mean.data();
    batch.windowMeanSize = static_cast<int64_t>(held.mean.size());
    batch.windowCovariance = held.covariance.data();
    batch.windowCovarianceSize = static_cast<int64_t>(held.covariance.size());
  }
  if (input.below(4) == 0) batch.frameStarts = input.indices(5);
  if (input.below(4) == 0) batch.frameCounts = input.indices(5);
}

// Frames of the batch, as far as it is a right one.
size_t framesOf(const Model &model, const HostBatch &batch) {
  int64_t frames = 0;
  if (!batch.frameCounts.empty()) {
    for (const int32_t count : batch.frameCounts) frames += count;
  } else if (batch.hasSamples()) {
    for (const int32_t length : batch.lengths) frames += model.shape().frames(length);
  } else {
    for (const std::string &key : batch.features) frames += std::max<int64_t>(model.storedFrames(key), 0);
  }
  return static_cast<size_t>(std::clamp<int64_t>(frames, 0, 4096));
}

TrainStep anyStep(Input &input, const Model &model, Held &held) {
  TrainStep step;
  step.objective = static_cast<Objective>(input.below(4));
  const size_t frames = framesOf(model, held.batch);
  const size_t utterances = std::max(held.batch.starts.size(), held.batch.features.size());
  const auto length = [&](size_t right) { return input.below(8) == 0 ? input.below(40) : right; };
  held.labels.resize(length(step.objective == Objective::maskedPrediction ? frames : utterances));
  for (int32_t &label : held.labels) label = static_cast<int32_t>(input.below(4));
  if (!held.labels.empty() && input.below(4) == 0) held.labels[input.below(held.labels.size())] = input.index();
  step.labels = held.labels.data();
  step.labelCount = static_cast<int64_t>(held.labels.size());
  if (input.below(3) == 0) {
    held.frameLabels.assign(length(frames), static_cast<int32_t>(input.below(5)) - 1);
    if (!held.frameLabels.empty()) held.frameLabels[input.below(held.frameLabels.size())] = input.index();
    step.frameLabels = held.frameLabels.data();
    step.frameLabelCount = static_cast<int64_t>(held.frameLabels.size());
  }
  if (step.objective == Objective::regression || input.below(8) == 0) {
    held.targets = input.floats(length(utterances * testing::kClasses));
    step.targets = held.targets.data();
    step.targetCount = static_cast<int64_t>(held.targets.size());
    held.others = input.floats(input.below(3) * (input.flag() ? testing::kClasses : input.below(7)));
    held.otherTargets = input.floats(held.others.size());
    step.otherOutputs = held.others.data();
    step.otherTargets = held.otherTargets.data();
    step.otherCount = static_cast<int64_t>(held.others.size());
  }
  if (input.below(3) != 0) {
    held.mask.assign(length(frames), 0);
    for (size_t t = input.below(3); t < held.mask.size(); t += 1 + input.below(3)) held.mask[t] = 1;
    step.mask = held.mask.data();
    step.maskCount = static_cast<int64_t>(held.mask.size());
  }
  step.denominator = input.realOr(2);
  step.featurePenalty = input.singleOr(0);
  step.featureGradientScale = input.singleOr(1);
  step.seed = input.byte();
  step.step = static_cast<uint32_t>(input.integer());
  step.dropout = input.flag();
  return step;
}

// One of the model's own names, or another.
TensorInfo anyTensor(Input &input, const Model &model) {
  const std::vector<TensorInfo> tensors = model.tensors();
  const size_t chosen = input.byte();
  if (chosen >= 250) return {"no.such.tensor", {3}};
  return tensors[chosen % tensors.size()];
}

// `changed`: whether the model is no longer the one that was made.
void call(Input &input, Model &model, bool &changed) {
  Held held;
  const auto batch = [&]() -> const HostBatch & {
    fillBatch(input, model.shape(), held);
    return held.batch;
  };
  const auto step = [&] { return anyStep(input, model, held); };
  const size_t chosen = input.below(16);
  changed |= chosen >= 7 && chosen != 10 && chosen != 13;
  switch (chosen) {
    case 0:
    case 1:
      model.encode(batch(), input.integerOr(modelOutput));
      break;
    case 2:
    case 3:
    case 4: {
      const HostBatch &given = batch();
      const FrameRanges kept{input.indices(5), input.indices(5)};
      model.classify(given, input.below(3) == 0 ? &kept : nullptr, static_cast<Heads>(input.below(3)));
      break;
    }
    case 5:
      model.alignmentInput(batch());
      break;
    case 6:
      model.windowMoments(batch());
      break;
    case 7: {
      const HostBatch &given = batch();
      std::vector<std::string> keys;
      for (size_t n = input.flag() ? given.starts.size() : input.below(5); n > 0; --n) keys.push_back(anyKey(input));
      model.storeFeatures(keys, given);
      break;
    }
    case 8:
    case 9: {
      const HostBatch &given = batch();
      model.trainStep(given, step());
      break;
    }
    case 10: {
      const HostBatch &given = batch();
      TrainStep outputs = step();
      outputs.outputsOnly = true;
      model.trainOutputs(given, outputs);
      break;
    }
    case 11: {
      OptimizerStep update;
      AdamW &adamW = update.adamW;
      adamW.learningRate = input.singleOr(1e-3f);
      adamW.beta1 = input.singleOr(0.9f);
      adamW.beta2 = input.singleOr(0.98f);
      adamW.epsilon = input.singleOr(1e-6f);
      adamW.weightDecay = input.singleOr(0.01f);
      adamW.clipNorm = input.singleOr(1);
      adamW.step = input.integerOr(1);
      if (input.flag()) update.groups.push_back({anyTensor(input, model).name.substr(0, 9), input.single()});
      model.optimizerStep(update);
      break;
    }
    case 12: {
      const TensorInfo tensor = anyTensor(input, model);
      const std::vector<float> values =
          input.floats(input.below(4) == 0 ? input.below(99) : static_cast<size_t>(testing::sizeOf(tensor)));
      const auto size = static_cast<int64_t>(values.size());
      if (input.flag())
        model.importTensor(tensor.name, values.data(), size);
      else
        model.importMoments(tensor.name, values.data(), values.data(), size);
      break;
    }
    case 13: {
      const TensorInfo tensor = anyTensor(input, model);
      std::vector<float> values(static_cast<size_t>(testing::sizeOf(tensor)));
      if (input.flag())
        model.exportTensor(tensor.name, values.data());
      else
        model.exportMoments(tensor.name, values.data(), values.data());
      break;
    }
    case 14:
      model.freeze(input.flag() ? std::vector<std::string>{"feature_extractor.", anyTensor(input, model).name}
                                : std::vector<std::string>{});
      break;
    default:
      if (input.below(4) == 0)
        model.packForInference();
      else if (input.flag())
        model.clearFeatures();
      else
        model.clearGradients();
  }
}

}  // namespace

FUZZ(passes) {
  // Made anew only where an input has changed it: making one takes longer than a pass.
  static std::unique_ptr<Model> models[kKinds];
  std::unique_ptr<Model> &model = models[input.below(kKinds)];
  if (!model) model = makeModel(static_cast<size_t>(&model - models));
  bool changed = false;
  for (int calls = 0; calls < 6 && !input.over(); ++calls) attempt([&] { call(input, *model, changed); });
  if (changed) model.reset();
}

}  // namespace fuzz
}  // namespace emoframe
