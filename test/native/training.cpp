// Optimiser steps, precision, determinism, and what is refused.
#include <limits>

#include "harness.h"

namespace emoframe {
namespace testing {
namespace {

std::vector<std::vector<float>> values(const Model &model) {
  std::vector<std::vector<float>> all;
  for (const TensorInfo &tensor : model.tensors()) all.push_back(get(model, tensor));
  return all;
}

OptimizerStep adamW(int64_t step, float learningRate = 2e-3f) {
  OptimizerStep optimizer;
  optimizer.adamW.learningRate = learningRate;
  optimizer.adamW.step = step;
  return optimizer;
}

TEST(trainingLowersTheLoss) {
  for (const HubertShape &shape : {baseShape(), largeShape()}) {
    for (Objective objective : {Objective::maskedPrediction, Objective::classification}) {
      for (Precision precision : precisions()) {
        auto model = makeModel(shape, PoolingKind::attention, precision);
        const Batch batch = makeBatch(shape, {9 * shape.stride() + 3, 6 * shape.stride(), 12 * shape.stride()});
        TrainStep step = batch.step(objective);
        step.denominator = objective == Objective::classification ? 3 : 10;
        double first = 0, last = 0;
        for (int64_t i = 1; i <= 30; ++i) {
          last = model->trainStep(batch.host, step).lossSum;
          if (i == 1) first = last;
          require(model->optimizerStep(adamW(i)) > 0, "the gradient norm is positive");
        }
        require(last < 0.8 * first, "the loss went from " + std::to_string(first) + " to " + std::to_string(last));
      }
    }
  }
}

TEST(bf16FollowsFp32) {
  for (const HubertShape &shape : familyShapes()) {
    auto exact = makeModel(shape);
    auto rounded = makeModel(shape, PoolingKind::attention, Precision::bf16);
    const Batch batch = makeBatch(shape, {9 * shape.stride() + 3, 6 * shape.stride(), 12 * shape.stride()});
    const TrainStep step = batch.step(Objective::maskedPrediction);
    const double expected = exact->trainStep(batch.host, step).lossSum;
    requireNear(rounded->trainStep(batch.host, step).lossSum, expected, 0.03 * expected, "the loss");
    for (const TensorInfo &tensor : exact->tensors()) {
      const std::vector<float> a = gradient(*exact, tensor), b = gradient(*rounded, tensor);
      double dot = 0, aa = 0, bb = 0;
      for (size_t i = 0; i < a.size(); ++i) {
        dot += static_cast<double>(a[i]) * b[i];
        aa += static_cast<double>(a[i]) * a[i];
        bb += static_cast<double>(b[i]) * b[i];
      }
      if (aa < 1e-6) continue;
      require(dot > 0.9 * std::sqrt(aa * bb), "the direction of the gradient of " + tensor.name);
    }
  }
}

TEST(tf32FollowsFp32OrIsRefused) {
  if (!backend()->multipliesTf32()) {
    return requireError("ERR_DEVICE_UNSUPPORTED", "precision fp32",
                        [] { makeModel(baseShape(), PoolingKind::attention, Precision::tf32); });
  }
  for (const HubertShape &shape : familyShapes()) {
    auto exact = makeModel(shape);
    auto rounded = makeModel(shape, PoolingKind::attention, Precision::tf32);
    const Batch batch = makeBatch(shape, {9 * shape.stride() + 3, 6 * shape.stride(), 12 * shape.stride()});
    const TrainStep step = batch.step(Objective::maskedPrediction);
    const double expected = exact->trainStep(batch.host, step).lossSum;
    requireNear(rounded->trainStep(batch.host, step).lossSum, expected, 1e-3 * expected, "the loss");
    double difference = 0, norm = 0;
    for (const TensorInfo &tensor : exact->tensors()) {
      const std::vector<float> a = gradient(*exact, tensor), b = gradient(*rounded, tensor);
      for (size_t i = 0; i < a.size(); ++i) {
        difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
        norm += std::pow(static_cast<double>(a[i]), 2);
      }
    }
    const double error = std::sqrt(difference / norm);
    require(error < 3e-3, "gradients are off by " + std::to_string(error));
    require(error > 1e-4, "gradients are too near for products of tf32: " + std::to_string(error));
  }
}

TEST(frozenTensorsStay) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  const Batch batch = makeBatch(shape, {9 * shape.stride()});
  model->freeze({"encoder.layers.0.", "feature_extractor."});
  const auto before = values(*model);
  OptimizerStep optimizer = adamW(1);
  optimizer.adamW.weightDecay = 0.1f;
  model->trainStep(batch.host, batch.step(Objective::classification));
  model->optimizerStep(optimizer);
  const auto after = values(*model);
  size_t i = 0;
  for (const TensorInfo &tensor : model->tensors()) {
    const bool frozen = tensor.name.find("encoder.layers.0.") == 0 || tensor.name.find("feature_extractor.") == 0;
    require((before[i] == after[i]) == frozen, tensor.name + (frozen ? " moved" : " did not move"));
    ++i;
  }
}

TEST(microBatchesAddUp) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  const Batch batch = makeBatch(shape, {9 * shape.stride()});
  const TrainStep step = batch.step(Objective::classification);
  model->trainStep(batch.host, step);
  const TensorInfo tensor = {"feature_projection.projection.weight", {16, 16}};
  const std::vector<float> once = gradient(*model, tensor);
  model->trainStep(batch.host, step);
  const std::vector<float> twice = gradient(*model, tensor);
  for (size_t i = 0; i < once.size(); ++i) requireNear(twice[i], 2 * once[i], 1e-5, "the sum of two gradients");
}

// The norm is summed by the pass that is likely the last of its update, or else by the update itself: the same comes of
// both, whatever was between.
TEST(updatesOfAnyNumberOfPassesHaveTheNormOfTheirGradients) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape), other = makeModel(shape);
  const Batch batches[] = {makeBatch(shape, {9 * shape.stride()}, 5), makeBatch(shape, {7 * shape.stride()}, 6)};
  int64_t update = 0;
  for (const int passes : {1, 1, 2, 2, 3, 1, 1, 1}) {
    ++update;
    for (int pass = 0; pass < passes; ++pass) {
      for (Model *its : {model.get(), other.get()})
        its->trainStep(batches[pass % 2].host, batches[pass % 2].step(Objective::classification));
    }
    if (update == 7) {  // and what changes which gradients count, or that there are any
      model->freeze({"encoder.layers.0."});
      other->freeze({"encoder.layers.0."});
    }
    if (update == 8) {
      for (Model *its : {model.get(), other.get()}) {
        its->clearGradients();
        its->trainStep(batches[1].host, batches[1].step(Objective::classification));
      }
    }
    double squares = 0;
    for (const TensorInfo &tensor : model->tensors())
      for (const float g : gradient(*model, tensor)) squares += static_cast<double>(g) * g;
    other->freeze(update >= 7 ? std::vector<std::string>{"encoder.layers.0."} : std::vector<std::string>{});
    OptimizerStep optimizer = adamW(update);
    optimizer.adamW.clipNorm = 0.5f;
    const double norm = model->optimizerStep(optimizer);
    requireNear(norm, std::sqrt(squares), 1e-5 * norm, "the norm of update " + std::to_string(update));
    require(other->optimizerStep(optimizer) == norm, "the same norm, summed by the update");
    require(values(*model) == values(*other), "the same weights");
  }
}

