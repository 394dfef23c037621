// Parts run in a process of their own, one after another, so that none can end the others: after one that faults,
// dies or hangs (it is killed then), a new process goes on with the next.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "probe.h"

namespace probe {

struct Device {
  std::string name, problem;  // why there is none; empty: there is one
  int major = 0, minor = 0, multiprocessors = 0, driver = 0, runtime = 0;
};
// Takes the first device, in the worker's process.
Device takeDevice();

// Reports the device, once, and each part's outcome as it comes. False: no device.
bool runParts(const std::vector<Part> &parts, const std::function<Outcome(const Part &)> &run,
              const std::function<void(const Device &)> &onDevice,
              const std::function<void(size_t, const Outcome &)> &onOutcome);

}  // namespace probe
