// Atomics of every type, in global and in shared memory. Which thread comes when is open: what they returned is sorted.
#include <algorithm>

#include "device.cuh"
#include "ptx.cuh"

namespace probe {

using namespace emoframe;

namespace {

// Every thread adds to one of four counters and moves one of four bounds, here in shared memory or straight in `sums`,
// `most` and `least`, which hold their start. `before`: what the additions returned.
template <typename T, bool inShared>
__global__ void atomicKernel(const T *in, T *sums, T *most, T *least, T *before) {
  T *shared = reinterpret_cast<T *>(sharedMemory());
  const int thread = static_cast<int>(threadIdx.x), index = static_cast<int>(blockIdx.x * blockDim.x) + thread;
  const T value = in[index];
  if constexpr (inShared) {
    if (thread < 4) {
      shared[thread] = sums[thread];
      shared[4 + thread] = most[thread];
      shared[8 + thread] = least[thread];
    }
    __syncthreads();
    before[index] = addAtomically(shared + thread % 4, value);
    maxAtomically(shared + 4 + thread % 4, value);
    minAtomically(shared + 8 + thread % 4, value);
    __syncthreads();
    if (thread < 4) {
      sums[thread] = shared[thread];
      most[thread] = shared[4 + thread];
      least[thread] = shared[8 + thread];
    }
  } else {
    before[index] = addAtomically(sums + index % 4, value);
    maxAtomically(most + index % 4, value);
    minAtomically(least + index % 4, value);
  }
}
template <typename T, bool inShared>
void run(const std::vector<T> &values, int blocks, Words *words) {
  const std::vector<T> start = {0, 1, 2, 3};
  const Buffer<T> in(values), sums(start), most(start), least(start), before(values.size());
  launch(atomicKernel<T, inShared>, dim3(blocks), dim3(static_cast<uint32_t>(values.size()) / blocks), 12 * sizeof(T),
         in.get(), sums.get(), most.get(), least.get(), before.get());
  std::vector<T> all = before.read();
  for (const Buffer<T> *part : {&sums, &most, &least}) append(words, part->words());
  // With equal values the numbers returned are a set whatever the order: those of the other counters are left out.
  if (std::all_of(values.begin(), values.end(), [&](T value) { return value == values[0]; })) {
    std::sort(all.begin(), all.end());
    for (const T one : all) words->push_back(static_cast<uint32_t>(one));
  }
}
template <typename T>
Words atomics() {
  Random random(10);
  std::vector<T> values(256);
  for (T &value : values) value = static_cast<T>(static_cast<uint64_t>(random.word()) << (sizeof(T) == 8 ? 29 : 0));
  Words words;
  run<T, false>(values, 4, &words);
  run<T, true>(values, 1, &words);
  run<T, false>(std::vector<T>(256, 3), 4, &words);
  run<T, true>(std::vector<T>(256, 3), 1, &words);
  return words;
}

}  // namespace

std::vector<Part> atomicParts() {
  return {{"atomics of int32", atomics<int32_t>},
          {"atomics of uint32", atomics<uint32_t>},
          {"atomics of uint64", atomics<uint64_t>}};
}

}  // namespace probe
