// Waveforms to zero mean and unit variance, in place: sums of an utterance's samples in parts of 8192, a
// block a part; then a block a part again, which adds up its utterance's parts in a fixed order and scales
// its own samples. 8 bytes read and 4 written a sample: 70 MB for six minutes of audio. Sums are in
// double, and taken from the utterance's first sample, so that an offset far from zero costs no digits;
// that sample is itself scaled only by the second launch.
#include "backend.h"
#include "launch.cuh"
#include "ragged.cuh"
#include "reduce.cuh"

namespace emoframe {

namespace {

constexpr int threads = 256, warps = threads / 32, partSamples = 8192;

struct Samples {
  float *samples;
  const int32_t *start, *length;
  int32_t count;
};

struct PartsOf {
  const int32_t *length;
  __device__ int32_t operator()(int32_t b) const { return (length[b] + partSamples - 1) / partSamples; }
};

struct Sums {
  double values, squares;  // of x - the utterance's first sample
};

// partials [parts] as they are numbered, firsts [count]: the samples that they are taken from.
__global__ void __launch_bounds__(threads) waveformSumsKernel(Samples all, Sums *partials, double *firsts) {
  auto *shared = reinterpret_cast<double *>(sharedMemory());  // [2, warps]
  const Part part = findPart(all.count, static_cast<int32_t>(blockIdx.x), PartsOf{all.length});
  if (part.item < 0) return;
  const float *x = all.samples + all.start[part.item];
  const double first = static_cast<double>(x[0]);
  const int begin = part.index * partSamples, left = all.length[part.item] - begin;
  const int n = left < partSamples ? left : partSamples, thread = static_cast<int>(threadIdx.x);
  double values = 0, squares = 0;
#pragma unroll 8
  for (int i = thread; i < n; i += threads) {
    const double off = static_cast<double>(x[begin + i]) - first;
    values += off;
    squares += off * off;
  }
  values = blockSum(values, shared);
  squares = blockSum(squares, shared + warps);
  if (thread != 0) return;
  partials[blockIdx.x] = {values, squares};
  if (part.index == 0) firsts[part.item] = first;
}

// `given` [count, 2]: means and scales in place of the utterances' own.
__global__ void __launch_bounds__(threads)
    waveformScaleKernel(Samples all, const Sums *partials, const double *firsts, const double *given, double epsilon) {
  auto *shared = reinterpret_cast<double *>(sharedMemory());  // [2, warps], and a mean and a scale
  const Part part = findPart(all.count, static_cast<int32_t>(blockIdx.x), PartsOf{all.length});
  if (part.item < 0) return;
  const int thread = static_cast<int>(threadIdx.x), length = all.length[part.item];
  double mean, scale;
  if (given) {
    mean = given[2 * part.item];
    scale = given[2 * part.item + 1];
  } else {
    const int32_t first = static_cast<int32_t>(blockIdx.x) - part.index, parts = PartsOf{all.length}(part.item);
    double values = 0, squares = 0;
    for (int i = thread; i < parts; i += threads) {
      values += partials[first + i].values;
      squares += partials[first + i].squares;
    }
    values = blockSum(values, shared);
    squares = blockSum(squares, shared + warps);
    if (thread == 0) {
      const double off = values / length, variance = squares / length - off * off;
      shared[2 * warps] = firsts[part.item] + off;
      shared[2 * warps + 1] = 1 / sqrt((variance > 0 ? variance : 0) + epsilon);
    }
    __syncthreads();
    mean = shared[2 * warps];
    scale = shared[2 * warps + 1];
  }
  float *x = all.samples + all.start[part.item];
  const int begin = part.index * partSamples, n = length - begin < partSamples ? length - begin : partSamples;
#pragma unroll 8
  for (int i = thread; i < n; i += threads) {
    x[begin + i] = static_cast<float>((static_cast<double>(x[begin + i]) - mean) * scale);
  }
}

}  // namespace

template <>
void CudaBackend::perform(const NormalizeWaveforms &waveforms) {
  const int64_t most = waveforms.count == 0 ? 0 : mostParts(waveforms.samples.cols, waveforms.count, partSamples);
  if (most == 0) return;
  const Samples all = {waveforms.samples.as<float>(), waveforms.deviceStart, waveforms.deviceLength, waveforms.count};
  Sums *partials = nullptr;
  double *firsts = nullptr;
  if (!waveforms.statistics) {
    partials = static_cast<Sums *>(
        scratch(sizeof(Sums) * static_cast<size_t>(most) + sizeof(double) * static_cast<size_t>(waveforms.count)));
    firsts = reinterpret_cast<double *>(partials + most);
    launch(waveformSumsKernel, static_cast<uint32_t>(most), threads, 2 * warps * sizeof(double), stream(), all,
           partials, firsts);
  }
  launch(waveformScaleKernel, static_cast<uint32_t>(most), threads, (2 * warps + 2) * sizeof(double), stream(), all,
         partials, firsts, waveforms.statistics, waveforms.epsilon);
}

}  // namespace emoframe
