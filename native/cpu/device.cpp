// Which devices there are, and what this CPU can do.
#include "../error.h"
#include "backend.h"
#include "onednn.h"

namespace emoframe {

namespace {

bool hasAvx512() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

bool hasAvx2() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

}  // namespace

DeviceReport describeCpu() {
  DeviceReport report;
  report.device = "cpu";
  if (onednn::nativeBf16()) report.isa.push_back("avx512_bf16");
  if (hasAvx512()) report.isa.push_back("avx512");
  if (hasAvx2()) report.isa.push_back("avx2");
  report.threads = onednn::availableThreads();
  report.library = "oneDNN " + onednn::version();
  report.bf16 = onednn::nativeBf16();
  return report;
}

std::string CpuBackend::path() const { return hasAvx512() ? "avx512" : hasAvx2() ? "avx2" : "baseline"; }

std::unique_ptr<Backend> createBackend(const std::string &device, int32_t threads) {
  if (device == "cpu") return std::make_unique<CpuBackend>(threads);
  if (device.compare(0, 4, "cuda") == 0) {
    throw Error("ERR_DEVICE",
                "Device '" + device +
                    "' is not there: this build has no CUDA backend. Use 'cpu', the one device of this build.");
  }
  throw Error("ERR_DEVICE", "There is no device '" + device + "'. Use 'cpu', the one device of this build.");
}

}  // namespace emoframe
