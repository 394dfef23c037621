// Weights that are read from a file are garbage as soon as a model has them. V8 frees large arrays of its own on the
// event loop's thread when it begins its next collection, a whole model's at once; these are freed by the releaser.
#include "large_floats.h"

#include <cstdlib>

#include "environment.h"
#include "values.h"
#include "worker.h"

namespace emoframe::addon {

namespace {

// 4 GiB: what is larger, V8 may refuse to make an array of, and the memory would then be freed twice.
constexpr int64_t kMostElements = int64_t{1} << 30;

}  // namespace

Napi::Value largeFloats(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const auto count = static_cast<size_t>(translating(env, [&] {
    const int64_t asked = integer(info[0], "the count of floats");
    if (asked < 0 || asked > kMostElements)
      throw Error("ERR_ARGUMENT", "Expected an integer from 0 to 2^30 for the count of floats.");
    return asked;
  }));
  if (count == 0) return Napi::Float32Array::New(env, 0);
  void *memory = std::calloc(count, sizeof(float));
  if (memory == nullptr) return env.Undefined();
  const std::shared_ptr<void> owned(memory, std::free);
  const Napi::ArrayBuffer buffer = bufferOf(env, owned, count * sizeof(float), true);
  return Napi::Float32Array::New(env, count, buffer, 0);
}

}  // namespace emoframe::addon