TEST(momentsTravelBetweenModels) {
  const HubertShape shape = baseShape();
  auto a = makeModel(shape), b = makeModel(shape);
  const Batch batch = makeBatch(shape, {9 * shape.stride()});
  const TrainStep step = batch.step(Objective::classification);
  require(!a->hasMoments(), "no moments before the first step");
  for (int64_t i = 1; i <= 2; ++i) {
    a->trainStep(batch.host, step);
    a->optimizerStep(adamW(i));
  }
  for (const TensorInfo &tensor : a->tensors()) {
    std::vector<float> m(static_cast<size_t>(sizeOf(tensor))), v(m.size()), value = get(*a, tensor);
    a->exportMoments(tensor.name, m.data(), v.data());
    b->importTensor(tensor.name, value.data(), static_cast<int64_t>(value.size()));
    b->importMoments(tensor.name, m.data(), v.data(), static_cast<int64_t>(m.size()));
  }
  for (Model *model : {a.get(), b.get()}) {
    model->trainStep(batch.host, step);
    model->optimizerStep(adamW(3));
  }
  require(values(*a) == values(*b), "both continue alike");
}

TEST(tensorsComeBackAsTheyWent) {
  for (const HubertShape &shape : {baseShape(), largeShape()}) {
    auto model = makeModel(shape);
    uint32_t stream = 9000;
    for (const TensorInfo &tensor : model->tensors()) {
      const std::vector<float> sent = normals(stream++, static_cast<size_t>(sizeOf(tensor)));
      model->importTensor(tensor.name, sent.data(), static_cast<int64_t>(sent.size()));
    }
    stream = 9000;
    for (const TensorInfo &tensor : model->tensors()) {
      require(get(*model, tensor) == normals(stream++, static_cast<size_t>(sizeOf(tensor))), tensor.name);
    }
  }
}

