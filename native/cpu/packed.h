// Weights kept in the form that the matrix product reads fastest, by Gemm.weightKey.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend.h"

namespace emoframe {

struct CpuBackend::PackedWeights {
  // Drops what was packed from inside [begin, begin + bytes).
  void forget(const char *begin, size_t bytes) noexcept { (void)begin, (void)bytes; }
};

}  // namespace emoframe
