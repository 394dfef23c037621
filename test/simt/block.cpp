// The running of one block: scheduling, barriers and collectives.
#include "block.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

namespace simt {

namespace {

thread_local Block *block = nullptr;

std::string text(Triple t) {
  return "(" + std::to_string(t.x) + ", " + std::to_string(t.y) + ", " + std::to_string(t.z) + ")";
}

std::string hexadecimal(uint32_t value) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "0x%08x", value);
  return digits;
}

std::string baseName(const char *file) {
  const char *slash = std::strrchr(file, '/');
  return slash ? slash + 1 : file;
}

std::string explainBarrier(const Thread &thread) {
  return (thread.barrier == 0 ? "__syncthreads" : "barrier " + std::to_string(thread.barrier)) +
         (thread.file ? " at " + baseName(thread.file) + ":" + std::to_string(thread.line) : "");
}

std::string explainCollective(const Thread &thread) {
  return std::string(thread.what) + " of lanes " + hexadecimal(thread.mask);
}

}  // namespace

Block *current() { return block; }

Block::Block() : threads(maximalThreads), sharedBytes_(sharedCapacity), sharedCells_(sharedCapacity / 2) {
  void *memory =
      mmap(nullptr, sharedCapacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  shared = static_cast<unsigned char *>(memory);
}

Block::~Block() { munmap(shared, sharedCapacity); }

uint32_t Block::random() {  // xorshift64*
  randomState_ ^= randomState_ >> 12;
  randomState_ ^= randomState_ << 25;
  randomState_ ^= randomState_ >> 27;
  return static_cast<uint32_t>(randomState_ * 0x2545F4914F6CDD1Dull >> 32);
}

void Block::makeReady(uint32_t rank) {
  threads[rank].state = Thread::State::ready;
  ready_.push_back(rank);
}

bool Block::run(const Launch &its, Triple itsIndex, uint32_t number) {
  launch = &its;
  index = itsIndex;
  number_ = number;
  failure.clear();
  live_ = its.threads;
  ready_.clear();
  readyFirst_ = 0;
  for (Barrier &barrier : barriers_) barrier = {};
  for (uint32_t w = 0; w < warps(); ++w) {
    gatherings_[w].clear();
    for (uint32_t v = 0; v < warps(); ++v) seen_[w][v] = 0;
    seen_[w][w] = 1;
  }
  std::memset(sharedBytes_.data(), unwritten, its.sharedBytes);
  std::memset(shared, 0xFF, its.sharedBytes);
  randomState_ = (settings().seed + 1) * 0x9E3779B97F4A7C15ull ^ (number + 1) * 0xBF58476D1CE4E5B9ull;
  for (int i = 0; i < 4; ++i) random();
  for (uint32_t i = 0; i < its.threads; ++i) {
    Thread &thread = threads[i];
    thread.rank = i;
    thread.index = {i % its.block.x, i / its.block.x % its.block.y, i / its.block.x / its.block.y};
    thread.copies.clear();
    thread.landed = 0;
    thread.committed = 0;
    thread.fibre.prepare(enterThread);
  }
  // Whole warps in a shuffled order, lanes in another: the same as after a barrier.
  for (uint32_t i = 0; i < its.threads; ++i) threads[i].state = Thread::State::waiting, threads[i].barrier = -1;
  release(-1);
  block = this;
  running = &threads[ready_[readyFirst_++]];
  running->fibre.enterFrom(scheduler_);
  running = nullptr;
  block = nullptr;
  return failure.empty();
}

void Block::enterThread() {
  Block &self = *block;
  self.launch->call->run();
  Thread &thread = *self.running;
  thread.state = Thread::State::ended;
  --self.live_;
  // Barriers count the threads that have not ended: this may have been the last one missing.
  if (self.barriers_[0].arrived > 0 && self.barriers_[0].arrived == self.live_) self.complete(0);
  self.leave();
  __builtin_unreachable();
}

void Block::leave() {
  Thread &from = *running;
  if (readyFirst_ < ready_.size()) {
    const uint32_t next = ready_[readyFirst_++];
    if (readyFirst_ == ready_.size()) ready_.clear(), readyFirst_ = 0;
    if (next == from.rank) return;
    running = &threads[next];
    running->fibre.enterFrom(from.fibre);
    return;
  }
  if (live_ > 0 && failure.empty()) failure = deadlock();
  scheduler_.enterFrom(from.fibre);
}

void Block::wait() {
  running->state = Thread::State::waiting;
  leave();
}

void Block::fail(const std::string &what, const void *codeAddress) {
  failure = place(*running) + ": " + what;
  if (codeAddress) failure += ", at " + placeInCode(codeAddress);
  scheduler_.enterFrom(running->fibre);  // and never back
  __builtin_unreachable();
}

std::string Block::place(const Thread &thread) const {
  return "Kernel " + functionAt(launch->call->kernel) + ", block " + text(index) + ", thread " + text(thread.index);
}

// Makes ready all that wait at a barrier, in a shuffled order: warps by one permutation, lanes by another.
void Block::release(int id) {
  uint32_t size = 1;
  while (size < warps()) size *= 2;
  const uint32_t step = random() | 1, start = random(), turn = random() & 31;
  for (uint32_t i = 0; i < size; ++i) {
    const uint32_t warp = (i * step + start) & (size - 1);
    for (uint32_t j = 0; j < 32; ++j) {
      const uint32_t rank = warp * 32 + (j ^ turn);
      if (rank >= launch->threads) continue;
      const Thread &thread = threads[rank];
      if (thread.state == Thread::State::waiting && thread.barrier == id) makeReady(rank);
    }
  }
  if (id >= 0) barriers_[id] = {};
}

void Block::orderWarp(uint32_t warp) {
  if (++seen_[warp][warp] >= Label::maximalClock) fail("more synchronisations than the emulation counts");
}

void Block::barrier(int id, uint32_t expected, const char *file, int line) {
  Thread &me = *running;
  Barrier &barrier = barriers_[id];
  if (barrier.arrived == 0) {
    barrier.expected = expected;
    barrier.file = file;
    barrier.line = line;
  } else if (barrier.expected != expected || barrier.line != line || (file && std::strcmp(barrier.file, file) != 0)) {
    me.barrier = id;
    me.file = file;
    me.line = line;
    Thread other;
    other.barrier = id;
    other.file = barrier.file;
    other.line = barrier.line;
    fail("a divergent barrier: it comes to " + explainBarrier(me) + " while others wait at " + explainBarrier(other) +
         (barrier.expected != expected ? " for another number of threads" : ""));
  }
  me.barrier = id;
  me.file = file;
  me.line = line;
  me.explain = explainBarrier;
  ++barrier.arrived;
  me.state = Thread::State::waiting;
  if (barrier.arrived == (expected == 0 ? live_ : expected)) complete(id);
  leave();
  me.barrier = -1;
}

// All that wait at a barrier see the latest of each other's warps, count on, and become ready.
void Block::complete(int id) {
  bool takesPart[maximalWarps] = {};
  for (uint32_t i = 0; i < launch->threads; ++i) {
    if (threads[i].state == Thread::State::waiting && threads[i].barrier == id) takesPart[i / 32] = true;
  }
  uint32_t latest[maximalWarps] = {};
  for (uint32_t w = 0; w < warps(); ++w) {
    if (!takesPart[w]) continue;
    for (uint32_t v = 0; v < warps(); ++v) latest[v] = std::max(latest[v], seen_[w][v]);
  }
  for (uint32_t w = 0; w < warps(); ++w) {
    if (!takesPart[w]) continue;
    for (uint32_t v = 0; v < warps(); ++v) seen_[w][v] = latest[v];
    orderWarp(w);
  }
  release(id);
}

void Block::collective(const char *what, uint32_t mask, void *arguments, CollectiveBody body) {
  Thread &me = *running;
  const uint32_t lane = me.rank % 32, warp = me.rank / 32, first = warp * 32;
  if (!(mask >> lane & 1)) fail(std::string(what) + " with a mask " + hexadecimal(mask) + " that lacks its own lane");
  me.what = what;
  me.mask = mask;
  me.arguments = arguments;
  me.explain = explainCollective;
  Gathering *gathering = nullptr;
  for (Gathering &one : gatherings_[warp]) {
    if (one.mask == mask && (one.what == what || std::strcmp(one.what, what) == 0)) {
      gathering = &one;
    } else if (one.arrived & mask) {
      fail(std::string("lanes of one warp disagree: it comes to ") + explainCollective(me) + " while others wait at " +
           one.what + " of lanes " + hexadecimal(one.mask));
    }
  }
  if (!gathering) {
    for (uint32_t i = 0; i < 32; ++i) {
      if (!(mask >> i & 1)) continue;
      if (first + i >= launch->threads)
        fail(explainCollective(me) + ", but the block has no lane " + std::to_string(i));
    }
    gatherings_[warp].push_back({what, mask, 0});
    gathering = &gatherings_[warp].back();
  }
  gathering->arrived |= 1u << lane;
  if (gathering->arrived != mask) {
    wait();
    return;
  }
  gatherings_[warp].erase(gatherings_[warp].begin() + (gathering - gatherings_[warp].data()));
  void *lanes[32] = {};
  for (uint32_t i = 0; i < 32; ++i) {
    if (mask >> i & 1) lanes[i] = threads[first + i].arguments;
  }
  body(lanes, mask);
  me.state = Thread::State::waiting;
  const uint32_t turn = random() & 31;
  for (uint32_t j = 0; j < 32; ++j) {
    const uint32_t i = j ^ turn;
    if (mask >> i & 1) makeReady(first + i);
  }
  leave();
}

std::string Block::deadlock() const {
  const Thread *waiting = nullptr;
  uint32_t here = 0, ended = 0;
  for (uint32_t i = 0; i < launch->threads; ++i) {
    const Thread &thread = threads[i];
    if (thread.state == Thread::State::ended) ++ended;
    if (thread.state == Thread::State::waiting && !waiting) waiting = &thread;
  }
  const std::string what = waiting->explain(*waiting);
  const Thread *elsewhere = nullptr;
  for (uint32_t i = 0; i < launch->threads; ++i) {
    const Thread &thread = threads[i];
    if (thread.state != Thread::State::waiting) continue;
    if (thread.explain(thread) == what) {
      ++here;
    } else if (!elsewhere) {
      elsewhere = &thread;
    }
  }
  std::string report = place(*waiting) + ": waits for ever at " + what + ", where " + std::to_string(here) + " of " +
                       std::to_string(launch->threads) + " threads are; " + std::to_string(ended) + " have ended";
  if (elsewhere) report += "; thread " + text(elsewhere->index) + " waits at " + elsewhere->explain(*elsewhere);
  return report;
}

}  // namespace simt
