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

constexpr int64_t lanes = 32;

// The words of 32 Philox blocks side by side. philox.h says the function; with its rounds unrolled the loop over lanes
// is one straight line that vectorises (called from here, philox() would not).
EMOFRAME_INLINE void philoxLanes(uint32_t key0, uint32_t key1, uint32_t step, uint32_t site, uint64_t block,
                                 uint32_t (&x)[4][lanes]) {
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
    x[0][j] = c0;
    x[1][j] = c1;
    x[2][j] = c2;
    x[3][j] = c3;
  }
}

// Factors of the 2 · count elements whose 16 bits are the halves of these words, the lower first, as they lie in memory
// on the little-endian machines that this runs on.
EMOFRAME_INLINE void factorsOf(const uint32_t *words, int64_t count, uint32_t threshold, float scale, float *factors) {
  for (int64_t i = 0; i < count; ++i) {
    factors[2 * i] = (words[i] & 0xFFFF) >= threshold ? scale : 0.0f;
    factors[2 * i + 1] = words[i] >> 16 >= threshold ? scale : 0.0f;
  }
}

EMOFRAME_SIMD void factorLanes(uint32_t key0, uint32_t key1, uint32_t step, uint32_t site, uint64_t block,
                               uint32_t threshold, float scale, float *factors) {
  uint32_t x[4][lanes], words[4 * lanes];
  philoxLanes(key0, key1, step, site, block, x);
  for (int64_t j = 0; j < lanes; ++j) {
    for (int64_t w = 0; w < 4; ++w) words[4 * j + w] = x[w][j];
  }
  factorsOf(words, 4 * lanes, threshold, scale, factors);
}

// Of 128 keys, 16 of every four blocks: word 0 of each has two of the first eight, word 1 of the second; words 2 and 3
// are those of the query eight later.
EMOFRAME_SIMD void attentionFactorLanes(uint32_t key0, uint32_t key1, uint32_t step, uint32_t site, uint64_t block,
                                        uint32_t threshold, float scale, float *factors, float *factorsOfEighth) {
  uint32_t x[4][lanes], words[2][2 * lanes];
  philoxLanes(key0, key1, step, site, block, x);
  for (int64_t j = 0; j < lanes; j += 4) {
    for (int64_t i = 0; i < 4; ++i) {
      words[0][2 * j + i] = x[0][j + i];
      words[0][2 * j + 4 + i] = x[1][j + i];
      words[1][2 * j + i] = x[2][j + i];
      words[1][2 * j + 4 + i] = x[3][j + i];
    }
  }
  factorsOf(words[0], 2 * lanes, threshold, scale, factors);
  factorsOf(words[1], 2 * lanes, threshold, scale, factorsOfEighth);
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
  constexpr uint64_t once = 8 * lanes;
  const uint32_t key0 = static_cast<uint32_t>(dropout.seed), key1 = static_cast<uint32_t>(dropout.seed >> 32);
  const uint32_t threshold = dropoutThreshold(dropout.p);
  const float scale = dropoutScale(threshold);
  const uint64_t end = first + static_cast<uint64_t>(n);
  float some[once];
  for (uint64_t at = first; at < end;) {
    const uint64_t skipped = at % 8, count = std::min<uint64_t>(once - skipped, end - at);
    float *target = factors + (at - first);
    const bool direct = skipped == 0 && count == once;
    factorLanes(key0, key1, dropout.step, dropout.site, at / 8, threshold, scale, direct ? target : some);
    if (!direct) std::copy(some + skipped, some + skipped + count, target);
    at += count;
  }
}

void attentionDropoutFactors(const Dropout &dropout, uint64_t row, int64_t keys, float *factors,
                             float *factorsOfEighth) {
  constexpr int64_t once = 4 * lanes;
  const uint32_t key0 = static_cast<uint32_t>(dropout.seed), key1 = static_cast<uint32_t>(dropout.seed >> 32);
  const uint32_t threshold = dropoutThreshold(dropout.p);
  const float scale = dropoutScale(threshold);
  float some[2][once];
  for (int64_t at = 0; at < keys; at += once) {
    const int64_t count = std::min(once, keys - at);
    const bool direct = count == once;
    attentionFactorLanes(key0, key1, dropout.step, dropout.site, (row << 20) + static_cast<uint64_t>(at / 4), threshold,
                         scale, direct ? factors + at : some[0], direct ? factorsOfEighth + at : some[1]);
    if (direct) continue;
    std::copy(some[0], some[0] + count, factors + at);
    std::copy(some[1], some[1] + count, factorsOfEighth + at);
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

EMOFRAME_SIMD void add(const float *a, const float *b, float *out, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}

EMOFRAME_SIMD void applyGelu(const float *x, float *y, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] = gelu(x[i]);
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
