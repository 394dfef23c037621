// Pooling of an utterance's frames: a = softmax over its frames of f(h · w) or of given scores (or 1 / T), pooled =
// Σ a h, and for statistics pooling also sqrt(v + 1e-5) or sqrt(max(v, 1e-5)) of v = Σ a (h - mean)²; or Σ h. (The
// largest values are in max_pooling.cu.) Bound by bytes: h is read once for the scores, once for the mean and once more
// for the deviation (from the second-level cache, which holds a batch's frames in bf16), and in backward twice, to
// write dh once.
//
// Scores and their gradients are a warp a frame. Sums over an utterance's frames are a block for 256 of its
// columns, 8 strips of frames added in a fixed tree: what else is in the batch does not matter to them. dw is a
// sum over all frames in the chunks of column_sums.cuh. Which utterance a frame belongs to is looked up on the
// device, so a kept graph serves other bounds of as many frames and utterances. An utterance without frames
// pools to 0 (and standard deviation sqrt(1e-5)).
#include "backend.h"
#include "column_sums.cuh"
#include "elements.cuh"
#include "launch.cuh"
#include "max_pooling.cuh"
#include "ragged.cuh"
#include "reduce.cuh"

namespace emoframe {

namespace {

constexpr float varianceFloor = 1e-5f;
constexpr int frameWarps = 8;  // of a block: frames that it takes
constexpr int width = 8;       // columns of a lane
constexpr int softmaxThreads = 256;
constexpr int strips = 8;  // of an utterance's frames, a warp each

__device__ float scoreOf(Score score, float u) {
  if (score == Score::tanh) return tanhf(u);
  return score == Score::relu ? fmaxf(u, 0.0f) : u;
}
__device__ float scoreDerivative(Score score, float u) {
  if (score == Score::tanh) {
    const float y = tanhf(u);
    return 1 - y * y;
  }
  return score == Score::relu && !(u > 0) ? 0.0f : 1.0f;
}

// What all kernels take.
template <typename T>
struct Frames {
  Strided<const T> h;
  int64_t count, cols;
  bool aligned;  // h, and the vectors of floats beside it
  const int32_t *offsets;
  int32_t utterances;
  Score score;
  bool sum, clamped;  // frames weigh 1; deviations are clamped
  const float *w;
  float *attention;  // forward: scores by w, then weights
  float *pooled;     // [utterances, pooledStride]
  int64_t pooledStride;

