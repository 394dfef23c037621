// A result never depends on what else is in the batch.
#include "harness.h"

namespace emoframe {
namespace testing {
namespace {

void requireClose(const std::vector<float> &actual, const std::vector<float> &expected, double tolerance,
                  const std::string &what) {
  require(actual.size() == expected.size(), what + ": sizes differ");
  double size = 0.1;
  for (float v : expected) size = std::max(size, std::abs(static_cast<double>(v)));
  for (size_t i = 0; i < actual.size(); ++i) {
    requireNear(actual[i], expected[i], tolerance * size, what + " at " + std::to_string(i));
  }
}

std::vector<int64_t> someLengths(const HubertShape &shape) {
  const int64_t s = shape.stride();
  return {9 * s + 3, 4 * s + s - 1, 17 * s, 3 * s + 5};
}

TEST(aPackedBatchEncodesAsEachUtteranceAlone) {
  for (const HubertShape &shape : familyShapes()) {
    auto model = makeModel(shape);
    const Batch batch = makeBatch(shape, someLengths(shape));
    for (int64_t layer = 0; layer <= shape.layers; ++layer) {
      const Encoded packed = model->encode(batch.host, layer);
      require(packed.offsets.back() == batch.totalFrames, "the number of frames");
      for (size_t b = 0; b < batch.frames.size(); ++b) {
        const Encoded one = model->encode(alone(shape, batch, b).host, layer);
        const auto begin = packed.hidden.begin() + packed.offsets[b] * shape.hiddenSize;
        const std::vector<float> part(begin, begin + batch.frames[b] * shape.hiddenSize);
        requireClose(part, one.hidden, 1e-5, "hidden state " + std::to_string(layer));
      }
    }
  }
}

TEST(aPackedBatchClassifiesAsEachUtteranceAlone) {
  for (PoolingKind pooling :
       {PoolingKind::mean, PoolingKind::attention, PoolingKind::attentionLinear, PoolingKind::stats}) {
    const HubertShape shape = baseShape();
    auto model = makeModel(shape, pooling);
    const Batch batch = makeBatch(shape, someLengths(shape));
    const Classified packed = model->classify(batch.host);
    for (size_t b = 0; b < batch.frames.size(); ++b) {
      const Classified one = model->classify(alone(shape, batch, b).host);
      const auto take = [&](const std::vector<float> &x, int64_t begin, int64_t count) {
        return std::vector<float>(x.begin() + begin, x.begin() + begin + count);
      };
      const int64_t at = packed.offsets[b], frames = batch.frames[b];
      requireClose(take(packed.logits, static_cast<int64_t>(b) * kClasses, kClasses), one.logits, 1e-5, "logits");
      requireClose(take(packed.attention, at, frames), one.attention, 1e-5, "attention");
      requireClose(take(packed.framePosteriors, at * kClasses, frames * kClasses), one.framePosteriors, 1e-5,
                   "posteriors");
      double attention = 0;
      for (float a : one.attention) attention += a;
      requireNear(attention, 1, 1e-5, "the attention's sum");
    }
  }
}

TEST(aPackedBatchHasTheGradientsOfItsUtterances) {
  for (const HubertShape &shape : familyShapes()) {
    for (Objective objective : {Objective::maskedPrediction, Objective::classification}) {
      auto model = makeModel(shape);
      const Batch batch = makeBatch(shape, someLengths(shape));
      const TrainResult whole = model->trainStep(batch.host, batch.step(objective));
      std::vector<std::vector<float>> packed;
      for (const TensorInfo &tensor : model->tensors()) packed.push_back(gradient(*model, tensor));
      model->clearGradients();
      TrainResult sum;
      for (size_t b = 0; b < batch.frames.size(); ++b) {
        const Batch one = alone(shape, batch, b);
        const TrainResult part = model->trainStep(one.host, one.step(objective));
        sum.lossSum += part.lossSum;
        sum.count += part.count;
        sum.correct += part.correct;
      }
      requireNear(whole.lossSum, sum.lossSum, 1e-5 * sum.lossSum, "the loss");
      require(whole.count == sum.count && whole.correct == sum.correct, "the counts");
      size_t i = 0;
      for (const TensorInfo &tensor : model->tensors()) {
        // A key's bias has no gradient but what rounding makes.
        const double tolerance = tensor.name.find("k_proj.bias") == std::string::npos ? 3e-5 : 1e-4;
        requireClose(packed[i++], gradient(*model, tensor), tolerance, tensor.name);
      }
    }
  }
}

TEST(aFrameRangeCropsTheFeatures) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  Batch batch = makeBatch(shape, someLengths(shape));
  model->storeFeatures({"a", "b", "c", "d"}, batch.host);
  require(model->storedFrames("c") == batch.frames[2] && model->storedFrames("e") == -1, "frames stored");
  require(model->featureBytes() == batch.totalFrames * shape.convDim.back() * 4, "bytes stored");

