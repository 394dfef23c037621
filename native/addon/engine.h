// The JavaScript object NativeEngine of binding.d.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "worker.h"

namespace emoframe::addon {

class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  static Napi::Function define(Napi::Env env);
  // createEngine({ device, threads, memoryLimit, graphs })
  static Napi::Value create(const Napi::CallbackInfo &info);
  explicit EngineObject(const Napi::CallbackInfo &info);

 private:
  // A method of the JavaScript object, which only JavaScript's errors leave.
  template <InstanceMethodCallback method>
  static PropertyDescriptor translated(const char *name) {
    return InstanceMethod<&EngineObject::translate<method>>(name);
  }
  template <InstanceMethodCallback method>
  Napi::Value translate(const Napi::CallbackInfo &info) {
    return translating(info.Env(), [&] { return (this->*method)(info); });
  }

  Napi::Value device(const Napi::CallbackInfo &info);
  Napi::Value path(const Napi::CallbackInfo &info);
  Napi::Value precisions(const Napi::CallbackInfo &info);
  Napi::Value createModel(const Napi::CallbackInfo &info);
  Napi::Value kmeans(const Napi::CallbackInfo &info);
  Napi::Value assign(const Napi::CallbackInfo &info);
  Napi::Value align(const Napi::CallbackInfo &info);
  Napi::Value memory(const Napi::CallbackInfo &info);
  Napi::Value graphs(const Napi::CallbackInfo &info);
  Napi::Value dispose(const Napi::CallbackInfo &info);

  std::shared_ptr<Worker> worker_;
};

}  // namespace emoframe::addon
