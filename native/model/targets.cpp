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

}  // namespace emoframe
