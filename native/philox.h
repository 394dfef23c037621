// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// Counter-based: a number is a pure function of (seed, step, site, index), so masks and dropout are the same on every
// backend, with any thread count, and after a resume. lib/random/philox.ts is the same function in TypeScript.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace emoframe {

struct Philox4 {
  uint32_t x[4];
};

// Block `index` of the stream (seed, step, site): counter = (index low, index high, site, step), key = seed.
EMOFRAME_HOST_DEVICE inline Philox4 philox(uint64_t seed, uint32_t step, uint32_t site, uint64_t index) {
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32), c2 = site, c3 = step;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// [0, 1) with 24 bits, exactly representable in fp32.
EMOFRAME_HOST_DEVICE inline float philoxUniform(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

// Element i of the stream: lane i mod 4 of block i / 4.
EMOFRAME_HOST_DEVICE inline float philoxUniformAt(uint64_t seed, uint32_t step, uint32_t site, uint64_t i) {
  return philoxUniform(philox(seed, step, site, i >> 2).x[i & 3]);
}

// Dropout draws 16 bits an element, so that a block serves eight. It drops where they are less than the nearest
// multiple of 2^-16 to p, times 2^16, and what it keeps it scales by the inverse of the share that is really kept: the
// expectation is right for any p.
EMOFRAME_HOST_DEVICE inline uint32_t dropoutThreshold(float p) {
  const auto threshold = static_cast<uint32_t>(p * 65536.0f + 0.5f);
  return threshold < 65535 ? threshold : 65535;
}
EMOFRAME_HOST_DEVICE inline float dropoutScale(uint32_t threshold) {
  return 1.0f / (1.0f - static_cast<float>(threshold) * 0x1p-16f);
}

}  // namespace emoframe
