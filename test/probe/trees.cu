// Philox, and the sums and maxima with a fixed tree of reduce.cuh.
#include "device.cuh"
#include "philox.h"
#include "reduce.cuh"

namespace probe {

using namespace emoframe;

namespace {

__global__ void philoxKernel(uint64_t seed, uint32_t step, uint32_t site, uint64_t first, uint32_t *out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  const Philox4 block = philox(seed, step, site, first + i);
  for (int k = 0; k < 4; ++k) out[i * 5 + k] = block.x[k];
  out[i * 5 + 4] = bitsOf(philoxUniformAt(seed, step, site, first * 4 + i));
}
Words random() {
  Words words;
  const uint64_t seeds[] = {0, 1, 0xFEDCBA9876543210ull}, firsts[] = {0, 0xFFFFFFF0ull, 0x123456789ABCull};
  for (int i = 0; i < 3; ++i) {
    const Buffer<uint32_t> out(256 * 5);
    launch(philoxKernel, dim3(2), dim3(128), 0, seeds[i], 7u * i, 0xFFFFFFFFu - i, firsts[i], out.get());
    append(&words, out.words());
  }
  return words;
}

// out: [7, threads] sums and maxima of groups of each width, then thread 0's sum of the block.
template <typename T>
__global__ void treeKernel(const T *in, T *out) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const T value = in[thread];
  for (int w = 1; w <= 5; ++w) {
    out[(w - 1) * threads + thread] = warpSum(value, 1 << w);
    out[(w + 4) * threads + thread] = warpMax(value, 1 << w);
  }
  const T total = blockSum(value, reinterpret_cast<T *>(sharedMemory()));
  if (thread == 0) out[10 * threads] = total;
}
template <typename T>
Words trees() {
  Words words;
  for (const int threads : {32, 160}) {
    Random random(12);
    std::vector<T> values(threads);
    for (T &value : values) value = static_cast<T>((random.unit() - 0.25f) * 1000);
    const Buffer<T> in(values), out(10 * threads + 1);
    launch(treeKernel<T>, dim3(1), dim3(threads), 32 * sizeof(T), in.get(), out.get());
    append(&words, out.words());
  }
  return words;
}

}  // namespace

std::vector<Part> treeParts() {
  return {{"philox", random},
          {"warpSum, warpMax, blockSum of float", trees<float>},
          {"warpSum, warpMax, blockSum of double", trees<double>},
          {"warpSum, warpMax, blockSum of int64", trees<int64_t>}};
}

}  // namespace probe
