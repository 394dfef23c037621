// What this CPU can do.
#include "backend.h"
#include "onednn.h"
#include "threads.h"

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
  report.threads = availableThreads();
  report.library = "oneDNN " + onednn::version();
  report.bf16 = onednn::nativeBf16();
  return report;
}

std::string CpuBackend::path() const { return hasAvx512() ? "avx512" : hasAvx2() ? "avx2" : "baseline"; }

void CpuBackend::run(const Op &op) {
  op.visit([this](const auto &its) { perform(its); });
}

}  // namespace emoframe
