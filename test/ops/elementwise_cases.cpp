// fill, convert, add, scale, standardizeColumns, dropout, GELU, activations, columnSum, sumSquares, softmaxRows.
#include "harness.h"

namespace emoframe {
namespace test {
namespace {

struct Shape {
  int64_t rows, cols;
};
// Nothing, one element, odd sizes, blocks and a bit, and a size that many threads share.
const std::vector<Shape> shapes = {{0, 5}, {1, 1}, {1, 3}, {3, 17}, {7, 1}, {5, 1025}, {2, 2048}, {301, 768}};
const std::vector<Layout> layouts = {{}, {3, 0, false}, {13, 0, false}};
const std::vector<DType> dtypes = {DType::f32, DType::bf16};

// body(dtype, shape, layout, what) for all of them.
template <typename Body>
void overAll(Body body) {
  for (DType dtype : dtypes) {
    for (const Shape &shape : shapes) {
      for (const Layout &layout : layouts) {
        body(dtype, shape, layout,
             std::string(nameOf(dtype)) + " " + std::to_string(shape.rows) + "x" + std::to_string(shape.cols) +
                 " gap " + std::to_string(layout.gap));
      }
    }
  }
}

// seed above 32 bits and an own step and site, so that every part of the key matters.
const Dropout dropped{0.3f, 0x1234567890ull, 77, 12};

Doubles times(const Doubles &x, const Dropout &dropout) {
  Doubles result(x.size());
  for (size_t i = 0; i < x.size(); ++i) result[i] = x[i] * dropoutFactor(dropout, i);
  return result;
}

void fillWrites(Backend &backend, Report &report) {
  overAll([&](DType dtype, Shape shape, Layout layout, const std::string &what) {
    const Tensor x = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(1);
    backend.run(Fill{x, 0.5f});
    report.same(x, Doubles(x.size(), 0.5), what);
  });
  const Tensor turned = Tensor(backend, DType::f32, 2, 5, 9, {4, 3, true}).normal(1);
  backend.run(Fill{turned, -2});
  report.same(turned, Doubles(turned.size(), -2), "batched, transposed");
}

void convertCopies(Backend &backend, Report &report) {
  for (DType from : dtypes) {
    for (DType to : dtypes) {
      for (bool turnedFrom : {false, true}) {
        for (bool turnedTo : {false, true}) {
          for (const Shape &shape : shapes) {
            const Tensor x = Tensor(backend, from, 2, shape.rows, shape.cols, {3, 5, turnedFrom}).normal(2);
            const Tensor y = Tensor(backend, to, 2, shape.rows, shape.cols, {7, 2, turnedTo}).normal(3);
            backend.run(Convert{x, y});
            Doubles expected = x.values;
            for (double &value : expected) value = rounded(value, to);
            report.same(y, expected, std::string(nameOf(from)) + " to " + nameOf(to));
            report.untouched(x, "x");
          }
        }
      }
    }
  }
}

// A convolution's weight [out, taps, in] with its taps from the last on and in and out exchanged, [in, taps, out].
void convertFlips(Backend &backend, Report &report) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t width : {1, 12, 40}) {
      for (const int64_t taps : {1, 5}) {
        const int64_t row = taps * width;
        const Tensor weight = Tensor(backend, dtype, width, row).normal(1);
        const Tensor flipped = Tensor(backend, dtype, width, row).normal(2);
        const View from = weight, to = flipped;
        const View last = batched(from.at(0, 0, row - width), dtype, taps, width, width, -width, row);
        backend.run(Convert{last.transposed(), batched(to.data, dtype, taps, width, width, width, row)});
        Doubles expected(width * row);
        for (int64_t o = 0; o < width; ++o) {
          for (int64_t k = 0; k < taps; ++k) {
            for (int64_t i = 0; i < width; ++i)
              expected[i * row + k * width + o] = weight.values[o * row + (taps - 1 - k) * width + i];
          }
        }
        report.same(flipped, expected, std::to_string(width) + " wide, " + std::to_string(taps) + " taps");
      }
    }
  }
}

