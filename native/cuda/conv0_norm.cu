// The GroupNorm after conv 0, which is folded into its filters: each channel is w · x of a window x, so that its mean
// and variance over an utterance follow from the windows' means and covariance (10 x 10 numbers), and its gradients
// from the moments that conv0Backward gives.
//
// All is small beside conv 0 itself and exact rather than fast: sums and what follows from them are in double.
// Covariance: a block has 1024 frames of an utterance; a thread one product of two taps, over a third of the frames,
// which it reads through the first-level cache (20 bytes a frame); then an utterance's blocks are added in order. Per
// frame 65 fma in double: a few microseconds a minute of audio.
#include "backend.h"
#include "conv0.cuh"
#include "launch.cuh"

namespace emoframe {

using namespace conv0;

namespace {

constexpr int threads = 256, partFrames = 1024;

struct PartsOf {
  const Windows &windows;
  __device__ int32_t operator()(int32_t b) const { return (windows.frames(b) + partFrames - 1) / partFrames; }
};

// The sums of an utterance's windows: of each tap, then of the products of taps i <= j.
inline int64_t sumsOf(int64_t taps) { return taps + taps * (taps + 1) / 2; }
struct Product {
  int i, j;  // j = -1: tap i alone
};
__device__ inline Product productOf(int sum, int taps) {
  if (sum < taps) return {sum, -1};
  int rest = sum - taps, i = 0;
  for (; rest >= taps - i; ++i) rest -= taps - i;
  return {i, i + rest};
}

// partials [parts, sums]. Threads go over the sums, and over strips of the frames
// where there are fewer sums than threads.
__global__ void __launch_bounds__(threads) windowSumsKernel(Windows windows, int sums, double *partials) {
  const Part part = findPart(windows.count, static_cast<int32_t>(blockIdx.x), PartsOf{windows});
  if (part.item < 0) return;
  auto *shared = reinterpret_cast<double *>(sharedMemory());  // [strips, sums]
  const int thread = static_cast<int>(threadIdx.x), strips = sums < threads ? threads / sums : 1;
  const int across = sums < threads ? sums : threads, strip = thread / across;
  const int frames = windows.frames(part.item), begin = part.index * partFrames;
  const int end = begin + partFrames < frames ? begin + partFrames : frames;
  const float *samples = windows.at(windows.firstRow(part.item));
  for (int sum = thread % across; sum < sums && strip < strips; sum += across) {
    const Product its = productOf(sum, windows.taps);
    double total = 0;
#pragma unroll 4
    for (int frame = begin + strip; frame < end; frame += strips) {
      const float *window = samples + static_cast<int64_t>(frame) * windows.stride;
      total += static_cast<double>(window[its.i]) * (its.j < 0 ? 1.0 : static_cast<double>(window[its.j]));
    }
    shared[strip * sums + sum] = total;
  }
  __syncthreads();
  for (int sum = thread; sum < sums; sum += threads) {
    double total = 0;
    for (int i = 0; i < strips; ++i) total += shared[i * sums + sum];
    partials[static_cast<int64_t>(blockIdx.x) * sums + sum] = total;
  }
}

// A block for an utterance.
__global__ void __launch_bounds__(threads)
    covarianceKernel(Windows windows, int sums, const double *partials, Strided<float> mean, int64_t meanStride,
                     Strided<float> covariance) {
  auto *expected = reinterpret_cast<double *>(sharedMemory());  // [sums]
  const auto b = static_cast<int32_t>(blockIdx.x);
  const int64_t first = partsBefore(b, PartsOf{windows}), parts = PartsOf{windows}(b);
  const int32_t frames = windows.frames(b);
  for (int sum = static_cast<int>(threadIdx.x); sum < sums; sum += threads) {
    double total = 0;
#pragma unroll 4
    for (int64_t part = 0; part < parts; ++part) total += partials[(first + part) * sums + sum];
    expected[sum] = total / (frames > 0 ? frames : 1);
  }
  __syncthreads();
  for (int sum = static_cast<int>(threadIdx.x); sum < sums; sum += threads) {
    const Product its = productOf(sum, windows.taps);
    if (its.j < 0) {
      mean.data[b * meanStride + its.i * mean.colStride] = static_cast<float>(expected[sum]);
    } else {
      const auto value = static_cast<float>(expected[sum] - expected[its.i] * expected[its.j]);
      *covariance.at(b, its.i, its.j) = value;
      *covariance.at(b, its.j, its.i) = value;
    }
  }
}

// --- the fold ------------------------------------------------------------------------------------
struct Statistics {
  Strided<const float> weight;
  const float *mean;  // [count, taps]
  int64_t meanStride, meanColumn;
  Strided<const float> covariance;  // [count, taps, taps]
  int taps;
  float epsilon;

