// Cosine and plain softmax cross-entropy, and concordance.
#include "harness.h"

namespace emoframe {
namespace test {
namespace {

struct Loss {
  double sum = 0;
  int64_t correct = 0;
  Doubles dz, dEmbeddings;
};

// logits [n] of one row → its loss; `gradient` becomes softmax - onehot.
double crossEntropy(const Doubles &logits, int32_t label, Doubles &gradient, int64_t &correct) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (double l : logits) sum += std::exp(l - largest);
  for (size_t k = 0; k < logits.size(); ++k) gradient[k] = std::exp(logits[k] - largest) / sum - (int32_t(k) == label);
  correct += std::max_element(logits.begin(), logits.end()) - logits.begin() == label;
  return std::log(sum) + largest - logits[label];
}

Loss cosineLoss(const Doubles &z, const Doubles &e, const std::vector<int32_t> &labels, int64_t D, int64_t K,
                double temperature, double scale) {
  Loss loss;
  loss.dz.assign(z.size(), 0.0);
  loss.dEmbeddings.assign(e.size(), 0.0);
  Doubles labelNorms(K, 0.0);
  for (int64_t i = 0; i < K * D; ++i) labelNorms[i / D] += e[i] * e[i];
  for (double &norm : labelNorms) norm = std::sqrt(norm);
  for (size_t n = 0; n < labels.size(); ++n) {
    Doubles cosines(K, 0.0), logits(K), gradient(K);
    double norm = 0;
    for (int64_t d = 0; d < D; ++d) norm += z[n * D + d] * z[n * D + d];
    norm = std::sqrt(norm);
    for (int64_t k = 0; k < K; ++k) {
      for (int64_t d = 0; d < D; ++d) cosines[k] += z[n * D + d] * e[k * D + d];
      cosines[k] /= norm * labelNorms[k];
      logits[k] = cosines[k] / temperature;
    }
    loss.sum += crossEntropy(logits, labels[n], gradient, loss.correct);
    for (int64_t k = 0; k < K; ++k) {
      const double g = gradient[k] * scale / temperature;
      for (int64_t d = 0; d < D; ++d) {
        const double u = z[n * D + d] / norm, v = e[k * D + d] / labelNorms[k];
        loss.dz[n * D + d] += g * (v - u * cosines[k]) / norm;
        loss.dEmbeddings[k * D + d] += g * (u - v * cosines[k]) / labelNorms[k];
      }
    }
  }
  return loss;
}

void cosine(Backend &backend, Report &report, DType dtype) {
  struct Shape {
    int64_t N, D, K;
    bool oneSign = false;  // of frames: long sums grow, and tensor cores cut them off
  };
  // No frame, one of each, odd sizes over a block's end, sizes as trained, and long sums: over frames, over labels.
  for (const Shape &s : {Shape{0, 8, 4},
                         {1, 1, 1},
                         {1, 3, 2},
                         {261, 17, 5},
                         {530, 256, 500},
                         {13, 64, 1},
                         {1100, 40, 3},
                         {70, 300, 130},
                         {3000, 64, 20, true},
                         {40, 64, 1500, true}}) {
    const std::string what = std::to_string(s.N) + " frames" + (s.oneSign ? " of one sign" : "") +
                             ", D = " + std::to_string(s.D) + ", K = " + std::to_string(s.K);
    Tensor z = Tensor(backend, dtype, s.N, s.D, {5}).normal(1, 2);
    if (s.oneSign) {
      Doubles values = z.values;
      for (double &x : values) x = std::fabs(x);
      z.set(values);
    }
    const Tensor e = Tensor(backend, DType::f32, s.K, s.D).normal(2, 0.3, 0.5);
    const Array<int32_t> labels(backend, integers(3, s.N, s.K));
    const Tensor result = Tensor(backend, DType::f32, 1, 2).normal(4);
    const Tensor dz = Tensor(backend, dtype, s.N, s.D, {2}).normal(5),
                 de = Tensor(backend, DType::f32, s.K, s.D).normal(6);
    CosineCrossEntropy loss;
    loss.z = z;
    loss.embeddings = e;
    loss.labels = labels.data();
    loss.temperature = 0.1f;
    loss.gradientScale = 0.37f;
    loss.result = result;
    Loss expected = cosineLoss(z.values, e.values, labels.values, s.D, s.K, 0.1f, 0.37f);
    backend.run(loss);
    report.close(result, {expected.sum, double(expected.correct)}, what + " without gradients");
    report.check(result.read()[1] == double(expected.correct), what, "the number of correct frames differs");
    loss.dz = dz;
    loss.dEmbeddings = de;
    backend.run(loss);
    report.close(result, {expected.sum, double(expected.correct)}, what);
    // With D = 1 or K = 1 the gradients vanish, and what is left is rounding.
    if (s.D > 1 && s.K > 1)
      report.close(dz, expected.dz, what + " dz");
    else
      report.close(dz, Doubles(dz.size(), 0.0), 1e-5, what + " dz");
    for (int64_t i = 0; i < de.size(); ++i) expected.dEmbeddings[i] += de.values[i];
    report.close(de, expected.dEmbeddings, what + " dEmbeddings");
    report.untouched(z, what + " z");
    report.untouched(e, what + " embeddings");
  }
}

// Gradients alone, not hidden under what was accumulated before; and a frame without direction harms nothing.
void cosineDetails(Backend &backend, Report &report) {
  const int64_t N = 300, D = 32, K = 20;
  Doubles frames(N * D);
  for (int64_t i = 0; i < N * D; ++i) frames[i] = normalAt(1, i);
  const Array<int32_t> labels(backend, integers(3, N, K));
  const Tensor e = Tensor(backend, DType::f32, K, D).normal(2), de = Tensor(backend, DType::f32, K, D).constant(0);
  const Tensor z = Tensor(backend, DType::f32, N, D).set(frames), dz = Tensor(backend, DType::f32, N, D).constant(0);
  const Tensor result = Tensor(backend, DType::f32, 1, 2).constant(0);
  CosineCrossEntropy loss;
  loss.z = z;
  loss.embeddings = e;
  loss.labels = labels.data();
  loss.result = result;
  loss.dz = dz;
  loss.dEmbeddings = de;
  backend.run(loss);
  const Loss expected = cosineLoss(z.values, e.values, labels.values, D, K, 0.1f, 1);
  report.close(dz, expected.dz, "dz");
  report.close(de, expected.dEmbeddings, "dEmbeddings");

  for (int64_t d = 0; d < D; ++d) frames[7 * D + d] = 0;
  const Tensor zero = Tensor(backend, DType::f32, N, D).set(frames);
  loss.z = zero;
  backend.run(loss);
  const Doubles gradient = dz.read(), sum = result.read();
  bool none = true;
  for (int64_t d = 0; d < D; ++d) none = none && gradient[7 * D + d] == 0;
  report.check(none, "a zero frame has no gradient");
  report.check(std::isfinite(sum[0]), "a zero frame has a finite loss");
}

void plain(Backend &backend, Report &report) {
  const std::vector<std::pair<int64_t, int64_t>> shapes = {{0, 4}, {1, 1}, {5, 4}, {64, 7}, {33, 1000}};
  for (const auto &shape : shapes) {
    const int64_t N = shape.first, C = shape.second;
    const std::string what = std::to_string(N) + "x" + std::to_string(C);
    const Tensor logits = Tensor(backend, DType::f32, N, C, {3}).normal(1, 3, 50);
    const Array<int32_t> labels(backend, integers(2, N, C));
    const Tensor result = Tensor(backend, DType::f32, 1, 2).normal(3),
                 dLogits = Tensor(backend, DType::f32, N, C).normal(4);
    SoftmaxCrossEntropy loss;
    loss.logits = logits;
    loss.labels = labels.data();
    loss.gradientScale = 0.25f;
    loss.result = result;
    backend.run(loss);
    Doubles gradients(N * C), gradient(C);
    double sum = 0;
    int64_t correct = 0;
    for (int64_t n = 0; n < N; ++n) {
      const Doubles row(logits.values.begin() + n * C, logits.values.begin() + (n + 1) * C);
      sum += crossEntropy(row, labels.values[n], gradient, correct);
      for (int64_t c = 0; c < C; ++c) gradients[n * C + c] = gradient[c] * 0.25;
    }
    report.close(result, {sum, double(correct)}, what + " without gradient");
    loss.dLogits = dLogits;
    backend.run(loss);
    report.close(result, {sum, double(correct)}, what);
    report.close(dLogits, gradients, what + " dLogits");
    report.untouched(logits, what);
  }
}

// Rows that count for more or less, and those that count for nothing, whose label is none.
void shares(Backend &backend, Report &report) {
  const int64_t N = 70, C = 5;
  const Tensor logits = Tensor(backend, DType::f32, N, C, {3}).normal(1, 3, 50);
  std::vector<int32_t> labels = integers(2, N, C);
  std::vector<float> factors(N);
  for (int64_t n = 0; n < N; ++n) {
    factors[n] = n % 3 == 1 ? 0 : 0.25f * static_cast<float>(n % 7 + 1);
    if (factors[n] == 0) labels[n] = n % 2 ? -1 : 1 << 30;
  }
  const Array<int32_t> uploaded(backend, labels);
  const Array<float> itsFactors(backend, factors);
  const Tensor result = Tensor(backend, DType::f32, 1, 2).normal(3),
               dLogits = Tensor(backend, DType::f32, N, C).normal(4);
  SoftmaxCrossEntropy loss;
  loss.logits = logits;
  loss.labels = uploaded.data();
  loss.shares = itsFactors.data();
  loss.gradientScale = 0.5f;
  loss.result = result;
  loss.dLogits = dLogits;
  backend.run(loss);
  Doubles gradients(N * C, 0.0), gradient(C);
  double sum = 0;
  int64_t correct = 0;
  for (int64_t n = 0; n < N; ++n) {
    if (factors[n] == 0) continue;
    const Doubles row(logits.values.begin() + n * C, logits.values.begin() + (n + 1) * C);
    sum += factors[n] * crossEntropy(row, labels[n], gradient, correct);
    for (int64_t c = 0; c < C; ++c) gradients[n * C + c] = gradient[c] * 0.5 * factors[n];
  }
  report.close(result, {sum, double(correct)}, "losses by shares");
  report.close(dLogits, gradients, "dLogits by shares");
}

// The lowest of several largest logits is the answer, as in an argmax: a label is not right because it is not worse.
void softmaxTies(Backend &backend, Report &report) {
  const int64_t N = 4, C = 5;
  Tensor logits = Tensor(backend, DType::f32, N, C).normal(1);
  // All alike; then columns 1 and 3; then 3 and 4; then 4 alone.
  logits.set({2, 2, 2, 2, 2, 0, 7, 1, 7, 2, 0, 1, 2, 9, 9, -4, -3, -2, -1, 0});
  const auto correctFor = [&](const std::vector<int32_t> &labels) {
    const Array<int32_t> uploaded(backend, labels);
    const Tensor result = Tensor(backend, DType::f32, 1, 2).normal(3);
    SoftmaxCrossEntropy loss;
    loss.logits = logits;
    loss.labels = uploaded.data();
    loss.result = result;
    backend.run(loss);
    return result.read()[1];
  };
  report.check(correctFor({0, 1, 3, 4}) == 4, "ties", "the lowest of equals is right");
  report.check(correctFor({4, 3, 4, 4}) == 1, "ties", "a higher label is not");
  report.check(correctFor({2, 3, 4, 3}) == 0, "ties", "nor one in between");
}

// 1 - CCC of one column, and its gradient by the quotient rule.
double concordance(const Doubles &x, const Doubles &y, Doubles &gradient) {
  const double n = static_cast<double>(x.size());
  double xMean = 0, yMean = 0, covariance = 0, variances = 0;
  for (size_t i = 0; i < x.size(); ++i) xMean += x[i] / n, yMean += y[i] / n;
  for (size_t i = 0; i < x.size(); ++i) {
    covariance += (x[i] - xMean) * (y[i] - yMean) / n;
    variances += (std::pow(x[i] - xMean, 2) + std::pow(y[i] - yMean, 2)) / n;
  }
  const double below = variances + std::pow(xMean - yMean, 2);
  gradient.assign(x.size(), 0.0);
  if (x.size() < 2 || below == 0) return 1;
  for (size_t i = 0; i < x.size(); ++i) {
    const double dCovariance = (y[i] - yMean) / n, dBelow = 2 * (x[i] - xMean) / n + 2 * (xMean - yMean) / n;
    gradient[i] = -2 * (dCovariance * below - covariance * dBelow) / (below * below);
  }
  return 1 - 2 * covariance / below;
}

void concordanceOfColumns(Backend &backend, Report &report) {
  const std::vector<std::pair<int64_t, int64_t>> shapes = {{0, 3}, {1, 2}, {2, 1}, {5, 3}, {64, 4}, {1000, 3}};
  for (const auto &shape : shapes) {
    for (const bool transposed : {false, true}) {
      const int64_t N = shape.first, D = shape.second;
      const std::string what = std::to_string(N) + "x" + std::to_string(D) + (transposed ? ", transposed" : "");
      // Column d depends on its target by d / D, and lies far from 0, which sums of squares would not stand in fp32.
      const Tensor targets = Tensor(backend, DType::f32, N, D, {2, 0, transposed}).normal(1, 1, 300);
      const Tensor outputs = Tensor(backend, DType::f32, N, D, {3, 0, transposed}).fill([&](int64_t i) {
        return targets.values[i] * double(i % D) / double(D) + 300 * (1 - double(i % D) / double(D)) +
               0.3 * normalAt(2, i);
      });
      const Tensor result = Tensor(backend, DType::f32, 1, 2).normal(3);
      const Tensor gradient = Tensor(backend, DType::f32, N, D, {1, 0, transposed}).normal(4);
      double sum = 0;
      Doubles gradients(N * D), x(N), y(N), its;
      for (int64_t d = 0; d < D; ++d) {
        for (int64_t i = 0; i < N; ++i) x[i] = outputs(i, d), y[i] = targets(i, d);
        sum += concordance(x, y, its) / double(D);
        for (int64_t i = 0; i < N; ++i) gradients[i * D + d] = its[i] / double(D);
      }
      Concordance loss{outputs, targets, result, {}};
      backend.run(loss);
      report.close(result, {sum, 0}, 1e-6, what + " without gradient");
      loss.dOutputs = gradient;
      backend.run(loss);
      report.close(result, {sum, 0}, 1e-6, what);
      report.close(gradient, gradients, what + " gradient");
      report.untouched(outputs, what);
      report.untouched(targets, what);
    }
  }
}

// Columns: both the same constant, of which nothing is known; outputs that never move, which are to be moved; and
// outputs that are their targets, which are as good as can be.
void concordanceOfConstants(Backend &backend, Report &report) {
  const int64_t N = 37;
  const Tensor targets =
      Tensor(backend, DType::f32, N, 3).fill([](int64_t i) { return i % 3 == 0 ? 0.1 : normalAt(1, i); });
  const Tensor outputs =
      Tensor(backend, DType::f32, N, 3).fill([&](int64_t i) { return i % 3 < 2 ? 0.1 : targets.values[i]; });
  const Tensor result = Tensor(backend, DType::f32, 1, 2).normal(3),
               gradient = Tensor(backend, DType::f32, N, 3).normal(4);
  backend.run(Concordance{outputs, targets, result, gradient});
  report.close(result, {2 / 3.0, 0}, 1e-6, "loss");
  const Doubles found = gradient.read();
  Doubles x(N), y(N), expected, moved(N);
  for (int64_t i = 0; i < N; ++i) x[i] = outputs(i, 1), y[i] = targets(i, 1), moved[i] = found[i * 3 + 1];
  concordance(x, y, expected);
  for (double &value : expected) value /= 3;
  report.close(moved, expected, 1e-5, "gradient of outputs that never move");
  bool none = true;
  for (int64_t i = 0; i < N; ++i) none = none && found[i * 3] == 0 && std::abs(found[i * 3 + 2]) < 1e-12;
  report.check(none, "no other gradient");
}

void referenceAgainstDifferences(Backend &, Report &report) {
  const int64_t N = 4, D = 3, K = 5;
  Doubles z(N * D), e(K * D);
  for (size_t i = 0; i < z.size(); ++i) z[i] = normalAt(1, i);
  for (size_t i = 0; i < e.size(); ++i) e[i] = normalAt(2, i);
  const std::vector<int32_t> labels = {0, 4, 2, 2};
  const Loss loss = cosineLoss(z, e, labels, D, K, 0.5, 1);
  const auto value = [&](const Doubles &atZ, const Doubles &atE) {
    return cosineLoss(atZ, atE, labels, D, K, 0.5, 1).sum;
  };
  report.close(loss.dz, finiteDifferences(z, [&](const Doubles &at) { return value(at, e); }), 1e-6, "dz");
  report.close(loss.dEmbeddings, finiteDifferences(e, [&](const Doubles &at) { return value(z, at); }), 1e-6, "de");
  Doubles dx, ignored;
  concordance(z, Doubles(e.begin(), e.begin() + N * D), dx);
  const auto apart = [&](const Doubles &at) { return concordance(at, Doubles(e.begin(), e.begin() + N * D), ignored); };
  report.close(dx, finiteDifferences(z, apart), 1e-6, "concordance");
}

void sameBits(Backend &, Report &report) {
  report.deterministic(
      [](Backend &backend) {
        const int64_t N = 700, D = 65, K = 33;
        const Tensor z = Tensor(backend, DType::f32, N, D).normal(1), e = Tensor(backend, DType::f32, K, D).normal(2);
        const Array<int32_t> labels(backend, integers(3, N, K));
        const Tensor dz = Tensor(backend, DType::f32, N, D).constant(0),
                     de = Tensor(backend, DType::f32, K, D).constant(0);
        const Tensor result = Tensor(backend, DType::f32, 1, 2).constant(0);
        CosineCrossEntropy loss;
        loss.z = z;
        loss.embeddings = e;
        loss.labels = labels.data();
        loss.result = result;
        loss.dz = dz;
        loss.dEmbeddings = de;
        backend.run(loss);
        Doubles all = result.read();
        for (double value : dz.read()) all.push_back(value);
        for (double value : de.read()) all.push_back(value);
        return all;
      },
      "cosineCrossEntropy");
}

const Cases table("losses", {{"cosine cross-entropy f32", [](Backend &b, Report &r) { cosine(b, r, DType::f32); }},
                             {"cosine cross-entropy bf16", [](Backend &b, Report &r) { cosine(b, r, DType::bf16); }},
                             {"cosine cross-entropy, details", cosineDetails},
                             {"softmax cross-entropy", plain},
                             {"softmax cross-entropy by shares", shares},
                             {"softmax cross-entropy of equals", softmaxTies},
                             {"concordance", concordanceOfColumns},
                             {"concordance of constants", concordanceOfConstants},
                             {"reference gradient against differences", referenceAgainstDifferences},
                             {"same bits with any thread count", sameBits}});

}  // namespace
}  // namespace test
}  // namespace emoframe