// Everything that a run of training gives, bit for bit.
std::vector<std::vector<float>> runOfTraining(int32_t threads, Precision precision) {
  HubertShape shape = withDropout(largeShape());
  shape.layerdrop = 0.1f;
  auto model = makeModel(shape, PoolingKind::stats, precision, backend({threads}));
  const Batch batch = makeBatch(shape, {40 * shape.stride(), 33 * shape.stride() + 5});
  for (int64_t i = 1; i <= 3; ++i) {
    TrainStep step = batch.step(i % 2 ? Objective::maskedPrediction : Objective::classification);
    step.dropout = true;
    step.step = static_cast<uint32_t>(i);
    step.featurePenalty = 1;
    model->trainStep(batch.host, step);
    model->optimizerStep(adamW(i));
  }
  auto all = values(*model);
  all.push_back(model->encode(batch.host, shape.layers).hidden);
  all.push_back(model->classify(batch.host).framePosteriors);
  return all;
}

TEST(trainingGivesTheSameBitsTwiceAndWithAnyThreads) {
  for (Precision precision : precisions()) {
    const auto once = runOfTraining(2, precision);
    require(once == runOfTraining(2, precision), "two runs differ");
    require(once == runOfTraining(1, precision), "one thread and two differ");
  }
}

TEST(encodingGivesTheSameBitsEveryTime) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  const Batch batch = makeBatch(shape, {40 * shape.stride()});
  const std::vector<float> first = model->encode(batch.host, 1).hidden;
  for (int i = 0; i < 3; ++i) {
    require(model->encode(batch.host, 1).hidden == first, "encoding again differs from the first time");
  }
}

TEST(dropoutDependsOnTheStepAndOnlyOnIt) {
  const HubertShape shape = withDropout(baseShape());
  auto model = makeModel(shape);
  const Batch batch = makeBatch(shape, {9 * shape.stride()});
  TrainStep step = batch.step(Objective::classification);
  step.dropout = true;
  const double first = model->trainStep(batch.host, step).lossSum;
  require(model->trainStep(batch.host, step).lossSum == first, "the same step draws the same");
  step.step += 1;
  require(model->trainStep(batch.host, step).lossSum != first, "another step draws anew");
}

TEST(labelsAreReadAtMaskedFramesOnly) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  Batch batch = makeBatch(shape, {12 * shape.stride()});
  for (size_t t = 0; t < batch.mask.size(); ++t) batch.mask[t] = t % 3 == 0;
  batch.frameLabels[1] = -1;
  batch.frameLabels[2] = 1000;
  const TrainResult result = model->trainStep(batch.host, batch.step(Objective::maskedPrediction));
  require(result.count == (batch.totalFrames + 2) / 3, "the number of masked frames");
  batch.frameLabels[3] = kClusters;
  requireError("ERR_LABEL", "Frame 3 ", [&] { model->trainStep(batch.host, batch.step(Objective::maskedPrediction)); });
  std::fill(batch.mask.begin(), batch.mask.end(), 0);
  require(model->trainStep(batch.host, batch.step(Objective::maskedPrediction)).count == 0, "nothing masked");
}

