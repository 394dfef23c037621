// Which GPUs there are, and a backend's hold of one.
#include <algorithm>
#include <cstring>
#include <sstream>

#include "../error.h"
#include "backend.h"
#include "status.h"

namespace emoframe {

namespace {

constexpr int oldestMajor = 8;  // sm_80: bf16 tensor cores and cp.async

// "12.4" for 12040.
std::string versionOf(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

// The oldest driver that runs what was built with a CUDA of this version: any of the same major version does.
std::string driverFor(int runtime) {
  const int major = runtime / 1000;
  return major == 12 ? " (driver 525 or newer)" : major == 13 ? " (driver 580 or newer)" : "";
}

// How many devices there are; errors for a machine that has none that could be used.
int countDevices() {
  int driver = 0, runtime = 0, count = 0;
  const cudaError_t answer = cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) {
    const std::string why = answer == cudaSuccess ? "" : " (" + describe(answer, "cudaDriverGetVersion") + ")";
    throw Error(
        "ERR_DEVICE_DRIVER",
        "There is no NVIDIA driver on this machine, or the process cannot see it" + why +
            ". Install the driver (in a container: start it with the GPU passed through), or use device 'cpu'.");
  }
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver || status == cudaErrorSystemDriverMismatch) {
    throw Error("ERR_DEVICE_DRIVER", "The NVIDIA driver is too old: it supports CUDA " + versionOf(driver) +
                                         ", and this build needs CUDA " + versionOf(runtime) + driverFor(runtime) +
                                         ". Update the driver, or use device 'cpu'.");
  }
  if (status == cudaErrorNoDevice) return 0;
  check(status, "cudaGetDeviceCount");
  return count;
}

}  // namespace

std::string describe(cudaError_t status, const char *call) {
  return std::string(call, std::strcspn(call, "(")) + ": " + cudaGetErrorName(status) + ": " +
         cudaGetErrorString(status);
}

void throwStatus(cudaError_t status, const char *call) {
  const std::string what = describe(status, call);
  cudaGetLastError();  // forgets it, if it can be forgotten
  if (status == cudaErrorMemoryAllocation) {
    throw Error("ERR_OUT_OF_MEMORY", "The device has no memory left for the driver's own needs (" + what +
                                         "). Use a smaller batch or model, or end other work on the device.");
  }
  if (status == cudaErrorDevicesUnavailable) {
    throw Error("ERR_DEVICE",
                "The GPU exists but is not available now (" + what +
                    "): another process may hold it exclusively. End that, or use another device or 'cpu'.");
  }
  if (status == cudaErrorInitializationError || status == cudaErrorSystemNotReady ||
      status == cudaErrorCompatNotSupportedOnDevice) {
    throw Error("ERR_DEVICE_DRIVER", "The NVIDIA driver does not work (" + what +
                                         "). Check that nvidia-smi works, update the driver, or use device 'cpu'.");
  }
  throw Error("ERR_DEVICE_FAULT",
              "The device failed (" + what +
                  "). Its work is lost and this process cannot use it any more: start again from the "
                  "last training state. If it fails again at the same place, please report it.");
}

CudaReport describeCuda() {
  CudaReport report;
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  report.toolkit = versionOf(runtime);
  if (driver > 0) report.driver = versionOf(driver);
  std::istringstream architectures(EMOFRAME_CUDA_ARCHITECTURES);
  for (std::string one; std::getline(architectures, one, ' ');) report.builtFor.push_back(one);
  try {
    const int count = countDevices();
    if (count == 0) report.reason = "The driver sees no GPU.";
    for (int index = 0; index < count; ++index) {
      cudaDeviceProp properties;
      CHECK_CUDA(cudaGetDeviceProperties(&properties, index));
      int kilohertz = 0;
      CHECK_CUDA(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, index));
      report.devices.push_back({index, properties.name, properties.totalGlobalMem,
                                std::to_string(properties.major) + "." + std::to_string(properties.minor),
                                properties.multiProcessorCount, 1e3 * kilohertz});
    }
  } catch (const Error &error) {
    report.devices.clear();
    report.reason = error.what();
  }
  return report;
}