void convertRoundsToEven(Backend &backend, Report &report) {
  // 1 + 2^-8 lies between two bf16 values: the even one is 1; 1 + 3 · 2^-8 goes up to 1 + 2^-6. Infinity stays.
  const Doubles values = {1 + 0x1p-8, 1 + 3 * 0x1p-8, -1 - 0x1p-8, 1 + 0x1p-8 + 0x1p-20, 0, 3.5e38, 1e-40};
  const Doubles expected = {1, 1 + 0x1p-6, -1, 1 + 0x1p-7, 0, INFINITY, rounded(1e-40, DType::bf16)};
  const Tensor x = Tensor(backend, DType::f32, 1, 7).set(values);
  const Tensor y = Tensor(backend, DType::bf16, 1, 7).normal(1);
  backend.run(Convert{x, y});
  const Doubles out = y.read();
  for (size_t i = 0; i < out.size(); ++i) {
    report.check(out[i] == expected[i], "value " + std::to_string(i), std::to_string(out[i]));
  }
}

void addAdds(Backend &backend, Report &report) {
  overAll([&](DType dtype, Shape shape, Layout layout, const std::string &what) {
    const Tensor a = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(1);
    const Tensor b = Tensor(backend, dtype, shape.rows, shape.cols).normal(2);
    const Tensor out = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(3);
    Doubles expected(a.values);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += b.values[i];
    backend.run(Add{a, b, out});
    report.close(out, expected, what);
    report.untouched(a, what);
    report.untouched(b, what);
    backend.run(Add{a, b, a});
    report.close(a, expected, what + ", out is a");
  });
}

void scaleScales(Backend &backend, Report &report) {
  overAll([&](DType dtype, Shape shape, Layout layout, const std::string &what) {
    const Tensor x = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(1);
    Doubles expected(x.values);
    for (double &value : expected) value *= -0.1f;
    backend.run(Scale{x, -0.1f});
    report.close(x, expected, what);
  });
}

void dropoutDrops(Backend &backend, Report &report) {
  overAll([&](DType dtype, Shape shape, Layout layout, const std::string &what) {
    const Tensor x = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(1, 1, 5);
    const Tensor y = Tensor(backend, dtype, shape.rows, shape.cols).normal(2);
    backend.run(ApplyDropout{x, dropped, y});
    const Doubles expected = times(x.values, dropped), out = y.read();
    report.close(y, expected, what);
    // Not one element more or less than Philox says.
    bool exact = true;
    for (size_t i = 0; i < out.size(); ++i) exact = exact && (out[i] == 0) == (expected[i] == 0);
    report.check(exact, what, "other elements are dropped than Philox says");
    backend.run(ApplyDropout{x, Dropout{}, y});
    report.same(y, x.values, what + ", p = 0");
    backend.run(ApplyDropout{x, dropped, x});
    report.close(x, expected, what + ", in place");
  });
}

void geluIsExact(Backend &backend, Report &report) {
  for (const Dropout &dropout : {Dropout{}, dropped}) {
    overAll([&](DType dtype, Shape shape, Layout layout, const std::string &what) {
      const Tensor x = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(1, 2);
      const Tensor y = Tensor(backend, dtype, shape.rows, shape.cols).normal(2);
      Doubles expected(x.values);
      for (double &value : expected) value = geluOf(value);
      expected = times(expected, dropout);
      backend.run(Gelu{x, dropout, y});
      report.close(y, expected, what);
      report.untouched(x, what);

      const Tensor dy = Tensor(backend, dtype, shape.rows, shape.cols).normal(3);
      const Tensor dx = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(4);
      Doubles gradient = times(dy.values, dropout);
      for (size_t i = 0; i < gradient.size(); ++i) gradient[i] *= geluSlope(x.values[i]);
      backend.run(GeluBackward{x, dropout, dy, dx});
      report.close(dx, gradient, what + ", backward");
      backend.run(GeluBackward{x, dropout, dy, dy});
      report.close(dy, gradient, what + ", backward in place");
      report.untouched(x, what);
    });
  }
}

