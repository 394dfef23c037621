// Conv 0 backward: the moments Σ g and Σ g x[k] of each utterance and channel, from which all its gradients follow.
//
// First launch: a block has 2048 frames of one utterance and 128 channels; a thread has 4 channels, every 8th frame,
// and their 11 sums in registers, in fp32 over its 256 frames; the 8 threads of a channel are added in double. Second
// launch: an utterance's blocks are added in order. Read: dOut once (2 C bytes a frame of bf16). An element takes 20
// fma and about as many instructions for the slope of GELU: bound by what can be issued.
#include "backend.h"
#include "conv0.cuh"
#include "launch.cuh"

namespace emoframe {

using namespace conv0;

namespace {

constexpr int width = 4, columns = 32 * width, strips = 8, partFrames = 2048;
constexpr int tapsAtOnce = 10, sums = 1 + tapsAtOnce;
constexpr size_t sharedBytes = sizeof(float) * strips * sums * columns;

struct PartsOf {
  const Windows &windows;
  __device__ int32_t operator()(int32_t b) const { return (windows.frames(b) + partFrames - 1) / partFrames; }
};

// Block (32, strips); the grid goes over parts, channels and taps. partials [parts, 1 + taps, channels].
template <typename T, int fixed>
__global__ void __launch_bounds__(32 * strips, 2)
    momentsKernel(Windows windows, Filters filters, bool gelu, Strided<const T> dOut, int64_t channels, bool aligned,
                  double *partials) {
  const Part part = findPart(windows.count, static_cast<int32_t>(blockIdx.x), PartsOf{windows});
  if (part.item < 0) return;
  const int taps = fixed > 0 ? fixed : windows.taps;
  const int firstTap = static_cast<int>(blockIdx.z) * tapsAtOnce;
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int64_t channel = static_cast<int64_t>(blockIdx.y) * columns + x * width, n = channels - channel;
  const int64_t firstRow = windows.firstRow(part.item),
                begin = firstRow + static_cast<int64_t>(part.index) * partFrames;
  const int64_t last = firstRow + windows.frames(part.item),
                end = begin + partFrames < last ? begin + partFrames : last;

  float moments[width][sums] = {};
  if (n > 0) {
    FilterBank<width, fixed> bank;
    if (gelu) bank.load(filters, part.item, channel, n);
    for (int64_t row = begin + y; row < end; row += strips) {
      const float *window = windows.at(row);
      float g[width];
      loadSome(dOut.row(row) + channel * dOut.colStride, dOut.colStride, n, aligned, g);
      if (gelu) {
        float values[width];
        bank.apply(window, taps, filters.weightColumn, values);
#pragma unroll
        for (int i = 0; i < width; ++i) g[i] *= geluSlope(values[i]);
      }
#pragma unroll
      for (int i = 0; i < width; ++i) moments[i][0] += g[i];
#pragma unroll
      for (int k = 0; k < tapsAtOnce; ++k) {
        if (fixed == 0 && firstTap + k >= taps) break;
        const float sample = window[firstTap + k];
#pragma unroll
        for (int i = 0; i < width; ++i) moments[i][1 + k] += g[i] * sample;
      }
    }
  }
  auto *shared = reinterpret_cast<float *>(sharedMemory());  // [strips, sums, columns]
#pragma unroll
  for (int k = 0; k < sums; ++k) {
    float four[width];
#pragma unroll
    for (int i = 0; i < width; ++i) four[i] = moments[i][k];
    storeVector(shared + (y * sums + k) * columns + x * width, four);
  }
  __syncthreads();
  for (int k = y; k < sums; k += strips) {
    const int moment = k == 0 ? 0 : firstTap + k;
    if (moment > taps || (k == 0 && firstTap > 0)) continue;
    double total[width] = {};
    for (int strip = 0; strip < strips; ++strip) {
      float four[width];
      loadVector(shared + (strip * sums + k) * columns + x * width, four);
#pragma unroll
      for (int i = 0; i < width; ++i) total[i] += static_cast<double>(four[i]);
    }
    double *to = partials + (static_cast<int64_t>(blockIdx.x) * (1 + taps) + moment) * channels + channel;
#pragma unroll
    for (int i = 0; i < width; ++i) {
      if (i < n) to[i] = total[i];
    }
  }
}

// One thread for each utterance, moment and channel: adds the utterance's parts in order.
__global__ void __launch_bounds__(256)
    addPartsKernel(Windows windows, const double *partials, int64_t channels, Strided<float> moment0,
                   int64_t itemStride0, Strided<float> moment1) {
  const auto b = static_cast<int32_t>(blockIdx.y);
  const int32_t first = partsBefore(b, PartsOf{windows}), parts = PartsOf{windows}(b);
  const int64_t size = (1 + windows.taps) * channels, i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i >= size) return;
  double total = 0;
#pragma unroll 4
  for (int32_t part = 0; part < parts; ++part) total += partials[(first + part) * size + i];
  const int64_t moment = i / channels, channel = i - moment * channels;
  if (moment == 0) {
    moment0.data[b * itemStride0 + channel * moment0.colStride] = static_cast<float>(total);
  } else {
    *moment1.at(b, channel, moment - 1) = static_cast<float>(total);
  }
}

}  // namespace

template <>
void CudaBackend::perform(const Conv0Backward &op) {
  const Conv0 &conv = op.conv;
  const int64_t channels = conv.weight.rows, most = mostParts(rowsOf(conv), conv.count, partFrames);
  if (conv.count == 0 || channels == 0) return;
  const Windows windows = windowsOf(conv);
  auto *partials =
      static_cast<double *>(scratch(sizeof(double) * static_cast<size_t>(most * (1 + conv.kernel) * channels)));
  const dim3 grid(static_cast<uint32_t>(most), blocksFor(channels, columns), blocksFor(conv.kernel, tapsAtOnce));
  withType(op.dOut.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    const auto kernel = conv.kernel == usualTaps ? momentsKernel<T, usualTaps> : momentsKernel<T, 0>;
    launch(kernel, grid, dim3(32, strips), sharedBytes, stream(), windows, filtersOf(conv), conv.gelu,
           strided<const T>(op.dOut), channels, rowsAligned(op.dOut), partials);
  });
  launch(addPartsKernel, dim3(blocksFor((1 + conv.kernel) * channels, 256), static_cast<uint32_t>(conv.count)), 256, 0,
         stream(), windows, partials, channels, strided<float>(op.moment0), itemStride(op.moment0),
         strided<float>(op.moment1));
}

}  // namespace emoframe
