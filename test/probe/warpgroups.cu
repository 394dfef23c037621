// wgmma: every form of native/cuda/hopper.cuh on small integers, whose sums are exact; and whether its sums round as
// those of mma.sync.
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "device.cuh"
#include "hopper.cuh"
#include "hopper.h"

namespace probe {

using namespace emoframe;

namespace {

constexpr int M = 64, steps = 8, threads = 128;

enum class Form { bf16, bf16Registers, tf32, tf32Registers };
template <Form form>
constexpr bool isTf32 = form == Form::tf32 || form == Form::tf32Registers;
template <Form form>
constexpr bool inRegisters = form == Form::bf16Registers || form == Form::tf32Registers;

// Where operands lie in the image of shared memory, in bytes.
struct Plan {
  uint32_t b;  // a is at 0
  uint32_t aLeading, aStride, bLeading, bStride;
  uint32_t aStep[steps], bStep[steps];
  bool adds;  // to what is in d
};

// d: [N / 2, thread], in and out.
template <int N, Form form, bool aIsMnMajor, bool bIsMnMajor>
__global__ void __launch_bounds__(threads, 1)
    productKernel(const uint4 *image, uint32_t bytes, const uint32_t *fragments, Plan plan, float *d) {
  unsigned char *shared = sharedMemory();
  const int thread = static_cast<int>(threadIdx.x);
  for (uint32_t i = thread; i < bytes / 16; i += threads) reinterpret_cast<uint4 *>(shared)[i] = image[i];
  publishStores();
  __syncthreads();
  uint32_t left[inRegisters<form> ? steps : 1][4];
  if constexpr (inRegisters<form>) {
#pragma unroll
    for (int step = 0; step < steps; ++step) {
      for (int i = 0; i < 4; ++i) left[step][i] = fragments[(step * threads + thread) * 4 + i];
    }
  }
  float sums[N / 2];
#pragma unroll
  for (int i = 0; i < N / 2; ++i) sums[i] = d[i * threads + thread];
  const uint64_t a = matrixDescriptor(shared, plan.aLeading, plan.aStride);
  const uint64_t b = matrixDescriptor(shared + plan.b, plan.bLeading, plan.bStride);
  fenceProducts();
#pragma unroll
  for (int step = 0; step < steps; ++step) {
    const uint64_t aHere = a + plan.aStep[step] / 16, bHere = b + plan.bStep[step] / 16;
    const bool adds = plan.adds || step > 0;
    if constexpr (form == Form::bf16) {
      multiplyBf16<N, aIsMnMajor, bIsMnMajor>(sums, aHere, bHere, adds);
    } else if constexpr (form == Form::bf16Registers) {
      multiplyBf16<N, bIsMnMajor>(sums, left[step], bHere, adds);
    } else if constexpr (form == Form::tf32) {
      multiplyTf32<N>(sums, aHere, bHere, adds);
    } else {
      multiplyTf32<N>(sums, left[step], bHere, adds);
    }
  }
  commitProducts();
  waitForProducts<0>();
#pragma unroll
  for (int i = 0; i < N / 2; ++i) d[i * threads + thread] = sums[i];
}

// Operands of one case: a [M, K] and b [N, K] as floats, and what is made of them.
struct Operands {
  Operands(int itsN, bool itsTf32, bool aIsMnMajor, bool bIsMnMajor)
      : N(itsN), K(itsTf32 ? 64 : 128), tf32(itsTf32), aMn(aIsMnMajor), bMn(bIsMnMajor), a(M * K), b(N * K) {}