// Element by element over the whole range, since a norm would hide the small ones: absolute error in fp32. Infinities
// give what gelu and its slope tend to, and NaN stays NaN.
void geluEverywhere(Backend &backend, Report &report) {
  Doubles points;
  for (int i = -12000; i <= 12000; ++i) points.push_back(i / 1000.0);
  for (double far : {15.9, 16.1, 40.0, 200.0, 1e10, 1e30, 3.4e38}) points.insert(points.end(), {far, -far});
  for (double near : {0.0, 1e-45, 1e-40, 1e-38, 1e-30, 1e-8}) points.insert(points.end(), {near, -near});
  const size_t finite = points.size();
  points.insert(points.end(), {INFINITY, -INFINITY, NAN});
  const int64_t n = static_cast<int64_t>(points.size());
  const Tensor x = Tensor(backend, DType::f32, 1, n).set(points);
  const Tensor y = Tensor(backend, DType::f32, 1, n).constant(0), one = Tensor(backend, DType::f32, 1, n).constant(1);
  const Tensor dx = Tensor(backend, DType::f32, 1, n).constant(0);
  backend.run(Gelu{x, {}, y});
  backend.run(GeluBackward{x, {}, one, dx});
  const Doubles out = y.read(), gradient = dx.read();
  double worst = 0, worstSmall = 0, worstGradient = 0;
  for (size_t i = 0; i < finite; ++i) {
    const double at = x.values[i], error = std::abs(out[i] - geluOf(at)), size = std::abs(at);
    worst = std::max(worst, at > 1 ? error / at : error);
    if (size <= 0.1) worstSmall = std::max(worstSmall, (error - 2e-45) / (size + 1e-300));
    worstGradient = std::max(worstGradient, std::abs(gradient[i] - geluSlope(at)));
    if (std::isnan(out[i]) || std::isnan(gradient[i])) worst = INFINITY;
  }
  report.check(worst <= 1e-6, "gelu", "worst error " + std::to_string(worst * 1e6) + "e-6");
  report.check(worstSmall <= 1e-6, "gelu near 0", "worst of x " + std::to_string(worstSmall * 1e6) + "e-6");
  report.check(worstGradient <= 1e-6, "gelu'", "worst error " + std::to_string(worstGradient * 1e6) + "e-6");
  report.check(out[finite] == INFINITY && gradient[finite] == 1, "infinity",
               std::to_string(out[finite]) + ", slope " + std::to_string(gradient[finite]));
  report.check(out[finite + 1] == 0 && gradient[finite + 1] == 0, "-infinity",
               std::to_string(out[finite + 1]) + ", slope " + std::to_string(gradient[finite + 1]));
  report.check(std::isnan(out[finite + 2]) && std::isnan(gradient[finite + 2]), "NaN",
               std::to_string(out[finite + 2]) + ", slope " + std::to_string(gradient[finite + 2]));
}

void activationsAreExact(Backend &backend, Report &report) {
  for (const Activation activation : {Activation::none, Activation::tanh, Activation::relu}) {
    const char *const name = activation == Activation::none   ? "none, "
                             : activation == Activation::tanh ? "tanh, "
                                                              : "relu, ";
    overAll([&](DType dtype, Shape shape, Layout layout, const std::string &size) {
      const std::string what = name + size;
      const Tensor x = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(1, 2);
      const Tensor out = Tensor(backend, dtype, shape.rows, shape.cols).normal(2);
      Doubles expected(x.values);
      for (double &value : expected) {
        if (activation == Activation::tanh) value = std::tanh(value);
        if (activation == Activation::relu) value = std::max(value, 0.0);
      }
      backend.run(Activate{x, activation, out});
      report.close(out, expected, what);
      report.untouched(x, what);

      const Tensor y = Tensor(backend, dtype, shape.rows, shape.cols, layout).set(expected);
      const Tensor dy = Tensor(backend, dtype, shape.rows, shape.cols).normal(3);
      const Tensor dx = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(4);
      Doubles gradient = dy.values;
      for (size_t i = 0; i < gradient.size(); ++i) {
        if (activation == Activation::tanh) gradient[i] *= 1 - y.values[i] * y.values[i];
        if (activation == Activation::relu) gradient[i] *= y.values[i] > 0;
      }
      backend.run(ActivateBackward{y, activation, dy, dx});
      report.close(dx, gradient, what + ", backward");
      report.untouched(y, what);
      backend.run(ActivateBackward{y, activation, dy, dy});
      report.close(dy, gradient, what + ", backward in place");
      backend.run(Activate{x, activation, x});
      report.close(x, expected, what + ", in place");
    });
  }
}

