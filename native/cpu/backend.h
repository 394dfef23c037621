// The CPU backend: oneDNN for matrix products, SIMD loops for the rest. One op family a file beside this one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "../backend.h"
#include "../memory_account.h"

namespace emoframe {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const BackendOptions &options);
  ~CpuBackend() override;

  std::string name() const override;
  std::string path() const override;
  void *allocate(size_t bytes) override;
  void release(void *pointer) noexcept override;
  // Half of a large L3: what one op writes the next one finds there.
  size_t blockBytes() const override { return size_t{16} << 20; }
  const void *readable(const void *host) override { return host; }
  bool takeWeight(const View &b, uint64_t key) override;
  void discard(void *pointer, size_t bytes) override;
  void upload(void *target, const void *hostSource, size_t bytes) override;
  void download(void *hostTarget, const void *source, size_t bytes) override;
  void synchronize() override;
  MemoryUse memory() const override;
  std::unique_ptr<Backend> counting() const override;
  void reserveScratch(size_t) override {}  // threads keep their own
  void run(const Op &op) override;

 private:
  // Specialised for each op in the file of its family: an op without one does not link.
  template <typename T>
  void perform(const T &op);

  struct PackedWeights;  // gemm.cpp

  int32_t threads_;
  MemoryAccount account_;
  std::map<const char *, size_t> allocations_;  // by address: which packed weights lie inside
  std::unique_ptr<PackedWeights> packed_;
};

}  // namespace emoframe
