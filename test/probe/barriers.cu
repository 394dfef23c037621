// mbarriers, bulk copies, elections, barriers between warpgroups, registers that change hands, stmatrix, clusters.
#include "await.cuh"
#include "device.cuh"
#include "hopper.h"

namespace probe {

using namespace emoframe;

namespace {

Words randomWords(size_t count, uint64_t seed) {
  Random random(seed);
  Words words(count);
  for (uint32_t &word : words) word = random.word();
  return words;
}

// --- phases --------------------------------------------------------------------------------------
constexpr int rounds = 9, threads = 128;

// In each round all write, arrive and read another's word; a second barrier keeps rounds apart. Before that: what the
// first phase and the one before it say.
__global__ void phaseKernel(uint32_t *out) {
  __shared__ uint64_t barriers[2];
  __shared__ uint32_t words[threads];
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    initialiseBarrier(&barriers[0], threads);
    initialiseBarrier(&barriers[1], threads);
    publishBarriers();
  }
  __syncthreads();
  out[threads + thread] = (hasEnded(&barriers[0], 0) ? 1 : 0) + (hasEnded(&barriers[0], 1) ? 2 : 0);
  __syncthreads();
  uint32_t value = static_cast<uint32_t>(thread);
  for (int round = 0; round < rounds; ++round) {
    words[thread] = value;
    arrive(&barriers[0]);
    await(&barriers[0], round % 2);
    value = value * 3 + words[(thread + 33) % threads];
    arrive(&barriers[1]);
    waitForPhase(&barriers[1], round % 2);
  }
  out[thread] = value;
}
Outcome phases() {
  Words values(threads);
  for (int i = 0; i < threads; ++i) values[i] = static_cast<uint32_t>(i);
  for (int round = 0; round < rounds; ++round) {
    const Words before = values;
    for (int i = 0; i < threads; ++i) values[i] = before[i] * 3 + before[(i + 33) % threads];
  }
  append(&values, Words(threads, 2));
  const Buffer<uint32_t> out(2 * threads);
  launch(phaseKernel, dim3(1), dim3(threads), 0, out.get());
  return compare(values, out.words());
}

// --- bulk copies ---------------------------------------------------------------------------------
// Three copies of different sizes at one barrier: two expected with the arrival, one after it; then another phase.
__global__ void bulkKernel(const uint32_t *in, uint32_t *out) {
  __shared__ alignas(128) uint32_t words[2048];
  __shared__ uint64_t barrier;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    initialiseBarrier(&barrier, 1);
    publishBarriers();
  }
  __syncthreads();
  for (int phase = 0; phase < 2; ++phase) {
    const uint32_t *from = in + phase * 2048;
    if (thread == 0) {
      expectBytes(&barrier, 16);
      copyBulk(words, from, 16, &barrier);
      arriveExpecting(&barrier, 8192 - 16);
      copyBulk(words + 4, from + 4, 4096 - 16, &barrier);
      copyBulk(words + 1024, from + 1024, 4096, &barrier);
    }
    await(&barrier, phase);
    for (int i = thread; i < 2048; i += threads) out[phase * 2048 + i] = words[i];
    __syncthreads();
  }
}
Outcome bulkLoads() {
  const Words values = randomWords(4096, 21);
  const Buffer<uint32_t> in(values), out(4096);
  launch(bulkKernel, dim3(1), dim3(threads), 0, in.get(), out.get());
  return compare(values, out.words());
}

