// ALiBi's slopes (Press et al., "Train short, test long", ICLR 2022): a geometric sequence over the heads.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace emoframe {

// Of p heads, a power of two: 2^(-8 / p), 2^(-16 / p), ..., 2^-8. Of any other number: those of the next lower power
// p, then the first, third, ... of 2 p.
EMOFRAME_HOST_DEVICE inline float slopeOf(int64_t head, int64_t heads) {
  int64_t power = 1;
  while (2 * power <= heads) power *= 2;
  const int64_t numerator = head < power ? 2 * (head + 1) : 2 * (head - power) + 1;
  return exp2f(-4.0f * static_cast<float>(numerator) / static_cast<float>(power));
}

}  // namespace emoframe
