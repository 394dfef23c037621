// What the alignment head promises: that a frame's logits follow from its neighbourhood alone, and that what is made of
// them is the same however an utterance is divided.
#include "model/alignment.h"

#include <algorithm>
#include <numeric>

#include "harness.h"

namespace emoframe {
namespace testing {
namespace {

double largestOf(const std::vector<float> &values) {
  double largest = 0.1;
  for (const float v : values) largest = std::max(largest, std::abs(static_cast<double>(v)));
  return largest;
}

void requireClose(const std::vector<float> &actual, const std::vector<float> &expected, double tolerance,
                  const std::string &what) {
  require(actual.size() == expected.size(), what + ": sizes differ");
  for (size_t i = 0; i < actual.size(); ++i) {
    requireNear(actual[i], expected[i], tolerance * largestOf(expected), what + " at " + std::to_string(i));
  }
}

std::vector<float> rowsOf(const std::vector<float> &values, int64_t first, int64_t rows, int64_t cols = kClasses) {
  return std::vector<float>(values.begin() + first * cols, values.begin() + (first + rows) * cols);
}

// With mel bands beside them where frames are those of which there are any.
std::vector<AlignmentHead> allSources(const HubertShape &shape) {
  std::vector<AlignmentHead> heads = {alignmentHead(), alignmentHead(AlignmentSource::hidden),
                                      alignmentHead(AlignmentSource::hidden, 1),
                                      alignmentHead(AlignmentSource::layers, 2)};
  for (AlignmentHead &head : heads) head.melBands = shape.stride() == melShape().stride() ? 12 : 0;
  return heads;
}

AlignSettings settingsOf(const Model &model, const AlignmentHead &head) {
  return {head.neutral, head.scale, head.switchingCost, get(model, {"alignment.utterance_bias", {head.classes}})};
}

TEST(aPackedBatchAlignsAsEachUtteranceAlone) {
  for (const HubertShape &shape : {baseShape(), largeShape(), melShape()}) {
    for (const AlignmentHead &head : allSources(shape)) {
      auto model = makeAlignmentModel(shape, head);
      const int64_t s = shape.stride();
      const Batch batch = makeBatch(shape, {9 * s + 3, 4 * s + s - 1, 23 * s, 5 * s + 5});
      const Classified packed = model->classify(batch.host);
      for (size_t b = 0; b < batch.frames.size(); ++b) {
        const Classified one = model->classify(alone(shape, batch, b).host);
        const int64_t at = packed.offsets[b], frames = batch.frames[b];
        requireClose(rowsOf(packed.aligned.frameLogits, at, frames), one.aligned.frameLogits, 1e-5, "frame logits");
        requireClose(rowsOf(packed.aligned.occupancies, at, frames), one.aligned.occupancies, 1e-5, "occupancies");
        requireClose(rowsOf(packed.aligned.logits, static_cast<int64_t>(b), 1), one.aligned.logits, 1e-5, "logits");
      }
    }
  }
}

TEST(theClassifierIsNotTouchedByTheHeadBesideIt) {
  const HubertShape shape = baseShape();
  const Batch batch = makeBatch(shape, {20 * shape.stride(), 9 * shape.stride()});
  for (const AlignmentHead &head : allSources(shape)) {
    auto both = makeAlignmentModel(shape, head);
    auto classifier = makeAlignmentModel(shape, {});
    for (const TensorInfo &tensor : classifier->tensors()) {
      const std::vector<float> values = get(*both, tensor);
      classifier->importTensor(tensor.name, values.data(), static_cast<int64_t>(values.size()));
    }
    const Classified with = both->classify(batch.host), without = classifier->classify(batch.host);
    require(with.logits == without.logits && with.framePosteriors == without.framePosteriors &&
                with.attention == without.attention && with.pooled == without.pooled,
            "other bits beside an alignment head");
    require(without.aligned.logits.empty() && without.aligned.frameLogits.empty(), "nothing of a head that is not");
    // Alone it has the same to say.
    Model alone(backend(), shape, Precision::fp32, {}, {}, head);
    for (const TensorInfo &tensor : alone.tensors()) {
      const std::vector<float> values = get(*both, tensor);
      alone.importTensor(tensor.name, values.data(), static_cast<int64_t>(values.size()));
    }
    const Classified its = alone.classify(batch.host);
    require(its.aligned.frameLogits == with.aligned.frameLogits && its.aligned.logits == with.aligned.logits,
            "other bits without a classifier");
    require(its.logits.empty() && its.framePosteriors.empty() && its.offsets == with.offsets, "no classifier");
  }
}

// The whole utterance and a part of it, features being the same: frames of the part see the same as far as its ends do
// not come into their field, and one frame further not.
void requireFieldAlone(const HubertShape &shape) {
  const int64_t frames = 61;
  const Batch batch = makeBatch(shape, {shape.samples(frames)});
  for (const AlignmentHead &head : allSources(shape)) {
    auto model = makeAlignmentModel(shape, head);
    model->storeFeatures({"whole"}, batch.host);
    HostBatch whole;
    whole.features = {"whole"};
    HostBatch part = whole;
    const int64_t first = 4 * head.chunkFrames, count = 7 * head.chunkFrames;
    part.frameStarts = {static_cast<int32_t>(first)};
    part.frameCounts = {static_cast<int32_t>(count)};
    const int64_t reach = std::accumulate(head.halfWidths.begin(), head.halfWidths.end(), int64_t{0});
    // Chunks whose context leaves the part see less.
    const bool chunked = head.source != AlignmentSource::features;
    const int64_t lost = chunked ? head.chunkFrames : 0;
    const std::vector<float> expected = model->classify(whole).aligned.frameLogits;
    const std::vector<float> found = model->classify(part).aligned.frameLogits;
    const auto difference = [&](int64_t t) {
      double largest = 0;
      for (int64_t c = 0; c < kClasses; ++c) {
        const auto own = static_cast<size_t>(t * kClasses + c), its = own + static_cast<size_t>(first * kClasses);
        largest = std::max(largest, std::abs(static_cast<double>(found[own]) - expected[its]));
      }
      return largest / largestOf(expected);
    };
    for (int64_t t = lost + reach; t < count - lost - reach; ++t) {
      require(difference(t) <= 1e-6, "frame " + std::to_string(t) + " of a part differs");
    }
    for (const int64_t t : {lost + reach - 1, count - lost - reach}) {
      require(difference(t) > 1e-6, "frame " + std::to_string(t) + " does not see that its field is cut off");
    }
  }
}

TEST(aFramesLogitsFollowFromItsFieldAlone) {
  requireFieldAlone(baseShape());
  requireFieldAlone(melShape());
}

TEST(framesThatAreKeptAreAlignedAlone) {
  const HubertShape shape = melShape();
  for (const AlignmentHead &head : allSources(shape)) {
    auto model = makeAlignmentModel(shape, head);
    const Batch batch = makeBatch(shape, {20 * shape.stride(), 9 * shape.stride()});
    FrameRanges kept;
    std::vector<int32_t> offsets = {0};
    for (const int64_t frames : batch.frames) {
      kept.starts.push_back(static_cast<int32_t>(frames / 3));
      kept.counts.push_back(static_cast<int32_t>(frames / 2));
      offsets.push_back(offsets.back() + kept.counts.back());
    }
    const Classified whole = model->classify(batch.host), part = model->classify(batch.host, &kept);
    require(part.offsets == offsets, "bounds of what is kept");
    for (size_t b = 0; b < batch.frames.size(); ++b) {
      require(rowsOf(part.aligned.frameLogits, offsets[b], kept.counts[b]) ==
                  rowsOf(whole.aligned.frameLogits, whole.offsets[b] + kept.starts[b], kept.counts[b]),
              "logits of frames that are kept");
    }
    const std::shared_ptr<Backend> on = backend();
    const auto aligned = [&](const Classified &of) {
      const std::vector<float> &logits = of.aligned.frameLogits;
      return align(*on, logits.data(), static_cast<int64_t>(logits.size()), of.offsets, settingsOf(*model, head));
    };
    for (const Classified &of : {whole, part}) {
      require(aligned(of).logits == of.aligned.logits && aligned(of).occupancies == of.aligned.occupancies,
              "frame logits that are known are aligned as they are in a pass");
    }
    require(aligned(whole).logits != aligned(part).logits, "a part is not the whole");
  }
}

TEST(anAlignmentOfWhatDoesNotFitIsRefused) {
  const std::shared_ptr<Backend> on = backend();
  const std::vector<float> logits(12, 0.5f);
  const AlignSettings settings = {1, 0.1f, 4, {0, 0, 0}};
  const auto refused = [&](const std::vector<int32_t> &offsets, const AlignSettings &with) {
    requireError("ERR_ARGUMENT", "Expected", [&] { align(*on, logits.data(), 12, offsets, with); });
  };
  require(align(*on, logits.data(), 12, {0, 4}, settings).occupancies.size() == 12, "what fits is not");
  refused({0, 3}, settings);
  refused({1, 4}, settings);
  refused({0, 5, 4}, settings);
  refused({4}, settings);
  refused({0, 4}, {3, 0.1f, 4, {0, 0, 0}});
  refused({0, 12}, {0, 0.1f, 4, {0}});
}

double crossEntropy(const std::vector<float> &logits, int64_t row, int32_t label) {
  double sum = 0;
  for (int64_t c = 0; c < kClasses; ++c) sum += std::exp(static_cast<double>(logits[row * kClasses + c]));
  return std::log(sum) - logits[row * kClasses + label];
}

TEST(theLossIsTheUtterancesAndTheMeanOfItsKnownFrames) {
  const HubertShape shape = baseShape();
  for (const AlignmentHead &head : allSources(shape)) {
    auto model = makeAlignmentModel(shape, head);
    const Batch batch = makeBatch(shape, {20 * shape.stride(), 9 * shape.stride(), 12 * shape.stride()});
    const Classified classified = model->classify(batch.host);
    std::vector<int32_t> labels(static_cast<size_t>(batch.totalFrames), -1);
    TrainStep step = batch.step(Objective::alignment);
    double utterances = 0, frames = 0;
    int64_t correct = 0;
    for (int64_t b = 0; b < 3; ++b) {
      const std::vector<float> own = rowsOf(classified.aligned.logits, b, 1);
      const int32_t label = batch.classLabels[static_cast<size_t>(b)];
      utterances += crossEntropy(classified.aligned.logits, b, label);
      correct += std::max_element(own.begin(), own.end()) - own.begin() == label;
      double sum = 0;
      int64_t known = 0;
      for (int64_t t = classified.offsets[b]; b != 1 && t < classified.offsets[b + 1]; t += b + 1, ++known) {
        labels[static_cast<size_t>(t)] = static_cast<int32_t>(t % kClasses);
        sum += crossEntropy(classified.aligned.frameLogits, t, labels[static_cast<size_t>(t)]);
      }
      if (known > 0) frames += sum / static_cast<double>(known);
    }
    const TrainResult plain = model->trainStep(batch.host, step);
    requireNear(plain.lossSum, utterances, 1e-5 * utterances, "the loss of utterances");
    require(plain.count == 3 && plain.correct == correct, "utterances that are right");
    const std::vector<float> before = gradient(*model, {"alignment.output.weight", {kClasses, head.width}});
    step.frameLabels = labels.data();
    step.frameLabelCount = batch.totalFrames;
    const TrainResult known = model->trainStep(batch.host, step);
    requireNear(known.lossSum, utterances + frames, 1e-5 * known.lossSum, "the loss with that of frames");
    require(known.count == 3 && known.correct == correct, "which is of utterances still");
    model->clearGradients();
    std::fill(labels.begin(), labels.end(), -1);
    require(model->trainStep(batch.host, step).lossSum == plain.lossSum, "no frame is known: the utterance's alone");
    require(gradient(*model, {"alignment.output.weight", {kClasses, head.width}}) == before, "and its gradients");
  }
}

TEST(whatAlignmentCannotBeTrainedWithIsRefused) {
  const HubertShape shape = baseShape();
  auto model = makeAlignmentModel(shape, alignmentHead());
  const Batch batch = makeBatch(shape, {20 * shape.stride(), 9 * shape.stride()});
  const auto refused = [&](const char *code, const std::string &mention,
                           const std::function<void(TrainStep &)> &spoil) {
    TrainStep step = batch.step(Objective::alignment);
    spoil(step);
    requireError(code, mention, [&] { model->trainStep(batch.host, step); });
  };
  std::vector<int32_t> labels(static_cast<size_t>(batch.totalFrames), 0);
  refused("ERR_BATCH", "without a mask", [&](TrainStep &step) {
    step.mask = batch.mask.data();
    step.maskCount = batch.totalFrames;
  });
  refused("ERR_BATCH", "labels of", [&](TrainStep &step) {
    step.frameLabels = labels.data();
    step.frameLabelCount = batch.totalFrames - 1;
  });
  refused("ERR_BATCH", "alignment only", [&](TrainStep &step) {
    step.objective = Objective::classification;
    step.frameLabels = labels.data();
    step.frameLabelCount = batch.totalFrames;
  });
  labels[static_cast<size_t>(batch.frames[0]) + 2] = kClasses;
  refused("ERR_LABEL", "Utterance 1 of the batch has the label 4 at frame 2", [&](TrainStep &step) {
    step.frameLabels = labels.data();
    step.frameLabelCount = batch.totalFrames;
  });
  const std::vector<int32_t> wrong = {0, -1};
  refused("ERR_LABEL", "Utterance 1", [&](TrainStep &step) { step.labels = wrong.data(); });
  auto without = makeModel(shape);
  requireError("ERR_HEAD", "alignment", [&] { without->trainStep(batch.host, batch.step(Objective::alignment)); });

  const auto unmade = [&](const std::string &mention, const std::function<void(AlignmentHead &)> &spoil) {
    AlignmentHead head = alignmentHead(AlignmentSource::hidden, 1);
    spoil(head);
    requireError("ERR_MODEL_CONFIG", mention, [&] { makeAlignmentModel(shape, head); });
  };
  unmade("classes", [](AlignmentHead &head) { head.classes = 1; });
  unmade("neutral", [](AlignmentHead &head) { head.neutral = kClasses; });
  unmade("width", [](AlignmentHead &head) { head.width = 0; });
  unmade("halfWidths", [](AlignmentHead &head) { head.halfWidths = {2, -1}; });
  unmade("melBands must not be negative", [](AlignmentHead &head) { head.melBands = -1; });
  unmade("400 samples every 320", [](AlignmentHead &head) { head.melBands = 40; });
  unmade("dropout", [](AlignmentHead &head) { head.dropout = 1; });
  unmade("scale", [](AlignmentHead &head) { head.scale = 0; });
  unmade("switchingCost", [](AlignmentHead &head) { head.switchingCost = NAN; });
  unmade("layer", [](AlignmentHead &head) { head.layer = 3; });
  unmade("layer", [](AlignmentHead &head) {
    head.layer = modelOutput;
    head.source = AlignmentSource::layers;
  });
  unmade("chunkFrames", [](AlignmentHead &head) { head.chunkFrames = 0; });
  unmade("contextFrames", [](AlignmentHead &head) { head.contextFrames = -1; });
}

TEST(framesOfLowerPrecisionAreNear) {
  const HubertShape shape = largeShape();
  const Batch batch = makeBatch(shape, {20 * shape.stride(), 9 * shape.stride()});
  for (const AlignmentHead &head : allSources(shape)) {
    const std::vector<float> exact = makeAlignmentModel(shape, head)->classify(batch.host).aligned.frameLogits;
    for (const Precision precision : precisions()) {
      auto model = makeAlignmentModel(shape, head, precision);
      requireClose(model->classify(batch.host).aligned.frameLogits, exact, 0.1, "frame logits");
      const TrainResult result = model->trainStep(batch.host, batch.step(Objective::alignment));
      require(result.count == 2 && std::isfinite(result.lossSum), "a step of training");
      OptimizerStep step;
      step.adamW.clipNorm = 1;
      require(model->optimizerStep(step) > 0, "a norm");
    }
  }
}

// With seeds of their own, dropout is the same however often a step is done, and other by step.
TEST(groupsOfParametersHaveLearningRatesOfTheirOwn) {
  const HubertShape shape = baseShape();
  const Batch batch = makeBatch(shape, {20 * shape.stride(), 9 * shape.stride()});
  const auto trained = [&](const std::vector<ParameterGroup> &groups, double &norm) {
    auto model = makeAlignmentModel(shape, alignmentHead(AlignmentSource::hidden, 2));
    for (int64_t i = 1; i <= 2; ++i) {
      model->trainStep(batch.host, batch.step(Objective::alignment));
      OptimizerStep step;
      step.adamW.learningRate = 1e-3f;
      step.adamW.weightDecay = 0.1f;
      step.adamW.clipNorm = 0.5f;
      step.adamW.step = i;
      step.groups = groups;
      norm = model->optimizerStep(step);
    }
    std::vector<std::pair<std::string, std::vector<float>>> weights;
    for (const TensorInfo &tensor : model->tensors()) weights.push_back({tensor.name, get(*model, tensor)});
    return weights;
  };
  double norm = 0, same = 0, other = 0;
  auto untrained = makeAlignmentModel(shape, alignmentHead(AlignmentSource::hidden, 2));
  const auto plain = trained({}, norm);
  require(trained({{"alignment.", 1e-3f}, {"encoder.", 1e-3f}}, same) == plain && same == norm,
          "groups of one rate give the bits of none");
  const auto apart = trained({{"encoder.layers.0.", 0}, {"encoder.", 1e-4f}}, other);
  size_t i = 0;
  for (const TensorInfo &tensor : untrained->tensors()) {
    const std::string &name = tensor.name;
    if (name.find("encoder.layers.0.") == 0) {
      require(apart[i].second == get(*untrained, tensor), name + " has the rate 0");
    } else if (name.find("alignment.input_") == 0) {
      require(apart[i].second == get(*untrained, tensor), name + " is not trained");
    } else if (name.find("k_proj.bias") == std::string::npos) {
      require(apart[i].second != get(*untrained, tensor), name + " is trained");
      require((apart[i].second == plain[i].second) == false || name.find("encoder.") != 0, name + " has another rate");
    }
    ++i;
  }
}

}  // namespace
}  // namespace testing
}  // namespace emoframe
