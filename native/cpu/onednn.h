// The only door to oneDNN: no other file includes its headers, so moving to another major version is this file and onednn.cpp.
#pragma once

#include <cstdint>
#include <string>

namespace emoframe {
namespace onednn {

std::string version();    // "2.6.3"
bool nativeBf16();        // the CPU multiplies bf16 itself (avx512_bf16 or AMX) and oneDNN uses it
int availableThreads();   // what OpenMP would use

// C [M, N] = op(A) · op(B) + beta C, all row-major f32, on the calling thread only, so that a caller's partition of the work
// decides every bit. op transposes when asked: A is then stored [K, M] and B [N, K]. Rows may not overlap (ld >= columns).
void sgemm(bool transposeA, bool transposeB, int64_t M, int64_t N, int64_t K, const float *a, int64_t lda, const float *b,
           int64_t ldb, float beta, float *c, int64_t ldc);

}  // namespace onednn
}  // namespace emoframe
