// Matrix products: every layout the model uses, convolution windows (overlapping rows), batches, bias, accumulation,
// and what is done with a product before it is written.
#include "harness.h"

namespace emoframe {
namespace test {

namespace {

struct Shape {
  int64_t batch, M, N, K;
};

struct Form {
  bool aTransposed = false, bTransposed = false;
  DType in = DType::f32, out = DType::f32;
  bool accumulate = false, bias = false, sharedBias = false, gelu = false;
  uint64_t weightKey = 0;
  int64_t gap = 0;
  bool tf32 = false;
  bool oneSign = false;  // of the operands: tensor cores cut sums off towards zero
};

std::string describe(const Shape &s, const Form &f) {
  return std::to_string(s.batch) + "x[" + std::to_string(s.M) + "," + std::to_string(s.K) + "]·[" +
         std::to_string(s.K) + "," + std::to_string(s.N) + "] " + (f.aTransposed ? "T" : "N") +
         (f.bTransposed ? "T " : "N ") + nameOf(f.in) + "->" + nameOf(f.out) + (f.accumulate ? " accumulate" : "") +
         (f.bias ? " bias" : "") + (f.gelu ? " gelu" : "") + (f.weightKey ? " key" : "") + (f.gap ? " gaps" : "") +
         (f.tf32 ? " tf32" : "") + (f.oneSign ? " of one sign" : "");
}

// Any view over a tensor's buffer, and what it reads: element (b, r, c) is values[b
// * batchStride + r * rowStride + ...].
struct Strided {
  View view;
  const Doubles *values;
  double operator()(int64_t b, int64_t r, int64_t c) const {
    return (*values)[static_cast<size_t>(b * view.batchStride + r * view.rowStride + c * view.colStride)];
  }
};

Strided windows(const Tensor &line, int64_t batch, int64_t rows, int64_t cols, int64_t batchStride, int64_t rowStride) {
  return {batched(line.view().data, line.dtype(), batch, rows, cols, batchStride, rowStride), &line.values};
}

Doubles multiply(const Shape &s, const std::function<double(int64_t, int64_t, int64_t)> &a,
                 const std::function<double(int64_t, int64_t, int64_t)> &b) {
  Doubles result(static_cast<size_t>(s.batch * s.M * s.N), 0.0), row(static_cast<size_t>(s.N));
  Doubles right(static_cast<size_t>(s.K * s.N));
  for (int64_t i = 0; i < s.batch; ++i) {
    for (int64_t k = 0; k < s.K; ++k) {
      for (int64_t n = 0; n < s.N; ++n) right[k * s.N + n] = b(i, k, n);
    }
    for (int64_t m = 0; m < s.M; ++m) {
      double *target = result.data() + (i * s.M + m) * s.N;
      for (int64_t k = 0; k < s.K; ++k) {
        const double x = a(i, m, k);
        for (int64_t n = 0; n < s.N; ++n) target[n] += x * right[k * s.N + n];
      }
    }
  }
  return result;
}

// Against float64. tf32 also against float64 on operands that were rounded as they should be, which leaves the sums of
// fp32, or of tensor cores that cut theirs off.
void closeTo(Report &report, const Tensor &out, const Doubles &exact, const Doubles &ofRounded, bool tf32,
             const std::string &what) {
  if (!tf32) return report.close(out, exact, what);
  report.close(out, exact, std::max(tf32Tolerance, toleranceOf(out.dtype())), what);
  report.close(out, ofRounded, std::max(5e-5, toleranceOf(out.dtype())), what + ", of rounded operands");
}

void product(Backend &backend, Report &report, const Shape &s, const Form &f) {
  const Layout a{f.gap, f.gap ? 24 : 0, f.aTransposed}, b{f.gap, f.gap ? 40 : 0, f.bTransposed};
  Tensor left = Tensor(backend, f.in, s.batch, s.M, s.K, a).normal(1);
  Tensor right = Tensor(backend, f.in, s.batch, s.K, s.N, b).normal(2);
  if (f.oneSign) {
    for (Tensor *its : {&left, &right}) {
      Doubles values = its->values;
      for (double &x : values) x = std::fabs(x);
      its->set(values);
    }
  }
  const Tensor bias = Tensor(backend, DType::f32, f.sharedBias ? 1 : s.batch, 1, s.N).normal(3, 4.0);
  Tensor out(backend, f.out, s.batch, s.M, s.N, Layout{f.gap, 0, false});
  if (f.accumulate) out.normal(4, 5.0);
  Gemm gemm;
  gemm.a = left;
  gemm.b = right;
  gemm.out = out;
  gemm.accumulate = f.accumulate;
  if (f.bias) gemm.bias = bias;
  gemm.weightKey = f.weightKey;
  gemm.tf32 = f.tf32;
  Tensor activated(backend, f.out, f.gelu ? s.batch : 0, s.M, s.N, Layout{f.gap, 0, false});
  if (f.gelu) gemm.gelu = activated;
  backend.run(gemm);
  if (report.timed) return;
  const auto expectedOf = [&](double (*kept)(double)) {
    Doubles expected = multiply(
        s, [&](int64_t i, int64_t r, int64_t c) { return kept(left(i, r, c)); },
        [&](int64_t i, int64_t r, int64_t c) { return kept(right(i, r, c)); });
    for (size_t i = 0; i < expected.size(); ++i) {
      const int64_t item = static_cast<int64_t>(i) / (s.M * s.N), column = static_cast<int64_t>(i) % s.N;
      if (f.bias) expected[i] += bias(f.sharedBias ? 0 : item, 0, column);
      if (f.accumulate) expected[i] += out.values[i];
    }
    return expected;
  };
  Doubles expected = expectedOf([](double x) { return x; }), ofRounded = f.tf32 ? expectedOf(toTf32) : expected;
  closeTo(report, out, expected, ofRounded, f.tf32, describe(s, f));
  report.untouched(left, describe(s, f));
  if (!f.gelu) return;
  for (Doubles *values : {&expected, &ofRounded}) {
    for (double &x : *values) x = geluOf(x);
  }
  closeTo(report, activated, expected, ofRounded, f.tf32, describe(s, f) + " beside the product");
  gemm.out = View{};
  Tensor alone(backend, f.out, s.batch, s.M, s.N, Layout{f.gap, 0, false});
  gemm.gelu = alone;
  backend.run(gemm);
  closeTo(report, alone, expected, ofRounded, f.tf32, describe(s, f) + " alone");
}

// out = windows(x) · b, as a convolution over time; `stride` may be anything from 1 element to more than a window.
void convolution(Backend &backend, Report &report, DType dtype, const Shape &s, int64_t stride, bool accumulate,
                 bool tf32 = false) {
  const int64_t length = (s.M - 1) * stride + s.K;
  const Tensor line = Tensor(backend, dtype, 1, s.batch * length).normal(5);
  const Tensor weight = Tensor(backend, dtype, s.batch, s.K, s.N, Layout{0, 0, true}).normal(6);
  Tensor out(backend, dtype, s.batch, s.M, s.N);
  if (accumulate) out.normal(7, 3.0);
  const Strided x = windows(line, s.batch, s.M, s.K, length, stride);
  const auto expectedOf = [&](double (*kept)(double)) {
    Doubles expected = multiply(
        s, [&](int64_t i, int64_t r, int64_t c) { return kept(x(i, r, c)); },
        [&](int64_t i, int64_t r, int64_t c) { return kept(weight(i, r, c)); });
    for (size_t i = 0; accumulate && i < expected.size(); ++i) expected[i] += out.values[i];
    return expected;
  };
  const Doubles expected = expectedOf([](double v) { return v; });
  Gemm gemm;
  gemm.a = x.view;
  gemm.b = weight;
  gemm.out = out;
  gemm.accumulate = accumulate;
  gemm.tf32 = tf32;
  backend.run(gemm);
  closeTo(report, out, expected, tf32 ? expectedOf(toTf32) : expected, tf32,
          std::string("windows ") + nameOf(dtype) + (tf32 ? " tf32" : "") + " K " + std::to_string(s.K) + " stride " +
              std::to_string(stride));
}

// Weight gradient of a convolution: dW [N_out, window] += dYᵀ · windows(x).
void weightGradient(Backend &backend, Report &report, DType dtype, const Shape &s, int64_t stride) {
  const int64_t length = (s.K - 1) * stride + s.N;
  const Tensor line = Tensor(backend, dtype, 1, s.batch * length).normal(8);
  const Tensor dy = Tensor(backend, dtype, s.batch, s.K, s.M).normal(9);
  Tensor out(backend, DType::f32, s.batch, s.M, s.N);
  out.normal(10, 3.0);
  const Strided x = windows(line, s.batch, s.K, s.N, length, stride);
  Doubles expected = multiply(
      s, [&](int64_t i, int64_t r, int64_t c) { return dy(i, c, r); }, x);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += out.values[i];
  Gemm gemm;
  gemm.a = dy.view().transposed();
  gemm.b = x.view;
  gemm.out = out;
  gemm.accumulate = true;
  backend.run(gemm);
  report.close(out, expected, 1e-5,
               std::string("weight gradient ") + nameOf(dtype) + " stride " + std::to_string(stride));
  // The same, transposed: windowsᵀ · dY, and so the overlap in a's columns.
  Tensor flipped(backend, DType::f32, s.batch, s.N, s.M);
  gemm.a = x.view.transposed();
  gemm.b = dy;
  gemm.out = flipped;
  gemm.accumulate = false;
  backend.run(gemm);
  Doubles transposed(expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const int64_t item = static_cast<int64_t>(i) / (s.M * s.N), m = static_cast<int64_t>(i) / s.N % s.M,
                  n = static_cast<int64_t>(i) % s.N;
    transposed[static_cast<size_t>((item * s.N + n) * s.M + m)] = expected[i] - out.values[i];
  }
  report.close(flipped, transposed, 1e-5,
               std::string("transposed windows ") + nameOf(dtype) + " stride " + std::to_string(stride));
}

// Operands that start anywhere: `shift` elements into the rows of a larger tensor.
void shifted(Backend &backend, Report &report, const Shape &s, const Form &f, int64_t shift) {
  const Layout a{0, 0, f.aTransposed}, b{0, 0, f.bTransposed};
  const Tensor left = Tensor(backend, f.in, s.batch, s.M + shift, s.K + shift, a).normal(11);
  const Tensor right = Tensor(backend, f.in, s.batch, s.K + shift, s.N + shift, b).normal(12);
  Tensor out(backend, f.out, s.batch, s.M, s.N);
  const auto inner = [&](const View &whole, int64_t rows, int64_t cols) {
    View v = whole;
    v.data = whole.at(0, shift, shift);
    v.rows = rows;
    v.cols = cols;
    return v;
  };
  Gemm gemm;
  gemm.a = inner(left, s.M, s.K);
  gemm.b = inner(right, s.K, s.N);
  gemm.out = out;
  backend.run(gemm);
  report.close(out,
               multiply(
                   s, [&](int64_t i, int64_t r, int64_t c) { return left(i, r + shift, c + shift); },
                   [&](int64_t i, int64_t r, int64_t c) { return right(i, r + shift, c + shift); }),
               describe(s, f) + " from element " + std::to_string(shift));
}

// What a product does on the way to memory, all against the product in float64: gelu with dropout and slope, beside the
// product itself or not, and a factor with sums of columns.
struct Fused {
  Shape s;
  DType in, out;
  int64_t gap;
  bool tf32, aTransposed, bTransposed;
};

std::string describe(const Fused &f) {
  Form form;
  form.in = f.in;
  form.out = f.out;
  form.gap = f.gap;
  form.tf32 = f.tf32;
  form.aTransposed = f.aTransposed;
  form.bTransposed = f.bTransposed;
  return describe(f.s, form);
}

void fused(Backend &backend, Report &report, const Fused &f) {
  const Shape &s = f.s;
  const std::string what = describe(f);
  const Layout gaps{f.gap, f.gap ? 24 : 0, false};
  const auto scale = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(s.K, 1)));
  const Tensor left = Tensor(backend, f.in, s.batch, s.M, s.K, {f.gap, 0, f.aTransposed}).normal(1, 2 * scale);
  const Tensor right = Tensor(backend, f.in, s.batch, s.K, s.N, {f.gap, 0, f.bTransposed}).normal(2);
  const Tensor bias = Tensor(backend, DType::f32, 1, 1, s.N).normal(3);
  const Tensor factor = Tensor(backend, f.out, s.batch, s.M, s.N, gaps).normal(4);
  const auto kept = [&](double x) { return f.tf32 ? toTf32(x) : x; };
  const Doubles product = multiply(
      s, [&](int64_t i, int64_t r, int64_t c) { return kept(left(i, r, c)); },
      [&](int64_t i, int64_t r, int64_t c) { return kept(right(i, r, c)); });
  const double tolerance = std::max(f.tf32 ? 5e-5 : 0, toleranceOf(f.out));
  const auto output = [&] { return Tensor(backend, f.out, s.batch, s.M, s.N, gaps); };
  const auto exactly = [&](const Tensor &out, const Doubles &expected, const std::string &which) {
    report.close(out, expected, tolerance, which);
    const Doubles values = out.read();  // not one element more or less is dropped
    bool same = true;
    for (size_t i = 0; i < values.size(); ++i) {
      same = same && (expected[i] == 0 ? values[i] == 0 : values[i] != 0 || std::abs(expected[i]) < 1e-5);
    }
    report.check(same, which, "other elements are dropped than Philox says");
  };
  Gemm gemm;
  gemm.a = left;
  gemm.b = right;
  gemm.tf32 = f.tf32;
  for (bool biased : {false, true}) {
    Doubles sum = product;
    for (size_t i = 0; biased && i < sum.size(); ++i) sum[i] += bias.values[i % static_cast<size_t>(s.N)];
    gemm.bias = biased ? bias.view() : View{};
    const std::string form = what + (biased ? " bias" : "");

    for (const Dropout &dropout : {Dropout{}, Dropout{0.3f, 0x1234567890ull, 77, 12}}) {
      Doubles activated(sum.size()), slopes(sum.size());
      for (size_t i = 0; i < sum.size(); ++i) {
        activated[i] = geluOf(sum[i]) * dropoutFactor(dropout, i);
        slopes[i] = geluSlope(sum[i]) * dropoutFactor(dropout, i);
      }
      for (bool beside : {false, true}) {
        const Tensor out = output(), gelu = output(), slope = output();
        const std::string which = form + (dropout.p > 0 ? " dropout" : "") + (beside ? " beside the product" : "");
        gemm.out = beside ? out.view() : View{};
        gemm.gelu = gelu;
        gemm.slope = slope;
        gemm.dropout = dropout;
        backend.run(gemm);
        exactly(gelu, activated, which + " gelu");
        exactly(slope, slopes, which + " slope");
        if (beside) report.close(out, sum, tolerance, which);
        const Tensor alone = output();
        gemm.gelu = alone;
        gemm.slope = View{};
        backend.run(gemm);
        exactly(alone, activated, which + " gelu without slope");
      }
    }

    gemm.gelu = View{};
    gemm.dropout = Dropout{};
    for (bool multiplied : {false, true}) {
      const Tensor out = output(), columns = Tensor(backend, DType::f32, 1, s.N).normal(5);
      Doubles expected = sum, sums = columns.values;
      double size = 0;
      for (size_t i = 0; i < expected.size(); ++i) {
        if (multiplied) expected[i] *= factor.values[i];
        sums[i % static_cast<size_t>(s.N)] += expected[i];
        size += expected[i] * expected[i];
      }
      gemm.out = out;
      gemm.factor = multiplied ? factor.view() : View{};
      gemm.columnSum = columns;
      backend.run(gemm);
      const std::string which = form + (multiplied ? " factor" : "");
      report.close(out, expected, tolerance, which);
      // Errors of elements are independent, so that their sums are as far off as all elements together.
      double error = 0;
      const Doubles summed = columns.read();
      for (size_t i = 0; i < summed.size(); ++i) error += (summed[i] - sums[i]) * (summed[i] - sums[i]);
      report.check(std::sqrt(error) <= 2 * tolerance * std::sqrt(size + 1), which + " sums of columns",
                   "error " + std::to_string(std::sqrt(error / (size + 1))));
      report.untouched(factor, which);
      gemm.columnSum = View{};
      if (!multiplied) continue;
      const Tensor again = output();
      gemm.out = again;
      backend.run(gemm);
      report.close(again, expected, tolerance, which + " without sums");
    }
    gemm.factor = View{};
  }
}

void fusedEverywhere(Backend &backend, Report &report) {
  // One element, ragged, splits of K, several items, large tiles, which have columns of a second warp outside.
  const std::vector<Shape> shapes = {{1, 1, 1, 1},       {1, 37, 61, 19},   {2, 70, 40, 64},
                                     {1, 72, 104, 2504}, {3, 24, 16, 1100}, {34, 136, 136, 24}};
  for (DType in : {DType::f32, DType::bf16}) {
    for (const Shape &s : shapes) {
      const bool large = s.M * s.N * s.K > 1000000;
      for (DType out : {DType::f32, DType::bf16}) {
        if (large && out != in) continue;
        fused(backend, report, {s, in, out, 0, false, false, true});
        if (!large) fused(backend, report, {s, in, out, 5, false, true, false});
      }
      if (in == DType::f32 && backend.multipliesTf32()) {
        fused(backend, report, {s, in, DType::f32, 8, true, false, true});
      }
    }
  }
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (const Shape &s : {Shape{1, 0, 8, 8}, Shape{0, 4, 8, 8}, Shape{2, 3, 8, 0}}) {
      fused(backend, report, {s, dtype, dtype, 0, false, false, false});
    }
  }
  // A column of one sign, rows enough for many tiles: the sums are not those of fp32 one after another.
  const Tensor ones = Tensor(backend, DType::f32, 40000, 8).constant(0.1),
               row = Tensor(backend, DType::f32, 8, 3).constant(0.1);
  const Tensor out = Tensor(backend, DType::f32, 40000, 3), sum = Tensor(backend, DType::f32, 1, 3).constant(0);
  Gemm gemm;
  gemm.a = ones;
  gemm.b = row;
  gemm.out = out;
  gemm.columnSum = sum;
  backend.run(gemm);
  Doubles expected(3, 0.0);
  const Doubles values = out.read();
  for (size_t i = 0; i < values.size(); ++i) expected[i % 3] += values[i];
  report.close(sum, expected, 1e-6, "40000 rows of one sign");
}

