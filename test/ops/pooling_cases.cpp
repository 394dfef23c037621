// Pooling over packed utterances: means by every score, with and without deviations, sums and largest values.
#include "harness.h"

namespace emoframe {
namespace test {
namespace {

double scoreOf(Score score, double u) {
  switch (score) {
    case Score::tanh:
      return std::tanh(u);
    case Score::relu:
      return std::max(u, 0.0);
    case Score::linear:
    case Score::given:
      return u;
    case Score::none:
      break;
  }
  return 0;
}
double slopeOf(Score score, double u) {
  switch (score) {
    case Score::tanh:
      return 1 - std::tanh(u) * std::tanh(u);
    case Score::relu:
      return u > 0 ? 1 : 0;
    case Score::linear:
    case Score::given:
      return 1;
    case Score::none:
      break;
  }
  return 0;
}

struct Kind {
  Reduction reduction = Reduction::mean;
  Score score = Score::none;
  Deviation deviation = Deviation::none;

  bool byProduct() const { return score != Score::none && score != Score::given; }
};
std::vector<Kind> allKinds() {
  std::vector<Kind> kinds = {{Reduction::sum}, {Reduction::max}};
  for (Score score : {Score::none, Score::tanh, Score::relu, Score::linear, Score::given}) {
    for (Deviation deviation : {Deviation::none, Deviation::added, Deviation::clamped}) {
      kinds.push_back({Reduction::mean, score, deviation});
    }
  }
  return kinds;
}
std::string nameOf(const Kind &kind) {
  if (kind.reduction != Reduction::mean) return kind.reduction == Reduction::sum ? "sum" : "max";
  const char *const scores[] = {"mean", "tanh", "relu", "linear", "given scores"};
  const char *const deviations[] = {"", " with deviation", " with clamped deviation"};
  return std::string(scores[int(kind.score)]) + deviations[int(kind.deviation)];
}

struct Problem {
  std::vector<int32_t> offsets;
  int64_t C;
  Kind kind;

  int64_t utterances() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t width() const { return kind.deviation != Deviation::none ? 2 * C : C; }

  // What a frame's score is a function of.
  double argument(const Doubles &h, const Doubles &w, const Doubles &scores, int64_t t) const {
    double u = kind.score == Score::given ? scores[t] : 0;
    for (int64_t c = 0; c < C && kind.byProduct(); ++c) u += h[t * C + c] * w[c];
    return u;
  }
  // The first frame of a channel's largest value.
  int64_t firstLargest(const Doubles &h, int64_t b, int64_t c) const {
    int64_t first = offsets[b];
    for (int64_t t = offsets[b]; t < offsets[b + 1]; ++t) {
      if (h[t * C + c] > h[first * C + c]) first = t;
    }
    return first;
  }