// What generic stores wrote is stored by the copy engine; as soon as it is read, shared memory is used anew.
__global__ void bulkStoreKernel(const uint32_t *in, uint32_t *out) {
  __shared__ alignas(128) uint32_t words[1024];
  const int thread = static_cast<int>(threadIdx.x);
  for (int half = 0; half < 2; ++half) {
    for (int i = thread; i < 1024; i += threads) words[i] = in[half * 1024 + i];
    publishStores();
    __syncthreads();
    if (thread == 0) {
      storeBulk(out + half * 1024, words, 4096);
      commitStores();
      waitForStoresToRead<0>();
    }
    __syncthreads();
  }
  if (thread == 0) waitForStores<0>();
}
Outcome bulkStores() {
  const Words values = randomWords(2048, 22);
  const Buffer<uint32_t> in(values), out(2048);
  launch(bulkStoreKernel, dim3(1), dim3(threads), 0, in.get(), out.get());
  return compare(values, out.words());
}

// --- elections and named barriers ----------------------------------------------------------------
__global__ void electKernel(uint32_t *out) {
  const uint32_t elected = emoframe::ballot(isElected());
  out[threadIdx.x] = static_cast<uint32_t>(countBits(elected));
}
Outcome elections() {
  const Buffer<uint32_t> out(threads);
  launch(electKernel, dim3(1), dim3(threads), 0, out.get());
  return compare(Words(threads, 1), out.words());
}

// One warpgroup fills a buffer and only arrives; the other waits, reads, and lets it go on.
__global__ void handOverKernel(uint32_t *out) {
  __shared__ uint32_t words[threads];
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < threads) {
    for (int round = 0; round < rounds; ++round) {
      if (round > 0) namedBarrier(2, 2 * threads);
      words[thread] = static_cast<uint32_t>(round * 1000 + thread);
      arriveAtNamedBarrier(1, 2 * threads);
    }
  } else {
    uint32_t sum = 0;
    for (int round = 0; round < rounds; ++round) {
      namedBarrier(1, 2 * threads);
      sum = sum * 7 + words[(thread + 65) % threads];
      if (round + 1 < rounds) arriveAtNamedBarrier(2, 2 * threads);
    }
    out[thread - threads] = sum;
  }
}
Outcome handOver() {
  Words values(threads, 0);
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < threads; ++i)
      values[i] = values[i] * 7 + static_cast<uint32_t>(round * 1000 + (i + 65) % threads);
  }
  const Buffer<uint32_t> out(threads);
  launch(handOverKernel, dim3(1), dim3(2 * threads), 0, out.get());
  return compare(values, out.words());
}

// --- registers -----------------------------------------------------------------------------------
constexpr int held = 200;  // numbers a thread of the warpgroups that took registers

// Three warpgroups with 168 registers a thread: one gives to the other two, which hold 200 numbers each at a time.
__global__ void __launch_bounds__(3 * threads, 1) registerKernel(const uint32_t *in, uint32_t *out) {
  const int thread = static_cast<int>(threadIdx.x) % threads, group = static_cast<int>(threadIdx.x) / threads;
  if (group == 0) {
    giveRegisters<40>();
    out[thread] = in[thread] * 3;
  } else {
    takeRegisters<232>();
    uint32_t values[held];
#pragma unroll
    for (int i = 0; i < held; ++i) values[i] = in[i * threads + thread] + static_cast<uint32_t>(group);
    uint32_t all = 1, sum = 0;  // the second needs the first, which needs every number: none can be let go
#pragma unroll
    for (int i = 0; i < held; ++i) all = all * 3 ^ values[i];
#pragma unroll
    for (int i = 0; i < held; ++i) sum = sum * all + values[i];
    out[group * threads + thread] = sum;
  }
}
Outcome registers() {
  const Words values = randomWords(held * threads, 23);
  Words expected;
  for (int i = 0; i < threads; ++i) expected.push_back(values[i] * 3);
  for (uint32_t group = 1; group < 3; ++group) {
    for (int thread = 0; thread < threads; ++thread) {
      uint32_t all = 1, sum = 0;
      for (int i = 0; i < held; ++i) all = all * 3 ^ (values[i * threads + thread] + group);
      for (int i = 0; i < held; ++i) sum = sum * all + values[i * threads + thread] + group;
      expected.push_back(sum);
    }
  }
  const Buffer<uint32_t> in(values), out(3 * threads);
  launch(registerKernel, dim3(1), dim3(3 * threads), 0, in.get(), out.get());
  return compare(expected, out.words());
}

