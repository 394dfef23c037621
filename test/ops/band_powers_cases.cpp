// Log powers of bands of frequency.
#include "harness.h"

namespace emoframe {
namespace test {

namespace {

// Bands that follow, overlap and repeat each other, of one bin and of all; and one that weighs none.
struct Bands {
  std::vector<int32_t> bins, counts;
};

void bandPowers(Backend &backend, Report &report, const Bands &bands, int64_t frames, int64_t bins, DType dtype,
                int64_t gap, const std::string &what) {
  const Tensor spectrum = Tensor(backend, DType::f32, frames, 2 * bins, {gap}).normal(1, 2);
  const auto columns = static_cast<int64_t>(bands.bins.size());
  std::vector<int32_t> first(1, 0);
  for (int32_t count : bands.counts) first.push_back(first.back() + count);
  Doubles positive;
  for (int32_t i = 0; i < first.back(); ++i) positive.push_back(uniformAt(2, i));
  const Tensor weights = Tensor(backend, DType::f32, 1, first.back()).set(positive);
  const Tensor out = Tensor(backend, dtype, frames, columns, {gap}).normal(3);
  const Array<int32_t> binsOf(backend, bands.bins), firstOf(backend, first);
  LogBandPowers op;
  op.spectrum = spectrum;
  op.bins = binsOf.data();
  op.first = firstOf.data();
  op.weights = weights;
  op.floor = 1e-3f;
  op.out = out;
  backend.run(op);

  Doubles expected;
  for (int64_t t = 0; t < frames; ++t) {
    for (int64_t m = 0; m < columns; ++m) {
      double sum = 0;
      for (int32_t i = 0; i < bands.counts[m]; ++i) {
        const double re = spectrum(t, bands.bins[m] + i), im = spectrum(t, bins + bands.bins[m] + i);
        sum += weights(0, first[m] + i) * (re * re + im * im);
      }
      expected.push_back(std::log(sum + static_cast<double>(op.floor)));
    }
  }
  report.close(out, expected, dtype == DType::f32 ? 1e-6 : toleranceOf(dtype), what);
  report.untouched(spectrum, what);
}

void manyBands(Backend &backend, Report &report) {
  const Bands few = {{0, 3, 4, 4, 10, 0, 16}, {1, 2, 3, 3, 7, 17, 0}};
  Bands many;
  for (int32_t m = 0; m < 40; ++m) {
    many.bins.push_back(m * (m + 1) / 8);
    many.counts.push_back(2 + m / 2);
  }
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (int64_t gap : {0, 3}) {
      const std::string what = std::string(nameOf(dtype)) + ", gaps of " + std::to_string(gap);
      bandPowers(backend, report, few, 33, 17, dtype, gap, "few bands, " + what);
      bandPowers(backend, report, many, 301, 242, dtype, gap, "many bands, " + what);
      bandPowers(backend, report, few, 0, 17, dtype, gap, "no frame, " + what);
    }
  }
}

void silence(Backend &backend, Report &report) {
  const Tensor spectrum = Tensor(backend, DType::f32, 5, 8).constant(0);
  const Tensor weights = Tensor(backend, DType::f32, 1, 4).constant(1);
  const Tensor out = Tensor(backend, DType::f32, 5, 2).normal(1);
  const Array<int32_t> bins(backend, {0, 2}), first(backend, {0, 2, 4});
  backend.run(LogBandPowers{spectrum, bins.data(), first.data(), weights, 1e-3f, out});
  report.close(out, Doubles(10, std::log(static_cast<double>(1e-3f))), 1e-7, "silence");
}

const Cases bandCases("waveform", {{"log powers of bands", manyBands}, {"silence has the floor's logarithm", silence}});

}  // namespace
}  // namespace test
}  // namespace emoframe
