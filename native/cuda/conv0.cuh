// What conv 0's kernels share.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "elements.cuh"
#include "ragged.cuh"

namespace emoframe {
namespace conv0 {

constexpr int usualTaps = 10;  // with kernels of their own, whose filters stay in registers

// A Conv0 as a kernel takes it.
struct Windows {
  const float *samples;
  const int32_t *start, *length;
  int32_t count;
  int32_t taps, stride;

  __device__ int32_t frames(int32_t b) const { return length[b] < taps ? 0 : (length[b] - taps) / stride + 1; }
  __device__ int32_t firstRow(int32_t b) const { return start[b] / stride; }
  // The window of a packed row: starts are multiples of the stride.
  __device__ const float *at(int64_t row) const { return samples + row * stride; }
};
inline Windows windowsOf(const Conv0 &conv) {
  return {conv.samples.as<const float>(),
          conv.deviceStart,
          conv.deviceLength,
          conv.count,
          static_cast<int32_t>(conv.kernel),
          static_cast<int32_t>(conv.stride)};
}
inline int64_t rowsOf(const Conv0 &conv) { return conv.samples.cols / conv.stride; }

// Utterance b's filters.
struct Filters {
  const float *weight, *bias;  // bias may be null
  int64_t weightBatch, weightRow, weightColumn, biasBatch, biasColumn;

  __device__ const float *weightOf(int32_t b, int64_t channel) const {
    return weight + b * weightBatch + channel * weightRow;
  }
  __device__ float biasOf(int32_t b, int64_t channel) const {
    return bias ? bias[b * biasBatch + channel * biasColumn] : 0.0f;
  }
};
inline Filters filtersOf(const Conv0 &conv) {
  return {conv.weight.as<const float>(),
          conv.bias.as<const float>(),
          conv.weight.batch > 1 ? conv.weight.batchStride : 0,
          conv.weight.rowStride,
          conv.weight.colStride,
          conv.bias.batch > 1 ? conv.bias.batchStride : 0,
          conv.bias.colStride};
}

// Some neighbouring channels' filters of one utterance: in registers for the usual number of taps (`fixed`), else read
// from memory for each use (`fixed` 0).
template <int channels, int fixed>
struct FilterBank {
  float weight[channels][fixed > 0 ? fixed : 1], bias[channels];
  const float *rows[fixed > 0 ? 1 : channels];

  // Channels from `channel` on, of which `n` exist.
  __device__ inline void load(const Filters &filters, int32_t b, int64_t channel, int64_t n) {
#pragma unroll
    for (int i = 0; i < channels; ++i) {
      const int64_t its = i < n ? channel + i : channel;
      const float *row = filters.weightOf(b, its);
      bias[i] = filters.biasOf(b, its);
      if constexpr (fixed > 0) {
#pragma unroll
        for (int k = 0; k < fixed; ++k) weight[i][k] = row[k * filters.weightColumn];
      } else {
        rows[i] = row;
      }
    }
  }
  __device__ inline void apply(const float *window, int taps, int64_t weightColumn, float (&values)[channels]) const {
#pragma unroll
    for (int i = 0; i < channels; ++i) values[i] = bias[i];
    if constexpr (fixed > 0) {
#pragma unroll
      for (int k = 0; k < fixed; ++k) {
        const float sample = window[k];
#pragma unroll
        for (int i = 0; i < channels; ++i) values[i] += weight[i][k] * sample;
      }
    } else {
      for (int k = 0; k < taps; ++k) {
        const float sample = window[k];
#pragma unroll
        for (int i = 0; i < channels; ++i) values[i] += rows[i][k * weightColumn] * sample;
      }
    }
  }
};

// The distance of items in a [count, n] view or a [count, 1, n] one.
inline int64_t itemStride(const View &view) { return view.batch > 1 ? view.batchStride : view.rowStride; }

}  // namespace conv0
}  // namespace emoframe
