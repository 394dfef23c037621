#include "blocks.h"

#include "../philox.h"

namespace emoframe {

namespace {

EMOFRAME_SIMD void widen(const Bf16 *in, float *out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = load(in + i);
}
EMOFRAME_SIMD void narrow(const float *in, Bf16 *out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) store(out + i, in[i]);
}

constexpr int64_t lanes = 64;

// 64 Philox blocks side by side, compared with p: 256 factors. philox.h says the function; with its rounds unrolled the
// loop over lanes is one straight line that vectorises (called from here, philox() would not).
EMOFRAME_SIMD void factorLanes(uint32_t key0, uint32_t key1, uint32_t step, uint32_t site, uint64_t block, float p,
                               float scale, float *factors) {
  uint32_t x0[lanes], x1[lanes], x2[lanes], x3[lanes];
  const uint32_t low = static_cast<uint32_t>(block), high = static_cast<uint32_t>(block >> 32);
  for (uint32_t j = 0; j < lanes; ++j) {
    uint32_t c0 = low + j, c1 = high + (low + j < low ? 1u : 0u), c2 = site, c3 = step;
#pragma GCC unroll 10
    for (uint32_t round = 0; round < 10; ++round) {
      const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0;
      const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
      c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ (key0 + round * 0x9E3779B9u);
      c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ (key1 + round * 0xBB67AE85u);
      c1 = static_cast<uint32_t>(p1);
      c3 = static_cast<uint32_t>(p0);
    }
    x0[j] = c0;
    x1[j] = c1;
    x2[j] = c2;
    x3[j] = c3;
  }
  for (int64_t j = 0; j < lanes; ++j) {
    factors[4 * j] = static_cast<float>(static_cast<int32_t>(x0[j] >> 8)) * 0x1p-24f >= p ? scale : 0.0f;
    factors[4 * j + 1] = static_cast<float>(static_cast<int32_t>(x1[j] >> 8)) * 0x1p-24f >= p ? scale : 0.0f;
    factors[4 * j + 2] = static_cast<float>(static_cast<int32_t>(x2[j] >> 8)) * 0x1p-24f >= p ? scale : 0.0f;
    factors[4 * j + 3] = static_cast<float>(static_cast<int32_t>(x3[j] >> 8)) * 0x1p-24f >= p ? scale : 0.0f;
  }
}

}  // namespace

const float *readBlock(const View &view, int64_t b, int64_t r, int64_t c, int64_t n, float *buffer) {
  const void *at = view.at(b, r, c);
  if (view.colStride == 1 || n == 1) {
    if (view.dtype == DType::f32) return static_cast<const float *>(at);
    widen(static_cast<const Bf16 *>(at), buffer, n);
  } else if (view.dtype == DType::f32) {
    for (int64_t i = 0; i < n; ++i) buffer[i] = static_cast<const float *>(at)[i * view.colStride];
  } else {
    for (int64_t i = 0; i < n; ++i) buffer[i] = load(static_cast<const Bf16 *>(at) + i * view.colStride);
  }
  return buffer;
}

float *writeBlock(const View &view, int64_t b, int64_t r, int64_t c, float *buffer) {
  return view.dtype == DType::f32 && view.colStride == 1 ? static_cast<float *>(view.at(b, r, c)) : buffer;
}

void storeBlock(const View &view, int64_t b, int64_t r, int64_t c, int64_t n, const float *values) {
  void *at = view.at(b, r, c);
  if (at == values) return;
  if (view.dtype == DType::f32 && view.colStride == 1) {
    std::copy(values, values + n, static_cast<float *>(at));
  } else if (view.dtype == DType::f32) {
    for (int64_t i = 0; i < n; ++i) static_cast<float *>(at)[i * view.colStride] = values[i];
  } else if (view.colStride == 1 || n == 1) {
    narrow(values, static_cast<Bf16 *>(at), n);
  } else {
    for (int64_t i = 0; i < n; ++i) store(static_cast<Bf16 *>(at) + i * view.colStride, values[i]);
  }
}

void dropoutFactors(const Dropout &dropout, uint64_t first, int64_t n, float *factors) {
  const uint32_t key0 = static_cast<uint32_t>(dropout.seed), key1 = static_cast<uint32_t>(dropout.seed >> 32);
  const float scale = 1.0f / (1.0f - dropout.p);
  const uint64_t end = first + static_cast<uint64_t>(n);
  float some[4 * lanes];
  for (uint64_t at = first; at < end;) {
    const uint64_t skipped = at & 3, whole = at - skipped, count = std::min<uint64_t>(4 * lanes - skipped, end - at);
    float *target = factors + (at - first);
    const bool direct = skipped == 0 && count == 4 * lanes;
    factorLanes(key0, key1, dropout.step, dropout.site, whole >> 2, dropout.p, scale, direct ? target : some);
    if (!direct) std::copy(some + skipped, some + skipped + count, target);
    at += count;
  }
}

EMOFRAME_SIMD void addTo(float *sums, const float *x, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) sums[i] += x[i];
}

EMOFRAME_SIMD void addTo(double *sums, const float *x, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) sums[i] += x[i];
}

EMOFRAME_SIMD void multiply(const float *a, const float *b, float *out, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] * b[i];
}

EMOFRAME_SIMD void fillFloats(float *out, float value, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = value;
}

EMOFRAME_SIMD float dotProduct(const float *a, const float *b, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

EMOFRAME_SIMD double sumOfSquares(const float *x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

}  // namespace emoframe
