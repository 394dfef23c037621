// The counts of the runtime that computes nothing, for Node: counts() and reset() of build/null/counts.node, which
// shares that runtime with the addon beside it.
#include <napi.h>

#include "null_cuda.h"

namespace {

Napi::Value counts(const Napi::CallbackInfo &info) {
  const nullcuda::Counts now = nullcuda::counts();
  Napi::Object out = Napi::Object::New(info.Env());
  const auto set = [&](const char *name, double value) { out.Set(name, value); };
  set("kernels", static_cast<double>(now.kernels));
  set("graphs", static_cast<double>(now.graphs));
  set("graphKernels", static_cast<double>(now.graphKernels));
  set("nodeUpdates", static_cast<double>(now.nodeUpdates));
  set("nodeSwitches", static_cast<double>(now.nodeSwitches));
  set("graphsMade", static_cast<double>(now.graphsMade));
  set("nodesMade", static_cast<double>(now.nodesMade));
  set("uploads", static_cast<double>(now.uploads));
  set("uploadedBytes", static_cast<double>(now.uploadedBytes));
  set("downloads", static_cast<double>(now.downloads));
  set("downloadedBytes", static_cast<double>(now.downloadedBytes));
  set("waits", static_cast<double>(now.waits));
  set("allocations", static_cast<double>(now.allocations));
  set("attributes", static_cast<double>(now.attributes));
  set("firstLaunchSeconds", now.firstLaunchSeconds);
  set("lastLaunchSeconds", now.lastLaunchSeconds);
  return out;
}

void reset(const Napi::CallbackInfo &) { nullcuda::reset(); }

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  exports.Set("counts", Napi::Function::New<counts>(env, "counts"));
  exports.Set("reset", Napi::Function::New<reset>(env, "reset"));
  return exports;
}

}  // namespace

NODE_API_MODULE(counts, initialise)
