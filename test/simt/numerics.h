// Arithmetic that the manual leaves open, by the model that the settings name.
#pragma once

namespace simt {

// d += a b as one mma.sync sums it; K: 16 for bf16, 8 for tf32.
template <int K>
void sumInTensorCore(const float (&a)[16][K], const float (&b)[K][8], float (&d)[16][8]);

}  // namespace simt
