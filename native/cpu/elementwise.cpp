// Elementwise ops and the small reductions beside them. All are bound by memory except GELU (an erf an element) and
// dropout (an eighth of a Philox block an element), which vectorise.
#include "backend.h"
#include "blocks.h"

namespace emoframe {

namespace {

// Loops whose output may be one of their inputs: the same index is read before it is written, which is what ivdep says.
EMOFRAME_SIMD void scaleLeaf(const float *x, float factor, float *out, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * factor;
}
EMOFRAME_SIMD void geluGradientLeaf(const float *x, const float *dy, float *dx, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dx[i] = geluDerivative(x[i]) * dy[i];
}
EMOFRAME_SIMD void tanhLeaf(const float *x, float *y, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] = hyperbolicTangent(x[i]);
}
EMOFRAME_SIMD void tanhGradientLeaf(const float *y, const float *dy, float *dx, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dx[i] = (1 - y[i] * y[i]) * dy[i];
}
// NaN stays NaN, which a maximum would not see to.
EMOFRAME_SIMD void reluLeaf(const float *x, float *y, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] <= 0 ? 0 : x[i];
}
EMOFRAME_SIMD void reluGradientLeaf(const float *y, const float *dy, float *dx, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) dx[i] = y[i] > 0 ? dy[i] : 0;
}
EMOFRAME_SIMD void softmaxLeaf(const float *x, float *y, int64_t n) {
  float largest = x[0];
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    y[i] = exponential(x[i] - largest);
    sum += y[i];
  }
  const float factor = 1.0f / sum;
  for (int64_t i = 0; i < n; ++i) y[i] *= factor;
}

}  // namespace

template <>
void CpuBackend::perform(const Fill &op) {
  View o = op.out;
  forEachBlock(threads_, {&o}, [&](int64_t b, int64_t r, int64_t c, int64_t n) {
    float buffer[blockSize];
    float *target = writeBlock(o, b, r, c, buffer);
    fillFloats(target, op.value, n);
    storeBlock(o, b, r, c, n, target);
  });
}

template <>
void CpuBackend::perform(const Convert &op) {
  View x = op.in, y = op.out;
  // Columns of both contiguous: walk along them.
  if (x.colStride != 1 && y.colStride != 1) x = x.transposed(), y = y.transposed();
  forEachBlock(threads_, {&x, &y}, [&](int64_t b, int64_t r, int64_t c, int64_t n) {
    float buffer[blockSize];
    storeBlock(y, b, r, c, n, readBlock(x, b, r, c, n, buffer));
  });
}

template <>
void CpuBackend::perform(const Add &op) {
  View left = op.a, right = op.b, o = op.out;
  forEachBlock(threads_, {&o, &left, &right}, [&](int64_t batch, int64_t r, int64_t c, int64_t n) {
    float one[blockSize], two[blockSize], sum[blockSize];
    float *target = writeBlock(o, batch, r, c, sum);
    add(readBlock(left, batch, r, c, n, one), readBlock(right, batch, r, c, n, two), target, n);
    storeBlock(o, batch, r, c, n, target);
  });
}

template <>
void CpuBackend::perform(const Scale &op) {
  View v = op.x;
  forEachBlock(threads_, {&v}, [&](int64_t b, int64_t r, int64_t c, int64_t n) {
    float in[blockSize], out[blockSize];
    float *target = writeBlock(v, b, r, c, out);
    scaleLeaf(readBlock(v, b, r, c, n, in), op.factor, target, n);
    storeBlock(v, b, r, c, n, target);
  });
}

template <>
void CpuBackend::perform(const ApplyDropout &op) {
  if (op.dropout.p <= 0) {
    if (op.x.data != op.out.data) perform(Convert{op.x, op.out});
    return;
  }
  const int64_t rows = op.x.rows, cols = op.x.cols;
  View in = op.x, o = op.out;
  forEachBlock(threads_, {&in, &o}, [&](int64_t b, int64_t r, int64_t c, int64_t n) {
    float factors[blockSize], value[blockSize], result[blockSize];
    dropoutFactors(op.dropout, static_cast<uint64_t>((b * rows + r) * cols + c), n, factors);
    float *target = writeBlock(o, b, r, c, result);
    multiply(readBlock(in, b, r, c, n, value), factors, target, n);
    storeBlock(o, b, r, c, n, target);
  });
}

template <>
void CpuBackend::perform(const Gelu &op) {
  const int64_t rows = op.x.rows, cols = op.x.cols;
  View in = op.x, out = op.y;
  forEachBlock(threads_, {&in, &out}, [&](int64_t b, int64_t r, int64_t c, int64_t n) {
    float factors[blockSize], value[blockSize], result[blockSize];
    float *target = writeBlock(out, b, r, c, result);
    applyGelu(readBlock(in, b, r, c, n, value), target, n);
    if (op.dropout.p > 0) {
      dropoutFactors(op.dropout, static_cast<uint64_t>((b * rows + r) * cols + c), n, factors);
      multiply(target, factors, target, n);
    }
    storeBlock(out, b, r, c, n, target);
  });
}

template <>
void CpuBackend::perform(const GeluBackward &op) {
  const int64_t rows = op.x.rows, cols = op.x.cols;
  View in = op.x, gradient = op.dy, out = op.dx;
  forEachBlock(threads_, {&in, &gradient, &out}, [&](int64_t b, int64_t r, int64_t c, int64_t n) {
    float factors[blockSize], value[blockSize], incoming[blockSize], result[blockSize];
    const float *g = readBlock(gradient, b, r, c, n, incoming);
    if (op.dropout.p > 0) {
      dropoutFactors(op.dropout, static_cast<uint64_t>((b * rows + r) * cols + c), n, factors);
      multiply(g, factors, incoming, n);
      g = incoming;
    }
    float *target = writeBlock(out, b, r, c, result);
    geluGradientLeaf(readBlock(in, b, r, c, n, value), g, target, n);
    storeBlock(out, b, r, c, n, target);
  });
}

