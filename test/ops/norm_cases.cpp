// addNorm: LayerNorm of residual + dropout(x), forward and backward.
#include "harness.h"

namespace emoframe {
namespace test {
namespace {

const Dropout dropped{0.1f, 0xABCDEF0123ull, 5, 3};
constexpr double epsilon = 1e-5f;

struct Reference {
  Doubles sum, y, mean, rstd;
};
Reference forward(const Doubles &x, const Doubles *residual, const Dropout &dropout, const Doubles &gamma,
                  const Doubles &beta, int64_t rows, int64_t cols) {
  Reference ref{x, x, Doubles(rows), Doubles(rows)};
  for (int64_t t = 0; t < rows; ++t) {
    double mean = 0, variance = 0;
    for (int64_t i = t * cols; i < (t + 1) * cols; ++i) {
      ref.sum[i] = x[i] * dropoutFactor(dropout, static_cast<uint64_t>(i)) + (residual ? (*residual)[i] : 0);
      mean += ref.sum[i] / static_cast<double>(cols);
    }
    for (int64_t i = t * cols; i < (t + 1) * cols; ++i) {
      variance += (ref.sum[i] - mean) * (ref.sum[i] - mean) / static_cast<double>(cols);
    }
    ref.mean[t] = mean;
    ref.rstd[t] = 1 / std::sqrt(variance + epsilon);
    for (int64_t i = t * cols; i < (t + 1) * cols; ++i) {
      ref.y[i] = (ref.sum[i] - mean) * ref.rstd[t] * gamma[i % cols] + beta[i % cols];
    }
  }
  return ref;
}

struct Gradients {
  Doubles dSum, dx, dGamma, dBeta;
};
Gradients backward(const Reference &ref, const Doubles &dy, const Doubles *dSumIn, const Dropout &dropout,
                   const Doubles &gamma, int64_t rows, int64_t cols) {
  Gradients g{dy, dy, Doubles(cols, 0.0), Doubles(cols, 0.0)};
  for (int64_t t = 0; t < rows; ++t) {
    double sum = 0, product = 0;
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t i = t * cols + c;
      const double normal = (ref.sum[i] - ref.mean[t]) * ref.rstd[t];
      sum += dy[i] * gamma[c] / static_cast<double>(cols);
      product += dy[i] * gamma[c] * normal / static_cast<double>(cols);
      g.dGamma[c] += dy[i] * normal;
      g.dBeta[c] += dy[i];
    }
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t i = t * cols + c;
      const double normal = (ref.sum[i] - ref.mean[t]) * ref.rstd[t];
      g.dSum[i] = ref.rstd[t] * (dy[i] * gamma[c] - sum - normal * product) + (dSumIn ? (*dSumIn)[i] : 0);
      g.dx[i] = g.dSum[i] * dropoutFactor(dropout, static_cast<uint64_t>(i));
    }
  }
  return g;
}

// yType: of the output, which may be f32 beside bf16.
void addNormBothWays(Backend &backend, Report &report, DType dtype, DType yType) {
  // Gaps of 8 elements keep rows aligned to 16 bytes, others do not.
  struct Shape {
    int64_t T, C;
    bool aligned;
  };
  const std::vector<Shape> shapes = {{0, 8, true},    {1, 1, false},    {1, 3, false},    {3, 17, false},
                                     {65, 512, true}, {700, 768, true}, {33, 768, false}, {41, 1016, true},
                                     {300, 24, true}, {2, 1030, false}, {3, 1280, true}};
  for (const Shape &shape : shapes) {
    for (int variant = 0; variant < 4; ++variant) {
      const int64_t T = shape.T, C = shape.C;
      const auto gap = [&](int64_t ragged) { return Layout{shape.aligned ? 8 : ragged}; };
      const bool residual = variant % 2 == 1;
      const Dropout dropout = variant >= 2 ? dropped : Dropout{};
      const std::string what = std::to_string(T) + "x" + std::to_string(C) + (residual ? " residual" : "") +
                               (variant >= 2 ? " dropout" : "");
      const Tensor x = Tensor(backend, dtype, T, C, gap(3)).normal(1, 2, 1);
      const Tensor r = Tensor(backend, dtype, T, C, gap(1)).normal(2);
      const Tensor gamma = Tensor(backend, DType::f32, 1, C).normal(3, 0.3, 1);
      const Tensor beta = Tensor(backend, DType::f32, 1, C).normal(4);
      const Tensor sum = Tensor(backend, dtype, T, C, gap(2)).normal(5), y = Tensor(backend, yType, T, C).normal(6);
      const Tensor mean = Tensor(backend, DType::f32, 1, T).normal(7),
                   rstd = Tensor(backend, DType::f32, 1, T).normal(8);
      AddNorm norm;
      norm.x = x;
      if (residual) norm.residual = r;
      norm.dropout = dropout;
      if (variant != 0) norm.sum = sum;
      norm.gamma = gamma;
      norm.beta = beta;
      norm.y = y;
      norm.mean = mean;
      norm.rstd = rstd;
      backend.run(norm);
      const Reference exact =
          forward(x.values, residual ? &r.values : nullptr, dropout, gamma.values, beta.values, T, C);
      if (variant != 0) report.close(sum, exact.sum, what + " sum");
      // What follows the sum follows from it as it is stored, rounded to its dtype.
      const Reference ref = variant == 0 ? exact : forward(sum.read(), nullptr, {}, gamma.values, beta.values, T, C);
      report.close(y, ref.y, what + " y");
      report.close(mean, ref.mean, what + " mean");
      report.close(rstd, ref.rstd, what + " rstd");
      report.untouched(x, what + " x");
      report.untouched(r, what + " residual");

      const Tensor dy = Tensor(backend, dtype, T, C).normal(9), dIn = Tensor(backend, dtype, T, C, gap(4)).normal(10);
      const Tensor dOut = Tensor(backend, dtype, T, C, gap(2)).normal(11), dx = Tensor(backend, dtype, T, C).normal(12);
      const Tensor dGamma = Tensor(backend, DType::f32, 1, C).normal(13),
                   dBeta = Tensor(backend, DType::f32, 1, C).normal(14);
      AddNormBackward gradient;
      gradient.forward = norm;
      gradient.dy = dy;
      if (residual) gradient.dSumIn = dIn;
      gradient.dSumOut = dOut;
      gradient.dx = dx;
      gradient.dGamma = dGamma;
      gradient.dBeta = dBeta;
      backend.run(gradient);
      Gradients g = backward(ref, dy.values, residual ? &dIn.values : nullptr, dropout, gamma.values, T, C);
      for (int64_t c = 0; c < C; ++c) g.dGamma[c] += dGamma.values[c], g.dBeta[c] += dBeta.values[c];
      report.close(dOut, g.dSum, what + " dSum");
      report.close(dx, g.dx, what + " dx");
      report.close(dGamma, g.dGamma, what + " dGamma");
      report.close(dBeta, g.dBeta, what + " dBeta");
    }
  }
}

void sumAlone(Backend &backend, Report &report) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    const int64_t T = 37, C = 130;
    const Tensor x = Tensor(backend, dtype, T, C).normal(1), r = Tensor(backend, dtype, T, C).normal(2);
    const Tensor sum = Tensor(backend, dtype, T, C, {3}).normal(3);
    AddNorm norm;
    norm.x = x;
    norm.residual = r;
    norm.dropout = dropped;
    norm.sum = sum;
    backend.run(norm);
    Doubles expected(x.values), gradient(x.values);
    const Tensor dIn = Tensor(backend, dtype, T, C).normal(4), dx = Tensor(backend, dtype, T, C).normal(5);
    const Tensor dOut = Tensor(backend, dtype, T, C).normal(6);
    for (size_t i = 0; i < expected.size(); ++i) {
      const double factor = dropoutFactor(dropped, i);
      expected[i] = r.values[i] + x.values[i] * factor;
      gradient[i] = dIn.values[i] * factor;
    }
    report.close(sum, expected, "sum");
    AddNormBackward g;
    g.forward = norm;
    g.dSumIn = dIn;
    g.dSumOut = dOut;
    g.dx = dx;
    backend.run(g);
    report.same(dOut, dIn.values, "dSumOut");
    report.close(dx, gradient, "dx");
  }
}