TEST(badBatchesAreRefused) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  const int64_t s = shape.stride();
  const Batch good = makeBatch(shape, {9 * s, 7 * s});
  const auto encode = [&](const std::function<void(HostBatch &)> &spoil) {
    HostBatch batch = good.host;
    spoil(batch);
    return [&model, batch] { model->encode(batch, 1); };
  };
  requireError("ERR_BATCH", "Utterance 1 ", encode([](HostBatch &b) { b.starts[1] += 1; }));
  requireError("ERR_BATCH", "too short", encode([](HostBatch &b) { b.lengths[1] = 20; }));
  requireError("ERR_BATCH", "overlaps", encode([&](HostBatch &b) { b.starts[1] = b.starts[0]; }));
  requireError("ERR_BATCH", "Utterance 1 ", encode([](HostBatch &b) { b.lengths[1] += 1; }));
  requireError("ERR_BATCH", "Utterance 0 ", encode([&](HostBatch &b) { b.starts[0] = static_cast<int32_t>(-s); }));
  requireError("ERR_BATCH", "lengths", encode([](HostBatch &b) { b.lengths.pop_back(); }));
  requireError("ERR_BATCH", "no utterance", encode([](HostBatch &b) { b.starts.clear(), b.lengths.clear(); }));
  requireError("ERR_BATCH", "nowhere", encode([](HostBatch &b) { b = HostBatch(), b.features = {"nowhere"}; }));
  requireError("ERR_BATCH", "Utterance 1 ", encode([](HostBatch &b) {
                 b.frameStarts = {0, 5}, b.frameCounts = {1, 9};
               }));
  requireError("ERR_ARGUMENT", "2", [&] { model->encode(good.host, 3); });

  TrainStep step = good.step(Objective::classification);
  step.labelCount = 1;
  requireError("ERR_BATCH", "2 utterance labels", [&] { model->trainStep(good.host, step); });
  step = good.step(Objective::maskedPrediction);
  step.mask = nullptr;
  requireError("ERR_BATCH", "mask", [&] { model->trainStep(good.host, step); });
  Batch wrong = good;
  wrong.classLabels[1] = kClasses;
  requireError("ERR_LABEL", "Utterance 1 ",
               [&] { model->trainStep(good.host, wrong.step(Objective::classification)); });
  model->storeFeatures({"a", "b"}, good.host);
  HostBatch stored;
  stored.features = {"a", "b"};
  requireError("ERR_BATCH", "feature_extractor",
               [&] { model->trainStep(stored, good.step(Objective::classification)); });
  model->freeze({"feature_extractor."});
  const double fromStored = model->trainStep(stored, good.step(Objective::classification)).lossSum;
  require(fromStored == model->trainStep(good.host, good.step(Objective::classification)).lossSum,
          "stored features train as samples do");
}

TEST(numbersThatAreNotFiniteAreRefused) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  Batch batch = makeBatch(shape, {9 * shape.stride(), 7 * shape.stride()});
  batch.samples[0] = std::numeric_limits<float>::quiet_NaN();  // before the first utterance: never read
  const TrainStep step = batch.step(Objective::classification);
  model->trainStep(batch.host, step);
  float &inside = batch.samples[static_cast<size_t>(batch.host.starts[1]) + 5];
  const float kept = inside;
  inside = std::numeric_limits<float>::infinity();
  requireError("ERR_NOT_FINITE", "Utterance 1 ", [&] { model->encode(batch.host, 1); });
  inside = kept;

  const auto before = values(*model);
  const TensorInfo tensor = {"classifier.bias", {kClasses}};
  const std::vector<float> bias = get(*model, tensor);
  std::vector<float> spoiled = bias;
  spoiled[1] = std::numeric_limits<float>::quiet_NaN();
  model->importTensor(tensor.name, spoiled.data(), kClasses);
  requireError("ERR_NOT_FINITE", "loss", [&] { model->trainStep(batch.host, step); });
  model->importTensor(tensor.name, bias.data(), kClasses);
  for (const TensorInfo &t : model->tensors()) {
    for (float g : gradient(*model, t)) require(g == 0, "gradients are cleared after a failed step");
  }
  require(values(*model) == before, "a failed step changes nothing");
  TrainStep huge = step;
  huge.denominator = 1e-30;
  model->trainStep(batch.host, huge);
  requireError("ERR_NOT_FINITE", "norm", [&] { model->optimizerStep(adamW(1)); });
  require(values(*model) == before, "a refused update changes nothing");
}

