// Products of fp32 rounded to tf32, each multiplied once: see gemm_mainloop.cuh. Those of few rows take small tiles, as
// bytes bound them.
#include "gemm_epilogue.cuh"
#include "gemm_kernel.cuh"

namespace emoframe {

void multiplyTf32(const Gemm &gemm, const GemmPlan &plan, const GemmEpilogue &epilogue, Stream &stream) {
  if (plan.rows == 128 && plan.cols == 128) {
    launchGemmByLayout<float, 128, 128, 2, false, Tf32::once>(gemm, plan, epilogue, stream);
  } else if (plan.rows == 128) {
    launchGemmByLayout<float, 128, 64, 2, false, Tf32::once>(gemm, plan, epilogue, stream);
  } else {
    launchGemmByLayout<float, 64, 64, 4, true, Tf32::once>(gemm, plan, epilogue, stream);
  }
}

}  // namespace emoframe
