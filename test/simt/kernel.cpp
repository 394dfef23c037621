// What a kernel calls (simt.h), on the block that runs.
#include <algorithm>
#include <cstring>

#include "block.h"
#include "numerics.h"

namespace simt {

Triple threadIndex() { return current()->running->index; }
Triple blockIndex() { return current()->index; }
Triple blockSize() { return current()->launch->block; }
Triple gridSize() { return current()->launch->grid; }
unsigned char *sharedMemory() { return current()->shared; }
size_t sharedBytes() { return current()->launch->sharedBytes; }

void barrier(const char *file, int line) { current()->barrier(0, 0, file, line); }

void namedBarrier(int id, int threads) {
  Block &block = *current();
  if (id < 1 || id > 15) block.fail("a named barrier's id is 1 to 15, not " + std::to_string(id));
  if (threads <= 0 || threads % 32 != 0) block.fail("a barrier of " + std::to_string(threads) + " threads");
  block.barrier(id, static_cast<uint32_t>(threads), nullptr, 0);
}

void collective(const char *what, uint32_t mask, void *arguments, CollectiveBody body) {
  current()->collective(what, mask, arguments, body);
}

void warpBarrier(uint32_t mask) {
  collective("__syncwarp", mask, nullptr, [](void *const *, uint32_t) {
    Block &block = *current();
    block.orderWarp(block.running->rank / 32);
  });
}

uint64_t shuffle(uint64_t value, uint32_t mask, int source, int width) {
  struct Arguments {
    uint64_t value, result;
    int source, width;
  } mine{value, 0, source, width};
  collective("shuffle", mask, &mine, [](void *const *lanes, uint32_t) {
    for (int i = 0; i < 32; ++i) {
      auto *to = static_cast<Arguments *>(lanes[i]);
      if (!to) continue;
      // Out of its group of `width` lanes: its own value. A lane outside the mask gives nothing that may be used.
      const bool inside = to->source / to->width == i / to->width && to->source >= 0;
      const auto *from = static_cast<const Arguments *>(lanes[inside ? to->source : i]);
      if (!from) current()->fail("a shuffle from lane " + std::to_string(to->source) + ", which is not in its mask");
      to->result = from->value;
    }
  });
  return mine.result;
}

uint32_t ballot(uint32_t mask, bool predicate) {
  struct Arguments {
    bool predicate;
    uint32_t result;
  } mine{predicate, 0};
  collective("vote", mask, &mine, [](void *const *lanes, uint32_t) {
    uint32_t all = 0;
    for (int i = 0; i < 32; ++i) {
      if (lanes[i] && static_cast<Arguments *>(lanes[i])->predicate) all |= 1u << i;
    }
    for (int i = 0; i < 32; ++i) {
      if (lanes[i]) static_cast<Arguments *>(lanes[i])->result = all;
    }
  });
  return mine.result;
}

// Lanes 8 i to 8 i + 7 give the addresses of the rows of matrix i: 8 numbers of 16 bits each. Lane l receives of each
// matrix the numbers 2 (l mod 4) and the next of row l / 4; transposed: of column l / 4.
void loadMatrices(uint32_t *registers, const void *row, int matrices, bool transposed) {
  struct Arguments {
    uint32_t *registers;
    const void *row;
    int matrices;
    bool transposed;
    const void *code;
  } mine{registers, row, matrices, transposed, __builtin_return_address(0)};
  collective(transposed ? "ldmatrix.trans" : "ldmatrix", 0xFFFFFFFFu, &mine, [](void *const *lanes, uint32_t) {
    Block &block = *current();
    const auto &first = *static_cast<const Arguments *>(lanes[0]);
    uint16_t numbers[4][8][8];
    Thread *const warp = &block.threads[block.running->rank / 32 * 32];
    for (int i = 0; i < 8 * first.matrices; ++i) {
      const auto &from = *static_cast<const Arguments *>(lanes[i]);
      const auto at = reinterpret_cast<uintptr_t>(from.row);
      if (at - reinterpret_cast<uintptr_t>(block.shared) >= sharedCapacity) {
        block.fail("ldmatrix of an address that is not in shared memory (lane " + std::to_string(i) + ")", from.code);
      }
      if (at % 16 != 0)
        block.fail("ldmatrix of a row that is not aligned to 16 bytes (lane " + std::to_string(i) + ")", from.code);
      block.check(warp[i], from.row, 16, Access::read, from.code);
      std::memcpy(numbers[i / 8][i % 8], from.row, 16);
    }
    for (int lane = 0; lane < 32; ++lane) {
      const auto &to = *static_cast<const Arguments *>(lanes[lane]);
      for (int m = 0; m < first.matrices; ++m) {
        const int along = lane / 4, pair = lane % 4 * 2;
        const uint16_t low = to.transposed ? numbers[m][pair][along] : numbers[m][along][pair];
        const uint16_t high = to.transposed ? numbers[m][pair + 1][along] : numbers[m][along][pair + 1];
        to.registers[m] = low | static_cast<uint32_t>(high) << 16;
      }
    }
  });
}

namespace {

struct Product {
  float *d;
  const uint32_t *a, *b;
};

float fromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// d += a b for one warp: a is [16, K], b [K, 8], both as floats. Lane l holds of d rows l / 4 and l / 4 + 8, columns
// 2 (l mod 4) and the next.
template <int K>
void multiply(void *const *lanes, const float (&a)[16][K], const float (&b)[K][8]) {
  float d[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const float *from = static_cast<const Product *>(lanes[lane])->d;
    for (int i = 0; i < 4; ++i) d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = from[i];
  }
  sumInTensorCore(a, b, d);
  for (int lane = 0; lane < 32; ++lane) {
    float *to = static_cast<const Product *>(lanes[lane])->d;
    for (int i = 0; i < 4; ++i) to[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

}  // namespace

void multiplyBf16(float *d, const uint32_t *a, const uint32_t *b) {
  Product mine{d, a, b};
  collective("mma bf16", 0xFFFFFFFFu, &mine, [](void *const *lanes, uint32_t) {
    float wideA[16][16], wideB[16][8];
    for (int lane = 0; lane < 32; ++lane) {
      const auto &from = *static_cast<const Product *>(lanes[lane]);
      const int group = lane / 4, pair = lane % 4 * 2;
      for (int i = 0; i < 4; ++i) {  // a[i]: rows +8 for odd i, columns +8 for i >= 2
        wideA[group + i % 2 * 8][pair + i / 2 * 8] = fromBits(from.a[i] << 16);
        wideA[group + i % 2 * 8][pair + i / 2 * 8 + 1] = fromBits(from.a[i] & 0xFFFF0000u);
      }
      for (int i = 0; i < 2; ++i) {
        wideB[pair + i * 8][group] = fromBits(from.b[i] << 16);
        wideB[pair + i * 8 + 1][group] = fromBits(from.b[i] & 0xFFFF0000u);
      }
    }
    multiply<16>(lanes, wideA, wideB);
  });
}

void multiplyTf32(float *d, const uint32_t *a, const uint32_t *b) {
  Product mine{d, a, b};
  collective("mma tf32", 0xFFFFFFFFu, &mine, [](void *const *lanes, uint32_t) {
    constexpr uint32_t kept = 0xFFFFE000u;  // the lower 13 bits do not reach the multiplier
    float wideA[16][8], wideB[8][8];
    for (int lane = 0; lane < 32; ++lane) {
      const auto &from = *static_cast<const Product *>(lanes[lane]);
      const int group = lane / 4, within = lane % 4;
      for (int i = 0; i < 4; ++i) wideA[group + i % 2 * 8][within + i / 2 * 4] = fromBits(from.a[i] & kept);
      for (int i = 0; i < 2; ++i) wideB[within + i * 4][group] = fromBits(from.b[i] & kept);
    }
    multiply<8>(lanes, wideA, wideB);
  });
}

namespace {

template <typename T, typename Update>
T update(T *target, const void *code, Update change) {
  Block &block = *current();
  if (reinterpret_cast<uintptr_t>(target) % sizeof(T) != 0) block.fail("a misaligned atomic", code);
  block.check(*block.running, target, sizeof(T), Access::atomic, code);
  T before = __atomic_load_n(target, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(target, &before, change(before), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return before;
}

}  // namespace

template <typename T>
T addAtomically(T *target, T value) {
  return update(target, __builtin_return_address(0), [=](T before) { return static_cast<T>(before + value); });
}
template <typename T>
T maxAtomically(T *target, T value) {
  return update(target, __builtin_return_address(0), [=](T before) { return std::max(before, value); });
}
template <typename T>
T minAtomically(T *target, T value) {
  return update(target, __builtin_return_address(0), [=](T before) { return std::min(before, value); });
}
template int32_t addAtomically(int32_t *, int32_t);
template int32_t maxAtomically(int32_t *, int32_t);
template int32_t minAtomically(int32_t *, int32_t);
template uint32_t addAtomically(uint32_t *, uint32_t);
template uint32_t maxAtomically(uint32_t *, uint32_t);
template uint32_t minAtomically(uint32_t *, uint32_t);
template uint64_t addAtomically(uint64_t *, uint64_t);
template uint64_t maxAtomically(uint64_t *, uint64_t);
template uint64_t minAtomically(uint64_t *, uint64_t);

void copyAsync(void *sharedTarget, const void *source, int size, int sourceSize) {
  current()->copyAsync(sharedTarget, source, size, sourceSize, __builtin_return_address(0));
}
void commitCopies() { ++current()->running->committed; }
void waitForCopies(int newest) {
  Block &block = *current();
  const uint64_t committed = block.running->committed;
  block.landCopies(committed > static_cast<uint64_t>(newest) ? committed - newest : 0);
}

}  // namespace simt
