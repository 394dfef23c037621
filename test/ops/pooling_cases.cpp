// Mean, attention and statistics pooling over packed utterances.
#include "harness.h"

namespace emoframe {
namespace test {
namespace {

double scoreOf(Score score, double u) {
  return score == Score::tanh ? std::tanh(u) : score == Score::relu ? std::max(u, 0.0) : score == Score::linear ? u : 0;
}
double slopeOf(Score score, double u) {
  return score == Score::tanh     ? 1 - std::tanh(u) * std::tanh(u)
         : score == Score::relu   ? (u > 0 ? 1 : 0)
         : score == Score::linear ? 1
                                  : 0;
}

struct Problem {
  std::vector<int32_t> offsets;
  int64_t C;
  Score score;
  bool deviation;

  int64_t utterances() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t width() const { return deviation ? 2 * C : C; }

  void forward(const Doubles &h, const Doubles &w, Doubles &attention, Doubles &pooled,
               Doubles *logSums = nullptr) const {
    attention.assign(offsets.back(), 0.0);
    pooled.assign(utterances() * width(), 0.0);
    for (int64_t b = 0; b < utterances(); ++b) {
      double sum = 0;
      for (int64_t t = offsets[b]; t < offsets[b + 1]; ++t) {
        double u = 0;
        for (int64_t c = 0; c < C && score != Score::none; ++c) u += h[t * C + c] * w[c];
        sum += attention[t] = std::exp(scoreOf(score, u));
      }
      for (int64_t t = offsets[b]; t < offsets[b + 1]; ++t) attention[t] /= sum;
      if (logSums) logSums->push_back(std::log(sum));
      for (int64_t c = 0; c < C; ++c) {
        double mean = 0, variance = 1e-5f;
        for (int64_t t = offsets[b]; t < offsets[b + 1]; ++t) mean += attention[t] * h[t * C + c];
        for (int64_t t = offsets[b]; t < offsets[b + 1]; ++t)
          variance += attention[t] * std::pow(h[t * C + c] - mean, 2);
        pooled[b * width() + c] = mean;
        if (deviation) pooled[b * width() + C + c] = std::sqrt(variance);
      }
    }
  }
  void backward(const Doubles &h, const Doubles &w, const Doubles &dPooled, Doubles &dh, Doubles &dw) const {
    Doubles attention, pooled;
    forward(h, w, attention, pooled);
    dh.assign(h.size(), 0.0);
    for (int64_t b = 0; b < utterances(); ++b) {
      const double *mean = &pooled[b * width()], *dMean = &dPooled[b * width()];
      Doubles da(offsets[b + 1] - offsets[b], 0.0);
      double centre = 0;
      for (int64_t t = offsets[b]; t < offsets[b + 1]; ++t) {
        for (int64_t c = 0; c < C; ++c) {
          const double off = h[t * C + c] - mean[c];
          dh[t * C + c] = attention[t] * (dMean[c] + (deviation ? dMean[C + c] * off / mean[C + c] : 0));
          da[t - offsets[b]] +=
              dMean[c] * h[t * C + c] + (deviation ? dMean[C + c] * off * off / (2 * mean[C + c]) : 0);
        }
        centre += attention[t] * da[t - offsets[b]];
      }
      for (int64_t t = offsets[b]; t < offsets[b + 1] && score != Score::none; ++t) {
        double u = 0;
        for (int64_t c = 0; c < C; ++c) u += h[t * C + c] * w[c];
        const double du = slopeOf(score, u) * attention[t] * (da[t - offsets[b]] - centre);
        for (int64_t c = 0; c < C; ++c) {
          dh[t * C + c] += du * w[c];
          dw[c] += du * h[t * C + c];
        }
      }
    }
  }
};

const std::vector<Score> scores = {Score::none, Score::tanh, Score::relu, Score::linear};
const char *nameOf(Score score) {
  return score == Score::none ? "mean" : score == Score::tanh ? "tanh" : score == Score::relu ? "relu" : "linear";
}

void bothWays(Backend &backend, Report &report, DType dtype) {
  // No utterance; one of one frame; ragged with an empty one inside and at the end.
  const std::vector<std::vector<int32_t>> batches = {{}, {1}, {3, 0, 17, 1, 300, 0}, {64, 64}};
  for (const auto &lengths : batches) {
    for (int64_t C : {1, 5, 768}) {
      for (Score score : scores) {
        for (bool deviation : {false, true}) {
          const Bounds bounds(backend, lengths);
          const Segments segments = bounds.segments();
          const Problem problem{std::vector<int32_t>(segments.offsets, segments.offsets + lengths.size() + 1), C, score,
                                deviation};
          const int64_t T = bounds.total(), B = static_cast<int64_t>(lengths.size());
          const std::string what = std::string(nameOf(score)) + (deviation ? " with deviation, " : ", ") +
                                   std::to_string(B) + " utterances, C = " + std::to_string(C);
          // Rows that start at multiples of 16 bytes, or not.
          const int64_t gap = C == 768 && lengths.size() == 2 ? 8 : 3;
          const Tensor h = Tensor(backend, dtype, T, C, {gap}).normal(1);
          const Tensor w = Tensor(backend, DType::f32, 1, C).normal(2, 1 / std::sqrt(double(C)));
          const Tensor attention = Tensor(backend, DType::f32, 1, T).normal(3);
          const Tensor pooled = Tensor(backend, DType::f32, B, problem.width()).normal(4);
          Pooling pooling;
          pooling.h = h;
          pooling.segments = segments;
          pooling.score = score;
          if (deviation) pooling.deviation = Deviation::added;
          if (score != Score::none) pooling.w = w;
          pooling.attention = attention;
          pooling.pooled = pooled;
          const Tensor logSums = Tensor(backend, DType::f32, 1, B).normal(8);
          if (gap == 8 || deviation) pooling.logSums = logSums;
          backend.run(pooling);
          Doubles weights, means, logs;
          problem.forward(h.values, w.values, weights, means, &logs);
          report.close(attention, weights, 1e-5, what + " attention");
          report.close(pooled, means, 1e-5, what + " pooled");
          if (pooling.logSums) {
            Doubles found = logSums.read();
            for (int64_t b = 0; b < B; ++b) {  // of no frame: minus infinity
              if (lengths[b] == 0 && found[b] == logs[b]) found[b] = logs[b] = 0;
            }
            report.close(found, logs, 1e-5, what + " logarithms of sums");
          }

          const Tensor dPooled = Tensor(backend, DType::f32, B, problem.width()).normal(5);
          const Tensor dh = Tensor(backend, dtype, T, C, {gap == 8 ? gap : 2}).normal(6),
                       dw = Tensor(backend, DType::f32, 1, C).normal(7);
          Doubles dhExpected, dwExpected = dw.values;
          problem.backward(h.values, w.values, dPooled.values, dhExpected, dwExpected);
          backend.run(PoolingBackward{pooling, dPooled, dh, score == Score::none ? View{} : dw.view()});
          // A frame alone in its utterance has deviation sqrt(1e-5): dS (h - mean) / s is then 300 times its rounding.
          report.close(dh, dhExpected, deviation ? std::max(1e-4, toleranceOf(dtype)) : toleranceOf(dtype),
                       what + " dh");
          report.close(dw, dwExpected, deviation ? 1e-4 : 1e-5, what + " dw");
          report.untouched(h, what + " h");
        }
      }
    }
  }
}

// What else is in the batch must not matter, to the bit.
void batchMates(Backend &backend, Report &report) {
  for (Score score : scores) {
    const int64_t C = 96, length = 40;
    Doubles out[2];
    for (int mates = 0; mates < 2; ++mates) {
      const Bounds bounds(backend, mates ? std::vector<int32_t>{7, 40, 90} : std::vector<int32_t>{40});
      const int64_t T = bounds.total(), first = mates ? 7 : 0;
      Doubles frames(T * C);
      for (int64_t i = 0; i < T * C; ++i) frames[i] = normalAt(8, i) * 3;
      for (int64_t i = 0; i < length * C; ++i) frames[first * C + i] = normalAt(1, i);
      const Tensor h = Tensor(backend, DType::f32, T, C).set(frames), w = Tensor(backend, DType::f32, 1, C).normal(2);
      const Tensor attention = Tensor(backend, DType::f32, 1, T).constant(0);
      const Tensor pooled = Tensor(backend, DType::f32, mates ? 3 : 1, 2 * C).constant(0);
      Pooling pooling;
      pooling.h = h;
      pooling.segments = bounds.segments();
      pooling.score = score;
      pooling.deviation = Deviation::added;
      pooling.w = w;
      pooling.attention = attention;
      pooling.pooled = pooled;
      backend.run(pooling);
      const Doubles all = pooled.read();
      out[mates].assign(all.begin() + (mates ? 2 * C : 0), all.begin() + (mates ? 4 * C : 2 * C));
    }
    report.identical(out[0], out[1], nameOf(score));
  }
}

void referenceAgainstDifferences(Backend &, Report &report) {
  for (Score score : scores) {
    for (bool deviation : {false, true}) {
      const Problem problem{{0, 4, 4, 9}, 3, score, deviation};
      Doubles h(27), w(3), dPooled(3 * problem.width());
      for (size_t i = 0; i < h.size(); ++i) h[i] = normalAt(1, i);
      for (size_t i = 0; i < w.size(); ++i) w[i] = normalAt(2, i);
      for (size_t i = 0; i < dPooled.size(); ++i) dPooled[i] = normalAt(3, i);
      const auto value = [&](const Doubles &atH, const Doubles &atW) {
        Doubles attention, pooled;
        problem.forward(atH, atW, attention, pooled);
        double sum = 0;
        for (size_t i = 0; i < pooled.size(); ++i) sum += pooled[i] * dPooled[i];
        return sum;
      };
      Doubles dh, dw(3, 0.0);
      problem.backward(h, w, dPooled, dh, dw);
      report.close(dh, finiteDifferences(h, [&](const Doubles &at) { return value(at, w); }), 1e-6, "dh");
      report.close(dw, finiteDifferences(w, [&](const Doubles &at) { return value(h, at); }), 1e-6, "dw");
    }
  }
}

void sameBits(Backend &, Report &report) {
  report.deterministic(
      [](Backend &backend) {
        const Bounds bounds(backend, {100, 3, 250, 77, 41});
        const int64_t T = bounds.total(), C = 65;
        const Tensor h = Tensor(backend, DType::f32, T, C).normal(1), w = Tensor(backend, DType::f32, 1, C).normal(2);
        const Tensor attention = Tensor(backend, DType::f32, 1, T).constant(0);
        const Tensor pooled = Tensor(backend, DType::f32, 5, 2 * C).constant(0),
                     dPooled = Tensor(backend, DType::f32, 5, 2 * C).normal(3);
        const Tensor dh = Tensor(backend, DType::f32, T, C).constant(0),
                     dw = Tensor(backend, DType::f32, 1, C).constant(1);
        Pooling pooling;
        pooling.h = h;
        pooling.segments = bounds.segments();
        pooling.score = Score::tanh;
        pooling.deviation = Deviation::added;
        pooling.w = w;
        pooling.attention = attention;
        pooling.pooled = pooled;
        backend.run(pooling);
        backend.run(PoolingBackward{pooling, dPooled, dh, dw});
        Doubles all = dw.read();
        for (double value : dh.read()) all.push_back(value);
        for (double value : pooled.read()) all.push_back(value);
        return all;
      },
      "pooling");
}

const Cases table("pooling", {{"pooling f32", [](Backend &b, Report &r) { bothWays(b, r, DType::f32); }},
                              {"pooling bf16", [](Backend &b, Report &r) { bothWays(b, r, DType::bf16); }},
                              {"batch mates do not matter", batchMates},
                              {"reference gradient against differences", referenceAgainstDifferences},
                              {"same bits with any thread count", sameBits}});

}  // namespace
}  // namespace test
}  // namespace emoframe
