// What a HuBERT configuration means in frames, and which configurations can be computed.
#include <cmath>

#include "../error.h"
#include "model.h"

namespace emoframe {

int64_t HubertShape::stride() const {
  int64_t product = 1;
  for (int64_t s : convStride) product *= s;
  return product;
}

int64_t HubertShape::frames(int64_t samples) const {
  int64_t count = samples;
  for (size_t i = 0; i < convKernel.size(); ++i) {
    if (count < convKernel[i]) return 0;
    count = (count - convKernel[i]) / convStride[i] + 1;
  }
  return count;
}

int64_t HubertShape::samples(int64_t frames) const {
  int64_t count = frames + 1;
  for (size_t i = convKernel.size(); i-- > 0;) count = (count - 1) * convStride[i] + convKernel[i];
  return count - 1;
}

namespace {

[[noreturn]] void refuse(const std::string &field, const std::string &why) {
  throw Error("ERR_MODEL_CONFIG", "The model configuration's " + field + " " + why + ".");
}

// Sizes beyond this are mistakes, and would overflow products of them.
constexpr int64_t kLargest = 1 << 20;
// Distances and buckets make a matrix (distance_table.h).
constexpr int64_t kMostMembers = 1 << 24;

void requireSize(const std::string &field, int64_t value) {
  if (value < 1 || value > kLargest) {
    refuse(field, "must be from 1 to " + std::to_string(kLargest) + " but is " + std::to_string(value));
  }
}

void requireDivides(const std::string &field, int64_t divisor, const std::string &wholeName, int64_t whole) {
  if (whole % divisor != 0) {
    refuse(field, "(" + std::to_string(divisor) + ") must divide " + wholeName + " (" + std::to_string(whole) + ")");
  }
}

void requireProbability(const std::string &field, float value) {
  if (!(value >= 0 && value < 1)) refuse(field, "must be at least 0 and below 1 but is " + std::to_string(value));
}

}  // namespace

void HubertShape::validate() const {
  if (convDim.empty()) refuse("conv_dim", "is empty");
  if (convKernel.size() != convDim.size()) refuse("conv_kernel", "must be as long as conv_dim");
  if (convStride.size() != convDim.size()) refuse("conv_stride", "must be as long as conv_dim");
  int64_t product = 1;
  for (size_t i = 0; i < convDim.size(); ++i) {
    const std::string at = "[" + std::to_string(i) + "]";
    requireSize("conv_dim" + at, convDim[i]);
    requireSize("conv_kernel" + at, convKernel[i]);
    requireSize("conv_stride" + at, convStride[i]);
    product *= convStride[i];
    if (product > kLargest) refuse("conv_stride", "multiplies to more than " + std::to_string(kLargest) + " samples");
  }
  requireSize("hidden_size", hiddenSize);
  if (layers < 0 || layers > 1000) {
    refuse("num_hidden_layers", "must be from 0 to 1000 but is " + std::to_string(layers));
  }
  requireSize("num_attention_heads", heads);
  requireDivides("num_attention_heads", heads, "hidden_size", hiddenSize);
  if ((hiddenSize / heads) % 8 != 0) {
    refuse("num_attention_heads", "must leave a head size that is a multiple of 8 but hidden_size / heads is " +
                                      std::to_string(hiddenSize / heads));
  }
  requireSize("intermediate_size", intermediateSize);
  requireSize("num_conv_pos_embeddings", positionalKernel);
  requireSize("num_conv_pos_embedding_groups", positionalGroups);
  requireDivides("num_conv_pos_embedding_groups", positionalGroups, "hidden_size", hiddenSize);
  if (positionalDepth < 0 || positionalDepth > 100) {
    refuse("positional_depth", "must be from 0 to 100 but is " + std::to_string(positionalDepth));
  }
  if (positionBias == PositionBias::buckets) {
    requireSize("num_buckets", biasBuckets);
    requireSize("max_bucket_distance", biasReach);
    if (biasBuckets < 4) refuse("num_buckets", "must be at least 4 but is " + std::to_string(biasBuckets));
    if (biasReach <= biasBuckets / 4) refuse("max_bucket_distance", "must be more than a quarter of num_buckets");
    if (biasBuckets > kMostMembers / (2 * biasReach + 1)) {
      refuse("num_buckets",
             "and max_bucket_distance are too large: their product must be below " + std::to_string(kMostMembers / 2));
    }
  }
  if (extraTokens < 0 || extraTokens > 1000) {
    refuse("extra_tokens", "must be from 0 to 1000 but is " + std::to_string(extraTokens));
  }
  if (!(layerNormEpsilon > 0) || !std::isfinite(layerNormEpsilon)) {
    refuse("layer_norm_eps", "must be a positive number");
  }
  if (!(featureProjectionEpsilon >= 0) || !std::isfinite(featureProjectionEpsilon)) {
    refuse("epsilon of the feature projection", "must be a positive number, or 0 for layer_norm_eps");
  }
  requireProbability("hidden_dropout", hiddenDropout);
  requireProbability("attention_dropout", attentionDropout);
  requireProbability("activation_dropout", activationDropout);
  requireProbability("feat_proj_dropout", featureProjectionDropout);
  requireProbability("final_dropout", finalDropout);
  if (!(layerdrop >= 0 && layerdrop <= 1)) refuse("layerdrop", "must be from 0 to 1");
}

}  // namespace emoframe
