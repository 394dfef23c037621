// Pooling by each channel's largest value (pooling.cu). `where`: device memory for an int32 a channel of each
// utterance, [B, C].
#pragma once

#include <cstdint>

#include "../ops.h"
#include "stream.h"

namespace emoframe {

void poolLargest(const Pooling &pooling, int32_t *where, Stream &stream);
void poolLargestBackward(const PoolingBackward &op, int32_t *where, Stream &stream);

}  // namespace emoframe