  HostBatch stored;
  stored.features = {"a", "b", "c", "d"};
  requireClose(model->encode(stored, 2).hidden, model->encode(batch.host, 2).hidden, 1e-5, "stored features");

  stored.features = {"c", "a"};
  stored.frameStarts = {3, 0};
  stored.frameCounts = {7, 4};
  HostBatch cropped = batch.host;
  cropped.starts = {batch.host.starts[2], batch.host.starts[0]};
  cropped.lengths = {batch.host.lengths[2], batch.host.lengths[0]};
  cropped.frameStarts = stored.frameStarts;
  cropped.frameCounts = stored.frameCounts;
  const Encoded fromSamples = model->encode(cropped, 1);
  require(fromSamples.offsets == std::vector<int32_t>({0, 7, 11}), "offsets of the crops");
  requireClose(model->encode(stored, 1).hidden, fromSamples.hidden, 1e-5, "crops of stored features");
  // Features see the samples outside the crop, the transformer does not.
  require(model->encode(batch.host, 1).hidden != fromSamples.hidden, "a crop differs from the whole");

  const TensorInfo conv = {"feature_extractor.conv_layers.1.conv.weight", {8, 12, 3}};
  const std::vector<float> value = get(*model, conv);
  model->importTensor(conv.name, value.data(), static_cast<int64_t>(value.size()));
  require(model->storedFrames("c") == -1 && model->featureBytes() == 0, "new encoder weights forget the features");
}

TEST(storedFeaturesStayWhatTheyAreWhenOthersComeAndGo) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  const int64_t stride = shape.stride();
  std::vector<Batch> utterances;
  const auto stored = [&](size_t i) {
    HostBatch batch;
    batch.features = {std::to_string(i % 4)};
    return model->encode(batch, 1).hidden;
  };
  std::vector<std::vector<float>> expected;
  for (size_t i = 0; i < 12; ++i) {  // each key three times, with another length
    utterances.push_back(
        makeBatch(shape, {static_cast<int64_t>(8 + 5 * i % 17) * stride}, static_cast<uint32_t>(30 + i)));
    model->storeFeatures({std::to_string(i % 4)}, utterances[i].host);
    expected.push_back(stored(i));
    for (size_t earlier = i > 3 ? i - 3 : 0; earlier < i; ++earlier) {
      require(stored(earlier) == expected[earlier],
              "what was stored " + std::to_string(i - earlier) + " before changed");
    }
    requireClose(expected[i], model->encode(utterances[i].host, 1).hidden, 1e-5, "stored features");
  }
  int64_t frames = 0;
  for (size_t i = 8; i < 12; ++i) frames += utterances[i].totalFrames;
  require(model->featureBytes() == frames * shape.convDim.back() * 4, "bytes of the last of each key");
}

TEST(aCropHasTheSameGradientsInABatchAsAlone) {
  const HubertShape shape = largeShape();
  auto model = makeModel(shape);
  Batch batch = makeBatch(shape, {20 * shape.stride()});
  batch.host.frameStarts = {4};
  batch.host.frameCounts = {9};
  TrainStep step = batch.step(Objective::classification);
  step.mask = nullptr;
  const TrainResult whole = model->trainStep(batch.host, step);
  // The samples that those nine frames see, alone.
  int64_t receptive = shape.stride();
  while (shape.frames(receptive) < 1) ++receptive;
  Batch part = makeBatch(shape, {8 * shape.stride() + receptive});
  part.host.samples = batch.samples.data() + batch.host.starts[0] + 4 * shape.stride();
  part.host.starts = {0};
  part.host.sampleCount = part.host.lengths[0];
  std::vector<std::vector<float>> cropped;
  for (const TensorInfo &tensor : model->tensors()) cropped.push_back(gradient(*model, tensor));
  model->clearGradients();
  TrainStep same = part.step(Objective::classification);
  same.mask = nullptr;
  requireNear(model->trainStep(part.host, same).lossSum, whole.lossSum, 1e-5, "the loss");
  size_t i = 0;
  for (const TensorInfo &tensor : model->tensors())
    requireClose(cropped[i++], gradient(*model, tensor), 3e-5, tensor.name);
}

TEST(framesThatAreKeptAreClassifiedAloneButComputedWithTheOthers) {
  for (PoolingKind pooling :
       {PoolingKind::mean, PoolingKind::attention, PoolingKind::attentionLinear, PoolingKind::stats}) {
    const HubertShape shape = baseShape();
    auto model = makeModel(shape, pooling);
    const Batch batch = makeBatch(shape, someLengths(shape));
    FrameRanges kept;
    for (const int64_t frames : batch.frames) {
      kept.starts.push_back(static_cast<int32_t>(frames / 3));
      kept.counts.push_back(static_cast<int32_t>(frames - frames / 3));
    }
    const Classified whole = model->classify(batch.host);
    const Classified part = model->classify(batch.host, &kept);
    for (size_t b = 0; b < batch.frames.size(); ++b) {
      const int64_t from = whole.offsets[b] + kept.starts[b], at = part.offsets[b], count = kept.counts[b];
      require(part.offsets[b + 1] - at == count, "the number of kept frames");
      double mass = 0;
      for (int64_t t = 0; t < count; ++t) mass += whole.attention[from + t];
      for (int64_t t = 0; t < count; ++t) {
        requireNear(part.attention[at + t] * mass, whole.attention[from + t], 1e-5, "a kept frame's weight");
        // With stats pooling a frame's posterior depends on the deviation of what is pooled.
        for (int64_t k = 0; k < kClasses && pooling != PoolingKind::stats; ++k)
          requireNear(part.framePosteriors[(at + t) * kClasses + k], whole.framePosteriors[(from + t) * kClasses + k],
                      1e-5, "a kept frame's posterior");
      }
      requireNear(std::exp(part.scoreLogSums[b] - whole.scoreLogSums[b]), mass, 1e-4, "what the scores sum to");
    }
  }
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  const Batch batch = makeBatch(shape, {9 * shape.stride()});
  const auto frames = static_cast<int32_t>(batch.frames[0]);
  for (const FrameRanges &bad : {FrameRanges{{0}, {0}}, FrameRanges{{-1}, {2}}, FrameRanges{{1}, {frames}},
                                 FrameRanges{{0, 0}, {1, 1}}, FrameRanges{{0}, {}}})
    requireError("ERR_BATCH", "kept", [&] { model->classify(batch.host, &bad); });
}

TEST(windowMomentsThatAreGivenTakeThePlaceOfTheUtterancesOwn) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  const Batch whole = makeBatch(shape, {20 * shape.stride()});
  const WindowMoments moments = model->windowMoments(whole.host);
  require(moments.counts[0] == (20 * shape.stride() - shape.convKernel[0]) / shape.convStride[0] + 1, "the windows");
  Batch part = makeBatch(shape, {20 * shape.stride()});
  part.host.lengths = {static_cast<int32_t>(10 * shape.stride())};
  const auto frames = static_cast<size_t>(shape.frames(part.host.lengths[0]));
  // Layer 0 sees its neighbours too, which end with the part: only the first frames are alike.
  const size_t alike = (frames - static_cast<size_t>(shape.positionalKernel / 2)) * shape.hiddenSize;
  const std::vector<float> expected = model->encode(whole.host, 0).hidden;
  const auto difference = [&] {
    const std::vector<float> found = model->encode(part.host, 0).hidden;
    double largest = 0;
    for (size_t i = 0; i < alike; ++i)
      largest = std::max(largest, std::abs(static_cast<double>(found[i] - expected[i])));
    return largest;
  };
  require(difference() > 1e-3, "a part has other moments");
  part.host.windowMean = moments.mean.data();
  part.host.windowCovariance = moments.covariance.data();
  part.host.windowMeanSize = static_cast<int64_t>(moments.mean.size());
  part.host.windowCovarianceSize = static_cast<int64_t>(moments.covariance.size());
  require(difference() < 1e-5, "a part with the moments of the whole gives what the whole gives");
  part.host.windowMeanSize -= 1;
  requireError("ERR_BATCH", "means", [&] { model->encode(part.host, 0); });
  const HubertShape other = largeShape();
  auto large = makeModel(other);
  Batch plain = makeBatch(other, {9 * other.stride()});
  plain.host.windowMean = moments.mean.data();
  requireError("ERR_BATCH", "GroupNorm", [&] { large->encode(plain.host, 0); });
}

