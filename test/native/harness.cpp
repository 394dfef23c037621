#include "harness.h"

#include <cstring>

#include "../ops/device.h"

namespace emoframe {
namespace testing {

std::vector<Test> &registry() {
  static std::vector<Test> tests;
  return tests;
}

void require(bool condition, const std::string &message) {
  if (!condition) throw Failure{message};
}

void requireNear(double actual, double expected, double tolerance, const std::string &what) {
  char text[256];
  std::snprintf(text, sizeof(text), ": expected %.9g within %.3g but got %.9g", expected, tolerance, actual);
  require(std::abs(actual - expected) <= tolerance, what + text);  // false for NaN
}

void requireError(const char *code, const std::string &mention, const std::function<void()> &call) {
  try {
    call();
  } catch (const Error &error) {
    require(error.code == code, std::string("expected ") + code + " but got " + error.code + ": " + error.what());
    require(std::string(error.what()).find(mention) != std::string::npos,
            std::string("the message does not name ") + mention + ": " + error.what());
    return;
  }
  throw Failure{std::string("expected ") + code + " but nothing was thrown"};
}

float uniform(uint32_t site, uint64_t i) { return philoxUniformAt(2024, 0, site, i); }

float normal(uint32_t site, uint64_t i) {
  const float u = 1 - uniform(site, 2 * i), v = uniform(site, 2 * i + 1);
  return std::sqrt(-2 * std::log(u)) * std::cos(6.2831853f * v);
}

std::vector<float> normals(uint32_t site, size_t count, float scale) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = scale * normal(site, i);
  return values;
}

std::string &device() {
  static std::string name = test::usualDevice;
  return name;
}

std::shared_ptr<Backend> backend(const BackendOptions &options) { return test::makeBackend(device(), options); }

std::vector<Precision> precisions() {
  std::vector<Precision> all = {Precision::fp32, Precision::bf16};
  if (backend()->multipliesTf32()) all.push_back(Precision::tf32);
  return all;
}

HubertShape baseShape() {
  HubertShape shape;
  shape.convDim = {12, 8, 16};
  shape.convKernel = {10, 3, 2};
  shape.convStride = {5, 2, 2};
  shape.hiddenSize = 16;
  shape.layers = 2;
  shape.heads = 2;
  shape.intermediateSize = 24;
  shape.positionalKernel = 6;
  shape.positionalGroups = 4;
  return shape;
}

HubertShape largeShape() {
  HubertShape shape = baseShape();
  shape.convKernel = {7, 5, 3};  // two blocks of taps and a remainder
  shape.convStride = {3, 2, 2};
  shape.convBias = true;
  shape.groupNorm = false;
  shape.stableLayerNorm = true;
  shape.layers = 3;
  shape.positionalKernel = 5;
  shape.positionalGroups = 2;
  return shape;
}

HubertShape melShape() {
  HubertShape shape = baseShape();
  shape.convDim = {12, 8, 8, 8, 8, 8, 16};
  shape.convKernel = {10, 3, 3, 3, 3, 2, 2};
  shape.convStride = {5, 2, 2, 2, 2, 2, 2};
  return shape;
}

HubertShape wavlmShape(bool preNorm) {
  HubertShape shape = preNorm ? largeShape() : baseShape();
  shape.positionBias = PositionBias::buckets;
  shape.biasBuckets = 12;
  shape.biasReach = 7;
  return shape;
}

HubertShape emotion2vecShape() {
  HubertShape shape = largeShape();
  shape.convBias = shape.stableLayerNorm = false;
  shape.positionalDepth = 2;
  shape.positionalKernel = 3;
  shape.positionBias = PositionBias::slopes;
  shape.extraTokens = 3;
  shape.layerNormEpsilon = 1e-3f;
  shape.featureProjectionEpsilon = 1e-5f;
  return shape;
}

std::vector<HubertShape> familyShapes() { return {baseShape(), largeShape(), wavlmShape(true), emotion2vecShape()}; }

HubertShape withDropout(HubertShape shape) {
  shape.hiddenDropout = 0.1f;
  shape.attentionDropout = 0.15f;
  shape.activationDropout = 0.2f;
  shape.featureProjectionDropout = 0.1f;
  shape.finalDropout = 0.1f;
  return shape;
}

std::unique_ptr<Model> makeModel(const HubertShape &shape, PoolingKind pooling, Precision precision,
                                 std::shared_ptr<Backend> on) {
  MaskedPredictionHead masked;
  masked.clusters = kClusters;
  masked.dimension = 8;
  ClassifierHead classifier;
  classifier.classes = kClasses;
  classifier.pooling = pooling;
  auto model = std::make_unique<Model>(std::move(on), shape, precision, masked, classifier);
  randomize(*model);
  return model;
}

ClassifierHead plainHead(PoolingKind pooling) {
  ClassifierHead head;
  head.classes = kClasses;
  head.pooling = pooling;
  return head;
}

ClassifierHead wholeHead(PoolingKind pooling) {
  ClassifierHead head = plainHead(pooling);
  head.layers = true;
  head.inputNorm = InputNorm::frame;
  head.projector = 12;
  head.dense = {{10, true, Activation::tanh}, {8, false, Activation::relu}, {6, true, Activation::none}};
  head.bias = false;
  head.frameWindow = 7;
  head.frameHop = 3;
  return head;
}

std::unique_ptr<Model> makeHeadModel(const HubertShape &shape, const ClassifierHead &head, Precision precision,
                                     std::shared_ptr<Backend> on) {
  auto model = std::make_unique<Model>(std::move(on), shape, precision, MaskedPredictionHead{}, head);
  randomize(*model);
  return model;
}

AlignmentHead alignmentHead(AlignmentSource source, int64_t layer) {
  AlignmentHead head;
  head.classes = kClasses;
  head.neutral = 1;
  head.source = source;
  head.layer = layer;
  head.chunkFrames = 5;
  head.contextFrames = 3;
  head.width = 12;
  head.halfWidths = {2, 0, 3};
  head.dropout = 0.1f;
  head.scale = 0.4f;
  head.switchingCost = 1.5f;
  return head;
}

std::unique_ptr<Model> makeAlignmentModel(const HubertShape &shape, const AlignmentHead &head, Precision precision,
                                          std::shared_ptr<Backend> on) {
  ClassifierHead classifier;
  classifier.classes = kClasses;
  auto model = std::make_unique<Model>(std::move(on), shape, precision, MaskedPredictionHead{}, classifier, head);
  randomize(*model);
  return model;
}

int64_t sizeOf(const TensorInfo &tensor) {
  int64_t size = 1;
  for (int64_t n : tensor.shape) size *= n;
  return size;
}

void randomize(Model &model) {
  uint32_t site = 100;
  for (const TensorInfo &tensor : model.tensors()) {
    const bool gain =
        tensor.name.find("norm.weight") != std::string::npos || tensor.name.find("original0") != std::string::npos ||
        tensor.name.find("alibi_scale") != std::string::npos || tensor.name.find("input_factor") != std::string::npos;
    int64_t fanIn = 1;
    for (size_t i = 1; i < tensor.shape.size(); ++i) fanIn *= tensor.shape[i];
    const float scale = tensor.shape.size() > 1 ? 1.2f / std::sqrt(static_cast<float>(fanIn)) : 0.3f;
    std::vector<float> values = normals(site++, static_cast<size_t>(sizeOf(tensor)), gain ? 0.2f : scale);
    if (gain) {
      for (float &v : values) v += 1;
    }
    model.importTensor(tensor.name, values.data(), static_cast<int64_t>(values.size()));
  }
}

std::vector<float> get(const Model &model, const TensorInfo &tensor) {
  std::vector<float> values(static_cast<size_t>(sizeOf(tensor)));
  model.exportTensor(tensor.name, values.data());
  return values;
}

std::vector<float> gradient(const Model &model, const TensorInfo &tensor) {
  std::vector<float> values(static_cast<size_t>(sizeOf(tensor)));
  model.exportGradient(tensor.name, values.data());
  return values;
}

TrainStep Batch::step(Objective objective) const {
  TrainStep step;
  step.objective = objective;
  if (objective == Objective::regression) {
    step.targets = targets.data();
    step.targetCount = static_cast<int64_t>(targets.size());
  } else {
    const auto &labels = objective == Objective::maskedPrediction ? frameLabels : classLabels;
    step.labels = labels.data();
    step.labelCount = static_cast<int64_t>(labels.size());
  }
  if (objective != Objective::alignment) {
    step.mask = mask.data();
    step.maskCount = static_cast<int64_t>(mask.size());
  }
  step.dropout = false;
  step.seed = 11;
  step.step = 3;
  return step;
}

Batch makeBatch(const HubertShape &shape, const std::vector<int64_t> &lengths, uint32_t stream) {
  Batch batch;
  const int64_t stride = shape.stride();
  int64_t at = stride;  // the first utterance need not start at 0
  for (size_t b = 0; b < lengths.size(); ++b) {
    batch.host.starts.push_back(static_cast<int32_t>(at));
    batch.host.lengths.push_back(static_cast<int32_t>(lengths[b]));
    batch.frames.push_back(shape.frames(lengths[b]));
    batch.totalFrames += batch.frames.back();
    batch.classLabels.push_back(static_cast<int32_t>((b * 2 + 1) % kClasses));
    at = (at + lengths[b] + stride - 1) / stride * stride;
  }
  batch.targets = normals(stream + 2, lengths.size() * kClasses);
  const int64_t end = batch.host.starts.back() + batch.host.lengths.back();
  batch.samples = normals(stream, static_cast<size_t>(end));
  for (int64_t t = 0; t < batch.totalFrames; ++t) {
    batch.frameLabels.push_back(static_cast<int32_t>(t * 3 % kClusters));
    batch.mask.push_back(uniform(stream + 1, static_cast<uint64_t>(t)) < 0.5f);
  }
  batch.host.samples = batch.samples.data();
  batch.host.sampleCount = end;
  return batch;
}

Batch alone(const HubertShape &shape, const Batch &batch, size_t utterance) {
  Batch one;
  int64_t first = 0;
  for (size_t b = 0; b < utterance; ++b) first += batch.frames[b];
  const int64_t start = batch.host.starts[utterance], length = batch.host.lengths[utterance];
  one.samples.assign(batch.samples.begin() + start, batch.samples.begin() + start + length);
  one.frames = {shape.frames(length)};
  one.totalFrames = one.frames[0];
  one.frameLabels.assign(batch.frameLabels.begin() + first, batch.frameLabels.begin() + first + one.totalFrames);
  one.mask.assign(batch.mask.begin() + first, batch.mask.begin() + first + one.totalFrames);
  one.classLabels = {batch.classLabels[utterance]};
  const auto target = batch.targets.begin() + static_cast<int64_t>(utterance) * kClasses;
  one.targets.assign(target, target + kClasses);
  one.host.samples = one.samples.data();
  one.host.sampleCount = length;
  one.host.starts = {0};
  one.host.lengths = {static_cast<int32_t>(length)};
  return one;
}

}  // namespace testing
}  // namespace emoframe