  void forward(const Doubles &h, const Doubles &w, const Doubles &scores, Doubles &attention, Doubles &pooled,
               Doubles *logSums = nullptr) const {
    attention.assign(offsets.back(), 0.0);
    pooled.assign(utterances() * width(), 0.0);
    for (int64_t b = 0; b < utterances(); ++b) {
      const int64_t begin = offsets[b], end = offsets[b + 1];
      double sum = 0;
      for (int64_t t = begin; t < end; ++t) {
        sum += attention[t] = std::exp(scoreOf(kind.score, argument(h, w, scores, t)));
      }
      for (int64_t t = begin; t < end; ++t) attention[t] /= sum;
      if (logSums) logSums->push_back(std::log(sum));
      if (kind.reduction == Reduction::max) {
        std::fill(attention.begin() + begin, attention.begin() + end, 0.0);
        for (int64_t c = 0; c < C && begin < end; ++c) {
          const int64_t first = firstLargest(h, b, c);
          attention[first] += 1 / static_cast<double>(C);
          pooled[b * C + c] = h[first * C + c];
        }
        continue;
      }
      for (int64_t c = 0; c < C; ++c) {
        double mean = 0, variance = 0;
        for (int64_t t = begin; t < end; ++t) {
          mean += (kind.reduction == Reduction::sum ? 1 : attention[t]) * h[t * C + c];
        }
        for (int64_t t = begin; t < end; ++t) variance += attention[t] * std::pow(h[t * C + c] - mean, 2);
        pooled[b * width() + c] = mean;
        if (kind.deviation == Deviation::added) pooled[b * width() + C + c] = std::sqrt(variance + 1e-5f);
        if (kind.deviation == Deviation::clamped)
          pooled[b * width() + C + c] = std::sqrt(std::max<double>(variance, 1e-5f));
      }
    }
  }
  void backward(const Doubles &h, const Doubles &w, const Doubles &scores, const Doubles &dPooled, Doubles &dh,
                Doubles &dw, Doubles &dScores) const {
    Doubles attention, pooled;
    forward(h, w, scores, attention, pooled);
    dh.assign(h.size(), 0.0);
    dScores.assign(offsets.back(), 0.0);
    for (int64_t b = 0; b < utterances(); ++b) {
      const int64_t begin = offsets[b], end = offsets[b + 1];
      const double *mean = &pooled[b * width()], *dMean = &dPooled[b * width()];
      if (kind.reduction == Reduction::max) {
        for (int64_t c = 0; c < C && begin < end; ++c) dh[firstLargest(h, b, c) * C + c] = dMean[c];
        continue;
      }
      Doubles da(end - begin, 0.0);
      double centre = 0;
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t c = 0; c < C; ++c) {
          const double off = h[t * C + c] - mean[c];
          double throughVariance = 0;  // of the loss by v
          if (kind.deviation == Deviation::added ||
              (kind.deviation == Deviation::clamped && mean[C + c] > std::sqrt(double(1e-5f)))) {
            throughVariance = dMean[C + c] / (2 * mean[C + c]);
          }
          dh[t * C + c] =
              (kind.reduction == Reduction::sum ? 1 : attention[t]) * (dMean[c] + throughVariance * 2 * off);
          da[t - begin] += dMean[c] * h[t * C + c] + throughVariance * off * off;
        }
        centre += attention[t] * da[t - begin];
      }
      for (int64_t t = begin; t < end && kind.score != Score::none; ++t) {
        const double du = slopeOf(kind.score, argument(h, w, scores, t)) * attention[t] * (da[t - begin] - centre);
        dScores[t] = du;
        for (int64_t c = 0; c < C && kind.byProduct(); ++c) {
          dh[t * C + c] += du * w[c];
          dw[c] += du * h[t * C + c];
        }
      }
    }
  }
};

// Frames of which every third channel hardly varies, so that its deviation is clamped.
double frameAt(int64_t t, int64_t c, int64_t C) { return normalAt(1, t * C + c) * (c % 3 == 1 ? 1e-3 : 1); }

Pooling poolingOf(const Kind &kind, const View &h, const Segments &segments, const View &w, const View &scores,
                  const View &attention, const View &pooled) {
  Pooling pooling;
  pooling.h = h;
  pooling.segments = segments;
  pooling.score = kind.score;
  pooling.reduction = kind.reduction;
  pooling.deviation = kind.deviation;
  if (kind.byProduct()) pooling.w = w;
  if (kind.score == Score::given) pooling.scores = scores;
  pooling.attention = attention;
  pooling.pooled = pooled;
  return pooling;
}
PoolingBackward backwardOf(const Pooling &pooling, const View &dPooled, const View &dh, const View &dw,
                           const View &dScores) {
  PoolingBackward backward{pooling, dPooled, dh};
  if (pooling.w) backward.dw = dw;
  if (pooling.scores) backward.dScores = dScores;
  return backward;
}

void bothWays(Backend &backend, Report &report, DType dtype) {
  // No utterance; one of one frame; ragged with an empty one inside and at the end.
  const std::vector<std::vector<int32_t>> batches = {{}, {1}, {3, 0, 17, 1, 300, 0}, {64, 64}};
  for (const auto &lengths : batches) {
    for (int64_t C : {1, 5, 768}) {
      for (const Kind &kind : allKinds()) {
        const bool deviation = kind.deviation != Deviation::none;
        const Bounds bounds(backend, lengths);
        const Segments segments = bounds.segments();
        const Problem problem{std::vector<int32_t>(segments.offsets, segments.offsets + lengths.size() + 1), C, kind};
        const int64_t T = bounds.total(), B = static_cast<int64_t>(lengths.size());
        const std::string what = nameOf(kind) + ", " + std::to_string(B) + " utterances, C = " + std::to_string(C);
        // Rows that start at multiples of 16 bytes, or not.
        const int64_t gap = C == 768 && lengths.size() == 2 ? 8 : 3;
        const Tensor h = Tensor(backend, dtype, T, C, {gap}).fill([&](int64_t i) {
          return kind.deviation == Deviation::clamped ? frameAt(i / C, i % C, C) : normalAt(1, i);
        });
        const Tensor w = Tensor(backend, DType::f32, 1, C).normal(2, 1 / std::sqrt(double(C)));
        const Tensor scores = Tensor(backend, DType::f32, 1, T).normal(9, 2, 30);
        const Tensor attention = Tensor(backend, DType::f32, 1, T).normal(3);
        const Tensor pooled = Tensor(backend, DType::f32, B, problem.width()).normal(4);
        Pooling pooling = poolingOf(kind, h, segments, w, scores, attention, pooled);
        const Tensor logSums = Tensor(backend, DType::f32, 1, B).normal(8);
        if (gap == 8 || deviation) pooling.logSums = logSums;
        backend.run(pooling);
        Doubles weights, means, logs;
        problem.forward(h.values, w.values, scores.values, weights, means, &logs);
        report.close(attention, weights, 1e-5, what + " attention");
        report.close(pooled, means, 1e-5, what + " pooled");
        if (pooling.logSums) {
          Doubles found = logSums.read();
          for (int64_t b = 0; b < B; ++b) {  // of no frame: minus infinity
            if (lengths[b] == 0 && found[b] == logs[b]) found[b] = logs[b] = 0;
          }
          // A score adds up C products, and of one frame it is the logarithm.
          report.close(found, logs, 1e-5 * std::max(1.0, std::sqrt(static_cast<double>(C)) / 8),
                       what + " logarithms of sums");
        }

        const Tensor dPooled = Tensor(backend, DType::f32, B, problem.width()).normal(5);
        const Tensor dh = Tensor(backend, dtype, T, C, {gap == 8 ? gap : 2}).normal(6),
                     dw = Tensor(backend, DType::f32, 1, C).normal(7);
        const Tensor dScores = Tensor(backend, DType::f32, 1, T).normal(10);
        Doubles dhExpected, dwExpected = dw.values, dScoresExpected;
        problem.backward(h.values, w.values, scores.values, dPooled.values, dhExpected, dwExpected, dScoresExpected);
        backend.run(backwardOf(pooling, dPooled, dh, dw, dScores));
        // A frame alone in its utterance has deviation sqrt(1e-5): dS (h - mean) / s is then 300 times its rounding.
        report.close(dh, dhExpected, deviation ? std::max(1e-4, toleranceOf(dtype)) : toleranceOf(dtype), what + " dh");
        report.close(dw, dwExpected, deviation ? 1e-4 : 1e-5, what + " dw");
        if (kind.score == Score::given) {
          report.close(dScores, dScoresExpected, deviation ? 1e-4 : 1e-5, what + " dScores");
          report.untouched(scores, what + " scores");
        }
        report.untouched(h, what + " h");
      }
    }
  }
}

// Of equal values the first is the largest, in whatever part of the utterance the others are; and NaN is larger than
// any number, so that a model that went wrong is seen to.
void equalAndMissingValues(Backend &backend, Report &report, DType dtype) {
  const int64_t C = 300;
  const std::vector<int32_t> lengths = {40, 9, 1000};
  const Bounds bounds(backend, lengths);
  const Segments segments = bounds.segments();
  const int64_t T = bounds.total();
  const Problem problem{std::vector<int32_t>(segments.offsets, segments.offsets + 4), C, {Reduction::max}};
  Doubles frames(T * C);
  for (int64_t i = 0; i < T * C; ++i) frames[i] = std::floor(uniformAt(1, i) * 5) - 6;  // five values below zero
  for (int64_t t = 0; t < T; ++t) frames[t * C] = -INFINITY;                            // and of one channel, none
  Tensor h = Tensor(backend, dtype, T, C, {4}).set(frames);
  const Tensor attention = Tensor(backend, DType::f32, 1, T).normal(2);
  const Tensor pooled = Tensor(backend, DType::f32, 3, C, {5}).normal(3),
               dPooled = Tensor(backend, DType::f32, 3, C, {7}).normal(4);
  const Tensor dh = Tensor(backend, dtype, T, C).normal(5);
  const Pooling pooling = poolingOf({Reduction::max}, h, segments, {}, {}, attention, pooled);
  backend.run(pooling);
  Doubles shares, largest, dhExpected, none;
  problem.forward(h.values, {}, {}, shares, largest);
  bool same = true;
  const Doubles found = pooled.read();
  for (size_t i = 0; i < found.size(); ++i) same = same && found[i] == largest[i];
  report.check(same, "the largest of equal values");
  report.close(attention, shares, 1e-6, "shares of the first");
  backend.run(backwardOf(pooling, dPooled, dh, {}, {}));
  problem.backward(h.values, {}, {}, dPooled.values, dhExpected, none, none);
  for (double &value : dhExpected) value = rounded(value, dtype);
  report.same(dh, dhExpected, "the first of equal values has the gradient");

  const int64_t firstOfNumbers = problem.firstLargest(frames, 2, 7);
  for (const int64_t t : {500, 510, 700}) frames[t * C + 7] = NAN;
  h.set(frames);
  backend.run(pooling);
  const Doubles withNaN = pooled.read();
  report.check(std::isnan(withNaN[2 * C + 7]), "a channel with NaN", std::to_string(withNaN[2 * C + 7]));
  report.check(withNaN[2 * C + 8] == largest[2 * C + 8], "the channel beside it");
  shares[firstOfNumbers] -= 1 / double(C);
  shares[500] += 1 / double(C);
  report.close(attention, shares, 1e-6, "the first NaN has the share");
}

// Frames behind the last utterance are none's: their gradients stay as they were.
void framesOfNoUtterance(Backend &backend, Report &report) {
  const int64_t C = 24, T = 30, behind = 12;
  for (const Kind &kind : allKinds()) {
    const Bounds bounds(backend, {11, 0, 7});
    const Tensor h = Tensor(backend, DType::f32, T, C).normal(1), w = Tensor(backend, DType::f32, 1, C).normal(2);
    const Tensor scores = Tensor(backend, DType::f32, 1, T).normal(3),
                 attention = Tensor(backend, DType::f32, 1, T).constant(7);
    const int64_t width = kind.deviation != Deviation::none ? 2 * C : C;
    const Tensor pooled = Tensor(backend, DType::f32, 3, width).constant(0),
                 dPooled = Tensor(backend, DType::f32, 3, width).normal(4);
    const Tensor dh = Tensor(backend, DType::f32, T, C).constant(7), dw = Tensor(backend, DType::f32, 1, C).constant(0);
    const Tensor dScores = Tensor(backend, DType::f32, 1, T).constant(7);
    const Pooling pooling = poolingOf(kind, h, bounds.segments(), w, scores, attention, pooled);
    backend.run(pooling);
    backend.run(backwardOf(pooling, dPooled, dh, dw, dScores));
    const Doubles gradients = dh.read(), ofScores = dScores.read();
    const auto still = [](const Doubles &values, int64_t count) {
      return std::all_of(values.end() - count, values.end(), [](double value) { return value == 7; });
    };
    report.check(still(gradients, behind * C), nameOf(kind) + " dh");
    report.check(still(ofScores, behind), nameOf(kind) + " dScores");
  }
}

// What else is in the batch must not matter, to the bit.
void batchMates(Backend &backend, Report &report) {
  for (const Kind &kind : allKinds()) {
    const int64_t C = 96, length = 40, width = kind.deviation != Deviation::none ? 2 * C : C;
    Doubles out[2];
    for (int mates = 0; mates < 2; ++mates) {
      const Bounds bounds(backend, mates ? std::vector<int32_t>{7, 40, 90} : std::vector<int32_t>{40});
      const int64_t T = bounds.total(), first = mates ? 7 : 0;
      Doubles frames(T * C), given(T);
      for (int64_t i = 0; i < T * C; ++i) frames[i] = normalAt(8, i) * 3;
      for (int64_t i = 0; i < T; ++i) given[i] = normalAt(9, i) * 3;
      for (int64_t i = 0; i < length * C; ++i) frames[first * C + i] = normalAt(1, i);
      for (int64_t i = 0; i < length; ++i) given[first + i] = normalAt(4, i);
      const Tensor h = Tensor(backend, DType::f32, T, C).set(frames), w = Tensor(backend, DType::f32, 1, C).normal(2);
      const Tensor scores = Tensor(backend, DType::f32, 1, T).set(given);
      const Tensor attention = Tensor(backend, DType::f32, 1, T).constant(0);
      const Tensor pooled = Tensor(backend, DType::f32, mates ? 3 : 1, width).constant(0);
      backend.run(poolingOf(kind, h, bounds.segments(), w, scores, attention, pooled));
      const Doubles all = pooled.read();
      out[mates].assign(all.begin() + (mates ? width : 0), all.begin() + (mates ? 2 * width : width));
    }
    report.identical(out[0], out[1], nameOf(kind));
  }
}

void referenceAgainstDifferences(Backend &, Report &report) {
  for (const Kind &kind : allKinds()) {
    const Problem problem{{0, 4, 4, 9}, 3, kind};
    Doubles h(27), w(3), scores(9), dPooled(3 * problem.width());
    for (size_t i = 0; i < h.size(); ++i) h[i] = normalAt(1, i);
    if (kind.deviation == Deviation::clamped) {
      for (size_t i = 0; i < h.size(); ++i) h[i] = frameAt(i / 3, i % 3, 3);
    }
    for (size_t i = 0; i < w.size(); ++i) w[i] = normalAt(2, i);
    for (size_t i = 0; i < scores.size(); ++i) scores[i] = normalAt(4, i);
    for (size_t i = 0; i < dPooled.size(); ++i) dPooled[i] = normalAt(3, i);
    const auto value = [&](const Doubles &atH, const Doubles &atW, const Doubles &atScores) {
      Doubles attention, pooled;
      problem.forward(atH, atW, atScores, attention, pooled);
      double sum = 0;
      for (size_t i = 0; i < pooled.size(); ++i) sum += pooled[i] * dPooled[i];
      return sum;
    };
    Doubles dh, dw(3, 0.0), dScores;
    problem.backward(h, w, scores, dPooled, dh, dw, dScores);
    const auto byH = finiteDifferences(h, [&](const Doubles &at) { return value(at, w, scores); });
    const auto byW = finiteDifferences(w, [&](const Doubles &at) { return value(h, at, scores); });
    report.close(dh, byH, 1e-6, nameOf(kind) + " dh");
    report.close(dw, byW, 1e-6, nameOf(kind) + " dw");
    if (kind.score != Score::given) continue;
    const auto byScores = finiteDifferences(scores, [&](const Doubles &at) { return value(h, w, at); });
    report.close(dScores, byScores, 1e-6, nameOf(kind) + " dScores");
  }
}

void sameBits(Backend &, Report &report) {
  const std::vector<Kind> kinds = {{Reduction::mean, Score::tanh, Deviation::added},
                                   {Reduction::mean, Score::given, Deviation::clamped},
                                   {Reduction::sum},
                                   {Reduction::max}};
  for (const Kind &kind : kinds) {
    report.deterministic(
        [&](Backend &backend) {
          const Bounds bounds(backend, {100, 3, 250, 77, 41});
          const int64_t T = bounds.total(), C = 65, width = kind.deviation != Deviation::none ? 2 * C : C;
          const Tensor h = Tensor(backend, DType::f32, T, C).normal(1), w = Tensor(backend, DType::f32, 1, C).normal(2);
          const Tensor scores = Tensor(backend, DType::f32, 1, T).normal(4);
          const Tensor attention = Tensor(backend, DType::f32, 1, T).constant(0);
          const Tensor pooled = Tensor(backend, DType::f32, 5, width).constant(0),
                       dPooled = Tensor(backend, DType::f32, 5, width).normal(3);
          const Tensor dh = Tensor(backend, DType::f32, T, C).constant(0),
                       dw = Tensor(backend, DType::f32, 1, C).constant(1),
                       dScores = Tensor(backend, DType::f32, 1, T).constant(0);
          const Pooling pooling = poolingOf(kind, h, bounds.segments(), w, scores, attention, pooled);
          backend.run(pooling);
          backend.run(backwardOf(pooling, dPooled, dh, dw, dScores));
          Doubles all = dw.read();
          for (const Tensor *tensor : {&dh, &dScores, &pooled, &attention}) {
            for (double value : tensor->read()) all.push_back(value);
          }
          return all;
        },
        nameOf(kind));
  }
}

const Cases table("pooling", {{"pooling f32", [](Backend &b, Report &r) { bothWays(b, r, DType::f32); }},
                              {"pooling bf16", [](Backend &b, Report &r) { bothWays(b, r, DType::bf16); }},
                              {"largest of equal values f32",
                               [](Backend &b, Report &r) { equalAndMissingValues(b, r, DType::f32); }},
                              {"largest of equal values bf16",
                               [](Backend &b, Report &r) { equalAndMissingValues(b, r, DType::bf16); }},
                              {"frames of no utterance", framesOfNoUtterance},
                              {"batch mates do not matter", batchMates},
                              {"reference gradient against differences", referenceAgainstDifferences},
                              {"same bits with any thread count", sameBits}});

}  // namespace
}  // namespace test
}  // namespace emoframe
