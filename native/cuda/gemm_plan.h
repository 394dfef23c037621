// How a product is cut, which follows from its shape and strides alone.
#pragma once

#include <cstdint>

#include "../ops.h"
#include "stream.h"

namespace emoframe {

struct GemmEpilogue;

enum class GemmLayout : uint8_t { normalTransposed, normalNormal, transposedNormal, gathered };

struct GemmPlan {
  GemmLayout layout;
  // Of a tile. bf16: each 64 or 128; tf32: but for 64 x 128; fp32: 64 x 64 or 64 x 128. Gathered: 64 x 64.
  int rows, cols;
  int splits;  // of K
  int depth;   // of K in a split, whole tiles
};

// Launch the product with this plan (gemm_bf16.cu, gemm_tf32.cu, gemm_fp32.cu).
void multiplyBf16(const Gemm &gemm, const GemmPlan &plan, const GemmEpilogue &epilogue, Stream &stream);
void multiplyTf32(const Gemm &gemm, const GemmPlan &plan, const GemmEpilogue &epilogue, Stream &stream);
void multiplyFp32(const Gemm &gemm, const GemmPlan &plan, const GemmEpilogue &epilogue, Stream &stream);

}  // namespace emoframe
