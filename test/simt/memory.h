// Emulated memory and what is known of each of its bytes.
//
// Global memory is one range of addresses from which allocations are handed out, each on pages of its own and never
// soon again at the same place, so that a freed one is known as such. An allocation starts 256 bytes into its page: no
// more aligned than a GPU's.
//
// For each byte: whether it was written (or awaits a cp.async). For each pair of bytes: the last writer and the last
// two readers, as Labels. Two accesses of one pair by different threads, at least one a write, must be ordered: by a
// barrier or __syncwarp within a block (clocks.h says how that is known), by the end of the launch between blocks, or
// both be atomic. Accesses of single bytes are not distinguished within a pair and so take no part in that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace simt {

// Block (counted over all launches, from 1), atomic?, thread in the block and its warp's clock, in one word that is
// read and written whole: blocks on two system threads may look at one cell.
struct Label {
  static constexpr uint32_t clockBits = 21, maximalClock = (1u << clockBits) - 1;
  static uint64_t make(uint32_t block, bool atomic, uint32_t thread, uint32_t clock) {
    return uint64_t(block) << 32 | uint64_t(atomic) << 31 | uint64_t(thread) << clockBits | clock;
  }
  static uint32_t block(uint64_t label) { return static_cast<uint32_t>(label >> 32); }
  static bool atomic(uint64_t label) { return label >> 31 & 1; }
  static uint32_t thread(uint64_t label) { return label >> clockBits & 1023; }
  static uint32_t clock(uint64_t label) { return label & maximalClock; }
};

struct Cell {
  uint64_t writer = 0, reader = 0, otherReader = 0;
};

enum Byte : uint8_t { unwritten = 0, written = 1, awaited = 2 };

// What is known of a range of memory.
struct Shadow {
  uint8_t *bytes = nullptr;  // a Byte each
  Cell *cells = nullptr;     // one for two bytes
};

struct Allocation {
  uintptr_t begin = 0;
  size_t size = 0;  // of this, [0, accessible) may be touched
  size_t accessible = 0;
  bool live = false;
  uint64_t number = 0;  // counted from 1
  Shadow shadow;
};

// Null: the device has not so much left.
void *allocateGlobal(size_t bytes);
bool freeGlobal(void *pointer);  // false: no live allocation starts there
size_t globalBytesHeld();
bool isGlobal(const void *address);
// The allocation that has the address, live or freed; null when none ever did.
Allocation *allocationAt(const void *address);
// Bytes within one live allocation, or an explanation.
bool liesInGlobal(const void *address, size_t bytes, std::string *why);
// Cuts the allocation that starts at `begin` down to its first bytes, all unwritten, until it is cut again.
void limitGlobal(const void *begin, size_t bytes);
void markGlobal(const void *address, size_t bytes, Byte state);
void copyMarks(const void *target, const void *source, size_t bytes);
// "allocation 3 (1024 bytes) + 1028"
std::string describe(const void *address);

}  // namespace simt
