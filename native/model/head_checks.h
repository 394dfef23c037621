// Whether a model can be made so.
#pragma once

#include "model.h"

namespace emoframe {

// ERR_MODEL_CONFIG names what cannot be done, of the shape too.
void checkHeads(const HubertShape &shape, const MaskedPredictionHead &masked, const ClassifierHead &classifier,
                const AlignmentHead &alignment);

}  // namespace emoframe
