// Single ops with a C interface, for bench/ops.py: a program that times other kernels on memory of its own can give the
// same memory to these. Calls return 0, or -1 with what opsError() says; ops are not waited for.
#include <exception>
#include <memory>
#include <string>

#include "../../native/backend.h"

using namespace emoframe;

namespace {

std::string lastError;

template <typename Call>
int attempt(const Call &call) {
  try {
    call();
    return 0;
  } catch (const std::exception &error) {
    lastError = error.what();
    return -1;
  }
}

// What attention works on; bench/ops.py has the same.
struct AttentionViews {
  View q, k, v, out, logSumExp;
};

Attention attention(const AttentionViews &views, const Segments &segments, int64_t heads) {
  Attention op;
  op.q = views.q;
  op.k = views.k;
  op.v = views.v;
  op.out = views.out;
  op.logSumExp = views.logSumExp;
  op.segments = segments;
  op.heads = heads;
  op.scale = 0.125f;  // of heads of 64
  return op;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT const char *opsError() { return lastError.c_str(); }

// Null when the device cannot be used.
EXPORT Backend *opsCreate(const char *device, int32_t threads) {
  Backend *backend = nullptr;
  attempt([&] { backend = createBackend(device, {threads}).release(); });
  return backend;
}
EXPORT void opsDestroy(Backend *backend) { delete backend; }
EXPORT int opsSynchronize(Backend *backend) {
  return attempt([&] { backend->synchronize(); });
}

// `bias` has no data if there is none; `tf32` is 0 or 1.
EXPORT int opsGemm(Backend *backend, const View *a, const View *b, const View *out, const View *bias, int32_t tf32) {
  return attempt([&] {
    Gemm op;
    op.a = *a;
    op.b = *b;
    op.out = *out;
    op.bias = *bias;
    op.tf32 = tf32 != 0;
    backend->run(op);
  });
}

EXPORT int opsAttentionForward(Backend *backend, const AttentionViews *views, const Segments *segments, int64_t heads) {
  return attempt([&] { backend->run(attention(*views, *segments, heads)); });
}

EXPORT int opsAttentionBackward(Backend *backend, const AttentionViews *views, const Segments *segments, int64_t heads,
                                const View *dOut, const View *dq, const View *dk, const View *dv) {
  return attempt([&] { backend->run(AttentionBackward{attention(*views, *segments, heads), *dOut, *dq, *dk, *dv}); });
}

EXPORT int opsAssignClusters(Backend *backend, const View *x, const View *centroids, int32_t *labels,
                             const View *distance, const View *sums, const View *counts) {
  return attempt([&] {
    AssignClusters op;
    op.x = *x;
    op.centroids = *centroids;
    op.labels = labels;
    op.distance = *distance;
    op.sums = *sums;
    op.counts = *counts;
    backend->run(op);
  });
}
