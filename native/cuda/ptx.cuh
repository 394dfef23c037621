// Every instruction that C++ has no word for: PTX, intrinsics and the types that they work on. Each wrapper has a
// device body and, under EMOFRAME_SIMT, one on the emulation of test/simt, so that all other files are plain C++ for
// both. A kernel uses nothing of this kind beside it but __syncthreads() and __syncwarp().
//
// Lane layouts (g = lane / 4, t = lane % 4; of a pair in one register the lower half is the first):
//   mmaBf16, m16n8k16   a[0] (g, 2t..)  a[1] (g + 8, 2t..)  a[2] (g, 2t + 8..)  a[3] (g + 8, 2t + 8..)    [row, k]
//                       b[0] (2t.., g)  b[1] (2t + 8.., g)                                                 [k, col]
//   mmaTf32, m16n8k8    a[0] (g, t)     a[1] (g + 8, t)     a[2] (g, t + 4)     a[3] (g + 8, t + 4)        [row, k]
//                       b[0] (t, g)     b[1] (t + 4, g)                                                    [k, col]
//   both                d[0..1] (g, 2t..)   d[2..3] (g + 8, 2t..)                                          [row, col]
//   ldmatrix            lanes 8i to 8i + 7 give the addresses of the 8 rows (16 bytes each) of matrix i; register i
//                       gets elements (g, 2t..) of it, with .trans (2t, g) and (2t + 1, g).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

namespace emoframe {

constexpr uint32_t allLanes = 0xFFFFFFFFu;

// A bf16 as it lies in memory: the upper half of an fp32.
struct bf16 {
  uint16_t bits;
};

__device__ inline uint32_t bitsOf(float value) {
#ifdef EMOFRAME_SIMT
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
#else
  return __float_as_uint(value);
#endif
}
__device__ inline float floatOf(uint32_t bits) {
#ifdef EMOFRAME_SIMT
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
#else
  return __uint_as_float(bits);
#endif
}

// --- conversions ---------------------------------------------------------------------------------
__device__ inline float toFloat(float value) { return value; }
__device__ inline float toFloat(bf16 value) { return floatOf(static_cast<uint32_t>(value.bits) << 16); }
// The two of a pair.
__device__ inline float lowFloat(uint32_t pair) { return floatOf(pair << 16); }
__device__ inline float highFloat(uint32_t pair) { return floatOf(pair & 0xFFFF0000u); }

// To the nearest bf16, ties to even; NaN stays NaN.
__device__ inline bf16 toBf16(float value) {
#ifdef EMOFRAME_SIMT
  const uint32_t bits = bitsOf(value);
  if (value != value) return {static_cast<uint16_t>(0x7FFF)};
  return {static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1)) >> 16)};
#else
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
#endif
}
__device__ inline uint32_t pairOf(float low, float high) {
#ifdef EMOFRAME_SIMT
  return toBf16(low).bits | static_cast<uint32_t>(toBf16(high).bits) << 16;
#else
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}
template <typename T>
__device__ inline T fromFloat(float value);
template <>
__device__ inline float fromFloat<float>(float value) {
  return value;
}
template <>
__device__ inline bf16 fromFloat<bf16>(float value) {
  return toBf16(value);
}

// The nearest tf32 (10 bits of fraction), ties away from zero, as mmaTf32 takes it.
__device__ inline uint32_t toTf32(float value) {
#ifdef EMOFRAME_SIMT
  const uint32_t bits = bitsOf(value);
  return (bits & 0x7F800000u) == 0x7F800000u ? bits : (bits + 0x1000u) & 0xFFFFE000u;
#else
  uint32_t result;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(value));
  return result;
#endif
}

// --- fast functions: about 2 units in the last place of fp32; denormals are zero on a GPU --------
__device__ inline float exp2Fast(float x) {
#ifdef EMOFRAME_SIMT
  return simt::exp2Fast(x);
#else
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#endif
}
__device__ inline float log2Fast(float x) {
#ifdef EMOFRAME_SIMT
  return simt::log2Fast(x);
#else
  float result;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#endif
}
__device__ inline float reciprocalFast(float x) {
#ifdef EMOFRAME_SIMT
  return simt::reciprocalFast(x);
#else
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#endif
}
__device__ inline float reciprocalRoot(float x) {
#ifdef EMOFRAME_SIMT
  return simt::reciprocalRoot(x);
#else
  return rsqrtf(x);
#endif
}
// A product that the compiler does not join with a sum into an fma, for sums that must be the same bits everywhere.
__device__ inline float multiplyRounded(float a, float b) {
#ifdef EMOFRAME_SIMT
  return a * b;
#else
  return __fmul_rn(a, b);
#endif
}

