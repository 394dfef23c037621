// Forward-backward over islands, against all paths one by one where there are few enough, and against the recursion on
// weights that are normalised frame by frame where there are not.
#include "harness.h"

namespace emoframe {
namespace test {
namespace {

double logOfSigmoid(double x) { return -std::log1p(std::exp(-x)); }

// What one utterance has of one emotion.
struct Aligned {
  double logZ = 0;
  Doubles occupancies;
};

// r: emissions of the frames. Every sequence of states is written out; those that the model has not weigh nothing.
Aligned everyPath(const Doubles &r, double cost) {
  const size_t T = r.size();
  Aligned result;
  result.occupancies.assign(T, 0.0);
  if (T == 0) return result;
  enum { n0, e, n1 };
  const double stay = logOfSigmoid(cost), leave = logOfSigmoid(-cost);
  std::vector<std::pair<double, std::vector<int>>> paths;
  std::vector<int> states(T);
  int64_t sequences = 1;
  for (size_t t = 0; t < T; ++t) sequences *= 3;
  for (int64_t number = 0; number < sequences; ++number) {
    int64_t left = number;
    for (int &state : states) state = static_cast<int>(left % 3), left /= 3;
    if (states[0] == n1 || states[T - 1] == n0) continue;
    double score = std::log(0.5);
    bool legal = true;
    for (size_t t = 0; t < T; ++t) {
      if (states[t] == e) score += r[t];
      if (t == 0) continue;
      const int from = states[t - 1], to = states[t];
      const bool steps = (from == n0 && to == e) || (from == e && to == n1) || (from == n1 && to == e);
      legal = legal && (from == to || steps);
      score += from == to ? stay : leave;
    }
    if (legal) paths.emplace_back(score, states);
  }
  double largest = -INFINITY, sum = 0;
  for (const auto &path : paths) largest = std::max(largest, path.first);
  for (const auto &path : paths) {
    const double weight = std::exp(path.first - largest);
    sum += weight;
    for (size_t t = 0; t < T; ++t) {
      if (path.second[t] == e) result.occupancies[t] += weight;
    }
  }
  for (double &occupancy : result.occupancies) occupancy /= sum;
  result.logZ = largest + std::log(sum);
  return result;
}

// Weights of the three states that add up to 1 in every frame, and the logarithms of what they were divided by.
Aligned normalised(const Doubles &r, double cost) {
  using Real = long double;
  const size_t T = r.size();
  Aligned result;
  result.occupancies.assign(T, 0.0);
  if (T == 0) return result;
  const Real stay = std::exp(logOfSigmoid(cost)), leave = std::exp(logOfSigmoid(-cost));
  const Real transitions[3][3] = {{stay, leave, 0}, {0, stay, leave}, {0, leave, stay}};
  std::vector<std::vector<Real>> forward(T, std::vector<Real>(3, 0));
  Real logZ = 0;
  const auto normalise = [](std::vector<Real> &weights) {
    const Real sum = weights[0] + weights[1] + weights[2];
    for (Real &weight : weights) weight /= sum;
    return std::log(sum);
  };
  for (size_t t = 0; t < T; ++t) {
    for (int to = 0; to < 3; ++to) {
      Real sum = 0;
      for (int from = 0; from < 3 && t > 0; ++from) sum += forward[t - 1][from] * transitions[from][to];
      if (t == 0) sum = to == 2 ? 0 : 0.5L;
      forward[t][to] = sum * (to == 1 ? std::exp(static_cast<Real>(r[t])) : 1);
    }
    logZ += normalise(forward[t]);
  }
  result.logZ = static_cast<double>(logZ + std::log(forward[T - 1][1] + forward[T - 1][2]));
  std::vector<Real> backward = {0, 1, 1}, earlier(3);
  for (size_t t = T; t-- > 0;) {
    std::vector<Real> both = {forward[t][0] * backward[0], forward[t][1] * backward[1], forward[t][2] * backward[2]};
    normalise(both);
    result.occupancies[t] = static_cast<double>(both[1]);
    for (int from = 0; from < 3; ++from) {
      earlier[from] = 0;
      for (int to = 0; to < 3; ++to) {
        earlier[from] += transitions[from][to] * (to == 1 ? std::exp(static_cast<Real>(r[t])) : 1) * backward[to];
      }
    }
    normalise(earlier);
    backward = earlier;
  }
  return result;
}

using Method = Aligned (*)(const Doubles &, double);

struct Problem {
  std::vector<int32_t> lengths;
  int64_t C = 4;
  int32_t neutral = 0;
  float scale = 0.1f, cost = 4;