  void fill(const std::function<float()> &next) {
    for (float &value : a) value = next();
    for (float &value : b) value = next();
  }
  uint32_t size() const { return tf32 ? 4 : 2; }
  Plan plan(bool adds) const {
    Plan made{};
    made.b = M * K * size();
    made.aStride = made.bStride = 1024;
    made.aLeading = aMn ? K * 128 : 16;
    made.bLeading = bMn ? K * 128 : 16;
    for (uint32_t i = 0; i < steps; ++i) {
      made.aStep[i] = aMn ? i * 2048 : i / 4 * M * 128 + i % 4 * 32;
      made.bStep[i] = bMn ? i * 2048 : i / 4 * N * 128 + i % 4 * 32;
    }
    made.adds = adds;
    return made;
  }
  std::vector<uint4> image() const {
    std::vector<uint4> made((M + N) * K * size() / 16);
    auto *bytes = reinterpret_cast<unsigned char *>(made.data());
    const auto put = [&](unsigned char *tile, const std::vector<float> &values, int rows, bool mnMajor) {
      for (int row = 0; row < rows; ++row) {
        for (int k = 0; k < K; ++k) {
          const uint32_t word = wordOf(values[row * K + k]);
          const auto half = static_cast<uint16_t>(word >> 16);
          const uint32_t at = mnMajor ? offsetMnMajor(row, k, K) : offsetKMajor(row, k, rows, static_cast<int>(size()));
          if (tf32) {
            std::memcpy(tile + at, &word, 4);
          } else {
            std::memcpy(tile + at, &half, 2);
          }
        }
      }
    };
    put(bytes, a, M, aMn);
    put(bytes + M * K * size(), b, N, bMn);
    return made;
  }
  // Of a in registers: [steps, thread, 4].
  Words fragments() const {
    Words made;
    for (int step = 0; step < steps; ++step) {
      for (int thread = 0; thread < threads; ++thread) {
        const int row = thread / 32 * 16 + thread % 32 / 4, within = thread % 4;
        for (int i = 0; i < 4; ++i) {
          const int r = row + i % 2 * 8;
          if (tf32) {
            made.push_back(wordOf(a[r * K + step * 8 + within + i / 2 * 4]));
          } else {
            const float *pair = &a[r * K + step * 16 + within * 2 + i / 2 * 8];
            made.push_back(bf16Of(pair[0]) | static_cast<uint32_t>(bf16Of(pair[1])) << 16);
          }
        }
      }
    }
    return made;
  }