// --- warps ---------------------------------------------------------------------------------------
#ifdef EMOFRAME_SIMT
template <typename T>
inline T shuffleFrom(T value, int source, int width, uint32_t mask) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles are of 32 and 64 bits");
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = simt::shuffle(bits, mask, source, width);
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}
#endif
__device__ inline int laneOf() {
#ifdef EMOFRAME_SIMT
  return static_cast<int>((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32);
#else
  uint32_t lane;
  asm("mov.u32 %0, %%laneid;" : "=r"(lane));
  return static_cast<int>(lane);
#endif
}
// T: float, double, or an integer of 32 or 64 bits. `width` lanes (a power of two) shuffle among themselves.
template <typename T>
__device__ inline T shuffleXor(T value, int laneMask, int width = 32, uint32_t mask = allLanes) {
#ifdef EMOFRAME_SIMT
  return shuffleFrom(value, laneOf() ^ laneMask, width, mask);
#else
  return __shfl_xor_sync(mask, value, laneMask, width);
#endif
}
// From `delta` lanes further on; past the end of the group, the lane's own.
template <typename T>
__device__ inline T shuffleDown(T value, int delta, int width = 32, uint32_t mask = allLanes) {
#ifdef EMOFRAME_SIMT
  return shuffleFrom(value, laneOf() + delta, width, mask);
#else
  return __shfl_down_sync(mask, value, delta, width);
#endif
}
template <typename T>
__device__ inline T shuffleUp(T value, int delta, int width = 32, uint32_t mask = allLanes) {
#ifdef EMOFRAME_SIMT
  return shuffleFrom(value, laneOf() - delta, width, mask);
#else
  return __shfl_up_sync(mask, value, delta, width);
#endif
}
// From lane `source` of the group.
template <typename T>
__device__ inline T shuffleIndex(T value, int source, int width = 32, uint32_t mask = allLanes) {
#ifdef EMOFRAME_SIMT
  return shuffleFrom(value, laneOf() / width * width + source % width, width, mask);
#else
  return __shfl_sync(mask, value, source, width);
#endif
}
// One bit for each lane of the mask whose predicate holds.
__device__ inline uint32_t ballot(bool predicate, uint32_t mask = allLanes) {
#ifdef EMOFRAME_SIMT
  return simt::ballot(mask, predicate);
#else
  return __ballot_sync(mask, predicate);
#endif
}
__device__ inline bool anyLane(bool predicate, uint32_t mask = allLanes) { return ballot(predicate, mask) != 0; }
__device__ inline bool everyLane(bool predicate, uint32_t mask = allLanes) { return ballot(predicate, mask) == mask; }
// The number of bits that are set.
__device__ inline int countBits(uint32_t word) {
#ifdef EMOFRAME_SIMT
  return __builtin_popcount(word);
#else
  return __popc(word);
#endif
}
// The lowest bit that is set, of a mask that has one.
__device__ inline int lowestBit(uint32_t mask) {
#ifdef EMOFRAME_SIMT
  return __builtin_ctz(mask);
#else
  return __ffs(static_cast<int>(mask)) - 1;
#endif
}

// --- blocks --------------------------------------------------------------------------------------
// The block's shared memory, of the size that the launch gives: aligned to 1024 bytes, not cleared. There is no other.
__device__ inline unsigned char *sharedMemory() {
#ifdef EMOFRAME_SIMT
  return simt::sharedMemory();
#else
  extern __shared__ __align__(1024) unsigned char emoframeShared[];
  return emoframeShared;
#endif
}
// Waits for `threads` (whole warps) threads of the block that come to the same id, 1 to 15.
__device__ inline void namedBarrier(int id, int threads) {
#ifdef EMOFRAME_SIMT
  simt::namedBarrier(id, threads);
#else
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}

// --- atomics -------------------------------------------------------------------------------------
// On integers only: what they do must not depend on their order. They return the
// value before. T: int32_t, uint32_t, uint64_t.
template <typename T>
__device__ inline T addAtomically(T *target, T value) {
#ifdef EMOFRAME_SIMT
  return simt::addAtomically(target, value);
#else
  if constexpr (sizeof(T) == 8) {
    return atomicAdd(reinterpret_cast<unsigned long long *>(target), static_cast<unsigned long long>(value));
  } else {
    return atomicAdd(target, value);
  }
#endif
}
template <typename T>
__device__ inline T maxAtomically(T *target, T value) {
#ifdef EMOFRAME_SIMT
  return simt::maxAtomically(target, value);
#else
  if constexpr (sizeof(T) == 8) {
    return atomicMax(reinterpret_cast<unsigned long long *>(target), static_cast<unsigned long long>(value));
  } else {
    return atomicMax(target, value);
  }
#endif
}
template <typename T>
__device__ inline T minAtomically(T *target, T value) {
#ifdef EMOFRAME_SIMT
  return simt::minAtomically(target, value);
#else
  if constexpr (sizeof(T) == 8) {
    return atomicMin(reinterpret_cast<unsigned long long *>(target), static_cast<unsigned long long>(value));
  } else {
    return atomicMin(target, value);
  }
#endif
}

// --- asynchronous copies -------------------------------------------------------------------------
#ifndef EMOFRAME_SIMT
__device__ inline uint32_t sharedAddress(const void *pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}
#endif
// cp.async of `size` (4, 8 or 16) bytes to shared memory; both addresses aligned to as many. Only the first
// `sourceBytes` are read, the rest become zeros; with 0 the source is not touched. The bytes are there for the thread
// itself after waitForCopies, for others after a barrier on top of that.
template <int size = 16>
__device__ inline void copyAsync(void *sharedTarget, const void *source, int sourceBytes = size) {
  static_assert(size == 4 || size == 8 || size == 16, "cp.async copies 4, 8 or 16 bytes");
#ifdef EMOFRAME_SIMT
  simt::copyAsync(sharedTarget, source, size, sourceBytes);
#else
  if constexpr (size == 16) {  // past the first-level cache
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(sharedTarget)), "l"(source),
                 "r"(sourceBytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(sharedAddress(sharedTarget)), "l"(source),
                 "n"(size), "r"(sourceBytes)
                 : "memory");
  }
#endif
}
// Makes a group of the copies since the last commit.
__device__ inline void commitCopies() {
#ifdef EMOFRAME_SIMT
  simt::commitCopies();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Until all groups but the `newest` last ones are there.
template <int newest>
__device__ inline void waitForCopies() {
#ifdef EMOFRAME_SIMT
  simt::waitForCopies(newest);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(newest) : "memory");
#endif
}

