// What the CUDA runtime that computes nothing was asked for (runtime.cpp), since the last reset.
#pragma once

#include <cstdint>

namespace nullcuda {

struct Counts {
  uint64_t kernels = 0;       // launched one by one
  uint64_t graphs = 0;        // launched
  uint64_t graphKernels = 0;  // done by those
  uint64_t nodeUpdates = 0;   // kernel nodes that were given other parameters
  uint64_t nodeSwitches = 0;  // nodes that were switched on or off
  uint64_t graphsMade = 0;    // instantiated
  uint64_t nodesMade = 0;     // in those
  uint64_t uploads = 0;       // copies to the device
  uint64_t uploadedBytes = 0;
  uint64_t downloads = 0;  // copies from it
  uint64_t downloadedBytes = 0;
  uint64_t waits = 0;        // of the host for a stream, by synchronisation or download, where there was work in it
  uint64_t allocations = 0;  // of the device's memory
  uint64_t attributes = 0;   // cudaFuncSetAttribute
  // From the end of such a wait to the first launch after it, when the device would have nothing to do, and to the last
  // one before the next wait, when it has been given all.
  double firstLaunchSeconds = 0, lastLaunchSeconds = 0;
};

Counts counts();
void reset();

}  // namespace nullcuda
