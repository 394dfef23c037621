// What the addon keeps for each environment that loads it (the main thread, each worker thread).
#pragma once

#include <napi.h>

#include <memory>

#include "releaser.h"

namespace emoframe::addon {

struct Environment {
  // The classes of the addon's objects are defined once: V8 keeps every class that was ever defined, so one an object
  // would be a leak.
  Napi::FunctionReference engine, model;
  // Shared with the memory that it is to release, which may outlive this.
  std::shared_ptr<Releaser> releaser = std::make_shared<Releaser>();

  static Environment &of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }
};

}  // namespace emoframe::addon
