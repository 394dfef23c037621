// Hopper's own instructions (sm_90a), as ptx.cuh has those of sm_80 and later: mbarriers, the copy engine (TMA),
// warpgroup products (wgmma), registers moved between warpgroups, clusters. Device bodies only for now: no kernel
// stands on them yet, only the probe (test/probe), which asks a device whether they do what is said here. A kernel that
// uses them needs the emulation to have them.
//
// The 128-byte swizzle, of the copy engine and of wgmma alike: of an address in shared memory, bits 4 to 6 (which 16
// bytes of 128) are exchanged by themselves xor bits 7 to 9 (which 128 bytes of 1024). So the pattern repeats every
// 1024 bytes, and a tile starts at a multiple of that.
//
// Tiles of an operand of wgmma in it, for elements of `size` bytes; P = 128 / size elements fill a row of 128 bytes:
//   K-major   row r (of M or N) has its P elements of k in 128 bytes at 128 r. The next P elements of k are another
//             such panel. The stride offset goes from 8 rows to the next 8: 1024. The leading offset is not used.
//             An instruction takes 32 bytes of k: the next one starts 32 bytes further on, inside the swizzled rows.
//   MN-major  row k has P elements of M or N in 128 bytes at 128 k (bf16 only). The next P elements of M or N are
//             another such panel: the leading offset goes to it. The stride offset goes from 8 rows of k to the next
//             8: 1024. An instruction takes 16 of k: the next one starts 2048 bytes further on.
//
// Registers of a warpgroup (warp w = thread / 32 % 4, g = lane / 4, t = lane % 4):
//   d[4 j + i]   row 16 w + g + 8 (i / 2), column 8 j + 2 t + i % 2
//   a, bf16      as of mmaBf16, rows 16 w onward;  a, tf32  as of mmaTf32
#pragma once

#include <cuda.h>

#include "ptx.cuh"

namespace emoframe {

// --- mbarriers -----------------------------------------------------------------------------------
// A phase ends when as many arrivals have come as the barrier was initialised with, and all bytes that were expected.
// A wait names the phase by its parity: 0 for the first, then 1, 0, ...; the one before the first counts as 1.
__device__ inline void initialiseBarrier(uint64_t *barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(sharedAddress(barrier)), "r"(arrivals) : "memory");
}
// After the initialisations by one thread, before a barrier of the block (or the
// cluster): others and the copy engine see them.
__device__ inline void publishBarriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ inline void arrive(uint64_t *barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(sharedAddress(barrier)) : "memory");
}
// Arrives, and lets this phase wait for so many bytes of the copy engine.
__device__ inline void arriveExpecting(uint64_t *barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(sharedAddress(barrier)), "r"(bytes)
               : "memory");
}
// The same without an arrival.
__device__ inline void expectBytes(uint64_t *barrier, uint32_t bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(sharedAddress(barrier)), "r"(bytes)
               : "memory");
}
// Whether the phase of this parity has ended; it may wait for that a while.
__device__ inline bool hasEnded(uint64_t *barrier, uint32_t parity) {
  uint32_t ended;
  asm volatile(
      "{\n.reg .pred ended;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
      "selp.b32 %0, 1, 0, ended;\n}"
      : "=r"(ended)
      : "r"(sharedAddress(barrier)), "r"(parity)
      : "memory");
  return ended != 0;
}
__device__ inline void waitForPhase(uint64_t *barrier, uint32_t parity) {
  while (!hasEnded(barrier, parity)) {
  }
}

