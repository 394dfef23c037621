// The rate of wgmma with its operands in shared memory, or A in registers: two warpgroups of 64 x 256 a multiprocessor.
#include "hopper.cuh"
#include "rate.cuh"

namespace probe {

using namespace emoframe;

namespace {

constexpr int N = 256, threads = 128, groups = 2, rounds = 2048;
constexpr uint32_t aBytes = 64 * 128, bBytes = N * 128;  // 64 of k

template <bool aInRegisters>
__global__ void __launch_bounds__(groups *threads, 1) rateKernel(float *out) {
  unsigned char *shared = sharedMemory();
  const uint32_t thread = threadIdx.x;
  // Between 1 and 2 in size, of both signs.
  for (uint32_t i = thread; i < (groups * aBytes + bBytes) / 4; i += groups * threads) {
    const uint32_t hash = (i ^ 61) * 0x9E3779B1u;
    reinterpret_cast<uint32_t *>(shared)[i] = 0x3F803F80u ^ ((hash ^ hash >> 13) & 0x807F807Fu);
  }
  publishStores();
  __syncthreads();
  const uint64_t a = matrixDescriptor(shared + thread / threads * aBytes, 16, 1024);
  const uint64_t b = matrixDescriptor(shared + groups * aBytes, 16, 1024);
  uint32_t left[4];
  for (int i = 0; i < 4; ++i) left[i] = reinterpret_cast<uint32_t *>(shared)[thread * 4 + i];
  float sums[N / 2];
#pragma unroll
  for (int i = 0; i < N / 2; ++i) sums[i] = 0;
#pragma unroll 2
  for (int round = 0; round < rounds; ++round) {
    fenceProducts();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if constexpr (aInRegisters) {
        multiplyBf16<N>(sums, left, b + k * 2);
      } else {
        multiplyBf16<N>(sums, a + k * 2, b + k * 2);
      }
    }
    commitProducts();
    waitForProducts<1>();
  }
  waitForProducts<0>();
  float sum = 0;
#pragma unroll
  for (int i = 0; i < N / 2; ++i) sum += sums[i];
  out[blockIdx.x * groups * threads + thread] = sum;
}
template <bool aInRegisters>
Outcome rate() {
  const int blocks = multiprocessors();
  const Buffer<float> out(blocks * groups * threads);
  const double seconds = deviceSeconds([&] {
    launch(rateKernel<aInRegisters>, dim3(blocks), dim3(groups * threads), groups * aBytes + bBytes, out.get());
  });
  return measurement(blocks * double(groups) * rounds * 4 * (2.0 * 64 * N * 16) / seconds / 1e12, "TFLOP/s");
}

}  // namespace

std::vector<Part> warpgroupRateParts() {
  std::vector<Part> parts = {{"rate of wgmma bf16", nullptr, rate<false>},
                             {"rate of wgmma bf16, A in registers", nullptr, rate<true>}};
  for (Part &part : parts) part.major = 9;
  return parts;
}

}  // namespace probe
