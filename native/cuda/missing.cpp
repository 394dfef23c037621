// Families that are still to come. A family that arrives deletes its lines; with the last one this file goes.
#include "../error.h"
#include "backend.h"

namespace emoframe {

namespace {
[[noreturn]] void missing(const char *op) {
  throw Error("ERR_INTERNAL", std::string("cuda: ") + op + " is still to come");
}
}  // namespace

// gemm.cu
void CudaBackend::gemm(const Gemm &) { missing("gemm"); }
// conv0.cu
void CudaBackend::windowCovariance(const Conv0 &, const View &, const View &) { missing("windowCovariance"); }
void CudaBackend::foldGroupNorm(const View &, const View &, const View &, float, const View &, const View &,
                                const View &, const View &) {
  missing("foldGroupNorm");
}
void CudaBackend::conv0Forward(const Conv0 &, const View &) { missing("conv0Forward"); }
void CudaBackend::conv0Backward(const Conv0 &, const View &, const View &, const View &) { missing("conv0Backward"); }
void CudaBackend::foldGroupNormBackward(const View &, const View &, float, const View &, const View &,
                                        const std::vector<int64_t> &, const View &, const View &, const View &,
                                        const View &, const View &) {
  missing("foldGroupNormBackward");
}
// weight_norm.cu
void CudaBackend::weightNormForward(const View &, const View &, int64_t, int64_t, const View &, const View &) {
  missing("weightNormForward");
}
void CudaBackend::weightNormBackward(const View &, const View &, int64_t, const View &, const View &, const View &) {
  missing("weightNormBackward");
}
// attention.cu
void CudaBackend::attentionForward(const Attention &) { missing("attentionForward"); }
void CudaBackend::attentionBackward(const Attention &, const AttentionGradient &) { missing("attentionBackward"); }
// norm.cu
void CudaBackend::addNormForward(const AddNorm &) { missing("addNormForward"); }
void CudaBackend::addNormBackward(const AddNorm &, const AddNormGradient &) { missing("addNormBackward"); }
// pooling.cu
void CudaBackend::poolForward(const Pooling &) { missing("poolForward"); }
void CudaBackend::poolBackward(const Pooling &, const View &, const View &, const View &) { missing("poolBackward"); }
// losses.cu
void CudaBackend::cosineCrossEntropy(const CosineCrossEntropy &) { missing("cosineCrossEntropy"); }
void CudaBackend::softmaxCrossEntropy(const SoftmaxCrossEntropy &) { missing("softmaxCrossEntropy"); }
// clusters.cu
void CudaBackend::assignClusters(const ClusterAssignment &) { missing("assignClusters"); }
// optimiser.cu
void CudaBackend::adamW(const AdamW &, const std::vector<AdamWTensor> &) { missing("adamW"); }

}  // namespace emoframe
