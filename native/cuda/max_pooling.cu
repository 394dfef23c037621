// Each channel's largest value among an utterance's frames, and the first frame that has it. Bound by bytes: h is read
// once, in forward and, since only values are kept, in backward again, which then writes dh.
//
// A block takes 256 columns of an utterance, 8 strips of frames side by side. Whichever strip has the largest value,
// the first frame wins among equal ones, so neither the strips nor what else is in the batch matter. A NaN is larger
// than any number. Of an utterance without frames the largest value is 0, in no frame.
#include "elements.cuh"
#include "launch.cuh"
#include "max_pooling.cuh"
#include "ragged.cuh"
#include "reduce.cuh"

namespace emoframe {

namespace {

constexpr int width = 8;   // columns of a lane
constexpr int strips = 8;  // of an utterance's frames, a warp each
constexpr int frameWarps = 8;

__device__ bool isLarger(float value, float other) { return !(value <= other) && other == other; }

// Block (32, strips): 256 columns of utterance blockIdx.y. Shared memory: a float and an integer a column of each
// strip, [strips, width, 32] each.
template <typename T>
__global__ void __launch_bounds__(32 * strips)
    largestKernel(Strided<const T> h, int64_t cols, bool aligned, const int32_t *offsets, float *pooled,
                  int64_t pooledStride, float *logSums, int32_t *where) {
  auto *values = reinterpret_cast<float *>(sharedMemory());
  auto *frames = reinterpret_cast<int32_t *>(values + strips * width * 32);
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * 32 * width, column = first + x * width;
  const int32_t begin = offsets[blockIdx.y], end = offsets[blockIdx.y + 1];
  float largest[width] = {};
  int32_t frame[width];
  for (int j = 0; j < width; ++j) frame[j] = -1;
#pragma unroll 2
  for (int32_t t = begin + y; t < end; t += strips) {
    float its[width];
    loadSome(h.at(0, t, column), h.colStride, cols - column, aligned, its);
#pragma unroll
    for (int j = 0; j < width; ++j) {
      if (frame[j] >= 0 && !isLarger(its[j], largest[j])) continue;
      largest[j] = its[j];
      frame[j] = t;
    }
  }
#pragma unroll
  for (int j = 0; j < width; ++j) {
    values[(y * width + j) * 32 + x] = largest[j];
    frames[(y * width + j) * 32 + x] = frame[j];
  }
  __syncthreads();
  // A thread a column, so that there are as many strips as columns of a lane.
  static_assert(strips == width, "every thread ends one column");
  float value = values[y * 32 + x];
  int32_t its = frames[y * 32 + x];
  for (int strip = 1; strip < strips; ++strip) {
    const float other = values[(strip * width + y) * 32 + x];
    const int32_t otherFrame = frames[(strip * width + y) * 32 + x];
    if (otherFrame < 0) break;  // later strips have no frame either
    const bool equal = !isLarger(other, value) && !isLarger(value, other);
    if (equal ? otherFrame < its : isLarger(other, value)) value = other, its = otherFrame;
  }
  if (logSums && blockIdx.x == 0 && x == 0 && y == 0) {
    logSums[blockIdx.y] = static_cast<float>(log(static_cast<double>(end - begin)));
  }
  if (column + y >= cols) return;
  where[blockIdx.y * cols + column + y] = its;
  if (pooled) pooled[blockIdx.y * pooledStride + column + y] = value;
}

// A warp a frame: the share of channels that have their largest value there.
__global__ void __launch_bounds__(frameWarps * 32)
    shareKernel(const int32_t *where, int64_t count, int64_t cols, const int32_t *offsets, int32_t utterances,
                float *attention) {
  const int64_t frame = static_cast<int64_t>(blockIdx.x) * frameWarps + threadIdx.x / 32;
  if (frame >= count) return;
  const int32_t b = utteranceOf(offsets, utterances, frame);
  if (b < 0) return;
  int32_t channels = 0;
  for (int64_t c = threadIdx.x % 32; c < cols; c += 32) channels += where[b * cols + c] == frame ? 1 : 0;
  channels = warpSum(channels);
  if (threadIdx.x % 32 == 0) attention[frame] = static_cast<float>(channels) / static_cast<float>(cols);
}

// A warp a frame.
template <typename T>
__global__ void __launch_bounds__(frameWarps * 32)
    largestGradientKernel(const int32_t *where, int64_t count, int64_t cols, const int32_t *offsets, int32_t utterances,
                          const float *dPooled, int64_t dPooledStride, Strided<T> dh) {
  const int64_t frame = static_cast<int64_t>(blockIdx.x) * frameWarps + threadIdx.x / 32;
  if (frame >= count) return;
  const int32_t b = utteranceOf(offsets, utterances, frame);
  if (b < 0) return;
  for (int64_t c = threadIdx.x % 32; c < cols; c += 32) {
    *dh.at(0, frame, c) = fromFloat<T>(where[b * cols + c] == frame ? dPooled[b * dPooledStride + c] : 0.0f);
  }
}

// Finds them; pooled, if it is there, and logSums too.
void findLargest(const Pooling &pooling, const View &pooled, int32_t *where, Stream &stream) {
  const int64_t cols = pooling.h.cols;
  withType(pooling.h.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    launch(largestKernel<T>, dim3(blocksFor(cols, 32 * width), static_cast<uint32_t>(pooling.segments.count)),
           dim3(32, strips), (sizeof(float) + sizeof(int32_t)) * strips * width * 32, stream,
           strided<const T>(pooling.h), cols, rowsAligned(pooling.h), pooling.segments.deviceOffsets,
           pooled.as<float>(), pooled.rowStride, pooled ? pooling.logSums.as<float>() : nullptr, where);
  });
}

}  // namespace

void poolLargest(const Pooling &pooling, int32_t *where, Stream &stream) {
  findLargest(pooling, pooling.pooled, where, stream);
  launch(shareKernel, blocksFor(pooling.h.rows, frameWarps), frameWarps * 32, 0, stream, where, pooling.h.rows,
         pooling.h.cols, pooling.segments.deviceOffsets, pooling.segments.count, pooling.attention.as<float>());
}

void poolLargestBackward(const PoolingBackward &op, int32_t *where, Stream &stream) {
  const Segments &segments = op.forward.segments;
  findLargest(op.forward, View(), where, stream);
  withType(op.dh.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    launch(largestGradientKernel<T>, blocksFor(op.dh.rows, frameWarps), frameWarps * 32, 0, stream, where, op.dh.rows,
           op.dh.cols, segments.deviceOffsets, segments.count, op.dPooled.as<const float>(), op.dPooled.rowStride,
           strided<T>(op.dh));
  });
}

}  // namespace emoframe