// tanh to a millionth of each value, since a norm would hide the small ones; and what infinities and NaN become.
void activationsEverywhere(Backend &backend, Report &report) {
  Doubles points;
  for (int i = 1; i <= 12000; ++i) points.insert(points.end(), {i / 1000.0, -i / 1000.0});
  for (double size : {1e-38, 1e-30, 1e-8, 40.0, 1e10, 3.4e38}) points.insert(points.end(), {size, -size});
  const size_t finite = points.size();
  points.insert(points.end(), {INFINITY, -INFINITY, NAN, 0});
  const int64_t n = static_cast<int64_t>(points.size());
  const Tensor x = Tensor(backend, DType::f32, 1, n).set(points), y = Tensor(backend, DType::f32, 1, n).constant(7);
  backend.run(Activate{x, Activation::tanh, y});
  Doubles out = y.read();
  double worst = 0, largest = 0;
  for (size_t i = 0; i < finite; ++i) {
    const double error = std::abs(out[i] / std::tanh(x.values[i]) - 1);
    if (!(error <= worst)) worst = error;
    largest = std::max(largest, std::abs(out[i]));
  }
  report.check(worst <= 1e-6, "tanh", "worst error " + std::to_string(worst * 1e6) + "e-6");
  report.check(largest <= 1, "tanh is at most 1", std::to_string(largest));  // else its gradient changes sign
  report.check(std::abs(out[finite] - 1) < 1e-6 && std::abs(out[finite + 1] + 1) < 1e-6, "tanh of infinities",
               std::to_string(out[finite]) + ", " + std::to_string(out[finite + 1]));
  report.check(std::isnan(out[finite + 2]) && out[finite + 3] == 0, "tanh of NaN and 0");
  backend.run(Activate{x, Activation::relu, y});
  out = y.read();
  report.check(out[finite] == INFINITY && out[finite + 1] == 0, "relu of infinities",
               std::to_string(out[finite]) + ", " + std::to_string(out[finite + 1]));
  report.check(std::isnan(out[finite + 2]) && out[finite + 3] == 0, "relu of NaN and 0");
}

void columnsAreStandardized(Backend &backend, Report &report) {
  overAll([&](DType dtype, Shape shape, Layout layout, const std::string &what) {
    const Tensor x = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(1);
    const Tensor y = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(2);
    const Tensor mean = Tensor(backend, DType::f32, 1, shape.cols).normal(3);
    const Tensor factor = Tensor(backend, DType::f32, 1, shape.cols).normal(4);
    for (const bool centred : {true, false}) {
      Doubles expected(x.values);
      for (int64_t r = 0; r < shape.rows; ++r) {
        for (int64_t c = 0; c < shape.cols; ++c) {
          expected[r * shape.cols + c] = (x(r, c) - (centred ? mean(0, c) : 0)) * factor(0, c);
        }
      }
      backend.run(StandardizeColumns{x, centred ? mean.view() : View{}, factor, y});
      report.close(y, expected, what + (centred ? "" : ", without means"));
      report.untouched(x, what);
      if (centred) continue;
      backend.run(StandardizeColumns{x, View{}, factor, x});
      report.close(x, expected, what + " in place");
    }
  });
}

void columnSumAccumulates(Backend &backend, Report &report) {
  overAll([&](DType dtype, Shape shape, Layout layout, const std::string &what) {
    const Tensor x = Tensor(backend, dtype, shape.rows, shape.cols, layout).normal(1);
    const Tensor out = Tensor(backend, DType::f32, 1, shape.cols).normal(2);
    Doubles expected = out.values;
    for (int64_t r = 0; r < shape.rows; ++r) {
      for (int64_t c = 0; c < shape.cols; ++c) expected[c] += x(r, c);
    }
    backend.run(ColumnSum{x, out});
    report.close(out, expected, what);
  });
  // Rows of all items, with gaps.
  const Tensor items = Tensor(backend, DType::f32, 3, 7, 9, {4, 3, false}).normal(1);
  const Tensor nine = Tensor(backend, DType::f32, 1, 9).constant(0);
  Doubles all(9, 0.0);
  for (size_t i = 0; i < items.values.size(); ++i) all[i % 9] += items.values[i];
  backend.run(ColumnSum{items, nine});
  report.close(nine, all, "3 items");
  // Many rows of one sign: sequential fp32 would lose digits.
  const Tensor x = Tensor(backend, DType::f32, 200000, 3).normal(1, 0.1, 1);
  const Tensor out = Tensor(backend, DType::f32, 1, 3).constant(0);
  Doubles expected(3, 0.0);
  for (int64_t r = 0; r < 200000; ++r) {
    for (int64_t c = 0; c < 3; ++c) expected[c] += x(r, c);
  }
  backend.run(ColumnSum{x, out});
  report.close(out, expected, 1e-6, "200000 rows");
}

