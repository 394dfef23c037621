// One block being run: its threads as fibres, who waits for what, its shared
// memory, and the clocks that order accesses.
//
// Clocks. Each warp counts its synchronisations; an access is labelled with its warp's count. A block keeps, for each
// pair of warps, the latest count of the one that the other has seen: at a barrier all that take part see the
// latest of all, and then count on. An access of another warp is ordered before mine if my warp has seen its count;
// one of another lane of my warp, if the count has gone on since.
#pragma once

#include <string>
#include <vector>

#include "fibre.h"
#include "memory.h"
#include "simt.h"

namespace simt {

constexpr uint32_t maximalThreads = 1024, maximalWarps = 32;
constexpr size_t sharedCapacity = 228 * 1024;

struct Launch {
  const Call *call = nullptr;
  Triple grid, block;
  uint32_t threads = 0;  // of a block
  size_t sharedBytes = 0;
  uint32_t firstBlock = 0;  // the number of its block 0, counted over all launches
};

// A cp.async on its way.
struct Copy {
  unsigned char *target;
  int size;
  uint64_t group;
  unsigned char data[16];
};

struct Thread {
  enum class State : uint8_t { ready, waiting, ended };

  Fibre fibre;
  uint32_t rank = 0;
  Triple index;
  State state = State::ended;
  std::string (*explain)(const Thread &) = nullptr;  // what it waits for
  const char *file = nullptr, *what = nullptr;       // of its barrier; of its collective
  int line = 0, barrier = 0;
  uint32_t mask = 0;  // of its collective
  void *arguments = nullptr;
  std::vector<Copy> copies;
  size_t landed = 0;  // of `copies`
  uint64_t committed = 0;
};

class Block {
 public:
  Block();
  ~Block();
  Block(const Block &) = delete;

  // Runs one block to its end. False: a check failed, see `failure`.
  bool run(const Launch &launch, Triple index, uint32_t number);

  // --- from the running fibre
  [[noreturn]] void fail(const std::string &what, const void *codeAddress = nullptr);
  void barrier(int id, uint32_t threads, const char *file, int line);
  void collective(const char *what, uint32_t mask, void *arguments, CollectiveBody body);
  void orderWarp(uint32_t warp);  // its lanes have synchronised
  void check(Thread &thread, const void *address, size_t size, Access access, const void *codeAddress);
  void copyAsync(void *target, const void *source, int size, int sourceSize, const void *codeAddress);
  void landCopies(uint64_t upToGroup);

  const Launch *launch = nullptr;
  Triple index;
  unsigned char *shared = nullptr;
  Thread *running = nullptr;
  std::vector<Thread> threads;
  std::string failure;

 private:
  struct Barrier {
    uint32_t arrived = 0, expected = 0;
    const char *file = nullptr;
    int line = 0;
  };
  struct Gathering {  // lanes on their way to one collective
    const char *what = nullptr;
    uint32_t mask = 0, arrived = 0;
  };

  static void enterThread();
  void wait();   // until somebody makes the running thread ready
  void leave();  // goes on with the next ready fibre, or with the scheduler
  void complete(int id);
  void release(int id);
  void makeReady(uint32_t rank);
  uint32_t random();
  uint32_t warps() const { return (launch->threads + 31) / 32; }
  std::string place(const Thread &thread) const;
  std::string deadlock() const;
  void checkCells(Thread &thread, Shadow shadow, size_t offset, size_t size, Access access, const void *address,
                  bool isShared, const void *codeAddress);
  bool ordered(uint64_t past, uint32_t thread, bool atomic, bool isShared) const;
  std::string nameOf(const void *address) const;

  Fibre scheduler_;
  uint32_t number_ = 0, live_ = 0;
  std::vector<uint32_t> ready_;  // a queue: from readyFirst_ on
  size_t readyFirst_ = 0;
  Barrier barriers_[16];
  std::vector<Gathering> gatherings_[maximalWarps];
  uint32_t seen_[maximalWarps][maximalWarps] = {};  // [who][of whom]
  std::vector<uint8_t> sharedBytes_;
  std::vector<Cell> sharedCells_;
  uint64_t randomState_ = 0;
};

// The block that this system thread runs; null: none.
Block *current();

// "copy.cu:33" or "the kernel's name" for an address in the program; for reports.
std::string placeInCode(const void *address);
std::string functionAt(const void *address);

}  // namespace simt
