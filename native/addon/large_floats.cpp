// Weights that are read from a file are garbage as soon as a model has them. V8 frees large arrays of its own on the
// event loop's thread when it begins its next collection, a whole model's at once; these are freed by the releaser.
#include "large_floats.h"

#include <cstdlib>

#include "environment.h"

namespace emoframe::addon {

namespace {

struct Owned {
  std::shared_ptr<void> memory;
  std::shared_ptr<Releaser> releaser;
};

}  // namespace

Napi::Value largeFloats(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const auto count = static_cast<size_t>(info[0].As<Napi::Number>().Int64Value());
  void *memory = std::calloc(count, sizeof(float));
  if (memory == nullptr) return env.Undefined();
  auto *owned = new Owned{std::shared_ptr<void>(memory, std::free), Environment::of(env).releaser};
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(
      env, memory, count * sizeof(float),
      [](Napi::Env, void *, Owned *finished) {
        finished->releaser->release(std::move(finished->memory));
        delete finished;
      },
      owned);
  return Napi::Float32Array::New(env, count, buffer, 0);
}

}  // namespace emoframe::addon
