#include <cmath>
#include <vector>

#include "launch.cuh"
#include "planted.h"
#include "ptx.cuh"
#include "reduce.cuh"
#include "status.h"

namespace planted {

using namespace emoframe;

namespace {

// Memory of the device for one run; what of it is written is up to each kernel.
template <typename T>
class Buffer {
 public:
  explicit Buffer(size_t count) : count_(count) { CHECK_CUDA(cudaMalloc(&memory_, count * sizeof(T))); }
  explicit Buffer(const std::vector<T> &values) : Buffer(values.size()) {
    CHECK_CUDA(cudaMemcpyAsync(memory_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice, nullptr));
  }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() { cudaFree(memory_); }
  operator T *() const { return static_cast<T *>(memory_); }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    CHECK_CUDA(cudaMemcpyAsync(values.data(), memory_, count_ * sizeof(T), cudaMemcpyDeviceToHost, nullptr));
    return values;
  }

 private:
  void *memory_ = nullptr;
  size_t count_;
};

std::vector<float> numbers(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>((i * 37 + 11) % 64) / 8 - 4;  // exact in bf16
  return values;
}

__device__ float *sharedFloats() { return reinterpret_cast<float *>(sharedMemory()); }

// --- memory --------------------------------------------------------------------------------------
// `most` = n - 1 is right.
__global__ void doubleKernel(const float *in, float *out, int most) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i <= most) out[i] = in[i] + in[i];
}
__global__ void clearKernel(float *out, int most) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i <= most) out[i] = 0;
}
__global__ void vectorKernel(const float *in, float *out) {
  *reinterpret_cast<float4 *>(out) = *reinterpret_cast<const float4 *>(in);
}
__global__ void bytesKernel(const float *in, float *out, int count) {
  memcpy(out, in, sizeof(float) * static_cast<size_t>(count));
}
struct Row {
  float values[16];
};
__global__ void structKernel(const Row *in, Row *out) { *out = *in; }
// Writes shared words [0, threads) and reads word `from` + thread.
__global__ void sharedKernel(float *out, int from) {
  float *shared = sharedFloats();
  shared[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = shared[from + threadIdx.x];
}

// --- order ---------------------------------------------------------------------------------------
template <bool barrier>
__global__ void turnKernel(float *out) {
  float *shared = sharedFloats();
  shared[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (barrier) __syncthreads();
  out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}
// Reads, then writes the same words from other threads.
template <bool barrier>
__global__ void shiftKernel(float *out) {
  float *shared = sharedFloats();
  shared[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  const float next = shared[(threadIdx.x + 1) % blockDim.x];
  if (barrier) __syncthreads();
  shared[threadIdx.x] = next;
  __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x];
}
template <bool barrier>
__global__ void warpTurnKernel(float *out) {
  float *shared = sharedFloats();
  shared[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (barrier) __syncwarp();
  out[threadIdx.x] = shared[threadIdx.x ^ 1];
}
// Neighbouring halves of one word, each by a thread of its own: no race.
__global__ void halvesKernel(uint16_t *out) { out[threadIdx.x] = static_cast<uint16_t>(threadIdx.x); }
__global__ void globalTurnKernel(float *out) {
  out[threadIdx.x] = 1;
  out[threadIdx.x ^ 1] = 2;
}
__global__ void blocksWriteKernel(float *out) {
  if (threadIdx.x == 0) out[0] = static_cast<float>(blockIdx.x);
}
__global__ void blocksReadKernel(float *words) {
  if (blockIdx.x == 0) words[threadIdx.x] = 1;
  if (blockIdx.x == 1) words[32 + threadIdx.x] = words[threadIdx.x];
}
__global__ void countKernel(uint32_t *count, uint64_t *largest) {
  addAtomically(count, 1u);
  maxAtomically(largest, static_cast<uint64_t>(blockIdx.x * blockDim.x + threadIdx.x) << 32);
}
__global__ void countPlainKernel(uint32_t *count) {
  addAtomically(count, 1u);
  if (blockIdx.x == 1 && threadIdx.x == 0) count[0] = 0;
}

// --- barriers and collectives --------------------------------------------------------------------
__global__ void divergentKernel(float *out) {
  if (threadIdx.x < 32) {
    __syncthreads();
    out[threadIdx.x] = 1;
  } else {
    out[threadIdx.x] = 2;
    __syncthreads();
  }
}
// Half of a warp at the barrier, half at the end of the warp's own.
__global__ void stuckKernel(float *out) {
  if (threadIdx.x % 32 < 16) __syncthreads();
  __syncwarp();
  out[threadIdx.x] = 1;
}
// Threads that have ended are not waited for.
__global__ void earlyKernel(float *out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void shuffleKernel(float *out, int lanes) {
  if (static_cast<int>(threadIdx.x) < lanes) out[threadIdx.x] = shuffleXor(static_cast<float>(threadIdx.x), 1);
}
__global__ void shuffleOutsideKernel(int *out) {
  if (threadIdx.x < 16) out[threadIdx.x] = shuffleDown(static_cast<int>(threadIdx.x), 1, 32, 0xFFFFu);
}
__global__ void voteMaskKernel(int *out) { out[threadIdx.x] = static_cast<int>(ballot(true, 0x7FFFFFFFu)); }
__global__ void shufflesKernel(int *out) {
  const int lane = static_cast<int>(threadIdx.x);
  out[lane] = shuffleXor(lane, 5);
  out[32 + lane] = shuffleDown(lane, 3, 16);
  out[64 + lane] = shuffleUp(lane, 3, 16);
  out[96 + lane] = shuffleIndex(lane, 2, 8);
  out[128 + lane] = static_cast<int>(ballot(lane % 3 == 0));
  out[160 + lane] = static_cast<int>(shuffleXor(uint64_t(lane) << 40, 1) >> 40);
  out[192 + lane] = lane < 16 ? shuffleXor(lane, 1, 32, 0xFFFFu) : shuffleXor(lane, 2, 32, 0xFFFF0000u);
}
__global__ void sumKernel(const double *in, double *out) {
  const double total = blockSum(in[threadIdx.x], reinterpret_cast<double *>(sharedMemory()));
  if (threadIdx.x == 0) *out = total;
}
// Two of three warps meet at barrier 1; the third goes its own way.
template <bool barrier>
__global__ void namedKernel(float *out) {
  float *shared = sharedFloats();
  const int warp = static_cast<int>(threadIdx.x / 32);
  if (warp == 0) shared[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (warp < 2 && barrier) namedBarrier(1, 64);
  if (warp == 1) out[threadIdx.x - 32] = shared[threadIdx.x - 32];
}
__global__ void namedCountKernel() {
  if (threadIdx.x < 64) namedBarrier(1, 96);
}

// --- asynchronous copies -------------------------------------------------------------------------
enum class Wait { right, none, noCommit, tooFew, noBarrier };
// Two groups of 16 bytes a thread; each thread adds up what its neighbour copied.
template <Wait wait>
__global__ void asyncKernel(const float *in, float *out) {
  float *shared = sharedFloats();
  const int i = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x);
  copyAsync(shared + 4 * i, in + 4 * i);
  commitCopies();
  copyAsync(shared + 4 * (n + i), in + 4 * (n + i), i % 2 ? 0 : 8);
  if (wait != Wait::noCommit) commitCopies();
  if (wait == Wait::right || wait == Wait::noCommit || wait == Wait::noBarrier) waitForCopies<0>();
  if (wait == Wait::tooFew) waitForCopies<1>();
  if (wait != Wait::noBarrier) __syncthreads();
  const int other = (i + 1) % n;
  float total = 0;
  for (int j = 0; j < 4; ++j) total += shared[4 * other + j] + shared[4 * (n + other) + j];
  out[i] = total;
}
// A pipeline of two buffers over `steps` tiles of 32 floats; without the last barrier a buffer is refilled too early.
template <bool barrier>
__global__ void pipelineKernel(const float *in, float *out, int steps) {
  float *shared = sharedFloats();
  const int i = static_cast<int>(threadIdx.x);
  float total = 0;
  const auto fetch = [&](int step) {
    if (i < 8 && step < steps) copyAsync(shared + step % 2 * 32 + 4 * i, in + step * 32 + 4 * i);
    commitCopies();
  };
  fetch(0);
  for (int step = 0; step < steps; ++step) {
    fetch(step + 1);
    waitForCopies<1>();
    __syncthreads();
    total += shared[step % 2 * 32 + 31 - i % 32];
    if (barrier) __syncthreads();
  }
  out[i] = total;
}

// --- tensor cores --------------------------------------------------------------------------------
// Registers by the layouts of the PTX manual (element i of a lane's fragment),
// from a [16, K], b [K, 8] in global memory.
__global__ void mmaBf16Kernel(const float *a, const float *b, float *d) {
  const int group = static_cast<int>(threadIdx.x) / 4, within = static_cast<int>(threadIdx.x) % 4;
  float elements[8];
  uint32_t ra[4], rb[2];
  for (int i = 0; i < 8; ++i) {
    const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
    elements[i] = a[row * 16 + within * 2 + (i & 1) + (i >= 4 ? 8 : 0)];
  }
  for (int i = 0; i < 4; ++i) ra[i] = pairOf(elements[2 * i], elements[2 * i + 1]);
  for (int i = 0; i < 4; ++i) elements[i] = b[(within * 2 + (i & 1) + (i >= 2 ? 8 : 0)) * 8 + group];
  for (int i = 0; i < 2; ++i) rb[i] = pairOf(elements[2 * i], elements[2 * i + 1]);
  float rd[4];
  for (int i = 0; i < 4; ++i) rd[i] = d[(i < 2 ? group : group + 8) * 8 + within * 2 + (i & 1)];
  mmaBf16(rd, ra, rb);
  for (int i = 0; i < 4; ++i) d[(i < 2 ? group : group + 8) * 8 + within * 2 + (i & 1)] = rd[i];
}
__global__ void mmaTf32Kernel(const float *a, const float *b, float *d) {
  const int group = static_cast<int>(threadIdx.x) / 4, within = static_cast<int>(threadIdx.x) % 4;
  uint32_t ra[4], rb[2];
  for (int i = 0; i < 4; ++i) ra[i] = toTf32(a[(i % 2 ? group + 8 : group) * 8 + (i < 2 ? within : within + 4)]);
  for (int i = 0; i < 2; ++i) rb[i] = toTf32(b[(i == 0 ? within : within + 4) * 8 + group]);
  float rd[4];
  for (int i = 0; i < 4; ++i) rd[i] = d[(i < 2 ? group : group + 8) * 8 + within * 2 + (i & 1)];
  mmaTf32(rd, ra, rb);
  for (int i = 0; i < 4; ++i) d[(i < 2 ? group : group + 8) * 8 + within * 2 + (i & 1)] = rd[i];
}
// The same product with operands through shared memory: a [16, 16] row by row by ldmatrix.x4; b [16, 8] row by row by
// ldmatrix.x2.trans. `shift` elements off are no longer rows of 16 bytes.
__global__ void ldmatrixKernel(const float *a, const float *b, float *d, int shift) {
  auto *shared = reinterpret_cast<bf16 *>(sharedMemory());
  const int lane = static_cast<int>(threadIdx.x), group = lane / 4, within = lane % 4;
  for (int i = lane; i < 256; i += 32) shared[i] = toBf16(a[i]);
  for (int i = lane; i < 128; i += 32) shared[256 + i] = toBf16(b[i]);
  __syncwarp();
  uint32_t ra[4], rb[2];
  // Matrices: rows 0-7, rows 8-15, and the same 8 columns further on.
  loadMatrices(ra, shared + (lane % 16) * 16 + lane / 16 * 8 + shift);
  loadMatricesTransposed(rb, shared + 256 + (lane % 16) * 8);
  float rd[4] = {};
  mmaBf16(rd, ra, rb);
  for (int i = 0; i < 4; ++i) d[(i < 2 ? group : group + 8) * 8 + within * 2 + (i & 1)] = rd[i];
}

bool isProduct(const std::vector<float> &a, const std::vector<float> &b, const std::vector<float> &before,
               const std::vector<float> &d, int depth) {
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      float sum = before[m * 8 + n];
      for (int k = 0; k < depth; ++k) sum += a[m * depth + k] * b[k * 8 + n];
      if (sum != d[m * 8 + n]) return false;  // exact: small multiples of 1/64
    }
  }
  return true;
}

__global__ void fastKernel(const float *in, float *out, int count) {
  const int i = static_cast<int>(threadIdx.x);
  if (i >= count) return;
  out[4 * i] = exp2Fast(in[i]);
  out[4 * i + 1] = log2Fast(in[i]);
  out[4 * i + 2] = reciprocalFast(in[i]);
  out[4 * i + 3] = reciprocalRoot(in[i]);
}

Stream &stream() {
  static Stream one(false, 227 * 1024);
  return one;
}

// Within its life the emulation has the numbers of a model.
class NumbersOf {
 public:
  explicit NumbersOf(simt::Numerics its) { simt::settings().numerics = its; }
  ~NumbersOf() { simt::settings().numerics = before_; }

 private:
  simt::Numerics before_ = simt::settings().numerics;
};

// What an mma makes of `before` and products x · 1 at every `step`th of its k: bf16 and tf32; NaN if elements differ.
std::pair<float, float> summed(simt::Numerics numerics, float before, float x, int step) {
  const NumbersOf model(numerics);
  const auto of = [&](int depth, void (*kernel)(const float *, const float *, float *)) {
    std::vector<float> a(16 * depth, 0.0f);
    for (int i = 0; i < 16 * depth; ++i) a[i] = i % depth % step == 0 ? x : 0.0f;
    const Buffer<float> da(a), db(std::vector<float>(8 * depth, 1.0f)), d(std::vector<float>(128, before));
    launch(kernel, 1, 32, 0, stream(), da, db, d);
    const std::vector<float> sums = d.read();
    for (float sum : sums) {
      if (sum != sums[0]) return NAN;
    }
    return sums[0];
  };
  return {of(16, mmaBf16Kernel), of(8, mmaTf32Kernel)};
}
std::vector<float> fastOf(simt::Numerics numerics, const std::vector<float> &in) {
  const NumbersOf model(numerics);
  const Buffer<float> values(in), out(4 * in.size());
  launch(fastKernel, 1, 256, 0, stream(), values, out, static_cast<int>(in.size()));
  return out.read();
}

}  // namespace

std::vector<Kernel> kernels() {
  const auto out = [](auto kernel, int blocks, int threads, size_t shared) {
    return [=] {
      const Buffer<float> result(256);
      launch(kernel, blocks, threads, shared, stream(), result);
      return true;
    };
  };
  return {
      {"global memory, right",
       {},
       [] {
         const Buffer<float> in(numbers(1000)), result(1000);
         launch(doubleKernel, 4, 256, 0, stream(), in, result, 999);
         const std::vector<float> expected = numbers(1000), found = result.read();
         for (int i = 0; i < 1000; ++i) {
           if (found[i] != 2 * expected[i]) return false;
         }
         return true;
       }},
      {"one past the end of global memory, read",
       {"doubleKernel", "reads 4 bytes", "(4000 bytes) + 4000", "planted.cu:"},
       [] {
         const Buffer<float> in(numbers(1000)), result(1024);
         launch(doubleKernel, 4, 256, 0, stream(), in, result, 1000);
         return true;
       }},
      {"one past the end of global memory, written",
       {"clearKernel", "writes 4 bytes", "(4000 bytes) + 4000", "(232, 0, 0)"},
       [] {
         const Buffer<float> result(1000);
         launch(clearKernel, 4, 256, 0, stream(), result, 1000);
         return true;
       }},
      {"global memory that was never written",
       {"reads 4 bytes", "never written"},
       [] {
         const Buffer<float> in(64), result(64);
         launch(doubleKernel, 1, 64, 0, stream(), in, result, 63);
         return true;
       }},
      {"global memory that was freed",
       {"reads 4 bytes", "it was freed"},
       [] {
         const float *gone = nullptr;
         {
           const Buffer<float> in(numbers(64));
           gone = in;
         }
         const Buffer<float> result(64);
         launch(doubleKernel, 1, 64, 0, stream(), gone, result, 63);
         return true;
       }},
      {"memory of the host",
       {"reads 4 bytes", "not memory of the device"},
       [] {
         const std::vector<float> in = numbers(64);
         const Buffer<float> result(64);
         launch(doubleKernel, 1, 64, 0, stream(), in.data(), result, 63);
         return true;
       }},
      {"two launches of a stream, in order",
       {},
       [] {
         const Buffer<uint32_t> count(std::vector<uint32_t>(1, 0));
         const Buffer<uint64_t> largest(std::vector<uint64_t>(1, 0));
         launch(countKernel, 2, 64, 0, stream(), count, largest);
         launch(countKernel, 2, 64, 0, stream(), count, largest);
         return count.read()[0] == 256;
       }},
      {"a vector, right",
       {},
       [] {
         const Buffer<float> in(numbers(4)), result(4);
         launch(vectorKernel, 1, 1, 0, stream(), in, result);
         return result.read() == numbers(4);
       }},
      {"a misaligned vector",
       {"misaligned", "planted.cu:"},
       [] {
         const Buffer<float> in(numbers(8)), result(4);
         launch(vectorKernel, 1, 1, 0, stream(), in + 1, result);
         return true;
       }},
      {"a vector across the end",
       {"reads 16 bytes", "(24 bytes) + 16"},
       [] {
         const Buffer<float> in(numbers(6)), result(4);
         launch(vectorKernel, 1, 1, 0, stream(), in + 4, result);
         return true;
       }},
      {"memcpy across the end",
       {"writes 36 bytes", "(32 bytes) + 0"},
       [] {
         const Buffer<float> in(numbers(16)), result(8);
         launch(bytesKernel, 1, 1, 0, stream(), in, result, 9);
         return true;
       }},
      {"a struct across the end",
       {"reads 64 bytes", "(60 bytes) + 0"},
       [] {
         const Buffer<float> in(numbers(15)), result(16);
         launch(structKernel, 1, 1, 0, stream(), reinterpret_cast<const Row *>(static_cast<float *>(in)),
                reinterpret_cast<Row *>(static_cast<float *>(result)));
         return true;
       }},
      {"shared memory, right",
       {},
       [] {
         const Buffer<float> result(128);
         launch(sharedKernel, 1, 128, 512, stream(), result, 0);
         for (int i = 0; i < 128; ++i) {
           if (result.read()[i] != i) return false;
         }
         return true;
       }},
      {"one past the end of shared memory",
       {"reads 4 bytes", "shared memory (512 bytes) + 512", "out of bounds"},
       [] {
         const Buffer<float> result(128);
         launch(sharedKernel, 1, 128, 512, stream(), result, 1);
         return true;
       }},
      {"shared memory that was never written",
       {"shared memory (516 bytes) + 512", "never written"},
       [] {
         const Buffer<float> result(128);
         launch(sharedKernel, 1, 128, 516, stream(), result, 1);
         return true;
       }},
      {"a barrier between writers and readers", {}, out(turnKernel<true>, 1, 128, 512)},
      {"a missing barrier between writers and readers", {"shared memory"}, out(turnKernel<false>, 1, 128, 512)},
      {"a barrier between readers and writers", {}, out(shiftKernel<true>, 1, 128, 512)},
      {"a missing barrier between readers and writers",
       {"a race", "shared memory"},
       out(shiftKernel<false>, 1, 128, 512)},
      {"__syncwarp between lanes", {}, out(warpTurnKernel<true>, 1, 64, 256)},
      {"a missing __syncwarp between lanes", {"shared memory"}, out(warpTurnKernel<false>, 1, 64, 256)},
      {"halves of a word",
       {},
       [] {
         const Buffer<uint16_t> result(64);
         launch(halvesKernel, 1, 64, 0, stream(), result);
         return true;
       }},
      {"two threads write one word of global memory",
       {"a race", "writes 4 bytes", "allocation"},
       out(globalTurnKernel, 1, 64, 0)},
      {"two blocks write one word", {"a race", "another block", "wrote"}, out(blocksWriteKernel, 2, 32, 0)},
      {"a block reads what another writes",
       {"another block"},
       [] {
         const Buffer<float> words(numbers(64));
         launch(blocksReadKernel, 2, 32, 0, stream(), words);
         return true;
       }},
      {"a launch reads what the one before it wrote",
       {},
       [] {
         const Buffer<float> in(numbers(64)), middle(64), result(64);
         launch(doubleKernel, 2, 32, 0, stream(), in, middle, 63);
         launch(doubleKernel, 1, 64, 0, stream(), middle, result, 63);
         return true;
       }},
      {"atomics from many blocks",
       {},
       [] {
         const Buffer<uint32_t> count(std::vector<uint32_t>(1, 0));
         const Buffer<uint64_t> largest(std::vector<uint64_t>(1, 0));
         launch(countKernel, 8, 64, 0, stream(), count, largest);
         return count.read()[0] == 512 && largest.read()[0] == uint64_t(511) << 32;
       }},
      {"an atomic and a plain write",
       {"a race"},
       [] {
         const Buffer<uint32_t> count(std::vector<uint32_t>(1, 0));
         launch(countPlainKernel, 2, 32, 0, stream(), count);
         return true;
       }},
      {"a divergent barrier", {"divergent barrier", "planted.cu:"}, out(divergentKernel, 1, 64, 0)},
      {"a barrier that not all threads reach",
       {"waits for ever", "__syncthreads at planted.cu:", "__syncwarp"},
       out(stuckKernel, 1, 64, 0)},
      {"a barrier after some threads have ended", {}, out(earlyKernel, 1, 64, 0)},
      {"a shuffle of all lanes",
       {},
       [] {
         const Buffer<float> result(32);
         launch(shuffleKernel, 1, 32, 0, stream(), result, 32);
         return result.read()[6] == 7;
       }},
      {"a shuffle that a lane misses",
       {"waits for ever", "shuffle of lanes 0xffffffff", "31 of 32"},
       [] {
         const Buffer<float> result(32);
         launch(shuffleKernel, 1, 32, 0, stream(), result, 31);
         return true;
       }},
      {"a shuffle from a lane outside the mask",
       {"shuffle from lane 16"},
       [] {
         const Buffer<int> result(32);
         launch(shuffleOutsideKernel, 1, 32, 0, stream(), result);
         return true;
       }},
      {"a vote whose mask lacks the lane itself",
       {"lacks its own lane"},
       [] {
         const Buffer<int> result(32);
         launch(voteMaskKernel, 1, 32, 0, stream(), result);
         return true;
       }},
      {"shuffles and votes",
       {},
       [] {
         const Buffer<int> result(224);
         launch(shufflesKernel, 1, 32, 0, stream(), result);
         const std::vector<int> found = result.read();
         for (int lane = 0; lane < 32; ++lane) {
           const bool good = found[lane] == (lane ^ 5) && found[32 + lane] == (lane % 16 < 13 ? lane + 3 : lane) &&
                             found[64 + lane] == (lane % 16 >= 3 ? lane - 3 : lane) &&
                             found[96 + lane] == lane / 8 * 8 + 2 && found[128 + lane] == 0x49249249 &&
                             found[160 + lane] == (lane ^ 1) && found[192 + lane] == (lane < 16 ? lane ^ 1 : lane ^ 2);
           if (!good) return false;
         }
         return true;
       }},
      {"a block's sum",
       {},
       [] {
         std::vector<double> values(256);
         for (int i = 0; i < 256; ++i) values[i] = i;
         const Buffer<double> in(values), result(1);
         launch(sumKernel, 1, 256, 64, stream(), in, result);
         return result.read()[0] == 255 * 128;
       }},
      {"a named barrier", {}, out(namedKernel<true>, 1, 96, 128)},
      {"a missing named barrier", {"shared memory"}, out(namedKernel<false>, 1, 96, 128)},
      {"a named barrier of too many threads",
       {"waits for ever", "barrier 1"},
       [] {
         launch(namedCountKernel, 1, 96, 0, stream());
         return true;
       }},
      {"cp.async, right",
       {},
       [] {
         const std::vector<float> values = numbers(512);
         const Buffer<float> in(values), result(64);
         launch(asyncKernel<Wait::right>, 1, 64, 2048, stream(), in, result);
         for (int i = 0; i < 64; ++i) {
           const int other = (i + 1) % 64;
           float expected = 0;
           for (int j = 0; j < 4; ++j) {
             expected += values[4 * other + j] + (j < 2 && other % 2 == 0 ? values[4 * (64 + other) + j] : 0);
           }
           if (result.read()[i] != expected) return false;
         }
         return true;
       }},
      {"cp.async read before its wait",
       {"cp.async has not been waited for"},
       [] {
         const Buffer<float> in(numbers(512)), result(64);
         launch(asyncKernel<Wait::none>, 1, 64, 2048, stream(), in, result);
         return true;
       }},
      {"cp.async without a commit",
       {"cp.async has not been waited for"},
       [] {
         const Buffer<float> in(numbers(512)), result(64);
         launch(asyncKernel<Wait::noCommit>, 1, 64, 2048, stream(), in, result);
         return true;
       }},
      {"cp.async with a wait for too few groups",
       {"cp.async has not been waited for"},
       [] {
         const Buffer<float> in(numbers(512)), result(64);
         launch(asyncKernel<Wait::tooFew>, 1, 64, 2048, stream(), in, result);
         return true;
       }},
      {"cp.async read by another thread without a barrier",
       {"shared memory"},
       [] {
         const Buffer<float> in(numbers(512)), result(64);
         launch(asyncKernel<Wait::noBarrier>, 1, 64, 2048, stream(), in, result);
         return true;
       }},
      {"a pipeline of cp.async",
       {},
       [] {
         const Buffer<float> in(numbers(320)), result(64);
         launch(pipelineKernel<true>, 1, 64, 256, stream(), in, result, 10);
         return true;
       }},
      {"a pipeline that refills a buffer too early",
       {"shared memory"},
       [] {
         const Buffer<float> in(numbers(320)), result(64);
         launch(pipelineKernel<false>, 1, 64, 256, stream(), in, result, 10);
         return true;
       }},
      {"mma bf16 by the layouts of the manual",
       {},
       [] {
         const std::vector<float> a = numbers(256), b = numbers(128), before = numbers(128);
         const Buffer<float> da(a), db(b), d(before);
         launch(mmaBf16Kernel, 1, 32, 0, stream(), da, db, d);
         return isProduct(a, b, before, d.read(), 16);
       }},
      {"mma tf32 by the layouts of the manual",
       {},
       [] {
         const std::vector<float> a = numbers(128), b = numbers(64), before = numbers(128);
         const Buffer<float> da(a), db(b), d(before);
         launch(mmaTf32Kernel, 1, 32, 0, stream(), da, db, d);
         return isProduct(a, b, before, d.read(), 8);
       }},
      {"sums of tensor cores: products are cut off at the place of the largest",
       {},
       [] {
         using simt::Numerics;
         const float x = 0x1.8p-25f;
         return summed(Numerics::ampere, 1, x, 1) == std::make_pair(1.0f, 1.0f) &&
                summed(Numerics::hopper, 1, x, 1) == std::make_pair(1 + 0x1p-21f, 1 + 0x1p-22f) &&
                summed(Numerics::exact, 1, x, 1) == std::make_pair(1 + 0x1.8p-21f, 1 + 0x1.8p-22f);
       }},
      {"sums of tensor cores: Ampere adds an instruction's halves in turn",
       {},
       [] {
         using simt::Numerics;
         const auto ofHalves = [](Numerics numerics) {  // one product in each half
           return std::make_pair(summed(numerics, 1, 0x1p-24f, 8).first, summed(numerics, 1, 0x1p-24f, 4).second);
         };
         const auto whole = std::make_pair(1 + 0x1p-23f, 1 + 0x1p-23f);
         return ofHalves(Numerics::ampere) == std::make_pair(1.0f, 1.0f) && ofHalves(Numerics::hopper) == whole &&
                ofHalves(Numerics::exact) == whole;
       }},
      {"sums of tensor cores: results are cut off towards zero",
       {},
       [] {
         using simt::Numerics;
         const auto ofOne = [](Numerics numerics) { return summed(numerics, -1, -0x1.8p-23f, 16).first; };
         return ofOne(Numerics::ampere) == -1 - 0x1p-23f && ofOne(Numerics::hopper) == -1 - 0x1p-23f &&
                ofOne(Numerics::exact) == -1 - 0x1p-22f;
       }},
      {"sums of tensor cores: the smallest and the largest",
       {},
       [] {
         for (const auto numerics : {simt::Numerics::ampere, simt::Numerics::hopper, simt::Numerics::exact}) {
           const auto infinite = std::make_pair(INFINITY, INFINITY);
           if (summed(numerics, 0x1p-149f, 0x1p-133f, 4) != std::make_pair(0x1.00004p-131f, 0x1.00008p-132f) ||
               summed(numerics, 0, 0x1p127f, 2) != infinite || summed(numerics, INFINITY, 1, 1) != infinite) {
             return false;
           }
         }
         return true;
       }},
      {"fast functions have no subnormals",
       {},
       [] {
         const std::vector<float> in = {-130.0f, 0x1p127f, 0x1p-130f};
         const auto real = fastOf(simt::Numerics::ampere, in), exact = fastOf(simt::Numerics::exact, in);
         return real[0] == 0 && real[4 + 2] == 0 && real[8 + 1] == -INFINITY && real[8 + 2] == INFINITY &&
                exact[0] == 0x1p-130f && exact[4 + 2] == 0x1p-127f && exact[8 + 1] == -130;
       }},
      {"fast functions are off by as much as the manual allows",
       {},
       [] {
         std::vector<float> in;
         for (int i = 0; i < 256; ++i) in.push_back(static_cast<float>(i + 1) * 0.0625f);
         const auto real = fastOf(simt::Numerics::hopper, in), exact = fastOf(simt::Numerics::exact, in);
         const float most[4] = {0x1p-22f, 0x1p-22f, 0x1p-23f, 0x1p-22f};  // lg2: at the least of 1
         bool off[4] = {};
         for (size_t i = 0; i < real.size(); ++i) {
           const float error = std::fabs(real[i] - exact[i]);
           const float size = i % 4 == 1 && in[i / 4] > 0.5f && in[i / 4] < 2 ? 1 : std::fabs(exact[i]);
           if (!(error <= most[i % 4] * size)) return false;
           off[i % 4] = off[i % 4] || error > 0;
         }
         return off[0] && off[1] && off[2] && off[3];
       }},
      {"ldmatrix, plain and transposed",
       {},
       [] {
         const std::vector<float> a = numbers(256), b = numbers(128);
         const Buffer<float> da(a), db(b), d(128);
         launch(ldmatrixKernel, 1, 32, 768, stream(), da, db, d, 0);
         return isProduct(a, b, std::vector<float>(128, 0.0f), d.read(), 16);
       }},
      {"ldmatrix of misaligned rows",
       {"ldmatrix", "not aligned"},
       [] {
         const Buffer<float> da(numbers(256)), db(numbers(128)), d(128);
         launch(ldmatrixKernel, 1, 32, 768, stream(), da, db, d, 4);
         return true;
       }},
      {"too many threads in a block", {"2048 x 1 x 1"}, out(globalTurnKernel, 1, 2048, 0)},
      {"too much shared memory", {"bytes of shared memory"}, out(turnKernel<true>, 1, 128, 240 * 1024)},
  };
}

}  // namespace planted
