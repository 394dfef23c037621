// Waveforms to zero mean and unit variance.
#include "harness.h"

namespace emoframe {
namespace test {

namespace {

struct Utterance {
  int32_t start, length;
};

// Normalises what `samples` holds, and compares with the definition in float64.
void normalized(Backend &backend, Report &report, const Tensor &samples, const std::vector<Utterance> &utterances,
                const Doubles &given, double tolerance, const std::string &what) {
  std::vector<int32_t> begins, counts;
  for (const Utterance &one : utterances) begins.push_back(one.start), counts.push_back(one.length);
  const Array<int32_t> starts(backend, begins), lengths(backend, counts);
  const Array<double> statistics(backend, given);
  NormalizeWaveforms waveforms;
  waveforms.samples = samples;
  waveforms.count = static_cast<int32_t>(utterances.size());
  waveforms.start = starts.values.data();
  waveforms.length = lengths.values.data();
  waveforms.deviceStart = starts.data();
  waveforms.deviceLength = lengths.data();
  if (!given.empty()) waveforms.statistics = statistics.data();
  backend.run(waveforms);

  bool intact = false;
  const Doubles found = samples.read(&intact);
  Doubles untouched = samples.values, expectedRest = untouched;
  for (size_t b = 0; b < utterances.size(); ++b) {
    const auto [start, length] = utterances[b];
    const auto begin = samples.values.begin() + start;
    double mean = 0, variance = 0;
    for (int32_t i = 0; i < length; ++i) mean += (begin[i] - begin[0]) / length;
    if (length > 0) mean += begin[0];
    for (int32_t i = 0; i < length; ++i) variance += (begin[i] - mean) * (begin[i] - mean) / length;
    double scale = 1 / std::sqrt(variance + 1e-7);
    if (!given.empty()) mean = given[2 * b], scale = given[2 * b + 1];
    Doubles expected(begin, begin + length), its(found.begin() + start, found.begin() + start + length);
    for (double &x : expected) x = (x - mean) * scale;
    report.close(its, expected, tolerance, what + ", utterance " + std::to_string(b));
    for (int32_t i = start; i < start + length; ++i) untouched[i] = expectedRest[i] = 0;
  }
  Doubles rest = found;
  for (const Utterance &one : utterances) std::fill_n(rest.begin() + one.start, one.length, 0.0);
  report.close(rest, expectedRest, 0, what + ", between utterances");
  report.check(intact, what, "memory around it was written");
}

// Ragged: gaps, an empty one, one sample alone, parts that end at and just past a boundary.
const std::vector<Utterance> ragged = {{7, 333}, {400, 0}, {401, 1}, {480, 8192}, {9000, 8193}, {17300, 70001}};
constexpr int64_t raggedTotal = 88000;

const Cases waveformCases(
    "waveform", {
                    {"zero mean and unit variance, loud, quiet and off centre",
                     [](Backend &backend, Report &report) {
                       for (double scale : {1.0, 1e-3}) {
                         for (double shift : {0.0, 0.5, -20.0}) {
                           const Tensor samples = Tensor(backend, DType::f32, 1, raggedTotal).normal(1, scale, shift);
                           normalized(backend, report, samples, ragged, {}, 2e-7,
                                      "scale " + std::to_string(scale) + ", shift " + std::to_string(shift));
                         }
                       }
                     }},
                    {"silence stays silence",
                     [](Backend &backend, Report &report) {
                       for (double level : {0.0, 0.25, 30000.5}) {
                         const Tensor samples = Tensor(backend, DType::f32, 1, raggedTotal).constant(level);
                         normalized(backend, report, samples, {{0, 40000}, {40000, 48000}}, {}, 1e-9,
                                    "level " + std::to_string(level));
                       }
                     }},
                    {"statistics that are given",
                     [](Backend &backend, Report &report) {
                       const Tensor samples = Tensor(backend, DType::f32, 1, raggedTotal).normal(2, 0.1, 0.3);
                       normalized(backend, report, samples, ragged, {0.1, 3, 0.5, 0.5, 0, 1, -1, 20, 0.3, 10, 0.25, 7},
                                  2e-7, "given");
                     }},
                    {"no utterance, no sample",
                     [](Backend &backend, Report &report) {
                       const Tensor samples = Tensor(backend, DType::f32, 1, 64).normal(3);
                       normalized(backend, report, samples, {}, {}, 0, "no utterance");
                       normalized(backend, report, samples, {{5, 0}, {64, 0}}, {}, 0, "no sample");
                     }},
                    {"many utterances",
                     [](Backend &backend, Report &report) {
                       std::vector<Utterance> utterances;
                       for (int32_t i = 0; i < 300; ++i) utterances.push_back({(i * 77 % 300) * 60, i * 13 % 61});
                       const Tensor samples = Tensor(backend, DType::f32, 1, 300 * 60).normal(4, 0.2, 0.1);
                       normalized(backend, report, samples, utterances, {}, 2e-7, "many");
                     }},
                    {"same bits with any number of threads",
                     [](Backend &, Report &report) {
                       report.deterministic(
                           [&](Backend &backend) {
                             const Tensor samples = Tensor(backend, DType::f32, 1, 300000).normal(5, 0.2, 0.1);
                             normalized(backend, report, samples, {{0, 200000}, {200000, 100000}}, {}, 2e-7, "threads");
                             return samples.read();
                           },
                           "normalised");
                     }},
                });

}  // namespace
}  // namespace test
}  // namespace emoframe