  int64_t utterances() const { return static_cast<int64_t>(lengths.size()); }
  std::string name() const {
    return std::to_string(utterances()) + " utterances, C = " + std::to_string(C) + ", neutral " +
           std::to_string(neutral) + ", scale " + std::to_string(scale) + ", cost " + std::to_string(cost);
  }
  void solve(Method method, const Doubles &z, const Doubles &bias, Doubles &logits, Doubles &occupancies) const {
    logits.assign(utterances() * C, 0.0);
    occupancies.assign(z.size(), 0.0);
    int64_t begin = 0;
    for (int64_t b = 0; b < utterances(); begin += lengths[b++]) {
      for (int64_t c = 0; c < C; ++c) {
        logits[b * C + c] = bias[c];
        if (c == neutral) continue;
        Doubles r(lengths[b]);
        for (int64_t t = 0; t < lengths[b]; ++t) {
          r[t] = static_cast<double>(scale) * (z[(begin + t) * C + c] - z[(begin + t) * C + neutral]);
        }
        const Aligned aligned = method(r, cost);
        logits[b * C + c] += aligned.logZ;
        for (int64_t t = 0; t < lengths[b]; ++t) occupancies[(begin + t) * C + c] = aligned.occupancies[t];
      }
    }
  }
};

// A problem on a backend.
struct Run {
  Run(Backend &backend, const Problem &problem, const Doubles &z)
      : bounds(backend, problem.lengths),
        logits(Tensor(backend, DType::f32, bounds.total(), problem.C, {3}).set(z)),
        bias(Tensor(backend, DType::f32, 1, problem.C).normal(2)),
        utteranceLogits(Tensor(backend, DType::f32, problem.utterances(), problem.C, {1}).normal(3)),
        occupancies(Tensor(backend, DType::f32, bounds.total(), problem.C, {2}).normal(4)) {
    op.logits = logits;
    op.bias = bias;
    op.segments = bounds.segments();
    op.neutral = problem.neutral;
    op.scale = problem.scale;
    op.switchingCost = problem.cost;
    op.utteranceLogits = utteranceLogits;
    op.occupancies = occupancies;
  }
  Bounds bounds;
  Tensor logits, bias, utteranceLogits, occupancies;
  IslandAlignment op;
};

Doubles normals(const Problem &problem, double size, uint64_t seed) {
  int64_t total = 0;
  for (int32_t length : problem.lengths) total += length;
  Doubles z(total * problem.C);
  for (size_t i = 0; i < z.size(); ++i) z[i] = size * normalAt(seed, i);
  return z;
}

double farthest(const Doubles &a, const Doubles &b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::fabs(a[i] - b[i]) <= worst)) worst = std::fabs(a[i] - b[i]);  // NaN too
  }
  return worst;
}

void agrees(Backend &backend, Report &report, const Problem &problem, const Doubles &z, Method method,
            const std::string &more = "") {
  const std::string what = problem.name() + more;
  const Run run(backend, problem, z);
  backend.run(run.op);
  Doubles logits, occupancies;
  problem.solve(method, run.logits.values, run.bias.values, logits, occupancies);
  const Doubles found = run.utteranceLogits.read();
  double relative = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double error = std::fabs(found[i] - logits[i]) / std::max(1.0, std::fabs(logits[i]));
    if (!(error <= relative)) relative = error;
  }
  report.check(relative <= 1e-6, what + " utterance logits", "off by " + std::to_string(relative * 1e6) + "e-6");
  const double absolute = farthest(run.occupancies.read(), occupancies);
  report.check(absolute <= 1e-6, what + " occupancies", "off by " + std::to_string(absolute * 1e6) + "e-6");
  // What lies around them.
  report.close(run.utteranceLogits, logits, 1e-6, what + " utterance logits");
  report.close(run.occupancies, occupancies, 1e-5, what + " occupancies");
  report.untouched(run.logits, what + " logits");
  report.untouched(run.bias, what + " bias");
}

