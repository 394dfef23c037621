// Memory of one step: a bump arena over Memory::allocate. Nothing in it is freed on its own; `reset` at the start of a
// step takes everything back, `rewind` what came after a mark. Work whose need was planned finds it reserved as one
// chunk. What needs more makes it grow by chunks, and leaves one large chunk behind, so that later steps of the same
// size allocate nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../backend.h"

namespace emoframe {

class Workspace {
 public:
  // What is uploaded goes by the uploadStream, where there is one.
  explicit Workspace(Backend &backend, UploadStream *uploadStream = nullptr, size_t smallestChunk = size_t{4} << 20)
      : backend_(backend), uploadStream_(uploadStream), smallestChunk_(smallestChunk) {}
  ~Workspace();
  Workspace(const Workspace &) = delete;
  Workspace &operator=(const Workspace &) = delete;

  struct Mark {
    size_t chunk, used;
  };

  void *bytes(size_t count);  // 64-byte aligned, not cleared
  View tensor(DType dtype, int64_t rows, int64_t cols);
  View tensor(DType dtype, int64_t batch, int64_t rows, int64_t cols);
  View zeros(DType dtype, int64_t rows, int64_t cols);
  // A copy of `host` in backend memory.
  const int32_t *upload(const std::vector<int32_t> &host);
  const uint8_t *upload(const uint8_t *host, int64_t count);
  View upload(const float *host, int64_t count);  // f32 [1, count]
  // f32 [1, count]: parts that the host has, in the order of their places, and zeros between and behind them.
  struct Part {
    int64_t at;
    const float *host;
    int64_t count;
  };
  View upload(const std::vector<Part> &parts, int64_t count);

  Mark mark() const { return {chunk_, used_}; }
  void rewind(const Mark &mark) {
    chunk_ = mark.chunk;
    used_ = mark.used;
  }
  void reset();
  void reserve(size_t bytes);            // one chunk of at least so many, in place of what there is
  void release() noexcept;               // gives all memory back
  size_t size() const;                   // bytes held
  size_t peak() const { return peak_; }  // most that was in use at once since the last reserve

 private:
  struct Chunk {
    char *data;
    size_t size;
  };
  void send(void *target, const void *host, size_t bytes);

  Backend &backend_;
  UploadStream *uploadStream_;
  size_t smallestChunk_;
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0, used_ = 0, peak_ = 0;
};

// Rewinds when it goes out of scope: what was allocated since is temporary.
class Scratch {
 public:
  explicit Scratch(Workspace &workspace) : workspace_(workspace), mark_(workspace.mark()) {}
  ~Scratch() { workspace_.rewind(mark_); }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;

 private:
  Workspace &workspace_;
  Workspace::Mark mark_;
};

}  // namespace emoframe
