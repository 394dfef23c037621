// Waveforms to zero mean and unit variance. Samples are read twice, in parts that stay in the
// second-level cache when an utterance is one part; sums are taken from an utterance's first sample, so
// that an offset far from zero costs no digits.
#include <algorithm>
#include <cmath>
#include <vector>

#include "backend.h"
#include "parallel.h"
#include "simd.h"

namespace emoframe {

namespace {

constexpr int64_t partSamples = 1 << 16;

struct Sums {
  double values = 0, squares = 0;  // of x - shift
};
struct Scaling {
  double mean, scale;
};

EMOFRAME_SIMD void addSums(const float *x, int64_t n, double shift, Sums *sums) {
  double values = 0, squares = 0;
#pragma omp simd reduction(+ : values, squares)
  for (int64_t i = 0; i < n; ++i) {
    const double off = static_cast<double>(x[i]) - shift;
    values += off;
    squares += off * off;
  }
  *sums = {values, squares};
}

EMOFRAME_SIMD void scaleSamples(float *x, int64_t n, double mean, double scale) {
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>((static_cast<double>(x[i]) - mean) * scale);
}

// Samples [begin, end) of utterance b.
struct Part {
  int32_t b;
  int64_t begin, end;
};

}  // namespace

template <>
void CpuBackend::perform(const NormalizeWaveforms &waveforms) {
  std::vector<Part> parts;
  for (int32_t b = 0; b < waveforms.count; ++b) {
    for (int64_t at = 0; at < waveforms.length[b]; at += partSamples) {
      parts.push_back({b, at, std::min<int64_t>(waveforms.length[b], at + partSamples)});
    }
  }
  const auto samplesOf = [&](int32_t b) { return waveforms.samples.as<float>() + waveforms.start[b]; };
  const auto count = static_cast<int64_t>(parts.size());
  std::vector<Scaling> scalings(static_cast<size_t>(waveforms.count));
  if (waveforms.statistics) {
    for (size_t b = 0; b < scalings.size(); ++b)
      scalings[b] = {waveforms.statistics[2 * b], waveforms.statistics[2 * b + 1]};
  } else {
    std::vector<Sums> partials(parts.size());
    parallelFor(threads_, count, 1, [&](int64_t i, int64_t) {
      const Part &part = parts[i];
      const float *x = samplesOf(part.b);
      addSums(x + part.begin, part.end - part.begin, static_cast<double>(x[0]), &partials[i]);
    });
    size_t next = 0;
    for (int32_t b = 0; b < waveforms.count; ++b) {
      Sums total;
      for (; next < parts.size() && parts[next].b == b; ++next) {
        total.values += partials[next].values;
        total.squares += partials[next].squares;
      }
      if (waveforms.length[b] == 0) continue;
      const double n = waveforms.length[b], mean = total.values / n;
      const double variance = std::max(total.squares / n - mean * mean, 0.0);
      scalings[b] = {static_cast<double>(samplesOf(b)[0]) + mean, 1 / std::sqrt(variance + waveforms.epsilon)};
    }
  }
  parallelFor(threads_, count, 1, [&](int64_t i, int64_t) {
    const Part &part = parts[i];
    const Scaling its = scalings[part.b];
    scaleSamples(samplesOf(part.b) + part.begin, part.end - part.begin, its.mean, its.scale);
  });
}

}  // namespace emoframe
