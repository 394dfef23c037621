// The checks of a block's accesses, and its cp.async.
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "block.h"

namespace simt {

namespace {

// Whether the address lies in what the program was loaded from: constants are.
bool isInProgram(uintptr_t address, bool writable) {
  struct Query {
    uintptr_t address;
    bool writable, found;
  } query{address, writable, false};
  dl_iterate_phdr(
      [](dl_phdr_info *info, size_t, void *data) {
        auto &q = *static_cast<Query *>(data);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto &part = info->dlpi_phdr[i];
          if (part.p_type == PT_LOAD && q.address - (info->dlpi_addr + part.p_vaddr) < part.p_memsz) {
            q.found = !q.writable;
          }
        }
        return 0;
      },
      &query);
  return query.found;
}

uintptr_t programBase() {
  uintptr_t base = 0;
  dl_iterate_phdr(
      [](dl_phdr_info *info, size_t, void *data) {
        *static_cast<uintptr_t *>(data) = info->dlpi_addr;
        return 1;  // the first one is the program
      },
      &base);
  return base;
}

// Two lines of addr2line: function, file:line.
bool lookUp(const void *address, std::string *function, std::string *place) {
  char command[128];
  std::snprintf(command, sizeof command, "addr2line -Cfe /proc/%d/exe 0x%zx 2>/dev/null", static_cast<int>(getpid()),
                static_cast<size_t>(reinterpret_cast<uintptr_t>(address) - programBase()));
  FILE *pipe = popen(command, "r");
  if (!pipe) return false;
  char line[4096];
  std::string lines[2];
  for (std::string &one : lines) {
    if (!std::fgets(line, sizeof line, pipe)) break;
    one = line;
    while (!one.empty() && one.back() == '\n') one.pop_back();
  }
  pclose(pipe);
  *function = lines[0];
  *place = lines[1].substr(lines[1].rfind('/') + 1);
  return !lines[0].empty() && lines[0][0] != '?';
}

const char *verb(Access access) {
  return access == Access::read ? "reads" : access == Access::write ? "writes" : "updates atomically";
}

}  // namespace

std::string placeInCode(const void *address) {
  std::string function, place;
  // A return address: the call before it is meant.
  if (lookUp(static_cast<const char *>(address) - 1, &function, &place) && place[0] != '?') return place;
  char text[32];
  std::snprintf(text, sizeof text, "%p", address);
  return text;
}

std::string functionAt(const void *address) {
  std::string function, place;
  if (!lookUp(address, &function, &place)) return placeInCode(address);
  for (const char *noise : {"emoframe::", "(anonymous namespace)::"}) {
    for (size_t at; (at = function.find(noise)) != std::string::npos;) function.erase(at, std::strlen(noise));
  }
  return function.substr(0, function.find('('));
}

std::string Block::nameOf(const void *address) const {
  const uintptr_t offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(shared);
  if (offset < sharedCapacity) {
    return "shared memory (" + std::to_string(launch->sharedBytes) + " bytes) + " + std::to_string(offset);
  }
  return describe(address);
}

bool Block::ordered(uint64_t past, uint32_t thread, bool atomic, bool isShared) const {
  const uint32_t itsBlock = Label::block(past);
  if (itsBlock != number_) {
    // Another block: of an earlier launch, or of this one and then never ordered.
    return isShared || itsBlock < launch->firstBlock || (atomic && Label::atomic(past));
  }
  const uint32_t other = Label::thread(past);
  if (other == thread || (atomic && Label::atomic(past))) return true;
  const uint32_t seen = seen_[thread / 32][other / 32];
  return other / 32 == thread / 32 ? Label::clock(past) < seen : Label::clock(past) <= seen;
}

void Block::check(Thread &thread, const void *address, size_t size, Access access, const void *codeAddress) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  if (thread.fibre.owns(at)) return;
  const uintptr_t inShared = at - reinterpret_cast<uintptr_t>(shared);
  if (inShared < sharedCapacity) {
    if (inShared + size > launch->sharedBytes) {
      fail(std::string(verb(access)) + " " + std::to_string(size) + " bytes at " + nameOf(address) +
               ", which is out of bounds",
           codeAddress);
    }
    checkCells(thread, {sharedBytes_.data(), sharedCells_.data()}, inShared, size, access, address, true, codeAddress);
    return;
  }
  const Allocation *allocation = allocationAt(address);
  if (allocation && allocation->live && at >= allocation->begin &&
      at - allocation->begin + size <= allocation->accessible) {
    checkCells(thread, allocation->shadow, at - allocation->begin, size, access, address, false, codeAddress);
    return;
  }
  if (!isGlobal(address)) {
    if (access == Access::read && at - reinterpret_cast<uintptr_t>(launch->call) < launch->call->bytes) return;
    if (isInProgram(at, access != Access::read)) return;
  }
  std::string why;
  liesInGlobal(address, size, &why);
  fail(std::string(verb(access)) + " " + std::to_string(size) + " bytes at " + nameOf(address) + ": " + why,
       codeAddress);
}

