// Host memory, and the backend's identity. Addresses are remembered so that weights packed from a block go with it.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "../counting_backend.h"
#include "../error.h"
#include "backend.h"
#include "onednn.h"
#include "packed.h"
#include "threads.h"

namespace emoframe {

CpuBackend::CpuBackend(const BackendOptions &options)
    : threads_(options.threads != 0 ? options.threads : availableThreads()),
      account_(options.memoryLimit),
      packed_(std::make_unique<PackedWeights>()) {
  startThreads(threads_);
  onednn::makeKernels();
}

CpuBackend::~CpuBackend() {
  for (const auto &allocation : allocations_) std::free(const_cast<char *>(allocation.first));
}

std::string CpuBackend::name() const { return "cpu"; }

void *CpuBackend::allocate(size_t bytes) {
  const size_t rounded = (bytes + 63) / 64 * 64;
  if (account_.limited()) account_.require(rounded);
  void *pointer = rounded < bytes ? nullptr : std::aligned_alloc(64, rounded == 0 ? 64 : rounded);
  if (!pointer) {
    throw Error("ERR_OUT_OF_MEMORY", "Could not allocate " + std::to_string(bytes) +
                                         " bytes of memory. Use a smaller batch or model, or free memory.");
  }
  allocations_[static_cast<const char *>(pointer)] = rounded;
  account_.take(rounded);
  return pointer;
}

void CpuBackend::release(void *pointer) noexcept {
  const auto found = allocations_.find(static_cast<const char *>(pointer));
  if (found == allocations_.end()) return;
  packed_->forget(found->first, found->second);
  account_.giveBack(found->second);
  allocations_.erase(found);
  std::free(pointer);
}

// The address stays the block's; only whole pages can be given back.
void CpuBackend::discard(void *pointer, size_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(pointer) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(pointer) + bytes) / page * page;
  if (begin < end) madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
}

void CpuBackend::upload(void *target, const void *hostSource, size_t bytes) {
  if (bytes > 0) std::memcpy(target, hostSource, bytes);
}

void CpuBackend::download(void *hostTarget, const void *source, size_t bytes) {
  if (bytes > 0) std::memcpy(hostTarget, source, bytes);
}

void CpuBackend::synchronize() {}

MemoryUse CpuBackend::memory() const {
  MemoryUse use;
  use.held = account_.held();
  use.peak = account_.peak();
  if (account_.limited()) use.available = account_.left();
  return use;
}

std::unique_ptr<Backend> CpuBackend::counting() const {
  return std::make_unique<CountingBackend>(name(), path(), blockBytes());
}

}  // namespace emoframe
