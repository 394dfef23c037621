// A backend that passes everything on to another: what watches or changes a few of the calls overrides those.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "backend.h"

namespace emoframe {

class WrappedBackend : public Backend {
 public:
  explicit WrappedBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string name() const override { return inner_->name(); }
  std::string path() const override { return inner_->path(); }
  size_t blockBytes() const override { return inner_->blockBytes(); }
  void *allocate(size_t bytes) override { return inner_->allocate(bytes); }
  void release(void *pointer) noexcept override { inner_->release(pointer); }
  const void *readable(const void *host) override { return inner_->readable(host); }
  bool takeWeight(const View &b, uint64_t key) override { return inner_->takeWeight(b, key); }
  bool multipliesTf32() const override { return inner_->multipliesTf32(); }
  void discard(void *pointer, size_t bytes) override { inner_->discard(pointer, bytes); }
  void upload(void *target, const void *source, size_t bytes) override { inner_->upload(target, source, bytes); }
  void download(void *target, const void *source, size_t bytes) override { inner_->download(target, source, bytes); }
  void synchronize() override { inner_->synchronize(); }
  std::unique_ptr<UploadStream> uploadStream() override { return inner_->uploadStream(); }
  void whileWaiting(std::function<void()> idle) override { inner_->whileWaiting(std::move(idle)); }
  MemoryUse memory() const override { return inner_->memory(); }
  std::unique_ptr<Backend> counting() const override { return inner_->counting(); }
  void reserveScratch(size_t bytes) override { inner_->reserveScratch(bytes); }
  void beginStep() override { inner_->beginStep(); }
  void endStep() override { inner_->endStep(); }
  GraphUse graphs() const override { return inner_->graphs(); }
  void run(const Op &op) override { inner_->run(op); }

 protected:
  const std::unique_ptr<Backend> inner_;
};

}  // namespace emoframe
