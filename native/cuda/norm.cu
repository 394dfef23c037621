// LayerNorm with the residual sum and dropout before it. Bound by bytes: forward reads x and residual and
// writes sum and y once; backward reads dy, the sum and the gradient that reaches it, and writes one or
// two of that size: 8 to 10 bytes an element in bf16, against some 20 flops, and so many more for a
// Philox block every eight elements with dropout.
//
// Rows as models have them (a multiple of 8 elements, at most 1024, aligned): a warp takes a row, whose elements stay
// in its registers, 8 neighbouring ones a lane and group, from the one read to the one write; mean and variance are two
// passes over registers. In backward a warp goes on to further rows of its block's chunk, so that the sums of dγ and dβ
// stay in registers too; the row itself does not, but is read again, from L1, once its means are known: so two blocks
// fit on a multiprocessor. The warps of a block add their sums up in shared memory, and a second launch adds the
// blocks' in order. Chunks are cut by the number of rows alone. Other rows: a block takes a row and reads it again,
// from the cache, for each pass.
//
// For bf16 a sum that is stored is rounded before its statistics are taken, so that backward, which reads it,
// differentiates what forward computed. In inference nobody reads it, and it stays in registers.
#include <algorithm>

#include "backend.h"
#include "column_sums.cuh"
#include "elements.cuh"
#include "launch.cuh"
#include "reduce.cuh"

