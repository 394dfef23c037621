// The parts together, as a matrix product will use them: one warpgroup gives its registers away and lets the copy
// engine fill four stages in the swizzle, two take registers and multiply; a stage goes round several times.
#include "await.cuh"
#include "device.cuh"
#include "hopper.h"

namespace probe {

using namespace emoframe;

namespace {

constexpr int M = 128, N = 128, depth = 64, stages = 4, threads = 128;
constexpr uint32_t tileBytes = M * depth * 2, stageBytes = 2 * tileBytes;
constexpr size_t sharedBytes = stages * stageBytes + 2 * stages * sizeof(uint64_t);

// d [M, N] of the warpgroups' registers, a [M, K] and b [N, K] row by row. One tile.
__global__ void __launch_bounds__(3 * threads, 1)
    pipelineKernel(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b, float *d, int steps) {
  unsigned char *shared = sharedMemory();
  auto *full = reinterpret_cast<uint64_t *>(shared + stages * stageBytes), *empty = full + stages;
  const int thread = static_cast<int>(threadIdx.x) % threads, group = static_cast<int>(threadIdx.x) / threads;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < stages; ++stage) {
      initialiseBarrier(full + stage, 1);
      initialiseBarrier(empty + stage, 2 * threads / 32);  // an arrival a warp that multiplies
    }
    publishBarriers();
  }
  __syncthreads();
  if (group == 0) {
    giveRegisters<40>();
    if (thread < 32 && isElected()) {
      for (int step = 0; step < steps; ++step) {
        const int stage = step % stages, round = step / stages;
        unsigned char *tile = shared + stage * stageBytes;
        await(empty + stage, (round + 1) % 2);
        arriveExpecting(full + stage, stageBytes);
        loadBox(tile, &a, step * depth, 0, full + stage);
        loadBox(tile + tileBytes, &b, step * depth, 0, full + stage);
      }
    }
  } else {
    takeRegisters<232>();
    float sums[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; ++i) sums[i] = 0;
    for (int step = 0; step < steps; ++step) {
      const int stage = step % stages;
      await(full + stage, step / stages % 2);
      const unsigned char *tile = shared + stage * stageBytes;
      const uint64_t left = matrixDescriptor(tile + (group - 1) * tileBytes / 2, 16, 1024);
      const uint64_t right = matrixDescriptor(tile + tileBytes, 16, 1024);
      fenceProducts();
#pragma unroll
      for (int k = 0; k < 4; ++k) multiplyBf16<N>(sums, left + k * 2, right + k * 2);  // 32 bytes / 16
      commitProducts();
      waitForProducts<1>();
      if (step > 0 && thread % 32 == 0) arrive(empty + (step - 1) % stages);
    }
    waitForProducts<0>();
    const int row = (group - 1) * 64 + thread / 32 * 16 + thread % 32 / 4;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      d[(row + i % 4 / 2 * 8) * N + i / 4 * 8 + thread % 4 * 2 + i % 2] = sums[i];
    }
  }
}

Outcome pipeline() {
  constexpr int K = 1024;
  Random random(51);
  std::vector<float> a(M * K), b(N * K);
  std::vector<uint16_t> left, right;
  for (float &value : a) left.push_back(bf16Of(value = static_cast<float>(random.below(9) - 4)));
  for (float &value : b) right.push_back(bf16Of(value = static_cast<float>(random.below(9) - 4)));
  Words expected(M * N);
  for (int m = 0; m < M; ++m) {
    for (int n = 0; n < N; ++n) {
      float sum = 0;
      for (int k = 0; k < K; ++k) sum += a[m * K + k] * b[n * K + k];
      expected[m * N + n] = wordOf(sum);
    }
  }
  const Buffer<uint16_t> aThere(left), bThere(right);
  const Buffer<float> d(M * N);
  const auto mapOf = [&](void *memory) {
    return encode({CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, memory, {K, M}, {K * 2}, {depth, M}, true});
  };
  launch(pipelineKernel, dim3(1), dim3(3 * threads), sharedBytes, mapOf(aThere.get()), mapOf(bThere.get()), d.get(),
         K / depth);
  return compare(expected, d.words());
}

}  // namespace

std::vector<Part> pipelineParts() {
  Part part{"a pipeline of four stages", nullptr, pipeline};
  part.major = 9;
  return {part};
}

}  // namespace probe