CudaBackend::CudaBackend(int32_t index, const BackendOptions &options) : index_(index), account_(options.memoryLimit) {
  const int count = countDevices();
  if (index < 0 || index >= count) {
    throw Error("ERR_DEVICE",
                "There is no device 'cuda:" + std::to_string(index) + "': " +
                    (count == 0   ? "the driver sees no GPU. Use 'cpu'."
                     : count == 1 ? "the one GPU is 'cuda:0'."
                                  : "the GPUs are 'cuda:0' to 'cuda:" + std::to_string(count - 1) + "'."));
  }
  cudaDeviceProp properties;
  CHECK_CUDA(cudaGetDeviceProperties(&properties, index));
  description_ = properties.name;
  multiprocessors_ = properties.multiProcessorCount;
  int pools = 0;
  CHECK_CUDA(cudaDeviceGetAttribute(&pools, cudaDevAttrMemoryPoolsSupported, index));
  if (properties.major < oldestMajor || !pools) {
    throw Error("ERR_DEVICE_UNSUPPORTED", "Device 'cuda:" + std::to_string(index) + "' (" + description_ +
                                              ", compute capability " + std::to_string(properties.major) + "." +
                                              std::to_string(properties.minor) +
                                              (pools ? ") is too old: capability 8.0 (Ampere) or later is needed."
                                                     : ") has no memory pools, as some virtual GPUs have none.") +
                                              " Use another device, or 'cpu'.");
  }
  CHECK_CUDA(cudaSetDevice(index));
  requireKernels(properties);
  try {
    stream_ = std::make_unique<Stream>(options.graphs, properties.sharedMemPerBlockOptin);
    openMemory();
  } catch (...) {
    close();
    throw;
  }
}

CudaBackend::~CudaBackend() { close(); }

// What was built is asked of the runtime, which alone knows what runs where.
void CudaBackend::requireKernels(const cudaDeviceProp &properties) const {
  cudaFuncAttributes attributes;
  const cudaError_t status = cudaFuncGetAttributes(&attributes, anyKernel());
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction ||
      status == cudaErrorUnsupportedPtxVersion) {
    cudaGetLastError();
    throw Error("ERR_DEVICE_UNSUPPORTED",
                "Device 'cuda:" + std::to_string(index_) + "' (" + description_ + ", compute capability " +
                    std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                    ") has no kernels in this build, which is for " + EMOFRAME_CUDA_ARCHITECTURES +
                    ". Build for its architecture too (EMOFRAME_CUDA_ARCHITECTURES), or use another device or 'cpu'.");
  }
  check(status, "cudaFuncGetAttributes");
}

CudaBackend::CudaBackend(const CudaBackend &counted, Counting)
    : index_(counted.index_),
      description_(counted.description_),
      multiprocessors_(counted.multiprocessors_),
      stream_(std::make_unique<Stream>(Stream::Nowhere())),
      imaginary_(std::make_unique<ImaginaryMemory>()) {}

void CudaBackend::close() noexcept {
  if (!stream_ || stream_->goesNowhere()) return;
  cudaSetDevice(index_);
  const cudaError_t uploaded = cudaStreamSynchronize(stream_->uploads());
  const cudaError_t done = cudaStreamSynchronize(stream_->handle());
  // Memory that may still be written to is kept for good, as by PinnedMemory.
  if ((uploaded == cudaSuccess && done == cudaSuccess) || cudaDeviceSynchronize() == cudaSuccess) {
    for (const auto &allocation : allocations_) cudaFreeAsync(allocation.first, stream_->handle());
    if (scratch_) cudaFreeAsync(scratch_, stream_->handle());
    cudaStreamSynchronize(stream_->handle());
    if (pool_) cudaMemPoolDestroy(pool_);
  }
  stream_.reset();
}

std::string CudaBackend::name() const { return "cuda:" + std::to_string(index_) + " (" + description_ + ")"; }
std::string CudaBackend::path() const { return "mma"; }

Stream &CudaBackend::stream() {
  if (stream_->goesNowhere()) return *stream_;
  stream_->requireWhole();
  CHECK_CUDA(cudaSetDevice(index_));
  return *stream_;
}

void CudaBackend::synchronize() { stream().wait(); }

void CudaBackend::beginStep() { stream().beginStep(); }
// The step's ops have made the device current. To ask for it again could fail, with the step left to be done by whoever
// comes next.
void CudaBackend::endStep() { stream_->endStep(); }
GraphUse CudaBackend::graphs() const { return stream_->graphs(); }

void CudaBackend::run(const Op &op) {
  op.visit([this](const auto &its) { perform(its); });
}

}  // namespace emoframe
