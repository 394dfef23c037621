// The device and its memory. Allocations come from one pool of the backend's own, which keeps what is released for the
// next ones; all go in the order of one stream.
#include "backend.h"

#include <algorithm>
#include <cstring>

#include "../error.h"
#include "status.h"

namespace emoframe {

namespace {

constexpr int oldestMajor = 8;  // sm_80: bf16 tensor cores and cp.async

std::string megabytes(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MB"; }

// "12.4" for 12040.
std::string versionOf(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

// How many devices there are; errors for a machine that has none that could be used.
int countDevices() {
  int driver = 0, runtime = 0, count = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) {
    throw Error("ERR_DEVICE_DRIVER",
                "There is no NVIDIA driver on this machine, or the process cannot see it. Install the driver (in a "
                "container: start it with the GPU passed through), or use device 'cpu'.");
  }
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver || status == cudaErrorSystemDriverMismatch) {
    throw Error("ERR_DEVICE_DRIVER", "The NVIDIA driver is too old: it serves CUDA " + versionOf(driver) +
                                         ", and this build needs CUDA " + versionOf(runtime) +
                                         ". Update the driver, or use device 'cpu'.");
  }
  if (status == cudaErrorNoDevice) return 0;
  check(status);
  return count;
}

}  // namespace

void throwStatus(cudaError_t status) {
  const std::string what = std::string(cudaGetErrorName(status)) + ": " + cudaGetErrorString(status);
  cudaGetLastError();  // forgets it, if it can be forgotten
  if (status == cudaErrorMemoryAllocation) {
    throw Error("ERR_OUT_OF_MEMORY", "The device has no memory left for the driver's own needs (" + what +
                                         "). Use a smaller batch or model, or end other work on the device.");
  }
  throw Error("ERR_DEVICE_FAULT",
              "The device failed (" + what +
                  "). Its work is lost and this process cannot use it any more: start again from the "
                  "last checkpoint. If it fails again at the same place, please report it.");
}

// Two blocks of pinned memory that take turns: while one is on its way to the device, the other is filled.
class CudaBackend::Staging {
 public:
  static constexpr size_t blockBytes = size_t(4) << 20;

  Staging() {
    for (Block &block : blocks_) {
      check(cudaMallocHost(&block.memory, blockBytes));
      check(cudaEventCreateWithFlags(&block.sent, cudaEventDisableTiming));
    }
  }
  ~Staging() {
    for (Block &block : blocks_) {
      if (block.sent) cudaEventDestroy(block.sent);
      if (block.memory) cudaFreeHost(block.memory);
    }
  }
  void send(void *target, const void *source, size_t bytes, cudaStream_t stream) {
    for (size_t at = 0; at < bytes; at += blockBytes) {
      Block &block = blocks_[next_];
      next_ = 1 - next_;
      const size_t part = std::min(blockBytes, bytes - at);
      check(cudaEventSynchronize(block.sent));
      std::memcpy(block.memory, static_cast<const char *>(source) + at, part);
      check(cudaMemcpyAsync(static_cast<char *>(target) + at, block.memory, part, cudaMemcpyHostToDevice, stream));
      check(cudaEventRecord(block.sent, stream));
    }
  }

 private:
  struct Block {
    void *memory = nullptr;
    cudaEvent_t sent = nullptr;
  };
  Block blocks_[2];
  int next_ = 0;
};

CudaBackend::CudaBackend(int32_t index) : index_(index) {
  const int count = countDevices();
  if (index < 0 || index >= count) {
    throw Error("ERR_DEVICE",
                "There is no device 'cuda:" + std::to_string(index) + "': " +
                    (count == 0   ? "the driver sees no GPU. Use 'cpu'."
                     : count == 1 ? "the one GPU is 'cuda:0'."
                                  : "the GPUs are 'cuda:0' to 'cuda:" + std::to_string(count - 1) + "'."));
  }
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index));
  description_ = properties.name;
  multiprocessors_ = properties.multiProcessorCount;
  int pools = 0;
  check(cudaDeviceGetAttribute(&pools, cudaDevAttrMemoryPoolsSupported, index));
  if (properties.major < oldestMajor || !pools) {
    throw Error("ERR_DEVICE_UNSUPPORTED", "Device 'cuda:" + std::to_string(index) + "' (" + description_ +
                                              ", compute capability " + std::to_string(properties.major) + "." +
                                              std::to_string(properties.minor) +
                                              (pools ? ") is too old: capability 8.0 (Ampere) or later is needed."
                                                     : ") has no memory pools, as some virtual GPUs have none.") +
                                              " Use another device, or 'cpu'.");
  }
  check(cudaSetDevice(index));
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  cudaMemPoolProps pool = {};
  pool.allocType = cudaMemAllocationTypePinned;
  pool.location.type = cudaMemLocationTypeDevice;
  pool.location.id = index;
  check(cudaMemPoolCreate(&pool_, &pool));
  uint64_t keepAll = UINT64_MAX;
  check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keepAll));
  staging_ = std::make_unique<Staging>();
}

