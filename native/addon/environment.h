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

// An ArrayBuffer of all the bytes of memory that the addon made. What is large is known as such to work that is given a
// part of it, and is freed by the releaser when the array goes.
inline Napi::ArrayBuffer bufferOf(Napi::Env env, std::shared_ptr<void> memory, size_t bytes, bool large) {
  // The releaser and the list may outlive the environment.
  struct Owned {
    std::shared_ptr<void> memory;
    std::shared_ptr<Releaser> releaser;  // null: it is small
    std::shared_ptr<OwnMemory> ownMemory;
  };
  const Environment &environment = Environment::of(env);
  if (large) environment.ownMemory->add(memory, bytes);
  void *const begin = memory.get();
  auto *owned = new Owned{std::move(memory), large ? environment.releaser : nullptr, environment.ownMemory};
  return Napi::ArrayBuffer::New(
      env, begin, bytes,
      [](Napi::Env, void *, Owned *finished) {
        if (finished->releaser) {
          finished->ownMemory->forget(finished->memory.get());
          finished->releaser->release(std::move(finished->memory));
        }
        delete finished;
      },
      owned);
}

}  // namespace emoframe::addon
