// Products of fp32, by three products of tf32: see gemm_mainloop.cuh.
#include "gemm_epilogue.cuh"
#include "gemm_kernel.cuh"

namespace emoframe {

void multiplyFp32(const Gemm &gemm, const GemmPlan &plan, const GemmEpilogue &epilogue, Stream &stream) {
  if (plan.cols == 128) {
    launchGemmByLayout<float, 64, 128, 2, false>(gemm, plan, epilogue, stream);
  } else {
    launchGemmByLayout<float, 64, 64, 3, true>(gemm, plan, epilogue, stream);
  }
}

}  // namespace emoframe