namespace emoframe {

namespace {

constexpr int width = 8;             // elements of a lane that lie together
constexpr int rowWarps = 4;          // of a block in forward
constexpr int chunkWarps = 8;        // in backward
constexpr int64_t mostChunks = 256;  // of the rows in backward
constexpr int generalThreads = 256;  // for a row of any kind
constexpr int64_t widestRow = 32 * width * 4;

template <typename T, typename Y>
struct Forward {
  Strided<const T> x, residual;
  Strided<T> sum;
  Strided<Y> y;
  const float *gamma, *beta;
  float *mean, *rstd;
  Dropout dropout;
  float epsilon;
  int64_t rows, cols;
};
template <typename T>
struct Backward {
  Strided<const T> input, dy, dSumIn;  // input: what was normalised
  Strided<T> dSumOut, dx;
  const float *gamma, *mean, *rstd;
  double *dGamma, *dBeta;  // [chunks, cols], partial
  Dropout dropout;
  int64_t rows, cols, grain;
};

// --- forward -------------------------------------------------------------------------------------
// A warp a row of at most groups · 256 elements.
template <typename T, typename Y, int groups>
__global__ void __launch_bounds__(rowWarps * 32) forwardKernel(Forward<T, Y> norm) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * rowWarps + threadIdx.x / 32;
  if (row >= norm.rows) return;
  const int64_t first = threadIdx.x % 32 * width;
  float values[groups][width];
  float total = 0;
#pragma unroll
  for (int i = 0; i < groups; ++i) {
    const int64_t column = first + i * 32 * width;
    if (column >= norm.cols) continue;
    loadVector(norm.x.row(row) + column, values[i]);
    // Rounded down to a multiple of 8, which it is: so that the compiler sees it too.
    const uint64_t element = static_cast<uint64_t>(row * norm.cols + column) / width * width;
    if (norm.dropout.p > 0) applyDropout(norm.dropout, element, values[i]);
    if (norm.residual.data) {
      float residual[width];
      loadVector(norm.residual.row(row) + column, residual);
      for (int j = 0; j < width; ++j) values[i][j] += residual[j];
    }
    if (norm.sum.data) {
      storeVector(norm.sum.row(row) + column, values[i]);
      for (int j = 0; j < width; ++j) values[i][j] = toFloat(fromFloat<T>(values[i][j]));
    }
    for (int j = 0; j < width; ++j) total += values[i][j];
  }
  if (!norm.y.data) return;
  const float count = static_cast<float>(norm.cols), mean = warpSum(total) / count;
  float squares = 0;
#pragma unroll
  for (int i = 0; i < groups; ++i) {
    if (first + i * 32 * width >= norm.cols) continue;
    for (int j = 0; j < width; ++j) squares += (values[i][j] - mean) * (values[i][j] - mean);
  }
  const float rstd = 1.0f / sqrtf(warpSum(squares) / count + norm.epsilon);
#pragma unroll
  for (int i = 0; i < groups; ++i) {
    const int64_t column = first + i * 32 * width;
    if (column >= norm.cols) continue;
    float gamma[width], beta[width];
    loadVector(norm.gamma + column, gamma);
    loadVector(norm.beta + column, beta);
    for (int j = 0; j < width; ++j) values[i][j] = (values[i][j] - mean) * rstd * gamma[j] + beta[j];
    storeVector(norm.y.row(row) + column, values[i]);
  }
  if (first != 0) return;
  if (norm.mean) norm.mean[row] = mean;
  if (norm.rstd) norm.rstd[row] = rstd;
}

// For all threads of the block; `shared` is free again after the next barrier.
__device__ inline float blockTotal(float value, float *shared) {
  value = blockSum(value, shared);
  if (threadIdx.x == 0) shared[generalThreads / 32] = value;
  __syncthreads();
  return shared[generalThreads / 32];
}

__device__ inline float dropped(const Dropout &dropout, int64_t element, float value) {
  if (dropout.p <= 0) return value;
  float values[1] = {value};
  applyDropout(dropout, static_cast<uint64_t>(element), values);
  return values[0];
}

// A block a row. Shared memory: two sets of generalThreads / 32 + 1 floats.
template <typename T, typename Y>
__global__ void __launch_bounds__(generalThreads, 1) forwardGeneralKernel(Forward<T, Y> norm) {
  auto *shared = reinterpret_cast<float *>(sharedMemory());
  const int64_t row = blockIdx.x;
  const auto form = [&](int64_t c) {
    float value = dropped(norm.dropout, row * norm.cols + c, toFloat(*norm.x.at(0, row, c)));
    if (norm.residual.data) value += toFloat(*norm.residual.at(0, row, c));
    return value;
  };
  // Each thread reads again what it wrote itself, or forms it again.
  const auto summed = [&](int64_t c) { return norm.sum.data ? toFloat(*norm.sum.at(0, row, c)) : form(c); };
  float total = 0;
  for (int64_t c = threadIdx.x; c < norm.cols; c += generalThreads) {
    if (norm.sum.data) *norm.sum.at(0, row, c) = fromFloat<T>(form(c));
    total += summed(c);
  }
  if (!norm.y.data) return;
  const float count = static_cast<float>(norm.cols), mean = blockTotal(total, shared) / count;
  float squares = 0;
  for (int64_t c = threadIdx.x; c < norm.cols; c += generalThreads) {
    const float d = summed(c) - mean;
    squares += d * d;
  }
  const float rstd = 1.0f / sqrtf(blockTotal(squares, shared + generalThreads / 32 + 1) / count + norm.epsilon);
  for (int64_t c = threadIdx.x; c < norm.cols; c += generalThreads) {
    const float normal = (summed(c) - mean) * rstd;
    *norm.y.at(0, row, c) = fromFloat<Y>(normal * norm.gamma[c] + norm.beta[c]);
  }
  if (threadIdx.x != 0) return;
  if (norm.mean) norm.mean[row] = mean;
  if (norm.rstd) norm.rstd[row] = rstd;
}

// --- backward ------------------------------------------------------------------------------------
// With g = dy γ and x̂ the normalised row: dx = rstd (g - mean(g) - x̂ mean(g x̂)); dγ += dy x̂, dβ += dy.
// A block a chunk of rows, warp w its rows w, w + 8, ... Shared memory: 2 [chunkWarps, 256] floats.
template <typename T, int groups>
__global__ void __launch_bounds__(chunkWarps * 32, 2) backwardKernel(Backward<T> norm) {
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int64_t first = lane * width, begin = static_cast<int64_t>(blockIdx.x) * norm.grain;
  const int64_t end = begin + norm.grain < norm.rows ? begin + norm.grain : norm.rows;
  float dGamma[groups][width] = {}, dBeta[groups][width] = {};
  const float count = static_cast<float>(norm.cols);
  for (int64_t row = begin + warp; row < end; row += chunkWarps) {
    float mean = 0, rstd = 0, sum = 0, product = 0;
    if (norm.dy.data) {
      mean = norm.mean[row];
      rstd = norm.rstd[row];
#pragma unroll
      for (int i = 0; i < groups; ++i) {
        const int64_t column = first + i * 32 * width;
        if (column >= norm.cols) continue;
        float normal[width], incoming[width], gamma[width];
        loadVector(norm.input.row(row) + column, normal);
        loadVector(norm.dy.row(row) + column, incoming);
        loadVector(norm.gamma + column, gamma);
        for (int j = 0; j < width; ++j) {
          normal[j] = (normal[j] - mean) * rstd;
          dGamma[i][j] += incoming[j] * normal[j];
          dBeta[i][j] += incoming[j];
          sum += incoming[j] * gamma[j];
          product += incoming[j] * gamma[j] * normal[j];
        }
      }
      sum = warpSum(sum) / count;
      product = warpSum(product) / count;
    }
#pragma unroll
    for (int i = 0; i < groups; ++i) {
      const int64_t column = first + i * 32 * width;
      if (column >= norm.cols) continue;
      float gradient[width] = {};
      if (norm.dSumIn.data) loadVector(norm.dSumIn.row(row) + column, gradient);
      if (norm.dy.data) {
        float normal[width], incoming[width], gamma[width];
        loadVector(norm.input.row(row) + column, normal);
        loadVector(norm.dy.row(row) + column, incoming);
        loadVector(norm.gamma + column, gamma);
        for (int j = 0; j < width; ++j) {
          gradient[j] += rstd * (incoming[j] * gamma[j] - sum - (normal[j] - mean) * rstd * product);
        }
      }
      storeVector(norm.dSumOut.row(row) + column, gradient);
      if (!norm.dx.data) continue;
      const uint64_t element = static_cast<uint64_t>(row * norm.cols + column) / width * width;
      if (norm.dropout.p > 0) applyDropout(norm.dropout, element, gradient);
      storeVector(norm.dx.row(row) + column, gradient);
    }
  }
  if (!norm.dy.data) return;
  auto *sums = reinterpret_cast<float *>(sharedMemory());
  constexpr int columns = 32 * width;
#pragma unroll
  for (int i = 0; i < groups; ++i) {
    if (i > 0) __syncthreads();
    storeVector(sums + warp * columns + first, dGamma[i]);
    storeVector(sums + (chunkWarps + warp) * columns + first, dBeta[i]);
    __syncthreads();
    static_assert(columns == chunkWarps * 32, "a thread adds up a column");
    const int64_t column = i * columns + static_cast<int64_t>(threadIdx.x);
    if (column >= norm.cols) continue;
    double gammaTotal = 0, betaTotal = 0;
    for (int w = 0; w < chunkWarps; ++w) {
      gammaTotal += static_cast<double>(sums[w * columns + threadIdx.x]);
      betaTotal += static_cast<double>(sums[(chunkWarps + w) * columns + threadIdx.x]);
    }
    norm.dGamma[blockIdx.x * norm.cols + column] = gammaTotal;
    norm.dBeta[blockIdx.x * norm.cols + column] = betaTotal;
  }
}

// dγ of rows of any kind (normalised), or dβ, on ColumnSums' grid.
template <typename T, bool normalised>
__global__ void __launch_bounds__(256) parameterGradientKernel(Backward<T> norm, double *partials) {
  sumColumns(norm.rows, norm.cols, norm.grain, partials,
             [&](int64_t row, int64_t column, int64_t n, float(&values)[ColumnSums::width]) {
               loadSome(norm.dy.at(0, row, column), norm.dy.colStride, n, false, values);
               if (!normalised) return;
               const float mean = norm.mean[row], rstd = norm.rstd[row];
               float input[ColumnSums::width];
               loadSome(norm.input.at(0, row, column), norm.input.colStride, n, false, input);
               for (int j = 0; j < ColumnSums::width; ++j) values[j] *= (input[j] - mean) * rstd;
             });
}

// A block a row. Shared memory as in forward.
template <typename T>
__global__ void __launch_bounds__(generalThreads, 1) backwardGeneralKernel(Backward<T> norm) {
  auto *shared = reinterpret_cast<float *>(sharedMemory());
  const int64_t row = blockIdx.x;
  float mean = 0, rstd = 0, sum = 0, product = 0;
  if (norm.dy.data) {
    mean = norm.mean[row];
    rstd = norm.rstd[row];
    for (int64_t c = threadIdx.x; c < norm.cols; c += generalThreads) {
      const float g = toFloat(*norm.dy.at(0, row, c)) * norm.gamma[c];
      sum += g;
      product += g * (toFloat(*norm.input.at(0, row, c)) - mean) * rstd;
    }
    sum = blockTotal(sum, shared) / static_cast<float>(norm.cols);
    product = blockTotal(product, shared + generalThreads / 32 + 1) / static_cast<float>(norm.cols);
  }
  for (int64_t c = threadIdx.x; c < norm.cols; c += generalThreads) {
    float gradient = norm.dSumIn.data ? toFloat(*norm.dSumIn.at(0, row, c)) : 0.0f;
    if (norm.dy.data) {
      const float normal = (toFloat(*norm.input.at(0, row, c)) - mean) * rstd;
      gradient += rstd * (toFloat(*norm.dy.at(0, row, c)) * norm.gamma[c] - sum - normal * product);
    }
    *norm.dSumOut.at(0, row, c) = fromFloat<T>(gradient);
    if (norm.dx.data) *norm.dx.at(0, row, c) = fromFloat<T>(dropped(norm.dropout, row * norm.cols + c, gradient));
  }
}

constexpr size_t generalSharedBytes = 2 * (generalThreads / 32 + 1) * sizeof(float);

// body(Groups<2>()) to body(Groups<4>()): as many as a row takes of 256 elements.
template <int count>
struct Groups {
  static constexpr int value = count;
};
template <typename Body>
void withGroups(int64_t cols, Body &&body) {
  if (cols <= 512) {
    body(Groups<2>());
  } else if (cols <= 768) {
    body(Groups<3>());
  } else {
    body(Groups<4>());
  }
}

bool fitsWarp(int64_t cols, std::initializer_list<View> views) {
  return cols % width == 0 && cols <= widestRow && std::all_of(views.begin(), views.end(), rowsAligned);
}

}  // namespace

