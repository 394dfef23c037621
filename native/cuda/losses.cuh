// What the two cross-entropies share.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "stream.h"

namespace emoframe {

// Of one row. It is correct when no logit before its label's is as large, and none behind it larger.
struct alignas(8) RowLoss {
  float loss;
  int32_t correct;
};

// out [2] = their sum, in double and in a fixed order, and how many are correct.
void addLosses(const RowLoss *rows, int64_t count, float *out, Stream &stream);

}  // namespace emoframe