const std::vector<int32_t> fewFrames = {0, 1, 2, 3, 0, 5, 10, 7, 0};

void allPaths(Backend &backend, Report &report) {
  for (double size : {1.0, 50.0}) {
    for (float scale : {0.1f, 1.0f}) {
      for (float cost : {0.0f, 4.0f, 8.0f, -1.0f}) {
        const Problem problem{fewFrames, 4, 1, scale, cost};
        agrees(backend, report, problem, normals(problem, size, 1), everyPath, ", logits of " + std::to_string(size));
      }
    }
  }
  for (const auto &shape : std::vector<std::pair<int64_t, int32_t>>{{2, 0}, {2, 1}, {4, 0}, {4, 3}, {33, 17}}) {
    const Problem problem{{4, 0, 6, 1}, shape.first, shape.second, 0.5f, 2};
    agrees(backend, report, problem, normals(problem, 3, 1), everyPath);
  }
}

// Any number of utterances without frames, none among them.
void nothing(Backend &backend, Report &report) {
  for (const std::vector<int32_t> &lengths : {std::vector<int32_t>{}, {0}, {0, 0, 0}}) {
    const Problem problem{lengths, 4, 2};
    agrees(backend, report, problem, {}, everyPath);
    const Run run(backend, problem, {});
    const Tensor dUtteranceLogits = Tensor(backend, DType::f32, problem.utterances(), 4).normal(5),
                 dLogits = Tensor(backend, DType::f32, 0, 4).normal(6);
    backend.run(IslandAlignmentBackward{run.op, dUtteranceLogits, dLogits});
    report.same(dLogits, {}, problem.name() + " gradient");
  }
}

// Lengths around those at which a device may cut; half an hour.
void manyFrames(Backend &backend, Report &report) {
  for (float scale : {0.1f, 1.0f}) {
    for (float cost : {0.0f, 4.0f, 8.0f}) {
      const Problem problem{{300, 0, 1, 31, 32, 33, 511, 512, 513, 1024, 1025, 2000, 64, 1537}, 3, 1, scale, cost};
      agrees(backend, report, problem, normals(problem, 2, 1), normalised);
      agrees(backend, report, problem, normals(problem, 50, 1), normalised, ", large logits");
    }
  }
}
void halfAnHour(Backend &backend, Report &report) {
  const Problem problem{{7, 90000}, 3, 0}, unscaled{{90000}, 2, 1, 1, 4};
  agrees(backend, report, problem, normals(problem, 5, 1), normalised);
  agrees(backend, report, unscaled, normals(unscaled, 50, 1), normalised, ", large logits");
  // Logits that lean to neutral nearly everywhere, then to the emotion: sums of one sign.
  for (double lean : {-50.0, 50.0}) {
    Doubles z = normals(problem, 1, 1);
    for (size_t i = 0; i < z.size(); ++i) z[i] += i % 3 == 0 ? 0 : lean;
    agrees(backend, report, problem, z, normalised, ", leaning by " + std::to_string(lean));
  }
  // Runs of 400 frames of either.
  Doubles z = normals(problem, 10, 1);
  for (size_t i = 0; i < z.size(); ++i) z[i] += i % 3 == 0 ? 0 : i / 1200 % 2 == 0 ? -4 : 4;
  agrees(backend, report, problem, z, normalised, ", islands");
}