  __device__ float weight(int64_t frame) const { return sum ? 1.0f : attention[frame]; }
};
template <typename T>
Frames<T> framesOf(const Pooling &pooling) {
  const View mean = pooling.pooled.colRange(0, pooling.h.cols);
  // Deviations begin at column C.
  const bool aligned = rowsAligned(pooling.h) && rowsAligned(pooling.w) && rowsAligned(mean) && pooling.h.cols % 4 == 0;
  return {strided<const T>(pooling.h),
          pooling.h.rows,
          pooling.h.cols,
          aligned,
          pooling.segments.deviceOffsets,
          pooling.segments.count,
          pooling.score,
          pooling.reduction == Reduction::sum,
          pooling.deviation == Deviation::clamped,
          pooling.w.as<const float>(),
          pooling.attention.as<float>(),
          pooling.pooled.as<float>(),
          pooling.pooled.rowStride};
}

// Over the columns of a frame, a warp: body(column, n, h).
template <typename T, typename Body>
__device__ inline void forColumns(const Frames<T> &frames, int64_t frame, Body body) {
  const T *row = frames.h.row(frame);
  for (int64_t column = threadIdx.x % 32 * width; column < frames.cols; column += 32 * width) {
    float h[width];
    loadSome(row + column * frames.h.colStride, frames.h.colStride, frames.cols - column, frames.aligned, h);
    body(column, frames.cols - column, h);
  }
}

// --- forward -------------------------------------------------------------------------------------
template <typename T>
__global__ void __launch_bounds__(frameWarps * 32) scoreKernel(Frames<T> frames) {
  const int64_t frame = static_cast<int64_t>(blockIdx.x) * frameWarps + threadIdx.x / 32;
  if (frame >= frames.count) return;
  float sum = 0;
  forColumns(frames, frame, [&](int64_t column, int64_t n, const float(&h)[width]) {
    float w[width];
    loadSome(frames.w + column, 1, n, frames.aligned, w);
    for (int j = 0; j < width; ++j) sum += h[j] * w[j];
  });
  sum = warpSum(sum);
  if (threadIdx.x % 32 == 0) frames.attention[frame] = scoreOf(frames.score, sum);
}

// A block an utterance: scores, which may be in `attention`, → weights there, and the logarithm of what they were
// divided by, where it is wanted. Shared memory: a double and a float a warp, and one of each.
__global__ void __launch_bounds__(softmaxThreads)
    weightKernel(const float *scores, float *attention, const int32_t *offsets, float *logSums) {
  constexpr int warps = softmaxThreads / 32;
  auto *doubles = reinterpret_cast<double *>(sharedMemory());
  auto *floats = reinterpret_cast<float *>(doubles + warps + 1);
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t begin = offsets[blockIdx.x], end = offsets[blockIdx.x + 1];
  if (!scores) {
    for (int64_t t = begin + thread; t < end; t += softmaxThreads)
      attention[t] = 1.0f / static_cast<float>(end - begin);
    if (logSums && thread == 0) logSums[blockIdx.x] = static_cast<float>(log(static_cast<double>(end - begin)));
    return;
  }
  float largest = -INFINITY;
  for (int64_t t = begin + thread; t < end; t += softmaxThreads) largest = fmaxf(largest, scores[t]);
  largest = warpMax(largest);
  if (thread % 32 == 0) floats[thread / 32] = largest;
  __syncthreads();
  for (int i = 0; i < warps; ++i) largest = fmaxf(largest, floats[i]);
  double sum = 0;
  for (int64_t t = begin + thread; t < end; t += softmaxThreads) {
    attention[t] = expf(scores[t] - largest);
    sum += static_cast<double>(attention[t]);
  }
  sum = blockSum(sum, doubles);
  if (thread == 0) {
    doubles[warps] = sum;
    if (logSums) logSums[blockIdx.x] = static_cast<float>(static_cast<double>(largest) + log(sum));
  }
  __syncthreads();
  sum = doubles[warps];
  for (int64_t t = begin + thread; t < end; t += softmaxThreads) {
    attention[t] = static_cast<float>(static_cast<double>(attention[t]) / sum);
  }
}

// Sums over the strips; every thread gets those of its columns. `sums`: [strips, 32 · width].
__device__ inline void addStrips(float *sums, float (&values)[width]) {
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  __syncthreads();
  storeVector(sums + (y * 32 + x) * width, values);
  __syncthreads();
  for (int j = 0; j < width; ++j) values[j] = 0;
  for (int strip = 0; strip < strips; ++strip) {
    float its[width];
    loadVector(sums + (strip * 32 + x) * width, its);
    for (int j = 0; j < width; ++j) values[j] += its[j];
  }
}

// body(values, weight) for the frames of a strip, of a thread's columns.
template <typename T, typename Body>
__device__ inline void forFrames(const Frames<T> &frames, int64_t column, int64_t begin, int64_t end, Body body) {
  const int64_t n = frames.cols - column;
  const T *h = frames.h.at(0, 0, column);
  float values[width];
  if (frames.aligned && n >= width) {
#pragma unroll 4
    for (int64_t t = begin; t < end; t += strips) {
      loadVector(h + t * frames.h.rowStride, values);
      body(values, frames.weight(t));
    }
    return;
  }
#pragma unroll 1
  for (int64_t t = begin; t < end; t += strips) {
    loadSome(h + t * frames.h.rowStride, frames.h.colStride, n, false, values);
    body(values, frames.weight(t));
  }
}

// Block (32, strips): 256 columns of utterance blockIdx.y. Shared memory: [strips, 256] floats.
template <typename T, bool deviations>
__global__ void __launch_bounds__(32 * strips) poolKernel(Frames<T> frames) {
  auto *sums = reinterpret_cast<float *>(sharedMemory());
  const int64_t column = static_cast<int64_t>(blockIdx.x) * 32 * width + threadIdx.x * width;
  const int64_t n = frames.cols - column;
  const int64_t begin = frames.offsets[blockIdx.y] + threadIdx.y, end = frames.offsets[blockIdx.y + 1];
  float mean[width] = {};
  forFrames(frames, column, begin, end, [&](const float(&values)[width], float a) {
    for (int j = 0; j < width; ++j) mean[j] += a * values[j];
  });
  addStrips(sums, mean);
  float *pooled = frames.pooled + blockIdx.y * frames.pooledStride + column;
  if (threadIdx.y == 0) storeSome(pooled, 1, n, frames.aligned, mean);
  if (!deviations) return;
  float squares[width] = {};
  forFrames(frames, column, begin, end, [&](const float(&values)[width], float a) {
    for (int j = 0; j < width; ++j) squares[j] += a * ((values[j] - mean[j]) * (values[j] - mean[j]));
  });
  addStrips(sums, squares);
  if (threadIdx.y != 0) return;
  for (int j = 0; j < width; ++j) {
    const float variance =
        frames.clamped ? (squares[j] < varianceFloor ? varianceFloor : squares[j]) : squares[j] + varianceFloor;
    squares[j] = sqrtf(variance);
  }
  storeSome(pooled + frames.cols, 1, n, frames.aligned, squares);
}

// --- backward ------------------------------------------------------------------------------------
// With weights a, mean m, deviation s: the derivative of s through m vanishes, as Σ a (h - m) = 0. So
// dh = a (dM + dS (h - m) / s) + du w, da = dM · h + Σ dS (h - m)² / (2 s), du = f'(u) a (da - Σ a da), dw = Σ du h.
// Given scores are u, with f' = 1 and no w. A deviation that was clamped has no dS.
struct Incoming {
  const float *dPooled;
  int64_t stride;
  float *halves;       // dS / (2 s), [utterances, cols]; null without deviations
  int32_t *utterance;  // of a frame, or -1
  float *du;           // of a frame: da, then du; null without scores
  float *slope;        // of a frame: f'(u); null without scores by w
};

__global__ void __launch_bounds__(256)
    halvesKernel(Incoming incoming, const float *pooled, int64_t stride, int64_t cols, bool clamped) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x, b = blockIdx.y;
  if (c >= cols) return;
  const float deviation = pooled[b * stride + cols + c];
  const bool still = clamped && deviation <= sqrtf(varianceFloor);
  incoming.halves[b * cols + c] = still ? 0.0f : incoming.dPooled[b * incoming.stride + cols + c] / (2 * deviation);
}

// A warp a frame: its utterance, da and f'(u).
template <typename T>
__global__ void __launch_bounds__(frameWarps * 32) weightGradientKernel(Frames<T> frames, Incoming incoming) {
  const int64_t frame = static_cast<int64_t>(blockIdx.x) * frameWarps + threadIdx.x / 32;
  if (frame >= frames.count) return;
  const int32_t b = utteranceOf(frames.offsets, frames.utterances, frame);
  const bool first = threadIdx.x % 32 == 0;
  if (first) incoming.utterance[frame] = b;
  if (b < 0 || !incoming.du) return;
  const float *dMean = incoming.dPooled + b * incoming.stride, *mean = frames.pooled + b * frames.pooledStride;
  float u = 0, da = 0;
  forColumns(frames, frame, [&](int64_t column, int64_t n, const float(&h)[width]) {
    float values[width];
    if (incoming.slope) {
      loadSome(frames.w + column, 1, n, frames.aligned, values);
      for (int j = 0; j < width; ++j) u += h[j] * values[j];
    }
    loadSome(dMean + column, 1, n, frames.aligned, values);
    for (int j = 0; j < width; ++j) da += h[j] * values[j];
    if (!incoming.halves) return;
    float off[width];
    loadSome(mean + column, 1, n, frames.aligned, off);
    loadSome(incoming.halves + b * frames.cols + column, 1, n, frames.aligned, values);
    for (int j = 0; j < width; ++j) da += values[j] * ((h[j] - off[j]) * (h[j] - off[j]));
  });
  u = warpSum(u);
  da = warpSum(da);
  if (!first) return;
  incoming.du[frame] = da;
  if (incoming.slope) incoming.slope[frame] = scoreDerivative(frames.score, u);
}

// A block an utterance: da → du. Shared memory: a double a warp, and one.
__global__ void __launch_bounds__(softmaxThreads)
    scoreGradientKernel(const float *attention, const int32_t *offsets, float *du, const float *slope) {
  auto *doubles = reinterpret_cast<double *>(sharedMemory());
  const int64_t begin = offsets[blockIdx.x], end = offsets[blockIdx.x + 1];
  double centre = 0;
  for (int64_t t = begin + threadIdx.x; t < end; t += softmaxThreads) {
    centre += static_cast<double>(attention[t]) * static_cast<double>(du[t]);
  }
  centre = blockSum(centre, doubles);
  if (threadIdx.x == 0) doubles[softmaxThreads / 32] = centre;
  __syncthreads();
  centre = doubles[softmaxThreads / 32];
  for (int64_t t = begin + threadIdx.x; t < end; t += softmaxThreads) {
    const float factor = slope ? slope[t] * attention[t] : attention[t];
    du[t] = static_cast<float>(static_cast<double>(factor) * (static_cast<double>(du[t]) - centre));
  }
}

// dh, and on the way the sums of dw, on ColumnSums' grid.
template <typename T>
__global__ void __launch_bounds__(256) frameGradientKernel(Frames<T> frames, Incoming incoming, Strided<T> dh,
                                                           bool dhAligned, int64_t grain, double *partials) {
  constexpr int some = ColumnSums::width;
  sumColumns(frames.count, frames.cols, grain, partials, [&](int64_t t, int64_t column, int64_t n, float(&sums)[some]) {
    for (int j = 0; j < some; ++j) sums[j] = 0;
    const int32_t b = incoming.utterance[t];
    if (b < 0) return;
    float h[some], values[some], gradient[some];
    loadSome(frames.h.at(0, t, column), frames.h.colStride, n, frames.aligned, h);
    loadSome(incoming.dPooled + b * incoming.stride + column, 1, n, frames.aligned, gradient);
    if (incoming.halves) {
      float mean[some];
      loadSome(frames.pooled + b * frames.pooledStride + column, 1, n, frames.aligned, mean);
      loadSome(incoming.halves + b * frames.cols + column, 1, n, frames.aligned, values);
      for (int j = 0; j < some; ++j) gradient[j] += 2 * values[j] * (h[j] - mean[j]);
    }
    const float a = frames.weight(t);
    for (int j = 0; j < some; ++j) gradient[j] *= a;
    if (incoming.slope) {
      const float du = incoming.du[t];
      loadSome(frames.w + column, 1, n, frames.aligned, values);
      for (int j = 0; j < some; ++j) {
        gradient[j] += du * values[j];
        sums[j] = du * h[j];
      }
    }
    storeSome(dh.at(0, t, column), dh.colStride, n, dhAligned, gradient);
  });
}

}  // namespace