// --- the copy engine -----------------------------------------------------------------------------
// What generic stores wrote to shared memory is seen by the copy engine and wgmma after this fence, in each thread that
// stored, and a barrier.
__device__ inline void publishStores() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// `bytes` (a multiple of 16, at addresses that are) to shared memory; they count at the barrier.
__device__ inline void copyBulk(void *sharedTarget, const void *source, uint32_t bytes, uint64_t *barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   sharedAddress(sharedTarget)),
               "l"(source), "r"(bytes), "r"(sharedAddress(barrier))
               : "memory");
}
// From shared memory; waited for in groups, as cp.async is, by the thread that asked.
__device__ inline void storeBulk(void *target, const void *sharedSource, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(target),
               "r"(sharedAddress(sharedSource)), "r"(bytes)
               : "memory");
}
// A box of a tensor map, whose first element is at the coordinates (the innermost first, negative ones too). It lies in
// shared memory row after row, 128-byte aligned, 1024-byte in the 128-byte swizzle. What is outside of the tensor is 0,
// and counts at the barrier as well. The map: a __grid_constant__ parameter of the kernel.
__device__ inline void loadBox(void *sharedTarget, const CUtensorMap *map, int x, int y, uint64_t *barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          sharedAddress(sharedTarget)),
      "l"(map), "r"(x), "r"(y), "r"(sharedAddress(barrier))
      : "memory");
}
__device__ inline void loadBox(void *sharedTarget, const CUtensorMap *map, int x, int y, int z, uint64_t *barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::
          "r"(sharedAddress(sharedTarget)),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(sharedAddress(barrier))
      : "memory");
}
// To the same place in each block of the cluster whose bit is set, and counted at each one's own barrier.
__device__ inline void loadBoxForAll(void *sharedTarget, const CUtensorMap *map, int x, int y, uint64_t *barrier,
                                     uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, "
      "%3}], [%4], %5;" ::"r"(sharedAddress(sharedTarget)),
      "l"(map), "r"(x), "r"(y), "r"(sharedAddress(barrier)), "h"(blocks)
      : "memory");
}
// What is outside of the tensor is not written.
__device__ inline void storeBox(const CUtensorMap *map, int x, int y, const void *sharedSource) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(x), "r"(y),
               "r"(sharedAddress(sharedSource))
               : "memory");
}
__device__ inline void commitStores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until all groups but the `newest` have been read from shared memory, which is free then; or are written as well.
template <int newest>
__device__ inline void waitForStoresToRead() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(newest) : "memory");
}
template <int newest>
__device__ inline void waitForStores() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(newest) : "memory");
}

// --- warps, warpgroups, clusters -----------------------------------------------------------------
// True in one lane of the warp, of which all take part.
__device__ inline bool isElected() {
  uint32_t elected;
  asm volatile(
      "{\n.reg .pred elected;\n"
      "elect.sync _|elected, 0xFFFFFFFF;\n"
      "selp.b32 %0, 1, 0, elected;\n}"
      : "=r"(elected)::"memory");
  return elected != 0;
}
// Comes to a named barrier without waiting there.
__device__ inline void arriveAtNamedBarrier(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
// A warpgroup's registers a thread (a multiple of 8, 24 to 256), in a kernel with __launch_bounds__(threads, 1): all
// warps of it take part. More than there are free waits until others have given theirs away.
template <int registers>
__device__ inline void takeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ inline void giveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
__device__ inline uint32_t rankInCluster() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// All threads of the cluster's blocks.
__device__ inline void clusterBarrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// At the same barrier of another block of the cluster.
__device__ inline void arriveAt(uint64_t *barrier, uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [there];\n}" ::"r"(sharedAddress(barrier)),
      "r"(rank)
      : "memory");
}

