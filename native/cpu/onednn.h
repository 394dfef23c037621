// The only door to oneDNN: no other file includes its headers, so moving to another
// major version is this file and onednn.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "../view.h"

namespace emoframe {
namespace onednn {

std::string version();  // "2.6.3"
bool nativeBf16();      // the CPU multiplies bf16 itself (avx512_bf16 or AMX) and oneDNN uses it

// C [M, N] = op(A) · op(B) (+ C), C f32 and A and B of one dtype, all row-major, on the calling thread only, so that a
// caller's partition of the work decides every bit. op transposes when asked: A is then stored [K, M] and B [N, K].
// Rows may not overlap (ld >= columns).
struct Operand {
  const void *data;
  int64_t ld;
  bool transposed;
};
void product(DType dtype, int64_t M, int64_t N, int64_t K, const Operand &a, const Operand &b, bool accumulate,
             float *c, int64_t ldc);
// Whether this CPU multiplies that type itself: bf16 without bf16 instructions is widened and multiplied as f32.
inline bool multiplies(DType dtype) { return dtype == DType::f32 || nativeBf16(); }

// Has oneDNN generate the kernels of f32 products now and not within the first of them, where it could not be said that
// there is no memory for these: ERR_OUT_OF_MEMORY.
void makeKernels();

// The right-hand operand of a product in the layout that oneDNN's kernels read fastest. It belongs to a shape alone.
struct PackedLayout {
  int64_t depth = 0, cols = 0;
  DType dtype = DType::f32;  // of both operands
  bool integers = false;     // instead of dtype: u8 · s8, whose sums (s32) are exact
};
// Whether this CPU has kernels that gain from packing for that type: else the functions below are not to be called.
bool packs(DType dtype);
size_t packedBytes(const PackedLayout &layout);
// From B [depth, cols], row-major or (rowStride = 1) column-major, on the calling thread only.
void pack(const PackedLayout &layout, const View &b, void *packed);
// Back to B [depth, cols], row-major and dense, of the layout's dtype.
void unpack(const PackedLayout &layout, const void *packed, void *b);

// C [rows, cols] f32 = A [rows, depth] · packed B (+ C), both without gaps between rows, on the calling thread only. A
// kernel is generated for each different (rows, layout, accumulate), so rows should take few values. False, and nothing
// done, when oneDNN has no fast kernel for that.
bool packedProduct(const PackedLayout &layout, int64_t rows, const void *a, const void *packed, bool accumulate,
                   float *c);

// The same of integers. Whether this CPU multiplies them several times faster than floats (AVX-512 VNNI), and whether
// oneDNN has a fast kernel for that many rows: else the functions below are not to be called.
bool multipliesIntegers();
bool hasIntegerKernel(const PackedLayout &layout, int64_t rows);
// From B transposed, [cols, depth] without gaps.
void packIntegers(const PackedLayout &layout, const int8_t *transposed, void *packed);
// C [rows, cols] = A [rows, depth] · packed B, all without gaps, on the calling thread only.
void integerProduct(const PackedLayout &layout, int64_t rows, const uint8_t *a, const void *packed, int32_t *c);

}  // namespace onednn
}  // namespace emoframe