  __device__ double w(int64_t channel, int k) const { return *weight.at(0, channel, k); }
  __device__ double meanOf(int64_t b, int k) const { return mean[b * meanStride + k * meanColumn]; }
  // Row k of covariance · w.
  __device__ double covarianceW(int64_t b, int64_t channel, int k) const {
    double sum = 0;
    for (int j = 0; j < taps; ++j) sum += static_cast<double>(*covariance.at(b, k, j)) * w(channel, j);
    return sum;
  }
  // 1 / sqrt(wᵀ covariance w + ε). Rounding can leave a constant signal with a variance just below zero.
  __device__ double normalizer(int64_t b, int64_t channel) const {
    double variance = 0;
    for (int k = 0; k < taps; ++k) variance += covarianceW(b, channel, k) * w(channel, k);
    return 1 / sqrt((variance > 0 ? variance : 0) + static_cast<double>(epsilon));
  }
};
Statistics statisticsOf(const View &weight, const View &mean, const View &covariance, float epsilon) {
  return {strided<const float>(weight),     mean.as<const float>(),        itemStride(mean), mean.colStride,
          strided<const float>(covariance), static_cast<int>(weight.cols), epsilon};
}

struct Affine {
  const float *gamma, *beta;
  int64_t gammaStride, betaStride;
};

// A thread for each utterance and channel.
__global__ void __launch_bounds__(threads)
    foldKernel(Statistics statistics, Affine affine, int64_t count, int64_t channels, Strided<float> weight,
               Strided<float> bias, int64_t biasStride) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (item >= count * channels) return;
  const int64_t b = item / channels, channel = item - b * channels;
  const double factor =
      static_cast<double>(affine.gamma[channel * affine.gammaStride]) * statistics.normalizer(b, channel);
  double wMean = 0;
  for (int k = 0; k < statistics.taps; ++k) {
    const double w = statistics.w(channel, k);
    wMean += w * statistics.meanOf(b, k);
    *weight.at(b, channel, k) = static_cast<float>(w * factor);
  }
  bias.data[b * biasStride + channel * bias.colStride] =
      static_cast<float>(static_cast<double>(affine.beta[channel * affine.betaStride]) - factor * wMean);
}

// The gradient of the channel before the fold, from the moments.
struct Moments {
  const float *zero;  // [count, channels]
  int64_t zeroStride, zeroColumn;
  Strided<const float> one;  // [count, channels, taps]

  __device__ double sum(int64_t b, int64_t channel) const { return zero[b * zeroStride + channel * zeroColumn]; }
  // Σ g (x[k] - mean[k]).
  __device__ double centred(const Statistics &statistics, int64_t b, int64_t channel, int k) const {
    return static_cast<double>(*one.at(b, channel, k)) - statistics.meanOf(b, k) * sum(b, channel);
  }
};

// With s = w · (x - mean), y = γ r s + β: r and Σ g s of each utterance and channel, to terms [count, channels, 2].
__global__ void __launch_bounds__(threads)
    foldTermsKernel(Statistics statistics, Moments moments, int64_t count, int64_t channels, double *terms) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (item >= count * channels) return;
  const int64_t b = item / channels, channel = item - b * channels;
  double gs = 0;
  for (int k = 0; k < statistics.taps; ++k) {
    gs += statistics.w(channel, k) * moments.centred(statistics, b, channel, k);
  }
  terms[2 * item] = statistics.normalizer(b, channel);
  terms[2 * item + 1] = gs;
}

