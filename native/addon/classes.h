// The classes of the addon's objects, one set for each environment (the main thread, each worker thread) that loads it.
// They are defined once: V8 keeps every class that was ever defined, so one an object would be a leak.
#pragma once

#include <napi.h>

namespace emoframe::addon {

struct Classes {
  Napi::FunctionReference engine, model;

  static Classes &of(Napi::Env env) { return *env.GetInstanceData<Classes>(); }
};

}  // namespace emoframe::addon
