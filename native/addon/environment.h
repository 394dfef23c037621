// What the addon keeps for each environment that loads it (the main thread, each worker thread).
#pragma once

#include <napi.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "own_memory.h"
#include "releaser.h"

namespace emoframe::addon {

class Worker;

struct Environment {
  // Arrays of at least so many bytes take the event loop a noticeable time to receive and to free.
  static constexpr size_t largeBytes = size_t{1} << 20;

  // The classes of the addon's objects are defined once: V8 keeps every class that was ever defined, so defining them
  // for each object would leak.
  Napi::FunctionReference engine, model;
  // As it was when the addon was loaded, even where tests replace it later.
  Napi::FunctionReference setImmediate;
  // Shared with the memory that it is to release, which may outlive this.
  std::shared_ptr<Releaser> releaser = std::make_shared<Releaser>();
  std::shared_ptr<OwnMemory> ownMemory = std::make_shared<OwnMemory>();
  // Bytes of native memory that typed arrays were made of, ever.
  size_t handedOver = 0;
  // Engines' workers, those included whose threads have ended since.
  std::vector<std::weak_ptr<Worker>> workers;

  void add(const std::shared_ptr<Worker> &worker) {
    workers.erase(std::remove_if(workers.begin(), workers.end(), [](const auto &known) { return known.expired(); }),
                  workers.end());
    workers.push_back(worker);
  }

  static Environment &of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }
};

}  // namespace emoframe::addon
