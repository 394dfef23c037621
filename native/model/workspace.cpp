#include "workspace.h"

#include <algorithm>

#include "../error.h"

namespace emoframe {

namespace {
constexpr size_t kAlignment = 64;
}  // namespace

Workspace::~Workspace() { release(); }

void Workspace::release() noexcept {
  for (const Chunk &chunk : chunks_) backend_.release(chunk.data);
  chunks_.clear();
  chunk_ = used_ = 0;
}

size_t Workspace::size() const {
  size_t held = 0;
  for (const Chunk &chunk : chunks_) held += chunk.size;
  return held;
}

void Workspace::reserve(size_t bytes) {
  peak_ = 0;
  if (chunks_.size() == 1 && chunks_[0].size >= bytes) return;
  release();
  chunks_.push_back({static_cast<char *>(backend_.allocate(bytes)), bytes});
}

void *Workspace::bytes(size_t count) {
  count = (std::max<size_t>(count, 1) + kAlignment - 1) / kAlignment * kAlignment;
  while (chunk_ < chunks_.size()) {
    if (used_ + count <= chunks_[chunk_].size) {
      void *at = chunks_[chunk_].data + used_;
      used_ += count;
      peak_ = std::max(peak_, used_);
      return at;
    }
    ++chunk_;
    used_ = 0;
  }
  const size_t size = std::max({count, smallestChunk_, this->size() / 2});
  chunks_.push_back({static_cast<char *>(backend_.allocate(size)), size});
  used_ = count;
  return chunks_.back().data;
}

View Workspace::tensor(DType dtype, int64_t rows, int64_t cols) {
  return matrix(bytes(sizeOf(dtype) * static_cast<size_t>(rows * cols)), dtype, rows, cols);
}

View Workspace::tensor(DType dtype, int64_t batch, int64_t rows, int64_t cols) {
  return batched(bytes(sizeOf(dtype) * static_cast<size_t>(batch * rows * cols)), dtype, batch, rows, cols, rows * cols,
                 cols);
}

View Workspace::zeros(DType dtype, int64_t rows, int64_t cols) {
  View v = tensor(dtype, rows, cols);
  backend_.run(Fill{v, 0});
  return v;
}

void Workspace::send(void *target, const void *host, size_t bytes) {
  if (bytes == 0) return;
  if (uploadStream_) {
    uploadStream_->upload(target, host, bytes);
  } else {
    backend_.upload(target, host, bytes);
  }
}

const int32_t *Workspace::upload(const std::vector<int32_t> &host) {
  auto *target = static_cast<int32_t *>(bytes(host.size() * sizeof(int32_t)));
  send(target, host.data(), host.size() * sizeof(int32_t));
  return target;
}

const uint8_t *Workspace::upload(const uint8_t *host, int64_t count) {
  auto *target = static_cast<uint8_t *>(bytes(static_cast<size_t>(count)));
  send(target, host, static_cast<size_t>(count));
  return target;
}

View Workspace::upload(const float *host, int64_t count) { return upload({{0, host, count}}, count); }

View Workspace::upload(const std::vector<Part> &parts, int64_t count) {
  const View all = tensor(DType::f32, 1, count);
  const auto floats = [&](int64_t at, const float *host, int64_t n) {
    send(all.at(0, 0, at), host, static_cast<size_t>(n) * sizeof(float));
  };
  std::vector<float> zeros;
  int64_t end = 0;
  const auto zerosUpTo = [&](int64_t next) {
    if (next <= end) return;
    zeros.resize(std::max(zeros.size(), static_cast<size_t>(next - end)), 0.0f);
    floats(end, zeros.data(), next - end);
  };
  for (const Part &part : parts) {
    zerosUpTo(part.at);
    floats(part.at, part.host, part.count);
    end = part.at + part.count;
  }
  zerosUpTo(count);
  return all;
}

void Workspace::reset() {
  if (chunks_.size() > 1) {
    const size_t held = size();
    release();
    try {
      chunks_.push_back({static_cast<char *>(backend_.allocate(held)), held});
    } catch (const Error &error) {
      // There is no longer so much in one piece. What comes now may be smaller.
      if (error.code != "ERR_OUT_OF_MEMORY") throw;
    }
  }
  chunk_ = used_ = 0;
}

}  // namespace emoframe