TEST(badTensorsAndConfigurationsAreRefused) {
  auto model = makeModel(baseShape());
  const std::vector<float> some(7);
  requireError("ERR_TENSOR", "nothing.weight", [&] { model->importTensor("nothing.weight", some.data(), 7); });
  requireError("ERR_TENSOR", "classifier.bias", [&] { model->importTensor("classifier.bias", some.data(), 7); });
  const auto with = [](const std::function<void(HubertShape &)> &spoil) {
    HubertShape shape = baseShape();
    spoil(shape);
    return [shape] { makeModel(shape); };
  };
  requireError("ERR_MODEL_CONFIG", "num_attention_heads", with([](HubertShape &s) { s.heads = 3; }));
  requireError("ERR_MODEL_CONFIG", "head size", with([](HubertShape &s) { s.heads = 4; }));
  requireError("ERR_MODEL_CONFIG", "conv_kernel", with([](HubertShape &s) { s.convKernel.pop_back(); }));
  requireError("ERR_MODEL_CONFIG", "conv_kernel[1]", with([](HubertShape &s) { s.convKernel[1] = 0; }));
  requireError("ERR_MODEL_CONFIG", "groups", with([](HubertShape &s) { s.positionalGroups = 5; }));
  requireError("ERR_MODEL_CONFIG", "hidden_dropout", with([](HubertShape &s) { s.hiddenDropout = 1; }));
  ClassifierHead none;
  Model headless(backend(), baseShape(), Precision::fp32, MaskedPredictionHead{}, none);
  const Batch batch = makeBatch(baseShape(), {400});
  requireError("ERR_HEAD", "classifier", [&] { headless.classify(batch.host); });
}

// Found by fuzzing.
TEST(sizesOfHeadsHaveBounds) {
  const auto with = [](int64_t classes, int64_t projector) {
    return [=] {
      ClassifierHead head = plainHead(PoolingKind::mean);
      head.classes = classes;
      head.projector = projector;
      makeHeadModel(baseShape(), head);
    };
  };
  requireError("ERR_MODEL_CONFIG", "classes must be at most", with(int64_t{1} << 40, 0));
  requireError("ERR_MODEL_CONFIG", "projector must be at most", with(kClasses, (1 << 20) + 1));
}

TEST(anUpdateThatWouldBreakEveryWeightIsRefused) {
  const auto model = makeModel(baseShape());
  const TensorInfo tensor = model->tensors().front();
  const std::vector<float> before = get(*model, tensor);
  const auto with = [&](const std::function<void(AdamW &)> &change) {
    return [&model, change] {
      OptimizerStep step;
      change(step.adamW);
      model->optimizerStep(step);
    };
  };
  requireError("ERR_ARGUMENT", "step", with([](AdamW &adamW) { adamW.step = 0; }));
  requireError("ERR_ARGUMENT", "betas", with([](AdamW &adamW) { adamW.beta1 = 1; }));
  requireError("ERR_ARGUMENT", "epsilon", with([](AdamW &adamW) { adamW.epsilon = 0; }));
  requireError("ERR_ARGUMENT", "learning rate", with([](AdamW &adamW) { adamW.learningRate = NAN; }));
  require(get(*model, tensor) == before, "a refused update changed weights");
}

}  // namespace
}  // namespace testing
}  // namespace emoframe