void Block::checkCells(Thread &thread, Shadow shadow, size_t offset, size_t size, Access access, const void *address,
                       bool isShared, const void *codeAddress) {
  uint8_t *bytes = shadow.bytes + offset;
  if (access != Access::write) {
    size_t known = 0;  // bytes that were written, in words where that can be seen at once
    for (uint64_t eight; known + 8 <= size; known += 8) {
      std::memcpy(&eight, bytes + known, 8);
      if (eight != 0x0101010101010101ull) break;
    }
    while (known < size && bytes[known] == written) ++known;
    if (known < size) {
      fail(std::string(verb(access)) + " " + std::to_string(size) + " bytes at " + nameOf(address) +
               (bytes[known] == awaited ? ", whose cp.async has not been waited for"
                                        : ", which were never written (byte " + std::to_string(known) + " of them)"),
           codeAddress);
    }
  } else {
    std::memset(bytes, written, size);
  }
  if (size == 1) return;
  const bool atomic = access == Access::atomic;
  const uint64_t mine = Label::make(number_, atomic, thread.rank, seen_[thread.rank / 32][thread.rank / 32]);
  const auto race = [&](uint64_t other, const char *did) {
    const uint32_t rank = Label::thread(other);
    const Triple shape = launch->block;
    std::string who = Label::block(other) == number_
                          ? "thread (" + std::to_string(rank % shape.x) + ", " +
                                std::to_string(rank / shape.x % shape.y) + ", " +
                                std::to_string(rank / shape.x / shape.y) + ")"
                          : "another block (number " + std::to_string(Label::block(other) - launch->firstBlock) + ")";
    fail("a race: " + std::string(verb(access)) + " " + std::to_string(size) + " bytes at " + nameOf(address) +
             ", which " + who + " " + did + " with nothing to order the two",
         codeAddress);
  };
  uint64_t fine = 0;  // a label that was found to be ordered before this access: often that of all cells
  for (Cell *cell = shadow.cells + offset / 2, *end = shadow.cells + (offset + size + 1) / 2; cell < end; ++cell) {
    const uint64_t writer = __atomic_load_n(&cell->writer, __ATOMIC_RELAXED);
    if (writer != fine && writer != mine) {
      if (!ordered(writer, thread.rank, atomic, isShared)) race(writer, "wrote");
      fine = writer;
    }
    const uint64_t reader = __atomic_load_n(&cell->reader, __ATOMIC_RELAXED);
    if (access == Access::read) {
      if (reader == mine) continue;
      if ((reader ^ mine) >> 32 != 0 || Label::thread(reader) != thread.rank) {
        __atomic_store_n(&cell->otherReader, reader, __ATOMIC_RELAXED);
      }
      __atomic_store_n(&cell->reader, mine, __ATOMIC_RELAXED);
      continue;
    }
    if (reader != 0 && !ordered(reader, thread.rank, atomic, isShared)) race(reader, "read");
    const uint64_t otherReader = __atomic_load_n(&cell->otherReader, __ATOMIC_RELAXED);
    if (otherReader != 0 && !ordered(otherReader, thread.rank, atomic, isShared)) race(otherReader, "read");
    __atomic_store_n(&cell->writer, mine, __ATOMIC_RELAXED);
  }
}

void Block::copyAsync(void *target, const void *source, int size, int sourceSize, const void *codeAddress) {
  Thread &me = *running;
  const auto offset = reinterpret_cast<uintptr_t>(target) - reinterpret_cast<uintptr_t>(shared);
  if (offset >= sharedCapacity) fail("cp.async to an address that is not in shared memory", codeAddress);
  if (offset % size != 0 || (sourceSize > 0 && reinterpret_cast<uintptr_t>(source) % size != 0)) {
    fail("cp.async of " + std::to_string(size) + " bytes between addresses that are not aligned to as many",
         codeAddress);
  }
  Copy copy{static_cast<unsigned char *>(target), size, me.committed, {}};
  if (sourceSize > 0) {
    check(me, source, static_cast<size_t>(sourceSize), Access::read, codeAddress);
    std::memcpy(copy.data, source, static_cast<size_t>(sourceSize));
  }
  check(me, target, static_cast<size_t>(size), Access::write, codeAddress);
  std::memset(sharedBytes_.data() + offset, awaited, static_cast<size_t>(size));
  std::memset(target, 0xFF, static_cast<size_t>(size));
  me.copies.push_back(copy);
}

void Block::landCopies(uint64_t groups) {
  Thread &me = *running;
  while (me.landed < me.copies.size() && me.copies[me.landed].group < groups) {
    const Copy &copy = me.copies[me.landed++];
    check(me, copy.target, static_cast<size_t>(copy.size), Access::write, nullptr);
    std::memcpy(copy.target, copy.data, static_cast<size_t>(copy.size));
  }
  if (me.landed == me.copies.size()) me.copies.clear(), me.landed = 0;
}

}  // namespace simt