template <>
void CudaBackend::perform(const Pooling &pooling) {
  const int64_t cols = pooling.h.cols;
  const auto utterances = static_cast<uint32_t>(pooling.segments.count);
  if (cols == 0) return;
  if (pooling.reduction == Reduction::max) {
    return poolLargest(
        pooling, static_cast<int32_t *>(scratch(sizeof(int32_t) * static_cast<size_t>(utterances * cols))), stream());
  }
  withType(pooling.h.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    const Frames<T> frames = framesOf<T>(pooling);
    const float *scores = pooling.score == Score::none ? nullptr : frames.attention;
    if (pooling.score == Score::given) {
      scores = pooling.scores.as<const float>();
    } else if (scores) {
      launch(scoreKernel<T>, blocksFor(frames.count, frameWarps), frameWarps * 32, 0, stream(), frames);
    }
    launch(weightKernel, utterances, softmaxThreads, (softmaxThreads / 32 + 1) * (sizeof(double) + sizeof(float)),
           stream(), scores, frames.attention, frames.offsets, pooling.logSums.as<float>());
    launch(pooling.deviation != Deviation::none ? poolKernel<T, true> : poolKernel<T, false>,
           dim3(blocksFor(cols, 32 * width), utterances), dim3(32, strips), sizeof(float) * strips * 32 * width,
           stream(), frames);
  });
}