// What a bias alone brings to GELU: each of its values, in every row.
void geluOfAnything(Backend &backend, Report &report, DType dtype) {
  const Doubles points = {INFINITY, -INFINITY, NAN, 0, -0.0, 3e38,  -3e38,  1e10,
                          -1e10,    20,        -20, 3, -3,   1e-40, -1e-40, 1};
  const auto N = static_cast<int64_t>(points.size());
  const Tensor left = Tensor(backend, dtype, 70, 24).constant(0), right = Tensor(backend, dtype, 24, N).normal(1);
  const Tensor bias = Tensor(backend, DType::f32, 1, N).set(points), out(backend, DType::f32, 70, N);
  Gemm gemm;
  gemm.a = left;
  gemm.b = right;
  gemm.gelu = out;
  gemm.bias = bias;
  backend.run(gemm);
  const Doubles values = out.read();
  for (size_t i = 0; i < values.size(); ++i) {
    const double x = bias.values[i % points.size()], size = std::abs(x);
    const double expected = std::isinf(x) ? std::max(x, 0.0) : geluOf(x);
    const bool good = std::isnan(x) || std::isinf(expected)
                          ? std::isnan(values[i]) == std::isnan(x) && (std::isnan(x) || values[i] == expected)
                          : std::abs(values[i] - expected) <= 1e-6 * (x > 1 ? size : 1);
    report.check(good, "gelu of " + std::to_string(x) + " from " + nameOf(dtype), std::to_string(values[i]));
  }
}

