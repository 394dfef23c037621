#include "intake.h"

#include <algorithm>

namespace emoframe {

namespace {
constexpr size_t kSmallestChunk = 64 << 10;
}  // namespace

Intake::Set::Set(Backend &backend, std::unique_ptr<Inlet> way)
    : inlet(std::move(way)), workspace(backend, inlet.get(), kSmallestChunk) {}

void Intake::Set::fill(const Fill &make) {
  ticket = 0;
  inlet->begin();  // waits for what was sent, so its memory may be given back
  workspace.reset();
  inputs = make(workspace);
  inlet->send();
}

Intake::Intake(Backend &backend, Workspace &arena)
    : arena_(arena), sets_{{backend, backend.inlet()}, {backend, backend.inlet()}} {}

// Not the one that is in use, and rather one that no pass is waiting for.
Intake::Set &Intake::vacant() {
  Set &last = sets_[last_], &other = sets_[1 - last_];
  return busy_ || other.ticket == 0 || last.ticket != 0 ? other : last;
}

void Intake::send(uint64_t ticket, const Fill &fill) {
  if (sets() == 0 || ticket == 0) return;
  Set &set = vacant();
  set.fill(fill);
  set.ticket = ticket;
}

const PassInputs &Intake::take(uint64_t ticket, const Fill &fill) {
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
  set->inlet->await();
  last_ = static_cast<int>(set - sets_);
  busy_ = true;
  return set->inputs;
}

void Intake::done() noexcept {
  if (busy_) sets_[last_].inlet->release();
  busy_ = false;
}

void Intake::forget() {
  for (Set &set : sets_) set.ticket = 0;
}

void Intake::forgetStored() {
  for (Set &set : sets_) {
    if (set.inputs.packing.sampleCount == 0) set.ticket = 0;
  }
}

void Intake::reserve(size_t bytes) {
  for (Set &set : sets_) {
    if (!set.inlet) continue;
    set.ticket = 0;
    set.inlet->wait();
    set.workspace.reserve(bytes);
    set.inlet->reserve(bytes);
  }
}

void Intake::release() noexcept {
  for (Set &set : sets_) {
    if (!set.inlet) continue;
    set.ticket = 0;
    set.inlet->wait();
    set.workspace.release();
  }
}

size_t Intake::size() const { return sets_[0].workspace.size() + sets_[1].workspace.size(); }
size_t Intake::peak() const { return std::max(sets_[0].workspace.peak(), sets_[1].workspace.peak()); }

}  // namespace emoframe
