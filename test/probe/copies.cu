// cp.async of every size with every number of source bytes, and groups of them; ldmatrix.
#include "device.cuh"
#include "ptx.cuh"

namespace probe {

using namespace emoframe;

namespace {

// Each thread copies `size` bytes, of which the source gives thread % (size + 1); all of shared memory goes out.
template <int size>
__global__ void copyKernel(const unsigned char *in, uint32_t *out) {
  unsigned char *shared = sharedMemory();
  const int thread = static_cast<int>(threadIdx.x);
  const int bytes = thread % (size + 1);
  copyAsync<size>(shared + thread * size, in + thread * size, bytes);
  commitCopies();
  waitForCopies<0>();
  __syncthreads();
  const auto *words = reinterpret_cast<const uint32_t *>(shared);
  for (int i = thread; i < static_cast<int>(blockDim.x) * size / 4; i += static_cast<int>(blockDim.x))
    out[i] = words[i];
}
std::vector<unsigned char> bytesOf(size_t count) {
  Random random(7);
  std::vector<unsigned char> bytes(count);
  for (unsigned char &byte : bytes) byte = static_cast<unsigned char>(random.word());
  return bytes;
}
template <int size>
Words copied() {
  constexpr int threads = 96;
  const Buffer<unsigned char> in(bytesOf(threads * size));
  const Buffer<uint32_t> out(threads * size / 4);
  launch(copyKernel<size>, dim3(1), dim3(threads), threads * size, in.get(), out.get());
  return out.words();
}

// With no bytes the source is not touched: it may be nowhere.
__global__ void nothingKernel(uint32_t *out) {
  auto *shared = reinterpret_cast<uint32_t *>(sharedMemory());
  const int thread = static_cast<int>(threadIdx.x);
  copyAsync<16>(shared + thread * 4, nullptr, 0);
  commitCopies();
  waitForCopies<0>();
  for (int i = 0; i < 4; ++i) out[thread * 4 + i] = shared[thread * 4 + i];
}
Words nothing() {
  const Buffer<uint32_t> out(128);
  launch(nothingKernel, dim3(1), dim3(32), 512, out.get());
  return out.words();
}

// A pipeline of three stages, as the matrix products have: a group is waited for while two more are on their way.
__global__ void pipelineKernel(const uint32_t *in, uint32_t *out, int steps) {
  auto *shared = reinterpret_cast<uint32_t *>(sharedMemory());
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const auto load = [&](int step) {
    if (step < steps) copyAsync<16>(shared + (step % 3 * threads + thread) * 4, in + (step * threads + thread) * 4);
    commitCopies();
  };
  load(0);
  load(1);
  uint32_t sum = 0;
  for (int step = 0; step < steps; ++step) {
    waitForCopies<1>();
    __syncthreads();
    load(step + 2);
    for (int i = 0; i < 4; ++i) sum = sum * 31 + shared[(step % 3 * threads + (thread + 17) % threads) * 4 + i];
  }
  out[thread] = sum;
}
Words groups() {
  constexpr int threads = 64, steps = 11;
  Random random(8);
  Words values(threads * steps * 4);
  for (uint32_t &value : values) value = random.word();
  const Buffer<uint32_t> in(values), out(threads);
  launch(pipelineKernel, dim3(1), dim3(threads), threads * 3 * 16, in.get(), out.get(), steps);
  return out.words();
}

// Rows 48 bytes apart, in an order of their own.
template <int count, bool transposed>
__global__ void matricesKernel(const uint32_t *in, uint32_t *out) {
  auto *shared = reinterpret_cast<uint32_t *>(sharedMemory());
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 32 * 12; i += 32) shared[i] = in[i];
  __syncwarp();
  uint32_t registers[count];
  const uint32_t *row = shared + lane * 7 % 32 * 12;
  if constexpr (transposed) {
    loadMatricesTransposed(registers, row);
  } else {
    loadMatrices(registers, row);
  }
  for (int i = 0; i < count; ++i) out[i * 32 + lane] = registers[i];
}
template <int count, bool transposed>
Words matrices() {
  Random random(9);
  Words values(32 * 12);
  for (uint32_t &value : values) value = random.word();
  const Buffer<uint32_t> in(values), out(count * 32);
  launch(matricesKernel<count, transposed>, dim3(1), dim3(32), 32 * 48, in.get(), out.get());
  return out.words();
}

}  // namespace

std::vector<Part> copyParts() {
  return {
      {"copyAsync of 4 bytes", copied<4>},
      {"copyAsync of 8 bytes", copied<8>},
      {"copyAsync of 16 bytes", copied<16>},
      {"copyAsync of nothing", nothing},
      {"copyAsync in groups", groups},
      {"loadMatrices of 1", matrices<1, false>},
      {"loadMatrices of 2", matrices<2, false>},
      {"loadMatrices of 4", matrices<4, false>},
      {"loadMatricesTransposed of 1", matrices<1, true>},
      {"loadMatricesTransposed of 2", matrices<2, true>},
      {"loadMatricesTransposed of 4", matrices<4, true>},
  };
}

}  // namespace probe
