// Shuffles of every kind, width and type, under whole and partial masks; votes, counts, lanes; barriers.
#include "device.cuh"
#include "ptx.cuh"

namespace probe {

using namespace emoframe;

namespace {

constexpr int widths = 6, deltas = 8;
__device__ inline int deltaOf(int i) { return i < 4 ? i : i == 4 ? 5 : i == 5 ? 8 : i == 6 ? 16 : 31; }

enum class Kind { exclusive, down, up, index };

// out: [width, delta, lane]. A whole warp; what a lane gives is random.
template <typename T, Kind kind>
__global__ void shuffleKernel(const T *in, T *out) {
  const int lane = static_cast<int>(threadIdx.x);
  const T mine = in[lane];
  for (int w = 0; w < widths; ++w) {
    const int width = 1 << w;
    for (int d = 0; d < deltas; ++d) {
      const int delta = deltaOf(d);
      T got;
      if (kind == Kind::exclusive) got = shuffleXor(mine, delta % width, width);  // within the group
      if (kind == Kind::down) got = shuffleDown(mine, delta, width);
      if (kind == Kind::up) got = shuffleUp(mine, delta, width);
      if (kind == Kind::index) got = shuffleIndex(mine, delta, width);
      out[(w * deltas + d) * 32 + lane] = got;
    }
  }
}
template <typename T>
Words shuffled() {
  Random random(4);
  std::vector<T> values(32);
  for (T &value : values) {
    uint64_t bits = static_cast<uint64_t>(random.word()) << 32 | random.word();
    bits &= ~0x4000000040000000ull;  // no NaN, whose bits a copy may change
    std::memcpy(&value, &bits, sizeof(T));
  }
  const Buffer<T> in(values);
  Words words;
  const auto run = [&](void (*kernel)(const T *, T *)) {
    const Buffer<T> out(widths * deltas * 32);
    launch(kernel, dim3(1), dim3(32), 0, in.get(), out.get());
    append(&words, out.words());
  };
  run(shuffleKernel<T, Kind::exclusive>);
  run(shuffleKernel<T, Kind::down>);
  run(shuffleKernel<T, Kind::up>);
  run(shuffleKernel<T, Kind::index>);
  return words;
}

// The lower half of a warp alone, then even and odd lanes apart: [5, 32].
__global__ void partialKernel(const uint32_t *in, uint32_t *out) {
  const int lane = static_cast<int>(threadIdx.x);
  const uint32_t mine = in[lane];
  for (int i = 0; i < 5; ++i) out[i * 32 + lane] = 0;
  if (lane < 16) {
    out[lane] = shuffleXor(mine, 5, 16, 0xFFFFu);
    out[32 + lane] = shuffleDown(mine, 3, 16, 0xFFFFu);
    out[64 + lane] = emoframe::ballot(mine & 1, 0xFFFFu);
  }
  __syncwarp();
  if (lane % 2 == 0) {
    out[96 + lane] = shuffleXor(mine, 2, 32, 0x55555555u);
    out[128 + lane] = emoframe::ballot(mine & 2, 0x55555555u);
  } else {
    out[96 + lane] = shuffleXor(mine, 4, 32, 0xAAAAAAAAu);
    out[128 + lane] = emoframe::ballot(mine & 2, 0xAAAAAAAAu);
  }
}
Words partial() {
  Random random(5);
  Words values(32);
  for (uint32_t &value : values) value = random.word();
  const Buffer<uint32_t> in(values), out(5 * 32);
  launch(partialKernel, dim3(1), dim3(32), 0, in.get(), out.get());
  return out.words();
}

// Each round all lanes vote on one word's bit; the words' bits are counted.
__global__ void voteKernel(const uint32_t *in, uint32_t *out) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 16; ++i) {
    const uint32_t word = in[i * 64 + thread];
    const bool yes = i == 0 ? false : i == 1 ? true : word % static_cast<uint32_t>(i) == 0;
    uint32_t *to = out + (i * 64 + thread) * 4;
    to[0] = emoframe::ballot(yes);
    to[1] = anyLane(yes) ? 1 : 0;
    to[2] = everyLane(yes) ? 1 : 0;
    to[3] = static_cast<uint32_t>(countBits(word) + 100 * lowestBit(word | 1u << 31));
  }
}
Words votes() {
  Random random(6);
  Words values(16 * 64);
  for (uint32_t &value : values) value = random.word() << random.below(32);
  const Buffer<uint32_t> in(values), out(16 * 64 * 4);
  launch(voteKernel, dim3(1), dim3(64), 0, in.get(), out.get());
  return out.words();
}

__global__ void laneKernel(uint32_t *out) {
  const uint32_t thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  out[thread] = static_cast<uint32_t>(laneOf());
}
Words lanes() {
  Words words;
  for (const dim3 block : {dim3(96), dim3(8, 12), dim3(4, 6, 5)}) {
    const Buffer<uint32_t> out(block.x * block.y * block.z);
    launch(laneKernel, dim3(1), block, 0, out.get());
    append(&words, out.words());
  }
  return words;
}

// Two halves of a block, each at its own pace with a barrier of its own, then pairs of halves: what one wrote the other
// reads. Block sizes of one to four warps a half.
__global__ void barrierKernel(uint32_t *out, int rounds) {
  auto *shared = reinterpret_cast<uint32_t *>(sharedMemory());
  const int thread = static_cast<int>(threadIdx.x), half = static_cast<int>(blockDim.x) / 2;
  const int mine = thread / half, within = thread % half;
  uint32_t value = static_cast<uint32_t>(thread);
  for (int i = 0; i < rounds * (mine + 1); ++i) {
    shared[thread] = value;
    namedBarrier(1 + mine, half);
    value = value * 5 + shared[mine * half + (within + 33) % half];
    namedBarrier(3 + mine, half);
  }
  shared[thread] = value;
  namedBarrier(15, 2 * half);
  out[thread] = shared[(thread + half) % (2 * half)];
}
Words barriers() {
  Words words;
  for (const int warps : {1, 2, 4}) {
    const Buffer<uint32_t> out(warps * 64);
    launch(barrierKernel, dim3(1), dim3(warps * 64), warps * 256, out.get(), 7);
    append(&words, out.words());
  }
  return words;
}

// Shared memory starts at a multiple of 1024 bytes.
__global__ void alignmentKernel(uint32_t *out) {
  out[threadIdx.x] = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(sharedMemory()) % 1024);
#ifndef EMOFRAME_SIMT
  out[threadIdx.x] += sharedAddress(sharedMemory()) % 1024;
#endif
}
Words alignment() {
  const Buffer<uint32_t> out(32);
  launch(alignmentKernel, dim3(1), dim3(32), 2048, out.get());
  return out.words();
}

}  // namespace

std::vector<Part> warpParts() {
  return {
      {"shuffles of float", shuffled<float>},
      {"shuffles of int32", shuffled<int32_t>},
      {"shuffles of uint32", shuffled<uint32_t>},
      {"shuffles of double", shuffled<double>},
      {"shuffles of int64", shuffled<int64_t>},
      {"shuffles of uint64", shuffled<uint64_t>},
      {"shuffles and votes of some lanes", partial},
      {"votes and counts of bits", votes},
      {"laneOf", lanes},
      {"namedBarrier", barriers},
      {"sharedMemory", alignment},
  };
}

}  // namespace probe
