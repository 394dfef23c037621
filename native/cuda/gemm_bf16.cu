// Products of bf16: see gemm_mainloop.cuh.
#include "gemm_epilogue.cuh"
#include "gemm_kernel.cuh"

namespace emoframe {

void multiplyBf16(const Gemm &gemm, const GemmPlan &plan, const GemmEpilogue &epilogue, Stream &stream) {
  if (plan.rows == 128 && plan.cols == 128) {
    launchGemmByLayout<bf16, 128, 128, 2, false>(gemm, plan, epilogue, stream);
  } else if (plan.rows == 128) {
    launchGemmByLayout<bf16, 128, 64, 3, false>(gemm, plan, epilogue, stream);
  } else if (plan.cols == 128) {
    launchGemmByLayout<bf16, 64, 128, 3, false>(gemm, plan, epilogue, stream);
  } else {
    launchGemmByLayout<bf16, 64, 64, 4, true>(gemm, plan, epilogue, stream);
  }
}

}  // namespace emoframe