template <>
void CpuBackend::perform(const Activate &op) {
  if (op.activation == Activation::none) {
    if (op.x.data != op.y.data) perform(Convert{op.x, op.y});
    return;
  }
  View in = op.x, out = op.y;
  forEachBlock(threads_, {&in, &out}, [&](int64_t b, int64_t r, int64_t c, int64_t n) {
    float value[blockSize], result[blockSize];
    float *target = writeBlock(out, b, r, c, result);
    const auto leaf = op.activation == Activation::tanh ? tanhLeaf : reluLeaf;
    leaf(readBlock(in, b, r, c, n, value), target, n);
    storeBlock(out, b, r, c, n, target);
  });
}

template <>
void CpuBackend::perform(const ActivateBackward &op) {
  if (op.activation == Activation::none) {
    if (op.dy.data != op.dx.data) perform(Convert{op.dy, op.dx});
    return;
  }
  View y = op.y, gradient = op.dy, out = op.dx;
  forEachBlock(threads_, {&y, &gradient, &out}, [&](int64_t b, int64_t r, int64_t c, int64_t n) {
    float value[blockSize], incoming[blockSize], result[blockSize];
    float *target = writeBlock(out, b, r, c, result);
    const auto leaf = op.activation == Activation::tanh ? tanhGradientLeaf : reluGradientLeaf;
    leaf(readBlock(y, b, r, c, n, value), readBlock(gradient, b, r, c, n, incoming), target, n);
    storeBlock(out, b, r, c, n, target);
  });
}

template <>
void CpuBackend::perform(const StandardizeColumns &op) {
  if (op.x.cols == 0) return;
  const std::vector<float> zeros(op.mean ? 0 : static_cast<size_t>(op.x.cols), 0.0f);
  const float *means = op.mean ? op.mean.as<float>() : zeros.data(), *factors = op.factor.as<float>();
  parallelFor(threads_, op.x.rows, std::max<int64_t>(1, 8192 / op.x.cols), [&](int64_t begin, int64_t end) {
    float in[blockSize], result[blockSize];
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t c = 0; c < op.x.cols; c += blockSize) {
        const int64_t n = std::min(blockSize, op.x.cols - c);
        const float *values = readBlock(op.x, 0, r, c, n, in);
        float *target = writeBlock(op.out, 0, r, c, result);
        for (int64_t i = 0; i < n; ++i) target[i] = (values[i] - means[c + i]) * factors[c + i];
        storeBlock(op.out, 0, r, c, n, target);
      }
    }
  });
}

template <>
void CpuBackend::perform(const ColumnSum &op) {
  const int64_t rows = op.x.batch * op.x.rows;
  ColumnSums sums(rows, op.x.cols);
  parallelChunks(threads_, rows, ColumnSums::grain(rows), [&](int64_t chunk, int64_t begin, int64_t end) {
    ColumnSums::Chunk partial(sums, chunk);
    std::vector<float> buffer(static_cast<size_t>(op.x.cols));
    for (int64_t i = begin; i < end; ++i) {
      addTo(partial.floats.data(), readBlock(op.x, i / op.x.rows, i % op.x.rows, 0, op.x.cols, buffer.data()),
            op.x.cols);
      partial.rowDone();
    }
    partial.finish();
  });
  sums.addInto(op.out);
}

template <>
void CpuBackend::perform(const SumSquares &op) {
  // Blocks of all tensors on one axis: tensor i has blocks [first[i], first[i + 1]).
  constexpr int64_t grain = 32;
  std::vector<View> views(op.xs.begin(), op.xs.end());
  std::vector<int64_t> first(1, 0);
  for (View &v : views) {
    if (v.isContiguous()) v = vector(v.data, v.dtype, v.size());
    first.push_back(first.back() + (v.size() == 0 ? 0 : v.batch * v.rows * chunkCount(v.cols, blockSize)));
  }
  std::vector<double> partials(static_cast<size_t>(chunkCount(first.back(), grain)), 0.0);
  parallelChunks(threads_, first.back(), grain, [&](int64_t chunk, int64_t begin, int64_t end) {
    size_t tensor = std::upper_bound(first.begin(), first.end(), begin) - first.begin() - 1;
    float buffer[blockSize];
    for (int64_t i = begin; i < end; ++i) {
      while (i >= first[tensor + 1]) ++tensor;
      const View &v = views[tensor];
      const int64_t perRow = chunkCount(v.cols, blockSize), row = (i - first[tensor]) / perRow;
      const int64_t c = (i - first[tensor]) % perRow * blockSize, n = std::min(blockSize, v.cols - c);
      partials[chunk] += sumOfSquares(readBlock(v, row / v.rows, row % v.rows, c, n, buffer), n);
    }
  });
  double total = 0;
  for (double partial : partials) total += partial;
  *op.out.as<float>() = static_cast<float>(total);
}

template <>
void CpuBackend::perform(const SoftmaxRows &op) {
  if (op.x.cols == 0) return;
  parallelFor(threads_, op.x.rows, std::max<int64_t>(1, 8192 / op.x.cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      softmaxLeaf(static_cast<const float *>(op.x.at(0, r, 0)), static_cast<float *>(op.y.at(0, r, 0)), op.x.cols);
    }
  });
}

}  // namespace emoframe
