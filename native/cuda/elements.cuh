// What the families share: views on the device, loads and stores of vectors as floats, GELU and dropout.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../ops.h"
#include "../philox.h"
#include "ptx.cuh"

namespace emoframe {

// A View of known type, as a kernel takes it.
template <typename T>
struct Strided {
  T *data;
  int64_t batchStride, rowStride, colStride;

  __device__ T *at(int64_t b, int64_t r, int64_t c) const {
    return data + b * batchStride + r * rowStride + c * colStride;
  }
  __device__ T *row(int64_t r) const { return data + r * rowStride; }
};
template <typename T>
Strided<T> strided(const View &view) {
  return {static_cast<T *>(view.data), view.batchStride, view.rowStride, view.colStride};
}

// body(Of<float>()) or body(Of<bf16>()), by dtype: `using T = typename decltype(of)::Type`.
template <typename T>
struct Of {
  using Type = T;
};
template <typename Body>
void withType(DType dtype, Body &&body) {
  if (dtype == DType::f32) {
    body(Of<float>());
  } else {
    body(Of<bf16>());
  }
}

// Whether every row of a view starts at a multiple of 16 bytes and lies there without gaps between its columns, so that
// loadVector and storeVector may be used at columns that are multiples of 16 bytes. An absent view never hinders.
inline bool rowsAligned(const View &view) {
  if (!view) return true;
  const auto bytes = static_cast<int64_t>(sizeOf(view.dtype));
  return (view.colStride == 1 || view.cols <= 1) && reinterpret_cast<uintptr_t>(view.data) % 16 == 0 &&
         (view.rows <= 1 || view.rowStride * bytes % 16 == 0) &&
         (view.batch <= 1 || view.batchStride * bytes % 16 == 0);
}

// `count` (4 or 8) elements from an address aligned to all of them (to 16 bytes for eight floats).
template <int count>
__device__ inline void loadVector(const float *from, float (&values)[count]) {
#pragma unroll
  for (int i = 0; i < count; i += 4) {
    const float4 four = *reinterpret_cast<const float4 *>(from + i);
    values[i] = four.x;
    values[i + 1] = four.y;
    values[i + 2] = four.z;
    values[i + 3] = four.w;
  }
}
__device__ inline void loadVector(const bf16 *from, float (&values)[4]) {
  const uint2 two = *reinterpret_cast<const uint2 *>(from);
  values[0] = lowFloat(two.x);
  values[1] = highFloat(two.x);
  values[2] = lowFloat(two.y);
  values[3] = highFloat(two.y);
}
__device__ inline void loadVector(const bf16 *from, float (&values)[8]) {
  const uint4 four = *reinterpret_cast<const uint4 *>(from);
  values[0] = lowFloat(four.x);
  values[1] = highFloat(four.x);
  values[2] = lowFloat(four.y);
  values[3] = highFloat(four.y);
  values[4] = lowFloat(four.z);
  values[5] = highFloat(four.z);
  values[6] = lowFloat(four.w);
  values[7] = highFloat(four.w);
}
template <int count>
__device__ inline void storeVector(float *to, const float (&values)[count]) {
#pragma unroll
  for (int i = 0; i < count; i += 4) {
    *reinterpret_cast<float4 *>(to + i) = make_float4(values[i], values[i + 1], values[i + 2], values[i + 3]);
  }
}
__device__ inline void storeVector(bf16 *to, const float (&values)[4]) {
  *reinterpret_cast<uint2 *>(to) = make_uint2(pairOf(values[0], values[1]), pairOf(values[2], values[3]));
}
__device__ inline void storeVector(bf16 *to, const float (&values)[8]) {
  *reinterpret_cast<uint4 *>(to) = make_uint4(pairOf(values[0], values[1]), pairOf(values[2], values[3]),
                                              pairOf(values[4], values[5]), pairOf(values[6], values[7]));
}

// Up to `count` elements from `from` on, `stride` apart: a vector when `aligned`, one by one at the ragged end of a row
// (n < count; the rest is 0).
template <int count, typename T>
__device__ inline void loadSome(const T *from, int64_t stride, int64_t n, bool aligned, float (&values)[count]) {
  if (aligned && n >= count) {
    loadVector(from, values);
    return;
  }
#pragma unroll
  for (int i = 0; i < count; ++i) values[i] = i < n ? toFloat(from[i * stride]) : 0.0f;
}
template <int count, typename T>
__device__ inline void storeSome(T *to, int64_t stride, int64_t n, bool aligned, const float (&values)[count]) {
  if (aligned && n >= count) {
    storeVector(to, values);
    return;
  }
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if (i < n) to[i * stride] = fromFloat<T>(values[i]);
  }
}

