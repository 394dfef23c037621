// Log powers of bands of frequency, a thread a frame and band. Neighbouring threads have neighbouring bands of a frame,
// whose bins lie side by side; a bin is read by the two bands that weigh it. Bound by memory: 1.9 KB of spectrum a
// frame, of 242 bins, once from the device's.
#include "../error.h"
#include "backend.h"
#include "divisor.cuh"
#include "elements.cuh"
#include "launch.cuh"

namespace emoframe {

namespace {

constexpr int threads = 256;

template <typename T>
__global__ void __launch_bounds__(threads)
    bandPowersKernel(uint32_t count, Divisor bands, Strided<const float> spectrum, int64_t bins, const int32_t *bin,
                     const int32_t *first, const float *weights, float floor, Strided<T> out) {
  const uint32_t index = blockIdx.x * threads + threadIdx.x;
  if (index >= count) return;
  const uint32_t t = bands.quotient(index), m = index - t * bands.value();
  const int begin = first[m], n = first[m + 1] - begin;
  const float *real = spectrum.row(t) + bin[m], *imaginary = real + bins, *weight = weights + begin;
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += weight[i] * (real[i] * real[i] + imaginary[i] * imaginary[i]);
  *out.at(0, t, m) = fromFloat<T>(logf(sum + floor));
}

}  // namespace

template <>
void CudaBackend::perform(const LogBandPowers &op) {
  const int64_t count = op.out.size();
  if (count == 0) return;
  if (count > INT32_MAX) {
    throw Error("ERR_DEVICE", "A tensor of " + std::to_string(count) +
                                  " elements is more than one operation of the GPU backend takes");
  }
  withType(op.out.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    launch(bandPowersKernel<T>, blocksFor(count, threads), threads, 0, stream(), static_cast<uint32_t>(count),
           Divisor(op.out.cols), strided<const float>(op.spectrum), op.spectrum.cols / 2, op.bins, op.first,
           op.weights.as<float>(), op.floor, strided<T>(op.out));
  });
}

}  // namespace emoframe
