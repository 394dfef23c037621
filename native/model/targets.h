// Labels and targets of utterances, which heads are trained with. In backend memory.
#pragma once

#include "workspace.h"

namespace emoframe {

struct TrainStep;

// ERR_LABEL names an utterance whose label is no class.
const int32_t *utteranceClasses(const TrainStep &step, int64_t utterances, int64_t classes, Workspace &workspace);

// Of a regression, in f32 [N, outputs]: outputs of the update's other passes, absent where it has none; and targets, of
// the batch first and then of these. ERR_NOT_FINITE names one that is not a number.
View otherOutputs(const TrainStep &step, int64_t outputs, Workspace &workspace);
View utteranceTargets(const TrainStep &step, int64_t outputs, Workspace &workspace);

}  // namespace emoframe
