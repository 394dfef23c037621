// Conv 0 forward: one channel of samples to C channels of frames, with bias and GELU, written once.
//
// A block has 128 frames and up to 512 channels. Samples lie in shared memory; a thread has 8 neighbouring channels
// with their filters in registers, goes over the frames and stores 8 channels at once (16 bytes of bf16, whole lines a
// warp). It writes 2 C bytes a frame of bf16 (3.3 MB per second of audio at 512) and reads 20. An output takes 10 fma
// and about 20 more instructions for GELU, its rounding and its share of the store: expected to be bound by what can be
// issued rather than by the writes.
#include "backend.h"
#include "conv0.cuh"
#include "launch.cuh"

namespace emoframe {

using namespace conv0;

namespace {

constexpr int width = 8, threads = 256, tileRows = 128;

struct Owner {
  int32_t utterance, first, end;  // rows
};

// Shared memory: samples [samplesOf], owners of the tile's rows [tileRows], utterances
// in the tile [tileRows], their number.
__host__ __device__ inline int samplesOf(int taps, int stride) { return ((tileRows - 1) * stride + taps + 3) / 4 * 4; }

// Finds the utterance of each of the tile's rows, -1 in a gap. Ends with a barrier.
__device__ inline void findOwners(const Windows &windows, int64_t firstRow, int32_t *owners, Owner *list,
                                  int32_t *listed) {
  const int thread = static_cast<int>(threadIdx.x + blockDim.x * threadIdx.y);
  if (thread == 0) *listed = 0;
  __syncthreads();
  for (int32_t b = thread; b < windows.count; b += threads) {
    const int32_t first = windows.firstRow(b), end = first + windows.frames(b);
    // The list's order does not matter: no row is in two of its utterances.
    if (end > first && first < firstRow + tileRows && end > firstRow) list[addAtomically(listed, 1)] = {b, first, end};
  }
  __syncthreads();
  if (thread < tileRows) {
    const int64_t row = firstRow + thread;
    int32_t owner = -1;
    for (int32_t i = 0; i < *listed; ++i) {
      if (row >= list[i].first && row < list[i].end) owner = list[i].utterance;
    }
    owners[thread] = owner;
  }
  __syncthreads();
}

// What registers allow without spills.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
constexpr int residentBlocks = 1;
#else
constexpr int residentBlocks = 2;
#endif

// Block (channels / 8, frames at once).
template <typename T, int fixed>
__global__ void __launch_bounds__(threads, residentBlocks)
    forwardKernel(Windows windows, Filters filters, bool gelu, Strided<T> out, int64_t rows, int64_t channels,
                  bool aligned) {
  const int taps = fixed > 0 ? fixed : windows.taps, count = samplesOf(windows.taps, windows.stride);
  auto *samples = reinterpret_cast<float *>(sharedMemory());
  auto *owners = reinterpret_cast<int32_t *>(samples + count);
  auto *list = reinterpret_cast<Owner *>(owners + tileRows);
  auto *listed = reinterpret_cast<int32_t *>(list + tileRows);
  const int64_t firstRow = static_cast<int64_t>(blockIdx.x) * tileRows;
  findOwners(windows, firstRow, owners, list, listed);

  // Only what is in a window: a gap's samples may never have been written.
  const int thread = static_cast<int>(threadIdx.x + blockDim.x * threadIdx.y);
  for (int i = thread; i < count; i += threads) {
    const int last = i / windows.stride < tileRows - 1 ? i / windows.stride : tileRows - 1;
    bool used = false;
    for (int row = last; row >= 0 && i - row * windows.stride < taps && !used; --row) used = owners[row] >= 0;
    samples[i] = used ? windows.samples[firstRow * windows.stride + i] : 0.0f;
  }
  __syncthreads();

  const int64_t channel = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * width;
  const int64_t n = channels - channel;
  if (n <= 0) return;
  FilterBank<width, fixed> bank;
  int32_t loaded = -1;
  for (int i = static_cast<int>(threadIdx.y); i < tileRows && firstRow + i < rows; i += static_cast<int>(blockDim.y)) {
    const int32_t owner = owners[i];
    float values[width] = {};
    if (owner >= 0) {
      if (owner != loaded) {
        bank.load(filters, owner, channel, n);
        loaded = owner;
      }
      bank.apply(samples + i * windows.stride, taps, filters.weightColumn, values);
      if (gelu) {
#pragma unroll
        for (int j = 0; j < width; ++j) values[j] = geluOf(values[j]);
      }
    }
    storeSome(out.row(firstRow + i) + channel * out.colStride, out.colStride, n, aligned, values);
  }
}

}  // namespace

template <>
void CudaBackend::perform(const Conv0Forward &op) {
  const Conv0 &conv = op.conv;
  if (op.out.size() == 0) return;
  const int64_t channels = op.out.cols;
  uint32_t groups = 1;  // a power of two, at most 64
  while (groups < 64 && groups * width < channels) groups *= 2;
  const Windows windows = windowsOf(conv);
  const size_t bytes = sizeof(float) * static_cast<size_t>(samplesOf(windows.taps, windows.stride)) +
                       (sizeof(int32_t) + sizeof(Owner)) * tileRows + sizeof(int32_t);
  const dim3 grid(blocksFor(op.out.rows, tileRows), blocksFor(channels, groups * width)),
      block(groups, threads / groups);
  withType(op.out.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    const auto kernel = conv.kernel == usualTaps ? forwardKernel<T, usualTaps> : forwardKernel<T, 0>;
    launch(kernel, grid, block, bytes, stream(), windows, filtersOf(conv), conv.gelu, strided<T>(op.out), op.out.rows,
           channels, rowsAligned(op.out));
  });
}

}  // namespace emoframe
