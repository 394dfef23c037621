#include "input_buffers.h"

#include <algorithm>

namespace emoframe {

namespace {
constexpr size_t kSmallestChunk = 64 << 10;
}  // namespace

InputBuffers::Set::Set(Backend &backend)
    : uploadStream(backend.uploadStream()), workspace(backend, uploadStream.get(), kSmallestChunk) {}

void InputBuffers::Set::fill(const Fill &make) {
  uploadStream->begin();  // waits for what was sent, so its memory may be given back
  workspace.reset();
  inputs = make(workspace);
  uploadStream->send();
}

InputBuffers::InputBuffers(Backend &backend, Workspace &arena) : arena_(arena), sets_{Set(backend), Set(backend)} {}

void InputBuffers::prefetch(uint64_t id, const Fill &fill) {
  if (sets() == 0 || id == 0 || id == waiting_) return;
  forget();
  sets_[1 - current_].fill(fill);
  waiting_ = id;
}

// A pass that is not the one that inputs wait for leaves them where they are.
const PassInputs &InputBuffers::take(uint64_t id, const Fill &fill) {
  if (sets() == 0) return sets_[0].inputs = fill(arena_);
  const bool found = id != 0 && id == waiting_;
  if (found || waiting_ == 0) current_ = 1 - current_;
  Set &set = sets_[current_];
  if (found) {
    forget();
  } else {
    set.fill(fill);
  }
  set.uploadStream->await();
  return set.inputs;
}

void InputBuffers::done() noexcept {
  if (sets() > 0) sets_[current_].uploadStream->release();
}

void InputBuffers::forgetStored() {
  if (sets_[1 - current_].inputs.packing.sampleCount == 0) forget();
}

void InputBuffers::reserve(size_t bytes) {
  forget();
  for (Set &set : sets_) {
    if (!set.uploadStream) continue;
    set.uploadStream->wait();
    set.workspace.reserve(bytes);
    set.uploadStream->reserve(bytes);
  }
}

void InputBuffers::release() noexcept {
  forget();
  for (Set &set : sets_) {
    if (!set.uploadStream) continue;
    set.uploadStream->wait();
    set.workspace.release();
  }
}

size_t InputBuffers::size() const { return sets_[0].workspace.size() + sets_[1].workspace.size(); }
size_t InputBuffers::peak() const { return std::max(sets_[0].workspace.peak(), sets_[1].workspace.peak()); }

}  // namespace emoframe
