// What the SIMD loops share. A leaf loop over raw pointers is marked EMOFRAME_SIMD: the compiler makes a version for
// AVX-512, one for AVX2 and one for any x86-64, and the loader picks at run time, so one binary runs everywhere and
// vectorises where it can. Helpers that leaves call are EMOFRAME_INLINE (a call is not cloned), and so must not be
// lambdas or functions outlined by OpenMP: parallelFor's body calls a leaf on its chunk. A float sum vectorises only
// where its order is said to be free: `#pragma omp simd reduction(+ : sum)`.
#pragma once

#include <cstdint>
#include <cstring>

// The versions are named by instruction-set levels, which any CPU that has the instructions matches; names of Intel's
// processors, which compilers before GCC 12 need, match those processors alone.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
#if __GNUC__ >= 12
#define EMOFRAME_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EMOFRAME_SIMD __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#endif
#else
#define EMOFRAME_SIMD
#endif
#if defined(__GNUC__)
#define EMOFRAME_INLINE static inline __attribute__((always_inline))
#else
#define EMOFRAME_INLINE static inline
#endif

namespace emoframe {

struct Bf16 {
  uint16_t bits;
};

EMOFRAME_INLINE float bitsToFloat(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
EMOFRAME_INLINE uint32_t floatToBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

// Elements as the loops see them, whatever is in memory: `load(p + i)`, `store(p + i, value)`.
EMOFRAME_INLINE float load(const float *p) { return *p; }
EMOFRAME_INLINE float load(const Bf16 *p) { return bitsToFloat(static_cast<uint32_t>(p->bits) << 16); }
EMOFRAME_INLINE void store(float *p, float value) { *p = value; }
// Round to nearest even; a NaN stays a (quiet) NaN.
EMOFRAME_INLINE void store(Bf16 *p, float value) {
  const uint32_t bits = floatToBits(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x40u;
  p->bits = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

// e^x = mantissa · 2^exponent, of x in [-87.3, 88.7]: 2^n by the exponent bits, the rest, r, by a polynomial of e^r.
struct ScaledExponential {
  float mantissa;
  int32_t exponent;
};
EMOFRAME_INLINE ScaledExponential scaledExponential(float x) {
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 · 2^23: the integer lands in the low mantissa bits
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  float p = 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return {p, static_cast<int32_t>(floatToBits(shifted) - 0x4b400000u)};
}
// 2^n, n in [-126, 127].
EMOFRAME_INLINE float powerOfTwo(int32_t n) { return bitsToFloat(static_cast<uint32_t>(n + 127) << 23); }

// e^x, relative error under 2e-7; 0 below -87.3, e^88.7 above 88.7.
EMOFRAME_INLINE float exponential(float x) {
  const ScaledExponential e = scaledExponential(x < -87.3f ? -87.3f : (x > 88.7f ? 88.7f : x));
  // In two halves, because 2^128 is no float while e^88.7 is.
  const int32_t half = e.exponent >> 1;
  const float value = e.mantissa * powerOfTwo(half) * powerOfTwo(e.exponent - half);
  return x < -87.3f ? 0.0f : value;
}

// The same for x <= 0, as a softmax needs it: n lies in [-126, 0], so one exponent does.
EMOFRAME_INLINE float exponentialOfNegative(float x) {
  const ScaledExponential e = scaledExponential(x < -87.3f ? -87.3f : x);
  return x < -87.3f ? 0.0f : e.mantissa * powerOfTwo(e.exponent);
}

// erf, absolute error under 4e-7: an odd rational fitted on [0, 3.92], where erf rounds to 1.
EMOFRAME_INLINE float errorFunction(float x) {
  const float c = x < -3.92f ? -3.92f : (x > 3.92f ? 3.92f : x);
  const float t = c * c;
  float p = 2.050060187e-06f;
  p = p * t + 2.848654521e-04f;
  p = p * t + 3.765178291e-03f;
  p = p * t + 5.274733517e-02f;
  p = p * t + 1.903973046e-01f;
  p = p * t + 1.128379146e+00f;
  float q = 3.809053090e-05f;
  q = q * t + 1.162415494e-03f;
  q = q * t + 1.496834023e-02f;
  q = q * t + 1.141051664e-01f;
  q = q * t + 5.020679612e-01f;
  q = q * t + 1.0f;
  return c * p / q;
}

// tanh, relative error under 4e-7: an odd rational fitted on [0, 8].
EMOFRAME_INLINE float hyperbolicTangent(float x) {
  const float c = x < -8.0f ? -8.0f : (x > 8.0f ? 8.0f : x);
  const float t = c * c;
  float p = 1.523096962e-08f;
  p = p * t + 2.189508147e-05f;
  p = p * t + 3.571624384e-03f;
  p = p * t + 1.344452047e-01f;
  p = p * t + 9.999999936e-01f;
  float q = 8.522678938e-07f;
  q = q * t + 3.411334519e-04f;
  q = q * t + 2.616454412e-02f;
  q = q * t + 4.677784781e-01f;
  q = q * t + 1.0f;
  return c * p / q;
}

// gelu(x) = x Φ(x) in its exact erf form, and its derivative Φ(x) + x φ(x). Beyond 16, where Φ(-|x|) and φ are 0, what
// they are multiplied by stands still, so that infinities are no different from large numbers; NaN stays NaN.
EMOFRAME_INLINE float gelu(float x) {
  return 0.5f * (x < -16.0f ? -16.0f : x) * (1.0f + errorFunction(x * 0.707106781f));
}
EMOFRAME_INLINE float geluDerivative(float x) {
  const float near = x < -16.0f ? -16.0f : (x > 16.0f ? 16.0f : x);
  return 0.5f * (1.0f + errorFunction(x * 0.707106781f)) + near * 0.398942280f * exponential(-0.5f * near * near);
}

}  // namespace emoframe
