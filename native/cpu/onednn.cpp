#include "onednn.h"

#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>

#include "../error.h"

namespace emoframe {
namespace onednn {

namespace {

// oneDNN takes as many threads as OpenMP would give the caller. While one of these lives, that is one.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }

 private:
  int before_;
};

}  // namespace

std::string version() {
  const dnnl_version_t *v = dnnl_version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
}

bool nativeBf16() {
  static const bool native = [] {
    const auto isa = static_cast<int>(dnnl::get_effective_cpu_isa());
    const auto bf16 = static_cast<int>(dnnl::cpu_isa::avx512_core_bf16);
    return (isa & bf16) == bf16;  // an instruction set's bits include those of the ones it extends
  }();
  return native;
}

int availableThreads() { return omp_get_max_threads(); }

void sgemm(bool transposeA, bool transposeB, int64_t M, int64_t N, int64_t K, const float *a, int64_t lda, const float *b,
           int64_t ldb, float beta, float *c, int64_t ldc) {
  const OneThread scope;
  const dnnl_status_t status =
      dnnl_sgemm(transposeA ? 'T' : 'N', transposeB ? 'T' : 'N', M, N, K, 1.0f, a, lda, b, ldb, beta, c, ldc);
  if (status == dnnl_success) return;
  throw Error(status == dnnl_out_of_memory ? "ERR_OUT_OF_MEMORY" : "ERR_INTERNAL",
              "oneDNN could not multiply [" + std::to_string(M) + ", " + std::to_string(K) + "] by [" +
                  std::to_string(K) + ", " + std::to_string(N) + "] (status " + std::to_string(status) + ").");
}

}  // namespace onednn
}  // namespace emoframe