// --- tensor cores --------------------------------------------------------------------------------
// All lanes of a warp take part; each gives the address of its row (for `count` 2 and 1 the upper lanes' are not used).
#define EMOFRAME_LDMATRIX(trans)                                                                  \
  if constexpr (count == 4) {                                                                     \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" trans ".shared.b16 {%0, %1, %2, %3}, [%4];"      \
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3]) \
                 : "r"(sharedAddress(row))                                                        \
                 : "memory");                                                                     \
  } else if constexpr (count == 2) {                                                              \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" trans ".shared.b16 {%0, %1}, [%2];"              \
                 : "=r"(registers[0]), "=r"(registers[1])                                         \
                 : "r"(sharedAddress(row))                                                        \
                 : "memory");                                                                     \
  } else {                                                                                        \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" trans ".shared.b16 {%0}, [%1];"                  \
                 : "=r"(registers[0])                                                             \
                 : "r"(sharedAddress(row))                                                        \
                 : "memory");                                                                     \
  }
template <bool transposed, int count>
__device__ inline void loadMatricesAs(uint32_t (&registers)[count], const void *row) {
  static_assert(count == 1 || count == 2 || count == 4, "ldmatrix loads 1, 2 or 4 matrices");
#ifdef EMOFRAME_SIMT
  simt::loadMatrices(registers, row, count, transposed);
#else
  if constexpr (transposed) {
    EMOFRAME_LDMATRIX(".trans")
  } else {
    EMOFRAME_LDMATRIX("")
  }
#endif
}
#undef EMOFRAME_LDMATRIX
template <int count>
__device__ inline void loadMatrices(uint32_t (&registers)[count], const void *row) {
  loadMatricesAs<false>(registers, row);
}
template <int count>
__device__ inline void loadMatricesTransposed(uint32_t (&registers)[count], const void *row) {
  loadMatricesAs<true>(registers, row);
}
// d += a b, bf16 products and fp32 sums.
__device__ inline void mmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef EMOFRAME_SIMT
  simt::multiplyBf16(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
// d += a b with tf32 products (toTf32 first: the lower 13 bits are cut off) and fp32 sums.
__device__ inline void mmaTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef EMOFRAME_SIMT
  simt::multiplyTf32(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

}  // namespace emoframe