// The products of a layer of HuBERT-base, and of the gradients of an input and of weights; a size of 0 is the frames.
std::vector<std::pair<std::string, Cases::Body>> realProducts() {
  struct Real {
    std::string name;
    int64_t M, N, K;
    bool aTransposed, bTransposed;
  };
  std::vector<std::pair<std::string, Cases::Body>> all;
  for (const std::string precision : {"bf16", "tf32", "fp32"}) {
    for (const Real &one :
         {Real{"query, key, value", 0, 2304, 768, false, true}, Real{"attention's output", 0, 768, 768, false, true},
          Real{"feed-forward 1", 0, 3072, 768, false, true}, Real{"feed-forward 2", 0, 768, 3072, false, true},
          Real{"feed-forward 1, input's gradient", 0, 768, 3072, false, false},
          Real{"feed-forward 1, weight's gradient", 3072, 768, 0, true, false},
          Real{"query, key, value, weight's gradient", 2304, 768, 0, true, false}}) {
      all.emplace_back(one.name + " " + precision, [=](Backend &backend, Report &report) {
        Form f;
        f.tf32 = precision == "tf32";
        if (f.tf32 && !backend.multipliesTf32()) {
          return report.check(report.device == "cpu", "tf32", "the device has none");
        }
        f.in = precision == "bf16" ? DType::bf16 : DType::f32;
        f.out = one.K == 0 ? DType::f32 : f.in;
        f.aTransposed = one.aTransposed;
        f.bTransposed = one.bTransposed;
        const auto size = [&](int64_t given) { return given > 0 ? given : report.frames; };
        product(backend, report, {1, size(one.M), one.N, size(one.K)}, f);
      });
    }
  }
  return all;
}

