#include "input_buffers.h"

#include <algorithm>

namespace emoframe {

namespace {
constexpr size_t kSmallestChunk = 64 << 10;
}  // namespace

InputBuffers::Set::Set(Backend &backend, std::unique_ptr<UploadStream> way)
    : uploadStream(std::move(way)), workspace(backend, uploadStream.get(), kSmallestChunk) {}

void InputBuffers::Set::fill(const Fill &make) {
  ticket = 0;
  uploadStream->begin();  // waits for what was sent, so its memory may be given back
  workspace.reset();
  inputs = make(workspace);
  uploadStream->send();
}

InputBuffers::InputBuffers(Backend &backend, Workspace &arena)
    : arena_(arena), sets_{{backend, backend.uploadStream()}, {backend, backend.uploadStream()}} {}

// Not the one that is in use, and rather one that no pass is waiting for.
InputBuffers::Set &InputBuffers::vacant() {
  Set &last = sets_[last_], &other = sets_[1 - last_];
  return busy_ || other.ticket == 0 || last.ticket != 0 ? other : last;
}

void InputBuffers::send(uint64_t ticket, const Fill &fill) {
  if (sets() == 0 || ticket == 0) return;
  Set &set = vacant();
  set.fill(fill);
  set.ticket = ticket;
}

const PassInputs &InputBuffers::take(uint64_t ticket, const Fill &fill) {
  if (sets() == 0) return sets_[0].inputs = fill(arena_);
  Set *set = nullptr;
  for (Set &one : sets_) {
    if (ticket != 0 && one.ticket == ticket) set = &one;
  }
  if (!set) {
    set = &vacant();
    set->fill(fill);
  }
  set->ticket = 0;
  set->uploadStream->await();
  last_ = static_cast<int>(set - sets_);
  busy_ = true;
  return set->inputs;
}

void InputBuffers::done() noexcept {
  if (busy_) sets_[last_].uploadStream->release();
  busy_ = false;
}

void InputBuffers::forget() {
  for (Set &set : sets_) set.ticket = 0;
}

void InputBuffers::forgetStored() {
  for (Set &set : sets_) {
    if (set.inputs.packing.sampleCount == 0) set.ticket = 0;
  }
}

void InputBuffers::reserve(size_t bytes) {
  for (Set &set : sets_) {
    if (!set.uploadStream) continue;
    set.ticket = 0;
    set.uploadStream->wait();
    set.workspace.reserve(bytes);
    set.uploadStream->reserve(bytes);
  }
}

void InputBuffers::release() noexcept {
  for (Set &set : sets_) {
    if (!set.uploadStream) continue;
    set.ticket = 0;
    set.uploadStream->wait();
    set.workspace.release();
  }
}

size_t InputBuffers::size() const { return sets_[0].workspace.size() + sets_[1].workspace.size(); }
size_t InputBuffers::peak() const { return std::max(sets_[0].workspace.peak(), sets_[1].workspace.peak()); }

}  // namespace emoframe
