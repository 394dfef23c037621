// Backward against central differences of the forward pass, tensor by tensor.
#include "differences.h"

namespace emoframe {
namespace testing {
namespace {

void check(const HubertShape &shape, Objective objective, PoolingKind pooling, bool dropout, double h = 4e-3) {
  auto model = makeModel(dropout ? withDropout(shape) : shape, pooling);
  const int64_t s = shape.stride();
  const Batch batch = makeBatch(shape, {9 * s + 3, 5 * s + 1, 13 * s + 7});
  TrainStep step = batch.step(objective);
  step.dropout = dropout;
  step.denominator = 2.5;
  step.featurePenalty = 3;
  checkGradients(*model, batch, step, {}, h);
}

TEST(baseMaskedPredictionGradients) { check(baseShape(), Objective::maskedPrediction, PoolingKind::mean, false); }
TEST(baseMaskedPredictionGradientsWithDropout) {
  check(baseShape(), Objective::maskedPrediction, PoolingKind::mean, true);
}
TEST(largeMaskedPredictionGradients) { check(largeShape(), Objective::maskedPrediction, PoolingKind::mean, false); }
TEST(largeMaskedPredictionGradientsWithDropout) {
  check(largeShape(), Objective::maskedPrediction, PoolingKind::mean, true);
}
TEST(meanPoolingGradients) { check(baseShape(), Objective::classification, PoolingKind::mean, false); }
TEST(attentionPoolingGradients) { check(baseShape(), Objective::classification, PoolingKind::attention, true); }
TEST(linearAttentionPoolingGradients) {
  check(largeShape(), Objective::classification, PoolingKind::attentionLinear, false);
}
TEST(statisticsPoolingGradients) { check(largeShape(), Objective::classification, PoolingKind::stats, true); }

// The families beside HuBERT, each of whose tensors has its gradient.
TEST(wavlmGradients) {
  check(wavlmShape(false), Objective::maskedPrediction, PoolingKind::mean, false);
  check(wavlmShape(true), Objective::classification, PoolingKind::attention, false);
}
TEST(wavlmGradientsWithDropout) {
  check(wavlmShape(false), Objective::classification, PoolingKind::mean, true);
  check(wavlmShape(true), Objective::maskedPrediction, PoolingKind::mean, true);
}
TEST(emotion2vecGradients) {
  // Norm upon norm bends the loss.
  check(emotion2vecShape(), Objective::maskedPrediction, PoolingKind::mean, false, 1e-3);
  check(emotion2vecShape(), Objective::classification, PoolingKind::attention, true, 1e-3);
  HubertShape shape = emotion2vecShape();
  shape.stableLayerNorm = true;
  shape.positionalKernel = 4;
  check(shape, Objective::maskedPrediction, PoolingKind::mean, true, 1e-3);
}

// With labels of some frames, of one utterance none.
void checkAlignment(const HubertShape &shape, const AlignmentHead &head, bool dropout,
                    const std::vector<std::string> &frozen) {
  auto model = makeAlignmentModel(dropout ? withDropout(shape) : shape, head);
  model->freeze(frozen);
  const int64_t s = shape.stride();
  const Batch batch = makeBatch(shape, {9 * s + 3, 5 * s + 1, 13 * s + 7});
  std::vector<int32_t> frameLabels;
  for (int64_t t = 0; t < batch.totalFrames; ++t) {
    const bool ofSecond = t >= batch.frames[0] && t < batch.frames[0] + batch.frames[1];
    frameLabels.push_back(ofSecond ? -1 : static_cast<int32_t>(t * 7 % 5) - 1);
  }
  for (const bool framesKnown : {false, true}) {
    TrainStep step = batch.step(Objective::alignment);
    step.dropout = dropout;
    step.denominator = 2.5;
    step.featurePenalty = 3;
    if (framesKnown) {
      step.frameLabels = frameLabels.data();
      step.frameLabelCount = batch.totalFrames;
    }
    checkGradients(*model, batch, step, frozen, 1e-3);
  }
}

TEST(alignmentGradients) {
  const std::vector<std::string> unread = {"encoder.", "feature_projection."};
  checkAlignment(baseShape(), alignmentHead(), false, unread);
  checkAlignment(largeShape(), alignmentHead(), true, unread);
  AlignmentHead plain = alignmentHead();
  plain.halfWidths = {};
  checkAlignment(baseShape(), plain, false, unread);
  // Beside mel bands a gradient goes into the convolutions still; the last of them says as much as all.
  plain.melBands = 12;
  std::vector<std::string> frozen = unread;
  for (int i = 0; i < 6; ++i) frozen.push_back("feature_extractor.conv_layers." + std::to_string(i) + ".");
  checkAlignment(melShape(), plain, false, frozen);
}

TEST(alignmentGradientsOfStatesOfChunks) {
  for (const HubertShape &shape : {baseShape(), largeShape()}) {
    for (const int64_t layer : {modelOutput, int64_t{0}, int64_t{1}, shape.layers}) {
      AlignmentHead head = alignmentHead(AlignmentSource::hidden, layer);
      std::vector<std::string> frozen;  // what is not read
      for (int64_t i = layer; layer != modelOutput && i < shape.layers; ++i) {
        frozen.push_back("encoder.layers." + std::to_string(i) + ".");
      }
      if (shape.stableLayerNorm && layer != modelOutput) frozen.push_back("encoder.layer_norm.");
      checkAlignment(shape, head, layer != 0, frozen);
      if (layer == 1) {
        // Nothing below the layer's own parts is trained, and rows of chunks are frames.
        frozen.insert(frozen.end(),
                      {"feature_", "masked_spec_embed", "encoder.pos_conv_embed.", "encoder.layer_norm."});
        head.contextFrames = 0;
        checkAlignment(shape, head, false, frozen);
      }
    }
  }
}

TEST(alignmentGradientsOfStatesOfChunksOfOtherFamilies) {
  for (const HubertShape &shape : {wavlmShape(true), emotion2vecShape()}) {
    checkAlignment(shape, alignmentHead(AlignmentSource::hidden), false, {});
    checkAlignment(shape, alignmentHead(AlignmentSource::layers, 2), true,
                   {"encoder.", "feature_", "masked_spec_embed"});
  }
}

TEST(alignmentGradientsOfWeightsOfLayers) {
  const std::vector<std::string> below = {"encoder.", "feature_", "masked_spec_embed"};
  checkAlignment(baseShape(), alignmentHead(AlignmentSource::layers, 2), true, below);
  checkAlignment(largeShape(), alignmentHead(AlignmentSource::layers, 3), false, below);
  AlignmentHead head = alignmentHead(AlignmentSource::layers, 0);
  head.contextFrames = 0;
  head.chunkFrames = 100;
  checkAlignment(largeShape(), head, false, {"encoder.", "feature_", "masked_spec_embed", "alignment.layer_weights"});
}

TEST(gradientsOfUnusualConvolutions) {
  HubertShape shape = baseShape();
  shape.convKernel = {8, 2, 4, 1};  // kernel below stride, kernel of three strides and a bit, kernel 1
  shape.convStride = {3, 3, 1, 2};
  shape.convDim = {8, 12, 8, 16};
  shape.convBias = true;
  shape.featureProjectionLayerNorm = false;
  shape.positionalKernel = 1;
  shape.positionalGroups = 1;
  check(shape, Objective::maskedPrediction, PoolingKind::mean, false);
}

TEST(gradientsOfASingleConvolutionAndNoLayers) {
  HubertShape shape = largeShape();
  shape.convDim = {16};
  shape.convKernel = {9};
  shape.convStride = {4};
  shape.layers = 0;
  check(shape, Objective::maskedPrediction, PoolingKind::mean, false);
  shape = baseShape();
  shape.layers = 0;
  shape.positionalKernel = 2;
  check(shape, Objective::maskedPrediction, PoolingKind::mean, false);
}

TEST(gradientsUnderLayerdrop) {
  for (HubertShape shape : {baseShape(), largeShape(), wavlmShape(false), emotion2vecShape()}) {
    shape.layers = 6;
    shape.layerdrop = 0.5f;
    auto model = makeModel(shape);
    const Batch batch = makeBatch(shape, {9 * shape.stride() + 3, 6 * shape.stride()});
    TrainStep step = batch.step(Objective::classification);
    step.dropout = true;
    model->trainStep(batch.host, step);
    int64_t dropped = 0;
    for (const TensorInfo &tensor : model->tensors()) {
      if (tensor.name.find("intermediate_dense.weight") == std::string::npos) continue;
      dropped += norm(gradient(*model, tensor)) == 0;
    }
    require(dropped > 0 && dropped < 6, std::to_string(dropped) + " of 6 layers were dropped");
    model->clearGradients();
    const double loss = objective(*model, batch, step);
    std::vector<std::vector<float>> gradients;
    for (const TensorInfo &tensor : model->tensors()) gradients.push_back(gradient(*model, tensor));
    size_t i = 0;
    for (const TensorInfo &tensor : model->tensors()) {
      const std::vector<float> &g = gradients[i++];
      if (tensor.name.find("encoder.layer_norm.weight") == std::string::npos &&
          tensor.name.find("projection.weight") == std::string::npos &&
          tensor.name.find("rel_attn_embed") == std::string::npos &&
          tensor.name.find("alibi_scale") == std::string::npos) {
        continue;
      }
      std::vector<float> value = get(*model, tensor);
      const double length = norm(g), h = 4e-3;
      for (size_t j = 0; j < g.size(); ++j) value[j] += static_cast<float>(h * g[j] / length);
      model->importTensor(tensor.name, value.data(), static_cast<int64_t>(value.size()));
      const double above = objective(*model, batch, step);
      for (size_t j = 0; j < g.size(); ++j) value[j] -= static_cast<float>(2 * h * g[j] / length);
      model->importTensor(tensor.name, value.data(), static_cast<int64_t>(value.size()));
      const double below = objective(*model, batch, step);
      for (size_t j = 0; j < g.size(); ++j) value[j] += static_cast<float>(h * g[j] / length);
      model->importTensor(tensor.name, value.data(), static_cast<int64_t>(value.size()));
      const double numeric = (above - below) / (2 * h);
      requireNear(length, numeric, 1e-2 * numeric + 1e-3, "the gradient of " + tensor.name);
    }
    require(std::isfinite(loss), "the loss is finite");
  }
}

TEST(gradientEnteringTheFeatureEncoderIsScaled) {
  for (const HubertShape &shape : {baseShape(), largeShape()}) {
    auto model = makeModel(shape);
    const Batch batch = makeBatch(shape, {9 * shape.stride() + 3, 6 * shape.stride()});
    TrainStep step = batch.step(Objective::maskedPrediction);
    step.featurePenalty = 2;
    model->trainStep(batch.host, step);
    std::vector<std::vector<float>> whole;
    for (const TensorInfo &tensor : model->tensors()) whole.push_back(gradient(*model, tensor));
    model->clearGradients();
    step.featureGradientScale = 0.1f;
    model->trainStep(batch.host, step);
    size_t i = 0;
    for (const TensorInfo &tensor : model->tensors()) {
      const double factor = tensor.name.find("feature_extractor.") == 0 ? 0.1 : 1;
      const std::vector<float> g = gradient(*model, tensor);
      const double size = norm(whole[i]);
      for (size_t j = 0; j < g.size(); ++j) requireNear(g[j], factor * whole[i][j], 1e-5 * size + 1e-7, tensor.name);
      ++i;
    }
  }
}

// Whatever is frozen, what is trained gets the very gradient that it gets when everything is trained.
void checkFreezing(const HubertShape &shape, const std::vector<std::vector<std::string>> &lists) {
  auto model = makeModel(withDropout(shape));
  const Batch batch = makeBatch(shape, {9 * shape.stride() + 3, 6 * shape.stride()});
  TrainStep step = batch.step(Objective::classification);
  step.dropout = true;
  model->trainStep(batch.host, step);
  std::vector<std::vector<float>> whole;
  for (const TensorInfo &tensor : model->tensors()) whole.push_back(gradient(*model, tensor));
  for (const auto &list : lists) {
    model->clearGradients();
    model->freeze(list);
    model->trainStep(batch.host, step);
    size_t i = 0;
    for (const TensorInfo &tensor : model->tensors()) {
      bool frozen = false;
      for (const std::string &prefix : list) frozen |= tensor.name.find(prefix) == 0;
      const std::vector<float> g = gradient(*model, tensor);
      for (size_t j = 0; j < g.size(); ++j) {
        require(g[j] == (frozen ? 0 : whole[i][j]), tensor.name + " with " + list.back() + " frozen");
      }
      ++i;
    }
  }
}

TEST(freezingChangesNoOtherGradient) {
  for (const HubertShape &shape : {baseShape(), largeShape()}) {
    checkFreezing(shape,
                  {
                      {"feature_extractor."},
                      {"feature_extractor.conv_layers.0."},
                      {"feature_extractor.conv_layers.0.", "feature_extractor.conv_layers.1."},
                      {"feature_extractor.", "feature_projection."},
                      {"feature_extractor.", "feature_projection.", "masked_spec_embed"},
                      {"feature_extractor.", "feature_projection.layer_norm"},
                      {"feature_extractor.", "feature_projection.", "masked_spec_embed", "encoder.pos_conv_embed."},
                      {"feature_extractor.", "feature_projection.", "masked_spec_embed", "encoder.pos_conv_embed.",
                       "encoder.layer_norm", "encoder.layers.0."},
                      {"feature_extractor.", "feature_projection.", "masked_spec_embed", "encoder.pos_conv_embed.",
                       "encoder.layers."},
                      {"feature_extractor.", "feature_projection.", "masked_spec_embed", "encoder.pos_conv_embed.",
                       "encoder.layer_norm", "encoder.layers.0.", "encoder.layers.1.attention."},
                      {"feature_extractor.", "feature_projection.", "masked_spec_embed", "encoder."},
                      {"encoder.", "classifier.", "pooling."},
                      {"encoder.layers.1.attention.k_proj"},
                  });
  }
}

TEST(freezingChangesNoOtherGradientOfOtherFamilies) {
  checkFreezing(wavlmShape(true),
                {{"feature_", "masked_spec_embed", "encoder.pos_conv_embed.", "encoder.layers.0.attention.q"},
                 {"encoder.layers.0.", "encoder.layers.1.attention.gru_rel_pos_const"}});
  checkFreezing(emotion2vecShape(), {{"feature_", "masked_spec_embed", "encoder.pos_conv_embed.layers.0."},
                                     {"feature_", "masked_spec_embed", "encoder.pos_conv_embed.", "encoder.layer_norm",
                                      "encoder.extra_tokens", "encoder.alibi_scale", "encoder.layers.0."},
                                     {"feature_", "masked_spec_embed", "encoder.pos_conv_embed.", "encoder.layer_norm",
                                      "encoder.extra_tokens", "encoder.layers."}});
}

}  // namespace
}  // namespace testing
}  // namespace emoframe
