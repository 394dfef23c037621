// Families that are still to come. A family that arrives deletes its lines; with the last one this file goes.
#include "../error.h"
#include "backend.h"

namespace emoframe {

namespace {
[[noreturn]] void missing(const char *op) {
  throw Error("ERR_INTERNAL", std::string("cuda: ") + op + " is still to come");
}
}  // namespace

// pooling.cu
void CudaBackend::poolForward(const Pooling &) { missing("poolForward"); }
void CudaBackend::poolBackward(const Pooling &, const View &, const View &, const View &) { missing("poolBackward"); }
// losses.cu
void CudaBackend::cosineCrossEntropy(const CosineCrossEntropy &) { missing("cosineCrossEntropy"); }
void CudaBackend::softmaxCrossEntropy(const SoftmaxCrossEntropy &) { missing("softmaxCrossEntropy"); }
// clusters.cu
void CudaBackend::assignClusters(const ClusterAssignment &) { missing("assignClusters"); }

}  // namespace emoframe