// Weights that no number but their logarithm holds.
void extremeLogits(Backend &backend, Report &report) {
  const Problem few{fewFrames, 4, 2, 1, 4};
  agrees(backend, report, few, normals(few, 1e4, 1), everyPath, ", logits of 1e4");
  const Problem alike{{9}, 2, 0, 1, 8};
  for (double size : {-1e4, 1e4}) {
    Doubles z = normals(alike, 1, 1);
    for (size_t i = 0; i < z.size(); ++i) z[i] += i % 2 == 0 ? -size : size;
    agrees(backend, report, alike, z, everyPath, ", leaning by " + std::to_string(size));
  }
  const Problem many{{3000, 90}, 3, 0, 1, 8};
  const Run run(backend, many, normals(many, 1e4, 1));
  backend.run(run.op);
  bool finite = true, shares = true;
  for (double value : run.utteranceLogits.read()) finite = finite && std::isfinite(value);
  for (double value : run.occupancies.read()) shares = shares && value >= 0 && value <= 1;
  report.check(finite, "log Z is finite");
  report.check(shares, "occupancies are between 0 and 1");
}

// What is not a number is seen in its own utterance and column, and nowhere else.
void notANumber(Backend &backend, Report &report) {
  const Problem problem{{4, 600, 5}, 3, 0};
  Doubles z = normals(problem, 2, 1);
  z[(4 + 300) * 3 + 1] = NAN;
  const Run run(backend, problem, z);
  backend.run(run.op);
  const Doubles logits = run.utteranceLogits.read(), occupancies = run.occupancies.read();
  for (size_t i = 0; i < logits.size(); ++i) {
    report.check(std::isnan(logits[i]) == (i == 3 + 1), "utterance logit " + std::to_string(i));
  }
  for (size_t i = 0; i < occupancies.size(); ++i) {
    const bool clean = i / 3 < 4 || i / 3 >= 604 || i % 3 != 1;
    if (clean) report.check(std::isfinite(occupancies[i]), "occupancy " + std::to_string(i));
  }
}

// Through the cross-entropy of the utterance logits, against differences of the sum over all paths.
void gradients(Backend &backend, Report &report) {
  for (const Problem &problem : {Problem{{3, 0, 6, 1}, 4, 0, 0.1f, 4}, Problem{{6, 2, 0}, 3, 2, 1.0f, 0},
                                 Problem{{0, 5, 4}, 3, 1, 1.0f, 8}, Problem{{5, 1}, 2, 1, 0.5f, 1}}) {
    const int64_t C = problem.C, B = problem.utterances();
    const Run run(backend, problem, normals(problem, 2, 7));
    backend.run(run.op);
    const Array<int32_t> labels(backend, integers(8, B, C));
    const Tensor result = Tensor(backend, DType::f32, 1, 2).normal(9),
                 dUtteranceLogits = Tensor(backend, DType::f32, B, C, {2}).normal(10),
                 dLogits = Tensor(backend, DType::f32, run.logits.view().rows, C, {1}).normal(11),
                 dBias = Tensor(backend, DType::f32, 1, C).constant(0);
    SoftmaxCrossEntropy loss;
    loss.logits = run.utteranceLogits;
    loss.labels = labels.data();
    loss.gradientScale = 0.5f;
    loss.result = result;
    loss.dLogits = dUtteranceLogits;
    backend.run(loss);
    backend.run(IslandAlignmentBackward{run.op, dUtteranceLogits, dLogits});
    backend.run(ColumnSum{dUtteranceLogits, dBias});
    const auto value = [&](const Doubles &z, const Doubles &bias) {
      Doubles logits, occupancies;
      problem.solve(everyPath, z, bias, logits, occupancies);
      double sum = 0;
      for (int64_t b = 0; b < B; ++b) {
        double exponentials = 0;
        for (int64_t c = 0; c < C; ++c) exponentials += std::exp(logits[b * C + c]);
        sum += std::log(exponentials) - logits[b * C + labels.values[b]];
      }
      return 0.5 * sum;
    };
    const Doubles &z = run.logits.values, &bias = run.bias.values;
    report.close(dLogits, finiteDifferences(z, [&](const Doubles &at) { return value(at, bias); }), 1e-5,
                 problem.name() + " dLogits");
    report.close(dBias, finiteDifferences(bias, [&](const Doubles &at) { return value(z, at); }), 1e-5,
                 problem.name() + " dBias");
    report.untouched(run.logits, problem.name() + " logits");
  }
}