// --- stmatrix ------------------------------------------------------------------------------------
// Row addresses 16 bytes apart, in an order of their own.
template <int count, bool transposed>
__global__ void matricesKernel(const uint32_t *in, uint32_t *out) {
  __shared__ alignas(16) uint32_t words[count * 32];
  const int lane = static_cast<int>(threadIdx.x);
  uint32_t values[count];
  for (int i = 0; i < count; ++i) values[i] = in[i * 32 + lane];
  storeMatrices<transposed>(words + lane * 5 % (8 * count) * 4, values);
  __syncwarp();
  for (int i = 0; i < count; ++i) out[i * 32 + lane] = words[i * 32 + lane];
}
template <int count, bool transposed>
Outcome matrices() {
  const Words values = randomWords(count * 32, 24);
  std::vector<uint16_t> halves(count * 64);
  for (int i = 0; i < count; ++i) {
    for (int lane = 0; lane < 32; ++lane) {
      for (int half = 0; half < 2; ++half) {
        const int first = lane / 4, second = lane % 4 * 2 + half;  // row, column; transposed the other way
        const int row = transposed ? second : first, column = transposed ? first : second;
        const int at = (i * 8 + row) * 5 % (8 * count);
        halves[at * 8 + column] = static_cast<uint16_t>(values[i * 32 + lane] >> 16 * half);
      }
    }
  }
  Words expected(count * 32);
  std::memcpy(expected.data(), halves.data(), expected.size() * 4);
  const Buffer<uint32_t> in(values), out(count * 32);
  launch(matricesKernel<count, transposed>, dim3(1), dim3(32), 0, in.get(), out.get());
  return compare(expected, out.words());
}

// --- clusters ------------------------------------------------------------------------------------
// Two blocks: each one's threads arrive at the other's barrier, which waits for all of them.
__global__ void __cluster_dims__(2, 1, 1) clusterKernel(uint32_t *out) {
  __shared__ uint64_t barrier;
  const uint32_t rank = rankInCluster();
  if (threadIdx.x == 0) {
    initialiseBarrier(&barrier, threads);
    publishBarriers();
  }
  clusterBarrier();
  arriveAt(&barrier, 1 - rank);
  await(&barrier, 0);
  out[blockIdx.x * threads + threadIdx.x] = blockIdx.x * 10 + rank;
  clusterBarrier();  // a block's memory is there as long as others arrive
}
Outcome clusters() {
  Words expected;
  for (uint32_t block = 0; block < 4; ++block) append(&expected, Words(threads, block * 10 + block % 2));
  const Buffer<uint32_t> out(4 * threads);
  launch(clusterKernel, dim3(4), dim3(threads), 0, out.get());
  return compare(expected, out.words());
}

}  // namespace

std::vector<Part> barrierParts() {
  std::vector<Part> parts = {
      {"mbarrier phases", nullptr, phases},
      {"copyBulk", nullptr, bulkLoads},
      {"storeBulk", nullptr, bulkStores},
      {"isElected", nullptr, elections},
      {"arriveAtNamedBarrier", nullptr, handOver},
      {"takeRegisters, giveRegisters", nullptr, registers},
      {"storeMatrices of 1", nullptr, matrices<1, false>},
      {"storeMatrices of 2", nullptr, matrices<2, false>},
      {"storeMatrices of 4", nullptr, matrices<4, false>},
      {"storeMatrices of 1, transposed", nullptr, matrices<1, true>},
      {"storeMatrices of 2, transposed", nullptr, matrices<2, true>},
      {"storeMatrices of 4, transposed", nullptr, matrices<4, true>},
      {"clusterBarrier, arriveAt", nullptr, clusters},
  };
  for (Part &part : parts) part.major = 9;
  return parts;
}

}  // namespace probe
