// What is fuzzed of the native code: everything that numbers from outside reach, as the addon hands them on. A target
// takes an input apart and calls; all that may come of it is a result or an Error with a code.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "error.h"
#include "input.h"
#include "model/model.h"

namespace emoframe {
namespace fuzz {

struct Target {
  const char *name;
  void (*run)(Input &);
};
std::vector<Target> &targets();

#define FUZZ(name)                                                                 \
  static void name(Input &input);                                                  \
  static const bool name##Registered = (targets().push_back({#name, name}), true); \
  static void name(Input &input)

// Runs what may be refused. Anything but an Error of a caller's making goes on, and so ends the program.
void attempt(const std::function<void()> &call);

// Of the CPU: with one thread, and no more memory than a tiny model needs.
std::shared_ptr<Backend> smallBackend();

}  // namespace fuzz
}  // namespace emoframe