  int N, K;
  bool tf32, aMn, bMn;
  std::vector<float> a, b;
};

// Element (row, column) of register i of a thread.
int rowOf(int i, int thread) { return thread / 32 * 16 + thread % 32 / 4 + i % 4 / 2 * 8; }
int columnOf(int i, int thread) { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

template <int N, Form form, bool aIsMnMajor, bool bIsMnMajor>
Words run(const Operands &operands, const Plan &plan, const std::vector<float> &d) {
  const std::vector<uint4> image = operands.image();
  const Buffer<uint4> tiles(image);
  const Buffer<uint32_t> fragments(operands.fragments());
  const Buffer<float> sums(d);
  const auto bytes = static_cast<uint32_t>(image.size() * 16);
  launch(productKernel<N, form, aIsMnMajor, bIsMnMajor>, dim3(1), dim3(threads), bytes, tiles.get(), bytes,
         fragments.get(), plan, sums.get());
  return sums.words();
}

template <int N, Form form, bool aIsMnMajor = false, bool bIsMnMajor = false, bool adds = true>
Outcome product() {
  Operands operands(N, isTf32<form>, aIsMnMajor, bIsMnMajor);
  Random random(41);
  operands.fill([&] { return static_cast<float>(random.below(17) - 8); });
  std::vector<float> d(N / 2 * threads);
  Words expected;
  for (int i = 0; i < N / 2; ++i) {
    for (int thread = 0; thread < threads; ++thread) {
      float &start = d[i * threads + thread];
      start = static_cast<float>(random.below(100));
      float sum = adds ? start : 0;
      for (int k = 0; k < operands.K; ++k) {
        sum += operands.a[rowOf(i, thread) * operands.K + k] * operands.b[columnOf(i, thread) * operands.K + k];
      }
      expected.push_back(wordOf(sum));
      if (!adds) start = NAN;
    }
  }
  const Plan plan = operands.plan(adds);
  Outcome outcome = compare(expected, run<N, form, aIsMnMajor, bIsMnMajor>(operands, plan, d));
  if (outcome.status != Outcome::Status::ok && (aIsMnMajor || bIsMnMajor)) {  // the manual's words leave it open
    Plan swapped = plan;
    std::swap(swapped.aLeading, swapped.aStride);
    std::swap(swapped.bLeading, swapped.bStride);
    const Outcome again = compare(expected, run<N, form, aIsMnMajor, bIsMnMajor>(operands, swapped, d));
    outcome.text += again.status == Outcome::Status::ok ? "; right with leading and stride offsets exchanged"
                                                        : "; neither right with the two offsets exchanged";
  }
  return outcome;
}

// The same product by mma.sync, one warp for 16 rows: d as the registers of wgmma.
template <bool tf32>
__global__ void warpProductKernel(const uint32_t *fragments, const uint32_t *b, float *d, int N) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  for (int j = 0; j < N / 8; ++j) {
    float sums[4];
    for (int i = 0; i < 4; ++i) sums[i] = d[(j * 4 + i) * threads + thread];
    for (int step = 0; step < steps; ++step) {
      const uint32_t *left = fragments + (step * threads + thread) * 4,
                     *right = b + ((step * N / 8 + j) * 32 + lane) * 2;
      const uint32_t a4[4] = {left[0], left[1], left[2], left[3]}, b2[2] = {right[0], right[1]};
      if constexpr (tf32) {
        mmaTf32(sums, a4, b2);
      } else {
        mmaBf16(sums, a4, b2);
      }
    }
    for (int i = 0; i < 4; ++i) d[(j * 4 + i) * threads + thread] = sums[i];
  }
}
template <bool tf32>
Outcome rounding() {
  constexpr int N = 128;
  Operands operands(N, tf32, false, false);
  Random random(42);
  operands.fill([&] {
    const uint32_t kept = tf32 ? 0x807FE000u : 0x807F0000u;
    const uint32_t bits = (random.word() & kept) | static_cast<uint32_t>(120 + random.below(10)) << 23;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  });
  std::vector<float> d(N / 2 * threads);
  for (float &value : d) value = random.unit();
  constexpr Form form = tf32 ? Form::tf32 : Form::bf16;
  const Words wide = run<N, form, false, false>(operands, operands.plan(true), d);

  Words right;
  const int deep = tf32 ? 8 : 16;
  for (int step = 0; step < steps; ++step) {
    for (int j = 0; j < N / 8; ++j) {
      for (int lane = 0; lane < 32; ++lane) {
        for (int i = 0; i < 2; ++i) {
          const float *row = &operands.b[(j * 8 + lane / 4) * operands.K + step * deep];
          if (tf32) {
            right.push_back(wordOf(row[lane % 4 + i * 4]));
          } else {
            const float *pair = row + lane % 4 * 2 + i * 8;
            right.push_back(bf16Of(pair[0]) | static_cast<uint32_t>(bf16Of(pair[1])) << 16);
          }
        }
      }
    }
  }
  const Buffer<uint32_t> fragments(operands.fragments()), b(right);
  const Buffer<float> sums(d);
  launch(warpProductKernel<tf32>, dim3(1), dim3(threads), 0, fragments.get(), b.get(), sums.get(), N);
  Outcome outcome = compare(sums.words(), wide);
  outcome.text = (outcome.status == Outcome::Status::ok ? "the same bits: " : "other bits: ") + outcome.text;
  outcome.status = Outcome::Status::ok;  // either is a fact
  return outcome;
}

}  // namespace

std::vector<Part> warpgroupParts() {
  using F = Form;
  std::vector<Part> parts = {
      {"wgmma bf16 N 64", nullptr, product<64, F::bf16>},
      {"wgmma bf16 N 128", nullptr, product<128, F::bf16>},
      {"wgmma bf16 N 256", nullptr, product<256, F::bf16>},
      {"wgmma bf16 N 64, B MN-major", nullptr, product<64, F::bf16, false, true>},
      {"wgmma bf16 N 128, B MN-major", nullptr, product<128, F::bf16, false, true>},
      {"wgmma bf16 N 256, B MN-major", nullptr, product<256, F::bf16, false, true>},
      {"wgmma bf16 N 128, A MN-major", nullptr, product<128, F::bf16, true>},
      {"wgmma bf16 N 128, A and B MN-major", nullptr, product<128, F::bf16, true, true>},
      {"wgmma bf16 N 64, A in registers", nullptr, product<64, F::bf16Registers>},
      {"wgmma bf16 N 128, A in registers", nullptr, product<128, F::bf16Registers>},
      {"wgmma bf16 N 256, A in registers", nullptr, product<256, F::bf16Registers>},
      {"wgmma bf16 N 128, A in registers, B MN-major", nullptr, product<128, F::bf16Registers, false, true>},
      {"wgmma tf32 N 64", nullptr, product<64, F::tf32>},
      {"wgmma tf32 N 128", nullptr, product<128, F::tf32>},
      {"wgmma tf32 N 256", nullptr, product<256, F::tf32>},
      {"wgmma tf32 N 128, A in registers", nullptr, product<128, F::tf32Registers>},
      {"wgmma bf16 that does not add", nullptr, product<128, F::bf16, false, false, false>},
      {"wgmma tf32 that does not add", nullptr, product<128, F::tf32, false, false, false>},
      {"wgmma bf16 beside mma.sync", nullptr, rounding<false>},
      {"wgmma tf32 beside mma.sync", nullptr, rounding<true>},
  };
  for (Part &part : parts) part.major = 9;
  return parts;
}

}  // namespace probe
