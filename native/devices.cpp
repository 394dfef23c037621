// Which backend serves a device's name.
#include <cstdlib>

#include "cpu/backend.h"
#include "error.h"
#ifdef EMOFRAME_CUDA
#include "cuda/backend.h"
#endif

namespace emoframe {

namespace {

const std::string known =
#ifdef EMOFRAME_CUDA
    "Use 'cpu', or 'cuda:0', 'cuda:1' ... for an NVIDIA GPU.";
#else
    "Use 'cpu', the one device of this build.";
#endif

}  // namespace

#ifndef EMOFRAME_CUDA
CudaReport describeCuda() {
  CudaReport report;
  report.reason = "This build has no CUDA backend.";
  return report;
}
#endif

std::unique_ptr<Backend> createBackend(const std::string &device, const BackendOptions &options) {
  if (device == "cpu") return std::make_unique<CpuBackend>(options);
  if (device == "cuda" || device.compare(0, 5, "cuda:") == 0) {
#ifdef EMOFRAME_CUDA
    const std::string index = device.size() > 5 ? device.substr(5) : "";
    if (!index.empty() && index.size() <= 4 && index.find_first_not_of("0123456789") == std::string::npos) {
      return std::make_unique<CudaBackend>(static_cast<int32_t>(std::strtol(index.c_str(), nullptr, 10)), options);
    }
#else
    throw Error("ERR_DEVICE", "Device '" + device + "' is not there: this build has no CUDA backend. " + known);
#endif
  }
  throw Error("ERR_DEVICE", "There is no device '" + device + "'. " + known);
}

}  // namespace emoframe