TEST(utterancesThatLieApartAreNormalisedWhereTheyAreEncoded) {
  for (const HubertShape &shape : {baseShape(), largeShape()}) {
    auto model = makeModel(shape);
    Batch byHand = makeBatch(shape, someLengths(shape));
    HostBatch apart = byHand.host;
    std::vector<std::vector<float>> own;
    for (size_t b = 0; b < apart.starts.size(); ++b) {
      const auto begin = byHand.samples.begin() + apart.starts[b];
      own.emplace_back(begin, begin + apart.lengths[b]);
      for (float &x : own.back()) x = 0.05f * x - 0.6f;
      double mean = 0, variance = 0;
      for (const float x : own.back()) mean += x / static_cast<double>(apart.lengths[b]);
      for (const float x : own.back()) variance += (x - mean) * (x - mean) / static_cast<double>(apart.lengths[b]);
      const double scale = 1 / std::sqrt(variance + 1e-7);
      std::transform(own.back().begin(), own.back().end(), begin,
                     [&](float x) { return static_cast<float>((x - mean) * scale); });
      apart.waveform.push_back(mean), apart.waveform.push_back(scale);
    }
    apart.samples = nullptr;
    for (const std::vector<float> &samples : own) apart.utterances.push_back(samples.data());
    apart.normalize = true;
    HostBatch alone = apart;
    alone.waveform.clear();
    const std::vector<float> expected = model->encode(byHand.host, modelOutput).hidden;
    for (const HostBatch *batch : {&apart, &alone}) {
      requireClose(model->encode(*batch, modelOutput).hidden, expected, 1e-5, "hidden states");
    }
    const TrainStep step = byHand.step(Objective::classification);
    requireNear(model->trainStep(alone, step).lossSum, model->trainStep(byHand.host, step).lossSum, 1e-4, "the loss");
    if (shape.groupNorm) {
      requireClose(model->windowMoments(alone).covariance, model->windowMoments(byHand.host).covariance, 1e-5,
                   "moments of windows");
    }
    alone.normalize = false;
    require(model->encode(alone, modelOutput).hidden != expected, "without it they are encoded otherwise");
    alone.waveform = {0, 1};
    requireError("ERR_BATCH", "a mean and a scale", [&] { model->encode(alone, 0); });
  }
}

}  // namespace
}  // namespace testing
}  // namespace emoframe