// stmatrix: what loadMatrices does, the other way.
#define EMOFRAME_STMATRIX(trans)                                                                                \
  if constexpr (count == 4) {                                                                                   \
    asm volatile("stmatrix.sync.aligned.m8n8.x4" trans                                                          \
                 ".shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(sharedAddress(row)),                               \
                 "r"(registers[0]), "r"(registers[1]), "r"(registers[2]), "r"(registers[3])                     \
                 : "memory");                                                                                   \
  } else if constexpr (count == 2) {                                                                            \
    asm volatile("stmatrix.sync.aligned.m8n8.x2" trans ".shared.b16 [%0], {%1, %2};" ::"r"(sharedAddress(row)), \
                 "r"(registers[0]), "r"(registers[1])                                                           \
                 : "memory");                                                                                   \
  } else {                                                                                                      \
    asm volatile("stmatrix.sync.aligned.m8n8.x1" trans ".shared.b16 [%0], {%1};" ::"r"(sharedAddress(row)),     \
                 "r"(registers[0])                                                                              \
                 : "memory");                                                                                   \
  }
template <bool transposed, int count>
__device__ inline void storeMatrices(void *row, const uint32_t (&registers)[count]) {
  static_assert(count == 1 || count == 2 || count == 4, "stmatrix stores 1, 2 or 4 matrices");
  if constexpr (transposed) {
    EMOFRAME_STMATRIX(".trans")
  } else {
    EMOFRAME_STMATRIX("")
  }
}
#undef EMOFRAME_STMATRIX

// --- warpgroup products --------------------------------------------------------------------------
// A tile in the 128-byte swizzle, for wgmma: bits 0 to 13 its address / 16, 16 to 29 the leading offset / 16, 32 to 45
// the stride offset / 16, 49 to 51 the base offset (0: the pattern starts at a multiple of 1024 bytes), 62 and 63 the
// swizzle (1: of 128 bytes). Bytes / 16 may be added to it to go on along k.
__device__ inline uint64_t matrixDescriptor(const void *tile, uint32_t leadingOffset, uint32_t strideOffset) {
  const auto field = [](uint32_t bytes) { return static_cast<uint64_t>((bytes & 0x3FFFFu) >> 4); };
  return field(sharedAddress(tile)) | field(leadingOffset) << 16 | field(strideOffset) << 32 | uint64_t(1) << 62;
}
// Before the first product, and wherever its registers were touched since.
__device__ inline void fenceProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Makes a group of the products since the last commit.
__device__ inline void commitProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until all groups but the `newest` are done: their registers may be touched, their tiles written.
template <int newest>
__device__ inline void waitForProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(newest) : "memory");
}

#define EMOFRAME_REGISTERS_32                                                                       \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, " \
  "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define EMOFRAME_REGISTERS_64                                                                       \
  EMOFRAME_REGISTERS_32                                                                             \
  ", "                                                                                              \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, " \
  "%51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define EMOFRAME_REGISTERS_128                                                                       \
  EMOFRAME_REGISTERS_64                                                                              \
  ", "                                                                                               \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, "  \
  "%83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, "      \
  "%101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, " \
  "%117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define EMOFRAME_4(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define EMOFRAME_16(i) EMOFRAME_4(i), EMOFRAME_4((i) + 4), EMOFRAME_4((i) + 8), EMOFRAME_4((i) + 12)
#define EMOFRAME_32 EMOFRAME_16(0), EMOFRAME_16(16)
#define EMOFRAME_64 EMOFRAME_32, EMOFRAME_16(32), EMOFRAME_16(48)
#define EMOFRAME_128 EMOFRAME_64, EMOFRAME_16(64), EMOFRAME_16(80), EMOFRAME_16(96), EMOFRAME_16(112)
// One product by `form` for each N; after the N / 2 sums come the form's own operands, by their numbers.
#define EMOFRAME_WGMMA(form)                                                                           \
  static_assert(N == 64 || N == 128 || N == 256, "these widths");                                      \
  if constexpr (N == 64) {                                                                             \
    form("64", EMOFRAME_REGISTERS_32, EMOFRAME_32, "32", "33", "34", "35", "36", "37", "38")           \
  } else if constexpr (N == 128) {                                                                     \
    form("128", EMOFRAME_REGISTERS_64, EMOFRAME_64, "64", "65", "66", "67", "68", "69", "70")          \
  } else {                                                                                             \
    form("256", EMOFRAME_REGISTERS_128, EMOFRAME_128, "128", "129", "130", "131", "132", "133", "134") \
  }