// gelu(x) = x Φ(x) and its slope Φ(x) + x φ(x), of one evaluation of Φ(-|x|): Abramowitz and Stegun 7.1.26, whose error
// in erf is below 1.5e-7, in a third of erff's instructions. Against the exact form gelu is off by at most 3.4e-7 and
// 2.5e-7 |x|, its slope by 6e-7, with the GPU's fast functions. Beyond 16, where e^(-x² / 2) is 0, |x| stands still: so
// infinities are no different from large numbers. NaN stays NaN, which a minimum would not see to.
struct GeluOf {
  float size, ratio, density;  // |x|; Φ(-|x|) / e^(-x² / 2); e^(-x² / 2)

  __device__ explicit GeluOf(float x) : size(fabsf(x) > 16.0f ? 16.0f : fabsf(x)) {
    const float t = reciprocalFast(fmaf(0.3275911f * 0.70710678f, size, 1.0f));
    density = exp2Fast(size * size * -0.72134752f);
    float sum = fmaf(0.5f * 1.061405429f, t, 0.5f * -1.453152027f);
    sum = fmaf(sum, t, 0.5f * 1.421413741f);
    sum = fmaf(sum, t, 0.5f * -0.284496736f);
    sum = fmaf(sum, t, 0.5f * 0.254829592f);
    ratio = sum * t;
  }
  __device__ float value(float x) const { return fmaf(-size, ratio * density, fmaxf(x, 0.0f)); }
  __device__ float slope(float x) const {
    const float ofNegative = density * fmaf(-0.39894228f, size, ratio);
    return x > 0.0f ? 1.0f - ofNegative : ofNegative;
  }
};
__device__ inline float geluOf(float x) { return GeluOf(x).value(x); }
__device__ inline float geluSlope(float x) { return GeluOf(x).slope(x); }

// Multiplies elements first .. first + count - 1 of a dropout's input by their factors, 0 or what is kept is scaled by;
// one Philox block serves eight of them. Not for p = 0, which is the identity.
template <int count>
__device__ inline void applyDropout(const Dropout &dropout, uint64_t first, float (&values)[count]) {
  const uint32_t threshold = dropoutThreshold(dropout.p);
  const float scale = dropoutScale(threshold);
  Philox4 block = philox(dropout.seed, dropout.step, dropout.site, first >> 3);
  if (8 % count == 0 && first % count == 0) {
    // All lie in one block. Those that are wanted come first, so that each has its place when this is compiled.
    if (count <= 4 && (first & 4) != 0) block.x[0] = block.x[2], block.x[1] = block.x[3];
    if (count <= 2 && (first & 2) != 0) block.x[0] = block.x[1];
    if (count == 1 && (first & 1) != 0) block.x[0] >>= 16;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const uint32_t bits = i % 2 == 0 ? block.x[i / 2] & 0xFFFF : block.x[i / 2] >> 16;
      values[i] = bits >= threshold ? values[i] * scale : 0.0f;
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const uint64_t element = first + i;
    if (i > 0 && (element & 7) == 0) block = philox(dropout.seed, dropout.step, dropout.site, element >> 3);
    const uint32_t word = static_cast<uint32_t>(element >> 1) & 3;
    const uint32_t both = word == 0 ? block.x[0] : word == 1 ? block.x[1] : word == 2 ? block.x[2] : block.x[3];
    values[i] = (both >> 16 * (element & 1) & 0xFFFF) >= threshold ? values[i] * scale : 0.0f;
  }
}

}  // namespace emoframe
