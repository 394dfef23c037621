#include "differences.h"

#include <algorithm>
#include <initializer_list>

namespace emoframe {
namespace testing {
namespace {

// The other objective's head; a key's bias, which softmax does not see; a bias that GroupNorm takes away.
bool mayHaveNone(const std::string &name, const HubertShape &shape, Objective objective) {
  const std::initializer_list<const char *> head = {"layer_weights", "projector.", "pooling.", "dense.", "classifier."};
  const bool ofClassifier =
      std::any_of(head.begin(), head.end(), [&](const char *prefix) { return name.find(prefix) == 0; });
  const bool ofMasked = name.find("final_proj.") == 0 || name.find("label_embs") == 0;
  const bool ofAlignment = name.find("alignment.") == 0;
  const bool classifies = objective == Objective::classification || objective == Objective::regression;
  const bool ofOthers = (ofClassifier && !classifies) || (ofMasked && objective != Objective::maskedPrediction) ||
                        (ofAlignment && objective != Objective::alignment);
  return ofOthers || (objective == Objective::alignment && name == "masked_spec_embed") ||
         name.find("k_proj.bias") != std::string::npos ||
         (shape.groupNorm && name == "feature_extractor.conv_layers.0.conv.bias");
}

// What is frozen, or never trained.
bool isFrozen(const std::string &name, const std::vector<std::string> &frozen) {
  if (name.find("alignment.input_") == 0) return true;
  return std::any_of(frozen.begin(), frozen.end(), [&](const std::string &prefix) { return name.find(prefix) == 0; });
}

}  // namespace

double norm(const std::vector<float> &x) {
  double sum = 0;
  for (float v : x) sum += static_cast<double>(v) * v;
  return std::sqrt(sum);
}

double objective(Model &model, const Batch &batch, const TrainStep &step) {
  const TrainResult result = model.trainStep(batch.host, step);
  double whole = step.denominator;
  if (step.objective == Objective::regression) whole = static_cast<double>(result.count + step.otherCount / kClasses);
  const double share = static_cast<double>(result.count) / whole;
  if (step.objective == Objective::regression) {
    return result.lossSum / share + step.featurePenalty * share * result.featurePenalty;
  }
  return result.lossSum / step.denominator + step.featurePenalty * share * result.featurePenalty;
}

void checkGradients(Model &model, const Batch &batch, const TrainStep &step, const std::vector<std::string> &frozen,
                    double h) {
  model.clearGradients();
  objective(model, batch, step);
  std::vector<std::vector<float>> gradients;
  const std::vector<TensorInfo> tensors = model.tensors();
  for (const TensorInfo &tensor : tensors) gradients.push_back(gradient(model, tensor));
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::vector<float> value = get(model, tensors[i]);
    const double size = norm(gradients[i]);
    require(
        size > 1e-4 || isFrozen(tensors[i].name, frozen) || mayHaveNone(tensors[i].name, model.shape(), step.objective),
        tensors[i].name + " has no gradient");
    if (isFrozen(tensors[i].name, frozen)) continue;
    std::vector<float> direction = normals(5000 + static_cast<uint32_t>(i), value.size());
    double along = 0;
    for (size_t j = 0; j < value.size(); ++j) along += static_cast<double>(direction[j]) * gradients[i][j];
    const double length = along < 0 ? -norm(direction) : norm(direction);  // never the gradient's opposite
    for (size_t j = 0; j < value.size(); ++j) {
      direction[j] = static_cast<float>(direction[j] / length + (size > 0 ? gradients[i][j] / size : 0));
    }
    const double whole = norm(direction);
    double expected = 0;
    for (size_t j = 0; j < value.size(); ++j) {
      direction[j] = static_cast<float>(direction[j] / whole);
      expected += static_cast<double>(direction[j]) * gradients[i][j];
    }
    double side[2];
    for (int s = 0; s < 2; ++s) {
      std::vector<float> moved = value;
      for (size_t j = 0; j < value.size(); ++j) moved[j] += static_cast<float>((s ? h : -h) * direction[j]);
      model.importTensor(tensors[i].name, moved.data(), static_cast<int64_t>(moved.size()));
      side[s] = objective(model, batch, step);
    }
    model.importTensor(tensors[i].name, value.data(), static_cast<int64_t>(value.size()));
    const double numeric = (side[1] - side[0]) / (2 * h);
    // The loss comes in fp32, and its rounding counts the more the smaller the step is.
    const double rounding = std::max(1e-3, 2e-6 / h);
    requireNear(expected, numeric, 1e-2 * std::abs(numeric) + rounding, "the gradient of " + tensors[i].name);
  }
}

}  // namespace testing
}  // namespace emoframe