#define EMOFRAME_WGMMA_TEXT(n, shape, types, sums, operands, adding, rest)                                \
  "{\n.reg .pred adding;\nsetp.ne.b32 adding, %" adding ", 0;\nwgmma.mma_async.sync.aligned.m64n" n shape \
  ".f32." types " {" sums "}, " operands ", adding, 1, 1" rest ";\n}"

// d += a b for m64nNk16 of bf16, or d = a b where it is not to add. Majors are K but where `...IsMnMajor`.
template <int N, bool aIsMnMajor = false, bool bIsMnMajor = false>
__device__ inline void multiplyBf16(float (&d)[N / 2], uint64_t a, uint64_t b, bool adds = true) {
#define EMOFRAME_FORM(n, sums, outputs, o0, o1, o2, o3, o4, o5, o6)                                     \
  asm volatile(EMOFRAME_WGMMA_TEXT(n, "k16", "bf16.bf16", sums, "%" o0 ", %" o1, o2, ", %" o3 ", %" o4) \
               : outputs                                                                                \
               : "l"(a), "l"(b), "r"(static_cast<int>(adds)), "n"(aIsMnMajor ? 1 : 0), "n"(bIsMnMajor ? 1 : 0));
  EMOFRAME_WGMMA(EMOFRAME_FORM)
#undef EMOFRAME_FORM
}
// With a in registers, which are not to be touched until the product is waited for.
template <int N, bool bIsMnMajor = false>
__device__ inline void multiplyBf16(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool adds = true) {
#define EMOFRAME_FORM(n, sums, outputs, o0, o1, o2, o3, o4, o5, o6)                                                \
  asm volatile(                                                                                                    \
      EMOFRAME_WGMMA_TEXT(n, "k16", "bf16.bf16", sums, "{%" o0 ", %" o1 ", %" o2 ", %" o3 "}, %" o4, o5, ", %" o6) \
      : outputs                                                                                                    \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(adds)), "n"(bIsMnMajor ? 1 : 0));
  EMOFRAME_WGMMA(EMOFRAME_FORM)
#undef EMOFRAME_FORM
}
// m64nNk8 of tf32: both are K-major.
template <int N>
__device__ inline void multiplyTf32(float (&d)[N / 2], uint64_t a, uint64_t b, bool adds = true) {
#define EMOFRAME_FORM(n, sums, outputs, o0, o1, o2, o3, o4, o5, o6)                     \
  asm volatile(EMOFRAME_WGMMA_TEXT(n, "k8", "tf32.tf32", sums, "%" o0 ", %" o1, o2, "") \
               : outputs                                                                \
               : "l"(a), "l"(b), "r"(static_cast<int>(adds)));
  EMOFRAME_WGMMA(EMOFRAME_FORM)
#undef EMOFRAME_FORM
}
template <int N>
__device__ inline void multiplyTf32(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool adds = true) {
#define EMOFRAME_FORM(n, sums, outputs, o0, o1, o2, o3, o4, o5, o6)                                                  \
  asm volatile(EMOFRAME_WGMMA_TEXT(n, "k8", "tf32.tf32", sums, "{%" o0 ", %" o1 ", %" o2 ", %" o3 "}, %" o4, o5, "") \
               : outputs                                                                                             \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(adds)));
  EMOFRAME_WGMMA(EMOFRAME_FORM)
#undef EMOFRAME_FORM
}
#undef EMOFRAME_WGMMA
#undef EMOFRAME_WGMMA_TEXT
#undef EMOFRAME_4
#undef EMOFRAME_16
#undef EMOFRAME_32
#undef EMOFRAME_64
#undef EMOFRAME_128
#undef EMOFRAME_REGISTERS_32
#undef EMOFRAME_REGISTERS_64
#undef EMOFRAME_REGISTERS_128

}  // namespace emoframe