// The residual stream is updated in place, and gradients flow through the same memory; those of the affine part are not
// asked for.
void inPlace(Backend &backend, Report &report) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    const int64_t T = 129, C = 200;
    const Tensor x = Tensor(backend, dtype, T, C).normal(1), r = Tensor(backend, dtype, T, C).normal(2);
    const Tensor gamma = Tensor(backend, DType::f32, 1, C).normal(3),
                 beta = Tensor(backend, DType::f32, 1, C).normal(4);
    const Tensor mean = Tensor(backend, DType::f32, 1, T).constant(0),
                 rstd = Tensor(backend, DType::f32, 1, T).constant(0);
    const Tensor y = Tensor(backend, dtype, T, C).constant(0);
    AddNorm norm;
    norm.x = x;
    norm.residual = r;
    norm.sum = r;
    norm.gamma = gamma;
    norm.beta = beta;
    norm.y = y;
    norm.mean = mean;
    norm.rstd = rstd;
    backend.run(norm);
    const Reference ref = forward(x.values, &r.values, {}, gamma.values, beta.values, T, C);
    report.close(y, ref.y, "y");
    report.close(r, ref.sum, "sum in the residual's place");
    const Tensor dy = Tensor(backend, dtype, T, C).normal(5), dSum = Tensor(backend, dtype, T, C).normal(6);
    AddNormBackward g;
    g.forward = norm;
    g.dy = dy;
    g.dSumIn = dSum;
    g.dSumOut = dSum;
    g.dx = dSum;
    const Gradients expected = backward(ref, dy.values, &dSum.values, {}, gamma.values, T, C);
    backend.run(g);
    report.close(dSum, expected.dSum, "dSum in place");
  }
}

