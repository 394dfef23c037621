// The backend under test: any device of the engine, or "simt" in a program built on the emulation of a GPU (test/simt).
#pragma once

#include <memory>
#include <string>

#include "backend.h"
#ifdef EMOFRAME_SIMT
#include <cuda_runtime.h>
#endif

namespace emoframe {
namespace test {

#ifdef EMOFRAME_SIMT
constexpr const char *usualDevice = "simt";
#else
constexpr const char *usualDevice = "cpu";
#endif

inline std::unique_ptr<Backend> makeBackend(const std::string &device, const BackendOptions &options) {
#ifdef EMOFRAME_SIMT
  if (device == "simt") return createBackend("cuda:0", options);
#endif
  return createBackend(device, options);
}

}  // namespace test
}  // namespace emoframe
