// What dropout promises as a random process: the share that it drops, an expectation that it does not change, and
// elements that do not know of each other, in an activation and in attention's probabilities. That every element is
// kept or dropped as ops.h says is asserted beside each op.
#include "harness.h"

namespace emoframe {
namespace test {
namespace {

// 1 where an element is kept.
using Kept = std::vector<uint8_t>;

double shareOf(const Kept &kept) {
  double count = 0;
  for (uint8_t bit : kept) count += bit;
  return count / static_cast<double>(kept.size());
}

// Correlation of two processes that keep with probability q, over the pairs (a[i], b[i + lag]).
double correlation(const Kept &a, const Kept &b, size_t lag, double q) {
  double sum = 0;
  const size_t pairs = a.size() - lag;
  for (size_t i = 0; i < pairs; ++i) sum += (a[i] - q) * (b[i + lag] - q);
  return sum / (static_cast<double>(pairs) * q * (1 - q));
}

void checkShare(Report &report, const Kept &kept, double p, const std::string &what) {
  const double deviation = std::sqrt(p * (1 - p) / static_cast<double>(kept.size()));
  const double share = shareOf(kept);
  report.check(std::abs(share - (1 - p)) < 4.5 * deviation + 0x1p-17, what, "keeps " + std::to_string(share));
}
void checkUncorrelated(Report &report, const Kept &a, const Kept &b, size_t lag, double p, const std::string &what) {
  const double found = correlation(a, b, lag, 1 - p);
  report.check(std::abs(found) < 4.5 / std::sqrt(static_cast<double>(a.size() - lag)), what,
               "a correlation of " + std::to_string(found));
}

constexpr int64_t rows = 96, cols = 1024;

// Of dropout on ones: what was kept, and by what it was scaled.
Kept keptOf(Backend &backend, Report &report, const Dropout &dropout, double *scale = nullptr) {
  const Tensor x = Tensor(backend, DType::f32, rows, cols).constant(1), y(backend, DType::f32, rows, cols);
  backend.run(ApplyDropout{x, dropout, y});
  const Doubles values = y.read();
  Kept kept(values.size());
  double factor = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    kept[i] = values[i] != 0;
    if (kept[i] && factor == 0) factor = values[i];
    if (kept[i] && values[i] != factor) {
      report.fail("dropout", "what is kept is scaled by several factors");
      break;
    }
  }
  if (scale) *scale = factor;
  return kept;
}

void expectationStays(Backend &backend, Report &report) {
  for (float p : {0.1f, 0.5f, 1.0f / 3, 0.05f, 0.9f, 0.999f, 1e-4f, 1e-6f}) {
    const std::string what = "p " + std::to_string(p);
    double scale = 0;
    const Kept kept = keptOf(backend, report, {p, 0xFEDCBA9876543210ull, 2, 5}, &scale);
    checkShare(report, kept, p, what);
    // The share that is really kept has 16 bits, and the scale is its inverse: so their product, the expectation, is 1.
    const double share = 65536 / scale;
    report.check(std::abs(share - std::round(share)) < 65536 * 1e-6, what, "the scale is no inverse of a share");
    report.check(std::abs(share / 65536 - (1 - static_cast<double>(p))) <= 0x1p-17 + 1e-7, what,
                 "the share kept, by its scale, is " + std::to_string(share / 65536));
    for (size_t place = 0; place < 8 && p >= 0.01f && p <= 0.99f; ++place) {  // every part of a random number alike
      Kept some;
      for (size_t i = place; i < kept.size(); i += 8) some.push_back(kept[i]);
      checkShare(report, some, p, what + ", place " + std::to_string(place));
    }
  }
}

void elementsAreIndependent(Backend &backend, Report &report) {
  const float p = 0.1f;
  const Dropout dropout{p, 99, 4, 7};
  const Kept kept = keptOf(backend, report, dropout);
  for (size_t lag : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 32, 256, 1024, 8192}) {
    checkUncorrelated(report, kept, kept, lag, p, std::to_string(lag) + " apart");
  }
  const std::vector<std::pair<std::string, Dropout>> others = {{"another site", {p, 99, 4, 8}},
                                                               {"another step", {p, 99, 5, 7}},
                                                               {"another seed", {p, 100, 4, 7}},
                                                               {"site and step exchanged", {p, 99, 7, 4}}};
  for (const auto &other : others) {
    checkUncorrelated(report, kept, keptOf(backend, report, other.second), 0, p, other.first);
  }
}

// Scores of zero and values that are rows of the identity: out shows every probability that was kept, key by key.
Kept keptByAttention(Backend &backend, Report &report, const std::vector<int32_t> &lengths, int64_t heads,
                     const Dropout &dropout) {
  constexpr int64_t size = 128;
  const Bounds bounds(backend, lengths);
  const int64_t T = bounds.total(), width = heads * size;
  const Tensor zeros = Tensor(backend, DType::f32, T, width).constant(0), out(backend, DType::f32, T, width);
  Doubles identity(static_cast<size_t>(T * width));
  for (int64_t b = 0, first = 0; b < static_cast<int64_t>(lengths.size()); first += lengths[b++]) {
    for (int64_t s = 0; s < lengths[b]; ++s) {
      for (int64_t h = 0; h < heads; ++h) identity[(first + s) * width + h * size + s] = 1;
    }
  }
  const Tensor v = Tensor(backend, DType::f32, T, width).set(identity);
  Attention attention;
  attention.q = attention.k = zeros;
  attention.v = v;
  attention.out = out;
  attention.segments = bounds.segments();
  attention.heads = heads;
  attention.dropout = dropout;
  backend.run(attention);
  const Doubles values = out.read();
  Kept kept;
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t b = 0, first = 0; b < static_cast<int64_t>(lengths.size()); first += lengths[b++]) {
      for (int64_t t = 0; t < lengths[b]; ++t) {
        for (int64_t s = 0; s < lengths[b]; ++s) kept.push_back(values[(first + t) * width + h * size + s] != 0);
      }
    }
  }
  report.check(shareOf(kept) > 0, "attention", "keeps nothing");
  return kept;
}

void probabilitiesAreIndependent(Backend &backend, Report &report) {
  const float p = 0.25f;
  constexpr int32_t T = 128;
  const Dropout dropout{p, 5, 6, 7};
  const Kept kept = keptByAttention(backend, report, {T, T}, 2, dropout);
  checkShare(report, kept, p, "the share kept");
  // Neighbours among keys and among queries: those that share a random number, and others.
  for (size_t lag : {1, 7, 8, 9, 16, 17, 32, T, 7 * T, 8 * T, 8 * T + 8, 8 * T + 9, 9 * T, 16 * T, T * T, 2 * T * T}) {
    checkUncorrelated(report, kept, kept, lag, p, "probabilities " + std::to_string(lag) + " apart");
  }
  checkUncorrelated(report, kept, keptByAttention(backend, report, {T, T}, 2, {p, 5, 6, 15}), 0, p, "another layer");
  checkUncorrelated(report, kept, keptByAttention(backend, report, {T, T}, 2, {p, 5, 7, 7}), 0, p, "another step");
}

const Cases table("dropout", {{"drops its share, and the expectation stays", expectationStays},
                              {"elements, sites and steps are independent", elementsAreIndependent},
                              {"attention's probabilities are independent", probabilitiesAreIndependent}});

}  // namespace
}  // namespace test
}  // namespace emoframe