// The gradient of many frames: a multiple of the occupancies.
void longGradient(Backend &backend, Report &report) {
  const Problem problem{{700, 0, 3, 1300, 1}, 5, 3, 0.1f, 4};
  const int64_t C = problem.C;
  const Run run(backend, problem, normals(problem, 8, 1));
  backend.run(run.op);
  const Tensor dUtteranceLogits = Tensor(backend, DType::f32, problem.utterances(), C).normal(5),
               dLogits = Tensor(backend, DType::f32, run.logits.view().rows, C).normal(6);
  backend.run(IslandAlignmentBackward{run.op, dUtteranceLogits, dLogits});
  Doubles logits, expected;
  problem.solve(normalised, run.logits.values, run.bias.values, logits, expected);
  int64_t t = 0;
  for (int64_t b = 0; b < problem.utterances(); ++b) {
    for (const int64_t end = t + problem.lengths[b]; t < end; ++t) {
      for (int64_t c = 0; c < C; ++c) {
        if (c == problem.neutral) continue;
        expected[t * C + c] *= static_cast<double>(problem.scale) * dUtteranceLogits(b, c);
        expected[t * C + problem.neutral] -= expected[t * C + c];
      }
    }
  }
  report.close(dLogits, expected, 1e-5, problem.name());
}

// What else is in the batch must not matter, to the bit.
void batchMates(Backend &backend, Report &report) {
  Doubles out[2];
  for (int mates = 0; mates < 2; ++mates) {
    const Problem problem{mates ? std::vector<int32_t>{37, 600, 0, 90} : std::vector<int32_t>{600}, 3};
    Doubles z = normals(problem, 3, 9);
    const size_t first = mates ? 37 * 3 : 0;
    for (size_t i = 0; i < 600 * 3; ++i) z[first + i] = normalAt(1, i);
    const Run run(backend, problem, z);
    backend.run(run.op);
    const Doubles occupancies = run.occupancies.read(), logits = run.utteranceLogits.read();
    out[mates].assign(occupancies.begin() + first, occupancies.begin() + first + 600 * 3);
    for (size_t c = 0; c < 3; ++c) out[mates].push_back(logits[(mates ? 3 : 0) + c]);
  }
  report.identical(out[0], out[1], "alone and with others");
}

void referencesAgree(Backend &, Report &report) {
  for (double cost : {0.0, 4.0, -2.0}) {
    Doubles r(9);
    for (size_t i = 0; i < r.size(); ++i) r[i] = 3 * normalAt(1, i);
    const Aligned paths = everyPath(r, cost), recursion = normalised(r, cost);
    report.close(Doubles{recursion.logZ}, {paths.logZ}, 1e-12, "log Z");
    report.close(recursion.occupancies, paths.occupancies, 1e-12, "occupancies");
  }
}

void sameBits(Backend &, Report &report) {
  report.deterministic(
      [](Backend &backend) {
        const Problem problem{{100, 3, 0, 250, 77, 41, 1}, 5, 1};
        const Run run(backend, problem, normals(problem, 3, 1));
        const Tensor dUtteranceLogits = Tensor(backend, DType::f32, problem.utterances(), 5).normal(5),
                     dLogits = Tensor(backend, DType::f32, run.logits.view().rows, 5).constant(0);
        backend.run(run.op);
        backend.run(IslandAlignmentBackward{run.op, dUtteranceLogits, dLogits});
        Doubles all = run.utteranceLogits.read();
        for (double value : run.occupancies.read()) all.push_back(value);
        for (double value : dLogits.read()) all.push_back(value);
        return all;
      },
      "alignment");
}

const Cases table("alignment", {{"against every path", allPaths},
                                {"no frames", nothing},
                                {"many frames", manyFrames},
                                {"half an hour", halfAnHour},
                                {"extreme logits", extremeLogits},
                                {"not a number", notANumber},
                                {"gradients against differences over every path", gradients},
                                {"gradients of many frames", longGradient},
                                {"batch mates do not matter", batchMates},
                                {"the two references agree", referencesAgree},
                                {"same bits with any thread count", sameBits}});

}  // namespace
}  // namespace test
}  // namespace emoframe
