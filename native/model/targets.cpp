#include "targets.h"

#include "../error.h"
#include "finite.h"
#include "model.h"

namespace emoframe {

const int32_t *utteranceClasses(const TrainStep &step, int64_t utterances, int64_t classes, Workspace &workspace) {
  for (int64_t b = 0; b < utterances; ++b) {
    if (step.labels[b] >= 0 && step.labels[b] < classes) continue;
    throw Error("ERR_LABEL", utteranceOfBatch(b) + " has the label " + std::to_string(step.labels[b]) +
                                 ", which is not one of the " + std::to_string(classes) + " classes.");
  }
  return workspace.upload(std::vector<int32_t>(step.labels, step.labels + utterances));
}

View otherOutputs(const TrainStep &step, int64_t outputs, Workspace &workspace) {
  if (step.otherCount == 0) return {};
  if (!allFinite(step.otherOutputs, step.otherCount)) {
    throw Error("ERR_NOT_FINITE", "An output of the update's other passes is not a finite number.");
  }
  const View uploaded = workspace.upload(step.otherOutputs, step.otherCount);
  return matrix(uploaded.data, DType::f32, step.otherCount / outputs, outputs);
}

View utteranceTargets(const TrainStep &step, int64_t outputs, Workspace &workspace) {
  for (int64_t b = 0; b < step.targetCount / outputs; ++b) {
    if (allFinite(step.targets + b * outputs, outputs)) continue;
    throw Error("ERR_NOT_FINITE", utteranceOfBatch(b) + " has a target that is not a finite number.");
  }
  if (!allFinite(step.otherTargets, step.otherCount)) {
    throw Error("ERR_NOT_FINITE", "A target of the update's other passes is not a finite number.");
  }
  const int64_t count = step.targetCount + step.otherCount;
  const View uploaded = workspace.upload(
      {{0, step.targets, step.targetCount}, {step.targetCount, step.otherTargets, step.otherCount}}, count);
  return matrix(uploaded.data, DType::f32, count / outputs, outputs);
}

}  // namespace emoframe