void sumSquaresIsWide(Backend &backend, Report &report) {
  const Tensor a = Tensor(backend, DType::f32, 300, 1000).normal(1, 1, 3),
               b = Tensor(backend, DType::f32, 1, 1).normal(2);
  const Tensor c = Tensor(backend, DType::f32, 0, 7).constant(0),
               d = Tensor(backend, DType::bf16, 9, 35, {5}).normal(3);
  const Tensor out = Tensor(backend, DType::f32, 1, 1).constant(7);
  double expected = 0;
  for (const Tensor *t : {&a, &b, &c, &d}) {
    for (double value : t->values) expected += value * value;
  }
  backend.run(SumSquares{std::vector<View>{a, b, c, d}, out});
  report.close(out, {expected}, 2e-7, "four tensors");
  backend.run(SumSquares{{}, out});
  report.same(out, {0.0}, "none");
}

void softmaxSumsToOne(Backend &backend, Report &report) {
  for (const Shape &shape : shapes) {
    const Tensor x = Tensor(backend, DType::f32, shape.rows, shape.cols, {3}).normal(1, 4, 100);
    const Tensor y = Tensor(backend, DType::f32, shape.rows, shape.cols).normal(2);
    Doubles expected(x.values);
    for (int64_t r = 0; r < shape.rows; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < shape.cols; ++c) sum += expected[r * shape.cols + c] = std::exp(x(r, c) - 100);
      for (int64_t c = 0; c < shape.cols; ++c) expected[r * shape.cols + c] /= sum;
    }
    const std::string what = std::to_string(shape.rows) + "x" + std::to_string(shape.cols);
    backend.run(SoftmaxRows{x, y});
    report.close(y, expected, what);
    report.untouched(x, what);
    backend.run(SoftmaxRows{x, x});
    report.close(x, expected, what + " in place");
  }
}

// Columns from any place on of a wider tensor whose rows start at multiples of 16 bytes: the view's do not.
void viewsStartAnywhere(Backend &backend, Report &report) {
  for (DType dtype : dtypes) {
    for (int64_t begin : {1, 2, 4, 8}) {
      const Tensor x = Tensor(backend, dtype, 5, 64).normal(1), y = Tensor(backend, dtype, 5, 64).normal(2);
      const Tensor z = Tensor(backend, DType::f32, 5, 64).normal(3);
      Doubles sum = y.values, copy = z.values;
      for (int64_t i = 0; i < x.size(); ++i) {
        const int64_t column = i % 64;
        if (column >= begin && column < begin + 40) sum[i] += x.values[i];
        if (column < 40) copy[i] = x.values[i + begin];
      }
      const std::string what = std::string(nameOf(dtype)) + " from column " + std::to_string(begin);
      backend.run(Convert{x.view().colRange(begin, 40), z.view().colRange(0, 40)});
      report.same(z, copy, what + ", convert");
      backend.run(Add{x.view().colRange(begin, 40), y.view().colRange(begin, 40), y.view().colRange(begin, 40)});
      report.close(y, sum, what + ", add");
      report.untouched(x, what);
    }
  }
}

void sameBits(Backend &, Report &report) {
  report.deterministic(
      [](Backend &backend) {
        const Tensor x = Tensor(backend, DType::f32, 5003, 129).normal(1);
        const Tensor y = Tensor(backend, DType::f32, 5003, 129).normal(2);
        const Tensor column = Tensor(backend, DType::f32, 1, 129).constant(0.1);
        const Tensor sum = Tensor(backend, DType::f32, 1, 1).constant(0);
        backend.run(ColumnSum{x, column});
        backend.run(SumSquares{std::vector<View>{x, column}, sum});
        backend.run(Gelu{x, dropped, y});
        Doubles all = y.read();
        for (double value : column.read()) all.push_back(value);
        all.push_back(sum.read()[0]);
        return all;
      },
      "gelu, dropout, columnSum, sumSquares");
}

const Cases table("elementwise", {{"fill", fillWrites},
                                  {"convert", convertCopies},
                                  {"convert flips a convolution's weight", convertFlips},
                                  {"convert rounds to nearest even", convertRoundsToEven},
                                  {"add", addAdds},
                                  {"scale", scaleScales},
                                  {"standardizeColumns", columnsAreStandardized},
                                  {"dropout", dropoutDrops},
                                  {"gelu with its gradient", geluIsExact},
                                  {"gelu over its whole range", geluEverywhere},
                                  {"activations with their gradients", activationsAreExact},
                                  {"activations over their whole range", activationsEverywhere},
                                  {"columnSum", columnSumAccumulates},
                                  {"sumSquares", sumSquaresIsWide},
                                  {"softmaxRows", softmaxSumsToOne},
                                  {"views that start anywhere", viewsStartAnywhere},
                                  {"same bits with any thread count", sameBits}});

}  // namespace
}  // namespace test
}  // namespace emoframe