// dw = γ r (Σ g (x - mean) - r² (Σ g s) covariance w), dγ = r Σ g s, dβ = Σ g, over the utterances in order: a thread
// for each channel and tap, and for its γ and β.
__global__ void __launch_bounds__(threads)
    foldGradientKernel(Statistics statistics, Moments moments, Affine affine, int64_t count, int64_t channels,
                       const double *terms, Strided<float> dWeight, float *dGamma, int64_t dGammaStride, float *dBeta,
                       int64_t dBetaStride) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (item >= channels * (statistics.taps + 2)) return;
  const int64_t channel = item / (statistics.taps + 2);
  const int k = static_cast<int>(item - channel * (statistics.taps + 2));
  float *target = k < statistics.taps    ? (dWeight.data ? dWeight.at(0, channel, k) : nullptr)
                  : k == statistics.taps ? (dGamma ? dGamma + channel * dGammaStride : nullptr)
                                         : (dBeta ? dBeta + channel * dBetaStride : nullptr);
  if (!target) return;
  const double gamma = affine.gamma[channel * affine.gammaStride];
  double total = 0;
  for (int64_t b = 0; b < count; ++b) {
    const double r = terms[2 * (b * channels + channel)], gs = terms[2 * (b * channels + channel) + 1];
    if (k < statistics.taps) {
      total +=
          gamma * r * (moments.centred(statistics, b, channel, k) - r * r * gs * statistics.covarianceW(b, channel, k));
    } else {
      total += k == statistics.taps ? r * gs : moments.sum(b, channel);
    }
  }
  *target += static_cast<float>(total);
}

}  // namespace

template <>
void CudaBackend::perform(const WindowCovariance &op) {
  const Conv0 &conv = op.conv;
  if (conv.count == 0) return;
  const auto sums = static_cast<int>(sumsOf(conv.kernel));
  const int64_t most = mostParts(rowsOf(conv), conv.count, partFrames);
  const size_t width = sizeof(double) * static_cast<size_t>(sums);
  auto *partials = static_cast<double *>(scratch(width * static_cast<size_t>(most)));
  launch(windowSumsKernel, static_cast<uint32_t>(most), threads, width * (sums < threads ? threads / sums : 1),
         stream(), windowsOf(conv), sums, partials);
  launch(covarianceKernel, static_cast<uint32_t>(conv.count), threads, width, stream(), windowsOf(conv), sums, partials,
         strided<float>(op.mean), itemStride(op.mean), strided<float>(op.covariance));
}

template <>
void CudaBackend::perform(const FoldGroupNorm &op) {
  const int64_t count = op.foldedWeight.batch, channels = op.weight.rows;
  launch(foldKernel, blocksFor(count * channels, threads), threads, 0, stream(),
         statisticsOf(op.weight, op.mean, op.covariance, op.epsilon),
         Affine{op.gamma.as<const float>(), op.beta.as<const float>(), op.gamma.colStride, op.beta.colStride}, count,
         channels, strided<float>(op.foldedWeight), strided<float>(op.foldedBias), itemStride(op.foldedBias));
}

// Utterances without a frame have zeros for moments and statistics: they add nothing.
template <>
void CudaBackend::perform(const FoldGroupNormBackward &op) {
  const auto count = static_cast<int64_t>(op.frames.size()), channels = op.weight.rows;
  if (count == 0 || channels == 0) return;
  auto *terms = static_cast<double *>(scratch(2 * sizeof(double) * static_cast<size_t>(count * channels)));
  const Statistics statistics = statisticsOf(op.weight, op.mean, op.covariance, op.epsilon);
  const Moments moments = {op.moment0.as<const float>(), itemStride(op.moment0), op.moment0.colStride,
                           strided<const float>(op.moment1)};
  launch(foldTermsKernel, blocksFor(count * channels, threads), threads, 0, stream(), statistics, moments, count,
         channels, terms);
  launch(foldGradientKernel, blocksFor(channels * (op.weight.cols + 2), threads), threads, 0, stream(), statistics,
         moments, Affine{op.gamma.as<const float>(), nullptr, op.gamma.colStride, 0}, count, channels, terms,
         strided<float>(op.dWeight), op.dGamma.as<float>(), op.dGamma.colStride, op.dBeta.as<float>(),
         op.dBeta.colStride);
}

}  // namespace emoframe