template <>
void CudaBackend::perform(const AddNorm &norm) {
  const int64_t rows = norm.x.rows, cols = norm.x.cols;
  if (rows * cols == 0) return;
  const bool fast = fitsWarp(cols, {norm.x, norm.residual, norm.sum, norm.y, norm.gamma, norm.beta});
  const auto run = [&](auto of, auto ofOutput) {
    using T = typename decltype(of)::Type;
    using Y = typename decltype(ofOutput)::Type;
    const Forward<T, Y> arguments{strided<const T>(norm.x),
                                  strided<const T>(norm.residual),
                                  strided<T>(norm.sum),
                                  strided<Y>(norm.y),
                                  norm.gamma.as<const float>(),
                                  norm.beta.as<const float>(),
                                  norm.mean.as<float>(),
                                  norm.rstd.as<float>(),
                                  norm.dropout,
                                  norm.epsilon,
                                  rows,
                                  cols};
    if (!fast) {
      launch(forwardGeneralKernel<T, Y>, static_cast<uint32_t>(rows), generalThreads, generalSharedBytes, stream(),
             arguments);
      return;
    }
    withGroups(cols, [&](auto groups) {
      launch(forwardKernel<T, Y, decltype(groups)::value>, blocksFor(rows, rowWarps), rowWarps * 32, 0, stream(),
             arguments);
    });
  };
  if (norm.x.dtype == DType::f32) {
    run(Of<float>(), Of<float>());
  } else if (norm.y && norm.y.dtype == DType::f32) {
    run(Of<bf16>(), Of<float>());
  } else {
    run(Of<bf16>(), Of<bf16>());
  }
}