// Nobody reads the sum: it is not asked for, and y is that of the sum in full precision.
void normWithoutSum(Backend &backend, Report &report) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (const auto &[C, gap] :
         std::vector<std::pair<int64_t, int64_t>>{{768, 8}, {768, 3}, {1024, 0}, {17, 0}, {1030, 1}}) {
      for (int variant = 1; variant < 4; ++variant) {
        const int64_t T = 45;
        const Dropout dropout = variant >= 2 ? dropped : Dropout{};
        const Tensor x = Tensor(backend, dtype, T, C, Layout{gap}).normal(1, 2, 1);
        const Tensor r = Tensor(backend, dtype, T, C).normal(2);
        const Tensor gamma = Tensor(backend, DType::f32, 1, C).normal(3),
                     beta = Tensor(backend, DType::f32, 1, C).normal(4);
        // In f32, so that rounding the sum on the way would be seen beside bf16 too.
        const Tensor y = Tensor(backend, DType::f32, T, C, Layout{gap}).normal(5);
        AddNorm norm;
        norm.x = x;
        if (variant % 2 == 1) norm.residual = r;
        norm.dropout = dropout;
        norm.gamma = gamma;
        norm.beta = beta;
        norm.y = y;
        backend.run(norm);
        const Doubles *residual = variant % 2 == 1 ? &r.values : nullptr;
        const std::string what =
            std::string(nameOf(dtype)) + " " + std::to_string(C) + " variant " + std::to_string(variant);
        report.close(y, forward(x.values, residual, dropout, gamma.values, beta.values, T, C).y, what);
        report.untouched(x, what + " x");
        report.untouched(r, what + " residual");
      }
    }
  }
}

void referenceAgainstDifferences(Backend &, Report &report) {
  const int64_t T = 3, C = 7;
  Doubles x(T * C), gamma(C), beta(C), dy(T * C);
  for (int64_t i = 0; i < T * C; ++i) x[i] = normalAt(1, i), dy[i] = normalAt(2, i);
  for (int64_t c = 0; c < C; ++c) gamma[c] = normalAt(3, c), beta[c] = normalAt(4, c);
  const auto value = [&](const Doubles &input, const Doubles &g) {
    const Doubles y = forward(input, nullptr, dropped, g, beta, T, C).y;
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
    return sum;
  };
  const Gradients g = backward(forward(x, nullptr, dropped, gamma, beta, T, C), dy, nullptr, dropped, gamma, T, C);
  report.close(g.dx, finiteDifferences(x, [&](const Doubles &at) { return value(at, gamma); }), 1e-6, "dx");
  report.close(g.dGamma, finiteDifferences(gamma, [&](const Doubles &at) { return value(x, at); }), 1e-6, "dGamma");
}

void sameBits(Backend &, Report &report) {
  report.deterministic(
      [](Backend &backend) {
        const int64_t T = 3001, C = 65;
        const Tensor x = Tensor(backend, DType::f32, T, C).normal(1), y = Tensor(backend, DType::f32, T, C).constant(0);
        const Tensor gamma = Tensor(backend, DType::f32, 1, C).normal(2),
                     beta = Tensor(backend, DType::f32, 1, C).normal(3);
        const Tensor mean = Tensor(backend, DType::f32, 1, T).constant(0),
                     rstd = Tensor(backend, DType::f32, 1, T).constant(0);
        AddNorm norm;
        norm.x = x;
        norm.gamma = gamma;
        norm.beta = beta;
        norm.y = y;
        norm.mean = mean;
        norm.rstd = rstd;
        backend.run(norm);
        AddNormBackward g;
        g.forward = norm;
        g.dy = g.dSumOut = y;
        g.dGamma = gamma;
        g.dBeta = beta;
        backend.run(g);
        Doubles all = gamma.read();
        for (double value : y.read()) all.push_back(value);
        return all;
      },
      "addNorm");
}

const Cases table("norm",
                  {{"addNorm f32", [](Backend &b, Report &r) { addNormBothWays(b, r, DType::f32, DType::f32); }},
                   {"addNorm bf16", [](Backend &b, Report &r) { addNormBothWays(b, r, DType::bf16, DType::bf16); }},
                   {"addNorm bf16 to f32",
                    [](Backend &b, Report &r) { addNormBothWays(b, r, DType::bf16, DType::f32); }},
                   {"sum without norm", sumAlone},
                   {"norm without sum", normWithoutSum},
                   {"in place", inPlace},
                   {"reference gradient against differences", referenceAgainstDifferences},
                   {"same bits with any thread count", sameBits}});

}  // namespace
}  // namespace test
}  // namespace emoframe
