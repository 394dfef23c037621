// The positional convolution's weight norm.
#include "harness.h"

namespace emoframe {
namespace test {
namespace {

struct Shape {
  int64_t channels, kernel, groups;
  int64_t width() const { return channels / groups; }
  int64_t size() const { return channels * kernel * width(); }
};

Doubles weightOf(const Doubles &v, const Doubles &g, const Shape &s) {
  Doubles weight(v.size());
  for (int64_t k = 0; k < s.kernel; ++k) {
    double squares = 0;
    for (int64_t o = 0; o < s.channels; ++o) {
      for (int64_t i = 0; i < s.width(); ++i) squares += std::pow(v[(o * s.kernel + k) * s.width() + i], 2);
    }
    for (int64_t o = 0; o < s.channels; ++o) {
      for (int64_t i = 0; i < s.width(); ++i) {
        const int64_t at = (o * s.kernel + k) * s.width() + i;
        weight[at] = g[k] * v[at] / std::sqrt(squares);
      }
    }
  }
  return weight;
}

void gradients(const Doubles &v, const Doubles &g, const Doubles &dWeight, const Shape &s, Doubles &dv, Doubles &dg) {
  for (int64_t k = 0; k < s.kernel; ++k) {
    double squares = 0, product = 0;
    for (int64_t o = 0; o < s.channels; ++o) {
      for (int64_t i = 0; i < s.width(); ++i) {
        const int64_t at = (o * s.kernel + k) * s.width() + i;
        squares += v[at] * v[at];
        product += v[at] * dWeight[at];
      }
    }
    dg[k] += product / std::sqrt(squares);
    for (int64_t o = 0; o < s.channels; ++o) {
      for (int64_t i = 0; i < s.width(); ++i) {
        const int64_t at = (o * s.kernel + k) * s.width() + i;
        dv[at] += g[k] / std::sqrt(squares) * (dWeight[at] - v[at] * product / squares);
      }
    }
  }
}

const std::vector<Shape> shapes = {{1, 1, 1},    {3, 5, 3},   {6, 4, 2}, {128, 16, 4},
                                   {96, 128, 2}, {160, 3, 2}, {67, 2, 1}};

void bothWays(Backend &backend, Report &report, int64_t gap) {
  for (const Shape &s : shapes) {
    const std::string what = std::to_string(s.channels) + " channels, " + std::to_string(s.kernel) + " taps";
    const int64_t cols = s.kernel * s.width();
    const Tensor v = Tensor(backend, DType::f32, s.channels, cols, {gap}).normal(1);
    const Tensor g = Tensor(backend, DType::f32, 1, s.kernel).normal(2, 0.2, 1);
    const Doubles expected = weightOf(v.values, g.values, s);
    Doubles turned(expected.size());
    for (int64_t group = 0; group < s.groups; ++group) {
      for (int64_t o = 0; o < s.width(); ++o) {
        for (int64_t k = 0; k < s.kernel; ++k) {
          for (int64_t i = 0; i < s.width(); ++i) {
            turned[((group * s.width() + i) * s.kernel + k) * s.width() + o] =
                expected[((group * s.width() + o) * s.kernel + s.kernel - 1 - k) * s.width() + i];
          }
        }
      }
    }
    for (DType dtype : {DType::f32, DType::bf16}) {
      const Tensor weight = Tensor(backend, dtype, s.channels, cols).normal(3);
      const Tensor flipped = Tensor(backend, dtype, s.channels, cols, {2 * gap}).normal(4);
      backend.run(WeightNorm{v, g, s.kernel, s.groups, weight, flipped});
      report.close(weight, expected, what + " weight");
      report.close(flipped, turned, what + " flipped");
      const Tensor alone = Tensor(backend, dtype, s.channels, cols).normal(3);
      backend.run(WeightNorm{v, g, s.kernel, s.groups, alone, {}});
      report.close(alone, expected, what + " weight alone");
      backend.run(WeightNorm{v, g, s.kernel, s.groups, {}, alone});
      report.close(alone, turned, what + " flipped alone");
    }
    const Tensor dWeight = Tensor(backend, DType::f32, s.channels, cols).normal(5);
    const Tensor dv = Tensor(backend, DType::f32, s.channels, cols, {gap}).normal(6);
    const Tensor dg = Tensor(backend, DType::f32, 1, s.kernel).normal(7);
    Doubles dvExpected = dv.values, dgExpected = dg.values;
    gradients(v.values, g.values, dWeight.values, s, dvExpected, dgExpected);
    backend.run(WeightNormBackward{v, g, s.kernel, dWeight, dv, dg});
    report.close(dv, dvExpected, what + " dv");
    report.close(dg, dgExpected, what + " dg");
  }
}

void referenceAgainstDifferences(Backend &, Report &report) {
  const Shape s{4, 3, 2};
  Doubles v(s.size()), g(s.kernel), dWeight(s.size()), dv(s.size(), 0.0), dg(s.kernel, 0.0);
  for (int64_t i = 0; i < s.size(); ++i) v[i] = normalAt(1, i), dWeight[i] = normalAt(2, i);
  for (int64_t k = 0; k < s.kernel; ++k) g[k] = normalAt(3, k);
  const auto value = [&](const Doubles &atV, const Doubles &atG) {
    const Doubles weight = weightOf(atV, atG, s);
    double sum = 0;
    for (size_t i = 0; i < weight.size(); ++i) sum += weight[i] * dWeight[i];
    return sum;
  };
  gradients(v, g, dWeight, s, dv, dg);
  report.close(dv, finiteDifferences(v, [&](const Doubles &at) { return value(at, g); }), 1e-6, "dv");
  report.close(dg, finiteDifferences(g, [&](const Doubles &at) { return value(v, at); }), 1e-6, "dg");
}

void sameBits(Backend &, Report &report) {
  report.deterministic(
      [](Backend &backend) {
        const Tensor v = Tensor(backend, DType::f32, 64, 31 * 16).normal(1),
                     g = Tensor(backend, DType::f32, 1, 31).normal(2);
        const Tensor d = Tensor(backend, DType::f32, 64, 31 * 16).normal(3);
        const Tensor dv = Tensor(backend, DType::f32, 64, 31 * 16).normal(4),
                     dg = Tensor(backend, DType::f32, 1, 31).normal(5);
        backend.run(WeightNormBackward{v, g, 31, d, dv, dg});
        Doubles all = dv.read();
        for (double value : dg.read()) all.push_back(value);
        return all;
      },
      "weightNormBackward");
}

const Cases table("weight_norm",
                  {{"weight norm with its gradient",
                    [](Backend &backend, Report &report) { bothWays(backend, report, 0); }},
                   {"rows with gaps", [](Backend &backend, Report &report) { bothWays(backend, report, 3); }},
                   {"reference gradient against differences", referenceAgainstDifferences},
                   {"same bits with any thread count", sameBits}});

}  // namespace
}  // namespace test
}  // namespace emoframe