template <>
void CudaBackend::perform(const AddNormBackward &gradient) {
  const AddNorm &norm = gradient.forward;
  const int64_t rows = norm.x.rows, cols = norm.x.cols;
  if (rows * cols == 0) return;
  const View &input = norm.sum ? norm.sum : norm.x;
  const bool fast = fitsWarp(cols, {input, gradient.dy, gradient.dSumIn, gradient.dSumOut, gradient.dx, norm.gamma});
  ColumnSums sums(rows, cols);
  if (fast) {
    sums.grain = std::max<int64_t>(4 * chunkWarps, (rows + mostChunks - 1) / mostChunks);
    sums.chunks = (rows + sums.grain - 1) / sums.grain;
  }
  auto *partials = gradient.dy ? static_cast<double *>(scratch(2 * sums.partialBytes())) : nullptr;
  auto *betaPartials = gradient.dy ? partials + sums.chunks * cols : nullptr;
  withType(norm.x.dtype, [&](auto of) {
    using T = typename decltype(of)::Type;
    const Backward<T> arguments{strided<const T>(input),
                                strided<const T>(gradient.dy),
                                strided<const T>(gradient.dSumIn),
                                strided<T>(gradient.dSumOut),
                                strided<T>(gradient.dx),
                                norm.gamma.as<const float>(),
                                norm.mean.as<const float>(),
                                norm.rstd.as<const float>(),
                                partials,
                                betaPartials,
                                norm.dropout,
                                rows,
                                cols,
                                sums.grain};
    if (fast) {
      withGroups(cols, [&](auto groups) {
        launch(backwardKernel<T, decltype(groups)::value>, static_cast<uint32_t>(sums.chunks), chunkWarps * 32,
               2 * chunkWarps * 32 * width * sizeof(float), stream(), arguments);
      });
      return;
    }
    if (gradient.dy) {  // first, as dSumOut may be dy's memory
      launch(parameterGradientKernel<T, true>, sums.grid(), ColumnSums::block(), ColumnSums::sharedBytes(), stream(),
             arguments, partials);
      launch(parameterGradientKernel<T, false>, sums.grid(), ColumnSums::block(), ColumnSums::sharedBytes(), stream(),
             arguments, betaPartials);
    }
    launch(backwardGeneralKernel<T>, static_cast<uint32_t>(rows), generalThreads, generalSharedBytes, stream(),
           arguments);
  });
  if (!gradient.dy) return;
  if (gradient.dGamma) sums.addInto(gradient.dGamma, partials, stream());
  if (gradient.dBeta) sums.addInto(gradient.dBeta, betaPartials, stream());
}

}  // namespace emoframe
