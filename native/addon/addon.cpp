// Registers what binding.d.ts promises.
#include <napi.h>

#include "backend.h"
#include "engine.h"
#include "environment.h"
#include "file_lock.h"
#include "large_floats.h"
#include "model.h"
#include "worker.h"

namespace emoframe::addon {

namespace {

Napi::Value describe(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const DeviceReport report = describeCpu();
  Napi::Object cpu = Napi::Object::New(env);
  Napi::Array isa = Napi::Array::New(env, report.isa.size());
  for (uint32_t i = 0; i < report.isa.size(); ++i) isa.Set(i, report.isa[i]);
  cpu.Set("isa", isa);
  cpu.Set("bf16", report.bf16);
  cpu.Set("threads", report.threads);
  cpu.Set("library", report.library);

  const CudaReport gpus = describeCuda();
  Napi::Object cuda = Napi::Object::New(env);
  Napi::Array builtFor = Napi::Array::New(env, gpus.builtFor.size());
  for (uint32_t i = 0; i < gpus.builtFor.size(); ++i) builtFor.Set(i, gpus.builtFor[i]);
  Napi::Array devices = Napi::Array::New(env, gpus.devices.size());
  for (uint32_t i = 0; i < gpus.devices.size(); ++i) {
    Napi::Object device = Napi::Object::New(env);
    device.Set("index", gpus.devices[i].index);
    device.Set("name", gpus.devices[i].name);
    device.Set("memoryBytes", static_cast<double>(gpus.devices[i].memoryBytes));
    device.Set("capability", gpus.devices[i].capability);
    device.Set("multiprocessors", gpus.devices[i].multiprocessors);
    device.Set("clockHertz", gpus.devices[i].clockHertz);
    devices.Set(i, device);
  }
  cuda.Set("builtFor", builtFor);
  if (!gpus.toolkit.empty()) cuda.Set("toolkit", gpus.toolkit);
  cuda.Set("devices", devices);
  if (!gpus.driver.empty()) cuda.Set("driver", gpus.driver);
  if (!gpus.reason.empty()) cuda.Set("reason", gpus.reason);

  Napi::Array backends = Napi::Array::New(env);
  backends.Set(0u, "cpu");
  if (!gpus.builtFor.empty()) backends.Set(1u, "cuda");
  Napi::Object out = Napi::Object::New(env);
  out.Set("backends", backends);
  out.Set("cpu", cpu);
  out.Set("cuda", cuda);
  return out;
}

void endEngines(const Napi::CallbackInfo &info) {
  for (const std::weak_ptr<Worker> &known : Environment::of(info.Env()).workers)
    if (const std::shared_ptr<Worker> worker = known.lock()) worker->end();
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  auto *environment = new Environment();
  environment->engine = Napi::Persistent(EngineObject::define(env));
  environment->model = Napi::Persistent(ModelObject::define(env));
  environment->setImmediate = Napi::Persistent(env.Global().Get("setImmediate").As<Napi::Function>());
  env.SetInstanceData(environment);
  exports.Set("describe", Napi::Function::New<describe>(env, "describe"));
  exports.Set("createEngine", Napi::Function::New<EngineObject::create>(env, "createEngine"));
  exports.Set("endEngines", Napi::Function::New<endEngines>(env, "endEngines"));
  exports.Set("largeFloats", Napi::Function::New<largeFloats>(env, "largeFloats"));
  exports.Set("lockFile", Napi::Function::New<lockFile>(env, "lockFile"));
  return exports;
}

}  // namespace

NODE_API_MODULE(emoframe, initialise)

}  // namespace emoframe::addon
