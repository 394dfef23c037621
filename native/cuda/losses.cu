// Softmax cross-entropy of a few rows of a few classes, forward and backward in one launch, and the sum of losses over
// rows. A warp takes a row, reads it three times, from the cache after the first, and writes its gradient: 8 bytes an
// element of some kilobytes, so the launches are what it costs.
#include "backend.h"
#include "elements.cuh"
#include "launch.cuh"
#include "losses.cuh"
#include "reduce.cuh"

namespace emoframe {

namespace {

constexpr int rowWarps = 4, sumThreads = 1024;

__global__ void __launch_bounds__(rowWarps * 32)
    softmaxLossKernel(Strided<const float> logits, const int32_t *labels, const float *shares, int64_t rows,
                      int64_t cols, float scale, Strided<float> gradient, RowLoss *losses) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * rowWarps + threadIdx.x / 32;
  if (row >= rows) return;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float share = shares ? shares[row] : 1.0f;
  if (share == 0) {
    if (lane == 0) losses[row] = {0, 0};
    if (!gradient.data) return;
    for (int64_t c = lane; c < cols; c += 32) *gradient.at(0, row, c) = 0;
    return;
  }
  const int64_t label = labels[row];
  float before = -INFINITY, rest = -INFINITY;
  for (int64_t c = lane; c < cols; c += 32) {
    const float logit = *logits.at(0, row, c);
    if (c < label) {
      before = fmaxf(before, logit);
    } else {
      rest = fmaxf(rest, logit);
    }
  }
  before = warpMax(before);
  rest = warpMax(rest);
  const float own = *logits.at(0, row, label), largest = fmaxf(before, rest);
  float sum = 0;
  for (int64_t c = lane; c < cols; c += 32) sum += expf(*logits.at(0, row, c) - largest);
  sum = warpSum(sum);
  if (lane == 0) losses[row] = {(logf(sum) - (own - largest)) * share, own == rest && before < own ? 1 : 0};
  if (!gradient.data) return;
  scale *= share;
  const float factor = scale / sum;
  for (int64_t c = lane; c < cols; c += 32) {
    *gradient.at(0, row, c) = expf(*logits.at(0, row, c) - largest) * factor - (c == label ? scale : 0.0f);
  }
}

// One block: thread i adds rows i, i + 1024, ...
__global__ void __launch_bounds__(sumThreads) addLossesKernel(const RowLoss *rows, int64_t count, float *out) {
  auto *shared = reinterpret_cast<double *>(sharedMemory());  // [2, warps]
  double loss = 0, correct = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < count; i += sumThreads) {
    const uint2 row = *reinterpret_cast<const uint2 *>(rows + i);
    loss += static_cast<double>(floatOf(row.x));
    correct += static_cast<double>(row.y);
  }
  loss = blockSum(loss, shared);
  correct = blockSum(correct, shared + sumThreads / 32);
  if (threadIdx.x != 0) return;
  out[0] = static_cast<float>(loss);
  out[1] = static_cast<float>(correct);
}

}  // namespace

void addLosses(const RowLoss *rows, int64_t count, float *out, Stream &stream) {
  launch(addLossesKernel, 1, sumThreads, 2 * sizeof(double) * sumThreads / 32, stream, rows, count, out);
}

template <>
void CudaBackend::perform(const SoftmaxCrossEntropy &loss) {
  const int64_t rows = loss.logits.rows;
  auto *losses = static_cast<RowLoss *>(scratch(sizeof(RowLoss) * static_cast<size_t>(rows)));
  launch(softmaxLossKernel, blocksFor(rows, rowWarps), rowWarps * 32, 0, stream(), strided<const float>(loss.logits),
         loss.labels, loss.shares, rows, loss.logits.cols, loss.gradientScale, strided<float>(loss.dLogits), losses);
  addLosses(losses, rows, loss.result.as<float>(), stream());
}

}  // namespace emoframe