template <>
void CudaBackend::perform(const PoolingBackward &op) {
  const Pooling &pooling = op.forward;
  const int64_t T = pooling.h.rows, C = pooling.h.cols, B = pooling.segments.count;
  if (T * C == 0) return;
  if (pooling.reduction == Reduction::max) {
    return poolLargestBackward(op, static_cast<int32_t *>(scratch(sizeof(int32_t) * static_cast<size_t>(B * C))),
                               stream());
  }
  const bool given = pooling.score == Score::given, byProduct = pooling.score != Score::none && !given;
  const ColumnSums sums(T, C);
  const auto padded = [](int64_t bytes) { return (bytes + 15) / 16 * 16; };
  const int64_t partials = padded(static_cast<int64_t>(sums.partialBytes()));
  const int64_t halves = pooling.deviation != Deviation::none ? padded(B * C * 4) : 0, ofFrames = padded(T * 4);
  auto *memory = static_cast<char *>(scratch(static_cast<size_t>(partials + halves + (byProduct ? 3 : 1) * ofFrames)));
  Incoming incoming = {};
  incoming.dPooled = op.dPooled.as<const float>();
  incoming.stride = op.dPooled.rowStride;
  if (halves > 0) incoming.halves = reinterpret_cast<float *>(memory + partials);
  incoming.utterance = reinterpret_cast<int32_t *>(memory + partials + halves);
  if (given) incoming.du = op.dScores.as<float>();
  if (byProduct) {
    incoming.du = reinterpret_cast<float *>(memory + partials + halves + ofFrames);
    incoming.slope = reinterpret_cast<float *>(memory + partials + halves + 2 * ofFrames);
  }
  withType(pooling.h.dtype, [&](auto of) {
    using Type = typename decltype(of)::Type;
    Frames<Type> frames = framesOf<Type>(pooling);
    frames.aligned = frames.aligned && rowsAligned(op.dPooled);
    if (incoming.halves) {
      launch(halvesKernel, dim3(blocksFor(C, 256), static_cast<uint32_t>(B)), 256, 0, stream(), incoming, frames.pooled,
             frames.pooledStride, C, frames.clamped);
    }
    launch(weightGradientKernel<Type>, blocksFor(T, frameWarps), frameWarps * 32, 0, stream(), frames, incoming);
    if (incoming.du) {
      launch(scoreGradientKernel, static_cast<uint32_t>(B), softmaxThreads, (softmaxThreads / 32 + 1) * sizeof(double),
             stream(), frames.attention, frames.offsets, incoming.du, incoming.slope);
    }
    launch(frameGradientKernel<Type>, sums.grid(), ColumnSums::block(), ColumnSums::sharedBytes(), stream(), frames,
           incoming, strided<Type>(op.dh), rowsAligned(op.dh), sums.grain, reinterpret_cast<double *>(memory));
  });
  if (byProduct) sums.addInto(op.dw, reinterpret_cast<double *>(memory), stream());
}

}  // namespace emoframe