const Cases realSized("gemm", realProducts(), true);

const Cases gemmCases(
    "gemm",
    {
        {"layouts",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             for (int form = 0; form < 4; ++form) {
               for (const Shape &s : {Shape{1, 1, 1, 1}, Shape{1, 3, 5, 7}, Shape{1, 37, 64, 129},
                                      Shape{1, 300, 100, 80}, Shape{3, 17, 48, 33}}) {
                 Form f;
                 f.aTransposed = form & 1;
                 f.bTransposed = form & 2;
                 f.in = f.out = dtype;
                 product(backend, report, s, f);
                 f.gap = 5;
                 f.bias = true;
                 product(backend, report, s, f);
                 f.accumulate = f.sharedBias = true;
                 f.out = dtype == DType::f32 ? DType::bf16 : DType::f32;
                 product(backend, report, s, f);
                 f.bias = false;
                 f.out = dtype;
                 product(backend, report, s, f);
                 f.accumulate = false;
                 f.bias = f.gelu = true;
                 product(backend, report, s, f);
                 f.gap = 0;
                 product(backend, report, s, f);
               }
             }
           }
         }},
        {"large",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             Form f;
             f.in = f.out = dtype;
             f.bTransposed = f.bias = true;
             product(backend, report, {1, 1217, 512, 768}, f);
             f.aTransposed = true;
             f.bTransposed = f.bias = false;
             f.accumulate = true;
             f.out = DType::f32;
             product(backend, report, {1, 512, 256, 1999}, f);
           }
         }},
        {"many tiles",
         [](Backend &backend, Report &report) {
           // Ragged in every dimension; tall and wide ones as the positional convolution's, forward and backward.
           for (DType dtype : {DType::f32, DType::bf16}) {
             Form f;
             f.in = f.out = dtype;
             for (int form = 0; form < 3; ++form) {
               f.aTransposed = form == 2;
               f.bTransposed = form == 0;
               f.bias = form == 0;
               f.gap = 8;  // rows stay aligned where M, N or K are multiples of 8
               product(backend, report, {2, 1032, 1048, 72}, f);
               f.gap = 0;
               product(backend, report, {16, 1096, 48, 104}, f);
               product(backend, report, {16, 48, 1096, 40}, f);
             }
             f.aTransposed = f.bTransposed = false;
             f.gap = 7;
             product(backend, report, {1, 203, 131, 150}, f);
           }
         }},
        {"K in splits",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             for (const Shape &s : {Shape{1, 72, 104, 2504}, Shape{1, 7, 13, 1025}, Shape{3, 24, 16, 1100}}) {
               Form f;
               f.in = dtype;
               f.aTransposed = true;
               f.accumulate = true;
               product(backend, report, s, f);
               f.gap = 8;
               f.aTransposed = f.accumulate = false;
               f.bTransposed = f.bias = f.gelu = true;
               f.out = dtype;
               product(backend, report, s, f);
             }
           }
         }},
        {"a long K of one sign",
         [](Backend &backend, Report &report) {
           Form f;
           f.oneSign = true;
           product(backend, report, {1, 16, 24, 1023}, f);  // a GPU splits K from 1024 on
         }},
        {"unaligned operands",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             for (int form = 0; form < 4; ++form) {
               Form f;
               f.in = f.out = dtype;
               f.aTransposed = form & 1;
               f.bTransposed = form & 2;
               for (int64_t shift : {1, 2, 4}) shifted(backend, report, {2, 92, 76, 204}, f, shift);
             }
           }
         }},
        {"few rows",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             Form f;
             f.in = dtype;
             f.bTransposed = f.bias = true;
             for (int64_t rows : {1, 2, 15, 16, 17, 31}) product(backend, report, {1, rows, 772, 768}, f);
             product(backend, report, {1, 64, 4, 768}, f);
           }
         }},
        {"empty",
         [](Backend &backend, Report &report) {
           Form f;
           product(backend, report, {1, 0, 8, 8}, f);
           product(backend, report, {0, 4, 8, 8}, f);
           product(backend, report, {2, 3, 8, 0}, f);  // a sum of nothing is zero
           f.accumulate = f.bias = true;
           product(backend, report, {2, 3, 8, 0}, f);
         }},
        {"convolution windows",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             convolution(backend, report, dtype, {1, 333, 96, 3 * 64}, 2 * 64, false);
             convolution(backend, report, dtype, {1, 100, 96, 3 * 64}, 2 * 64, true);
             convolution(backend, report, dtype, {1, 100, 96, 2 * 64}, 2 * 64, false);
             convolution(backend, report, dtype, {1, 100, 40, 10 * 32}, 5 * 32, false);
             convolution(backend, report, dtype, {1, 1, 40, 10 * 32}, 32, false);
             convolution(backend, report, dtype, {4, 201, 48, 128 * 48}, 48, false);  // the positional convolution
             convolution(backend, report, dtype, {1, 530, 136, 3 * 256}, 2 * 256, true);
             convolution(backend, report, dtype, {2, 65, 8, 16 * 8}, 8, true);
             convolution(backend, report, dtype, {1, 65, 8, 10}, 1, false);
           }
         }},
        {"weight gradients over windows",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) {
             weightGradient(backend, report, dtype, {1, 96, 3 * 64, 333}, 2 * 64);
             weightGradient(backend, report, dtype, {3, 48, 32 * 48, 211}, 48);
             weightGradient(backend, report, dtype, {1, 96, 3 * 64, 2100}, 2 * 64);
             weightGradient(backend, report, dtype, {2, 8, 16 * 8, 65}, 8);
             weightGradient(backend, report, dtype, {1, 40, 10, 99}, 5);
           }
         }},
        {"tf32",
         [](Backend &backend, Report &report) {
           if (!backend.multipliesTf32()) return report.check(report.device == "cpu", "tf32", "the device has none");
           for (int form = 0; form < 4; ++form) {
             Form f;
             f.tf32 = true;
             f.aTransposed = form & 1;
             f.bTransposed = form & 2;
             product(backend, report, {3, 17, 48, 33}, f);
             f.gap = 8;  // rows stay aligned where M, N or K are multiples of 8: large tiles, small ones, splits of K
             f.bias = true;
             product(backend, report, {2, 1032, 1048, 72}, f);
             f.gelu = true;
             f.out = DType::bf16;
             product(backend, report, {1, 72, 104, 2504}, f);
             f.bias = f.gelu = false;
             f.accumulate = true;
             f.out = DType::f32;
             product(backend, report, {16, 1096, 48, 104}, f);
             product(backend, report, {2, 48, 1096, 40}, f);
           }
           convolution(backend, report, DType::f32, {1, 333, 96, 3 * 64}, 2 * 64, false, true);
           convolution(backend, report, DType::f32, {4, 201, 48, 128 * 48}, 48, true, true);
         }},
        {"gelu, dropout, slope, factor and sums of columns on the way", fusedEverywhere},
        {"gelu of anything",
         [](Backend &backend, Report &report) {
           for (DType dtype : {DType::f32, DType::bf16}) geluOfAnything(backend, report, dtype);
         }},
        {"packed weights follow their key",
         [](Backend &backend, Report &report) {
           // The same address, new contents: a new key must be honoured; an old key may be served from what was packed.
           for (DType dtype : {DType::f32, DType::bf16}) {
             const Shape s{1, 70, 96, 128};
             const Tensor left = Tensor(backend, dtype, s.M, s.K).normal(1);
             Tensor right(backend, dtype, 1, s.K, s.N, Layout{0, 0, true});
             for (uint64_t key : {11, 11, 12, 13, 11}) {
               right.normal(key);
               Tensor out(backend, dtype, s.M, s.N);
               Gemm gemm;
               gemm.a = left;
               gemm.b = right;
               gemm.out = out;
               gemm.weightKey = key;
               backend.run(gemm);
               report.close(out,
                            multiply(
                                s, [&](int64_t, int64_t r, int64_t c) { return left(r, c); },
                                [&](int64_t, int64_t r, int64_t c) { return right(r, c); }),
                            std::string("key ") + std::to_string(key) + " " + nameOf(dtype));
             }
           }
           // A released block's weights are forgotten, even if another tensor gets its address and key.
           for (int round = 0; round < 8; ++round) {
             const Shape s{1, 40, 64, 64};
             const Tensor left = Tensor(backend, DType::f32, s.M, s.K).normal(1);
             const Tensor right = Tensor(backend, DType::f32, s.K, s.N).normal(static_cast<uint64_t>(20 + round));
             Tensor out(backend, DType::f32, s.M, s.N);
             Gemm gemm;
             gemm.a = left;
             gemm.b = right;
             gemm.out = out;
             gemm.weightKey = 77;
             backend.run(gemm);
             backend.run(gemm);  // packed on the second sight, if at all
             report.close(out,
                          multiply(
                              s, [&](int64_t, int64_t r, int64_t c) { return left(r, c); },
                              [&](int64_t, int64_t r, int64_t c) { return right(r, c); }),
                          "after a release");
           }
         }},
        {"same bits with any number of threads",
         [](Backend &, Report &report) {
           struct One {
             Shape s;
             bool aTransposed, bTransposed;
           };
           for (DType dtype : {DType::f32, DType::bf16}) {
             for (const One &one : {One{{1, 700, 256, 512}, false, true}, One{{1, 256, 256, 3000}, true, false},
                                    One{{1, 5, 64, 4096}, false, true}, One{{4, 90, 48, 200}, false, false}}) {
               report.deterministic(
                   [&](Backend &backend) {
                     const Shape &s = one.s;
                     const Tensor left =
                         Tensor(backend, dtype, s.batch, s.M, s.K, Layout{0, 0, one.aTransposed}).normal(1);
                     const Tensor right =
                         Tensor(backend, dtype, s.batch, s.K, s.N, Layout{0, 0, one.bTransposed}).normal(2);
                     Tensor out(backend, DType::f32, s.batch, s.M, s.N);
                     for (uint64_t key : {0, 5}) {
                       Gemm gemm;
                       gemm.a = left;
                       gemm.b = right;
                       gemm.out = out;
                       gemm.weightKey = key;
                       gemm.accumulate = key != 0;
                       backend.run(gemm);
                     }
                     return out.read();
                   },
                   std::string("bits ") + nameOf(dtype));
             }
           }
         }},
    });

}  // namespace

}  // namespace test
}  // namespace emoframe
