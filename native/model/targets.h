// Class labels of utterances, which two heads are trained with.
#pragma once

#include "workspace.h"

namespace emoframe {

struct TrainStep;

// In backend memory; ERR_LABEL names an utterance whose label is no class.
const int32_t *utteranceClasses(const TrainStep &step, int64_t utterances, int64_t classes, Workspace &workspace);

}  // namespace emoframe
