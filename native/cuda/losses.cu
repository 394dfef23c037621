// Softmax cross-entropy of a few rows of a few classes, forward and backward in one launch, and the sum of losses over
// rows. A warp takes a row, reads it three times, from the cache after the first, and writes its gradient: 8 bytes an
// element of some kilobytes, so the launches are what it costs.
//
// Concordance of a few columns of as many rows as a batch has utterances: one block, and each column is read three
// times, for the means, the moments about them and the gradient.
#include "backend.h"
#include "elements.cuh"
#include "launch.cuh"
#include "losses.cuh"
#include "reduce.cuh"

namespace emoframe {

namespace {

constexpr int rowWarps = 4, sumThreads = 1024, concordanceThreads = 256;

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

// Over a block; every thread gets the sum. `shared`: a double a warp, and one.
__device__ inline double sumForAll(double value, double *shared) {
  const int last = static_cast<int>(blockDim.x / 32);
  value = blockSum(value, shared);
  if (threadIdx.x == 0) shared[last] = value;
  __syncthreads();
  return shared[last];
}

// Of outputs x with targets y: d CCC / d x[i] = 2 (y[i] - mean y - CCC (x[i] - mean y)) / (N · denominator).
__global__ void __launch_bounds__(concordanceThreads)
    concordanceKernel(Strided<const float> outputs, Strided<const float> targets, int64_t rows, int64_t cols,
                      Strided<float> gradient, float *out) {
  auto *shared = reinterpret_cast<double *>(sharedMemory());
  const auto count = static_cast<double>(rows > 0 ? rows : 1);
  double total = 0;
  for (int64_t c = 0; c < cols; ++c) {
    double outputMean = 0, targetMean = 0;
    for (int64_t i = threadIdx.x; i < rows; i += concordanceThreads) {
      outputMean += static_cast<double>(*outputs.at(0, i, c));
      targetMean += static_cast<double>(*targets.at(0, i, c));
    }
    outputMean = sumForAll(outputMean, shared) / count;
    targetMean = sumForAll(targetMean, shared) / count;
    double squares = 0, products = 0;
    for (int64_t i = threadIdx.x; i < rows; i += concordanceThreads) {
      const double x = static_cast<double>(*outputs.at(0, i, c)) - outputMean;
      const double y = static_cast<double>(*targets.at(0, i, c)) - targetMean;
      squares += x * x + y * y;
      products += x * y;
    }
    squares = sumForAll(squares, shared);
    products = sumForAll(products, shared);
    const double apart = outputMean - targetMean, denominator = squares + count * apart * apart;
    const double agreement = denominator != 0 ? 2 * products / denominator : 0;  // 0 of a single row
    total += 1 - agreement;
    if (!gradient.data) continue;
    for (int64_t i = threadIdx.x; i < rows; i += concordanceThreads) {
      const double x = static_cast<double>(*outputs.at(0, i, c)), y = static_cast<double>(*targets.at(0, i, c));
      const double slope = y - targetMean - agreement * (x - targetMean);
      *gradient.at(0, i, c) =
          denominator != 0 ? static_cast<float>(-2 * slope / (denominator * static_cast<double>(cols))) : 0.0f;
    }
  }
  if (threadIdx.x != 0) return;
  out[0] = static_cast<float>(total / static_cast<double>(cols));
  out[1] = 0;
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

template <>
void CudaBackend::perform(const Concordance &loss) {
  launch(concordanceKernel, 1, concordanceThreads, sizeof(double) * (concordanceThreads / 32 + 1), stream(),
         strided<const float>(loss.outputs), strided<const float>(loss.targets), loss.outputs.rows, loss.outputs.cols,
         strided<float>(loss.dOutputs), loss.result.as<float>());
}

}  // namespace emoframe
