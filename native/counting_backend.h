// A backend whose ops do nothing: the same step of the same model runs on it in no time and takes no memory, and what
// it would have taken is counted. For devices whose ops take no memory of the backend's themselves.
#pragma once

#include <cstring>

#include "backend.h"
#include "memory_account.h"

namespace emoframe {

class CountingBackend final : public Backend {
 public:
  CountingBackend(std::string name, std::string path, size_t blockBytes)
      : name_(std::move(name)), path_(std::move(path)), blockBytes_(blockBytes) {}

  std::string name() const override { return name_; }
  std::string path() const override { return path_; }
  size_t blockBytes() const override { return blockBytes_; }

  void *allocate(size_t bytes) override { return memory_.take(bytes); }
  void release(void *pointer) noexcept override { memory_.giveBack(pointer); }
  const void *readable(const void *host) override { return host; }
  bool takeWeight(const View &, uint64_t) override { return false; }
  void discard(void *, size_t) override {}
  void upload(void *, const void *, size_t) override {}
  void download(void *hostTarget, const void *, size_t bytes) override { std::memset(hostTarget, 0, bytes); }
  void synchronize() override {}
  MemoryUse memory() const override {
    MemoryUse use;
    use.held = memory_.account().held();
    use.peak = memory_.account().peak();
    return use;
  }
  std::unique_ptr<Backend> counting() const override {
    return std::make_unique<CountingBackend>(name_, path_, blockBytes_);
  }
  void reserveScratch(size_t) override {}

  void run(const Op &) override {}

 private:
  std::string name_, path_;
  size_t blockBytes_;
  ImaginaryMemory memory_;
};

}  // namespace emoframe