CudaBackend::~CudaBackend() {
  cudaSetDevice(index_);
  cudaStreamSynchronize(stream_);
  staging_.reset();
  for (const auto &allocation : allocations_) cudaFreeAsync(allocation.first, stream_);
  for (void *block : scratch_) cudaFreeAsync(block, stream_);
  cudaStreamSynchronize(stream_);
  cudaMemPoolDestroy(pool_);
  cudaStreamDestroy(stream_);
}

std::string CudaBackend::name() const { return "cuda:" + std::to_string(index_) + " (" + description_ + ")"; }
std::string CudaBackend::path() const { return "mma"; }

cudaStream_t CudaBackend::stream() const {
  check(cudaSetDevice(index_));
  return stream_;
}

void *CudaBackend::take(size_t bytes) {
  void *pointer = nullptr;
  cudaError_t status = cudaMallocFromPoolAsync(&pointer, std::max<size_t>(bytes, 1), pool_, stream());
  if (status == cudaErrorMemoryAllocation) {
    // What was released may lie in pieces: give it back, and ask once more.
    cudaGetLastError();
    check(cudaStreamSynchronize(stream_));
    check(cudaMemPoolTrimTo(pool_, 0));
    status = cudaMallocFromPoolAsync(&pointer, std::max<size_t>(bytes, 1), pool_, stream_);
  }
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total));
    throw Error("ERR_OUT_OF_MEMORY",
                "Device 'cuda:" + std::to_string(index_) + "' has not enough memory: " + megabytes(bytes) +
                    " needed, " + megabytes(free) + " of " + megabytes(total) + " free, " +
                    megabytes(held_ + scratchBytes_) +
                    " in use here. Use a smaller batch or model, or end other work on the device.");
  }
  check(status);
  return pointer;
}

void *CudaBackend::allocate(size_t bytes) {
  void *pointer = take(bytes);
  allocations_[pointer] = bytes;
  held_ += bytes;
  return pointer;
}

void CudaBackend::release(void *pointer) noexcept {
  const auto found = allocations_.find(pointer);
  if (found == allocations_.end()) return;
  held_ -= found->second;
  allocations_.erase(found);
  cudaSetDevice(index_);
  cudaFreeAsync(pointer, stream_);  // a failure is sticky, and the next op tells it
}

void *CudaBackend::scratch(size_t bytes) {
  if (bytes > scratchBytes_) {
    cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(stream(), &capturing));
    if (capturing != cudaStreamCaptureStatusNone) {
      throw Error("ERR_INTERNAL",
                  "Temporary memory of " + std::to_string(bytes) +
                      " bytes is asked for in a step that is being captured, and which never ran before.");
    }
    const size_t size = std::max(bytes, 2 * scratchBytes_);
    scratch_.push_back(take(size));
    scratchBytes_ = size;
  }
  if (bytes == 0) return nullptr;
#ifdef EMOFRAME_SIMT
  simt::limitMemory(scratch_.back(), bytes);
#endif
  return scratch_.back();
}

void CudaBackend::upload(void *target, const void *hostSource, size_t bytes) {
  if (bytes > 0) staging_->send(target, hostSource, bytes, stream());
}

void CudaBackend::download(void *hostTarget, const void *source, size_t bytes) {
  if (bytes > 0) check(cudaMemcpyAsync(hostTarget, source, bytes, cudaMemcpyDeviceToHost, stream()));
  synchronize();
}

void CudaBackend::synchronize() { check(cudaStreamSynchronize(stream())); }

}  // namespace emoframe
