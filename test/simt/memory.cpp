#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "simt.h"

namespace simt {

namespace {

constexpr size_t pageBytes = 4096, firstByte = 256;
constexpr size_t arenaBytes = size_t(64) << 30;

void *reserve(size_t bytes) {
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return memory;
}

struct Arena {
  std::mutex mutex;
  uintptr_t base = reinterpret_cast<uintptr_t>(reserve(arenaBytes));
  Allocation **pages = static_cast<Allocation **>(reserve(arenaBytes / pageBytes * sizeof(Allocation *)));
  std::deque<Allocation> all;
  std::map<size_t, size_t> taken;  // live pages: first → past the last
  size_t next = 0, held = 0;
  uint64_t count = 0;
};

Arena &arena() {
  static Arena *one = new Arena;  // never destroyed: memory may be freed after main
  return *one;
}

// Shadows are kept for later allocations, by the power of two that is their size: fresh pages are dear. What their
// cells say of earlier launches means nothing in a later one.
struct Shelf {
  size_t capacity = 0;
  std::vector<Shadow> free;
};

Shelf &shelfFor(size_t bytes) {
  static Shelf shelves[48];
  int power = 6;
  while ((size_t(1) << power) < bytes + 16) ++power;
  shelves[power].capacity = size_t(1) << power;
  return shelves[power];
}

Shadow takeShadow(size_t bytes) {
  Shelf &shelf = shelfFor(bytes);
  if (shelf.free.empty()) {
    return {static_cast<uint8_t *>(reserve(shelf.capacity)),
            static_cast<Cell *>(reserve(shelf.capacity / 2 * sizeof(Cell)))};
  }
  const Shadow shadow = shelf.free.back();
  shelf.free.pop_back();
  std::memset(shadow.bytes, unwritten, bytes);
  return shadow;
}

}  // namespace

bool isGlobal(const void *address) { return reinterpret_cast<uintptr_t>(address) - arena().base < arenaBytes; }

void *allocateGlobal(size_t bytes) {
  Arena &a = arena();
  const std::lock_guard<std::mutex> lock(a.mutex);
  if (bytes > settings().memoryBytes || a.held + bytes > settings().memoryBytes) return nullptr;
  const size_t pages = (firstByte + bytes + pageBytes - 1) / pageBytes + 1;  // and one that nobody has
  const size_t all = arenaBytes / pageBytes;
  for (int turns = 0;; ++turns) {
    if (a.next + pages > all) a.next = 0;
    // The first live allocation that ends after `next`.
    auto after = a.taken.upper_bound(a.next);
    if (after != a.taken.begin() && std::prev(after)->second > a.next) --after;
    if (after == a.taken.end() || after->first >= a.next + pages) break;
    a.next = after->second;
    if (turns > 1000000) return nullptr;
  }
  a.all.emplace_back();
  Allocation &made = a.all.back();
  made.begin = a.base + a.next * pageBytes + firstByte;
  made.size = made.accessible = bytes;
  made.live = true;
  made.number = ++a.count;
  made.shadow = takeShadow(bytes);
  for (size_t i = 0; i < pages; ++i) a.pages[a.next + i] = &made;
  a.taken[a.next] = a.next + pages;
  a.next += pages;
  a.held += bytes;
  std::memset(reinterpret_cast<void *>(made.begin), 0xFF, bytes);  // NaN, as f32 and as bf16
  return reinterpret_cast<void *>(made.begin);
}

bool freeGlobal(void *pointer) {
  Arena &a = arena();
  Allocation *found = allocationAt(pointer);
  const std::lock_guard<std::mutex> lock(a.mutex);
  if (!found || !found->live || found->begin != reinterpret_cast<uintptr_t>(pointer)) return false;
  found->live = false;
  shelfFor(found->size).free.push_back(found->shadow);
  found->shadow = {};
  const uintptr_t page = found->begin - firstByte;
  madvise(reinterpret_cast<void *>(page), firstByte + found->size, MADV_DONTNEED);
  a.taken.erase((page - a.base) / pageBytes);
  a.held -= found->size;
  return true;
}

size_t globalBytesHeld() { return arena().held; }

Allocation *allocationAt(const void *address) {
  Arena &a = arena();
  const uintptr_t offset = reinterpret_cast<uintptr_t>(address) - a.base;
  return offset < arenaBytes ? a.pages[offset / pageBytes] : nullptr;
}

bool liesInGlobal(const void *address, size_t bytes, std::string *why) {
  const Allocation *found = allocationAt(address);
  const uintptr_t at = reinterpret_cast<uintptr_t>(address);
  if (!found) {
    if (why) *why = isGlobal(address) ? "no allocation was ever there" : "it is not memory of the device";
    return false;
  }
  if (!found->live) {
    if (why) *why = "it was freed";
    return false;
  }
  if (at < found->begin || bytes > found->accessible || at - found->begin > found->accessible - bytes) {
    if (why) *why = "it is out of bounds";
    return false;
  }
  return true;
}

void limitGlobal(const void *begin, size_t bytes) {
  Allocation *found = allocationAt(begin);
  if (!found || !found->live || found->begin != reinterpret_cast<uintptr_t>(begin)) return;
  found->accessible = std::min(bytes, found->size);
  std::memset(found->shadow.bytes, unwritten, found->size);
  std::memset(reinterpret_cast<void *>(found->begin), 0xFF, found->accessible);
}

void markGlobal(const void *address, size_t bytes, Byte state) {
  Allocation *found = allocationAt(address);
  if (!found || !found->live) return;
  std::memset(found->shadow.bytes + (reinterpret_cast<uintptr_t>(address) - found->begin), state, bytes);
}

void copyMarks(const void *target, const void *source, size_t bytes) {
  Allocation *to = allocationAt(target), *from = allocationAt(source);
  std::memmove(to->shadow.bytes + (reinterpret_cast<uintptr_t>(target) - to->begin),
               from->shadow.bytes + (reinterpret_cast<uintptr_t>(source) - from->begin), bytes);
}

std::string describe(const void *address) {
  const Allocation *found = allocationAt(address);
  if (!found) return "address outside the device's memory";
  const auto offset = static_cast<int64_t>(reinterpret_cast<uintptr_t>(address) - found->begin);
  return "allocation " + std::to_string(found->number) + " (" + std::to_string(found->accessible) + " bytes" +
         (found->live ? "" : ", freed") + ") " + (offset < 0 ? "- " : "+ ") +
         std::to_string(offset < 0 ? -offset : offset);
}

}  // namespace simt
