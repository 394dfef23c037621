// Families that are still to come. A family that arrives deletes its lines; with the last one this file goes.
#include "../error.h"
#include "backend.h"

namespace emoframe {

namespace {
[[noreturn]] void missing(const char *op) {
  throw Error("ERR_INTERNAL", std::string("cuda: ") + op + " is still to come");
}
}  // namespace

// clusters.cu
void CudaBackend::assignClusters(const ClusterAssignment &) { missing("assignClusters"); }

}  // namespace emoframe
