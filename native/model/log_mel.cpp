#include "log_mel.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../error.h"

namespace emoframe {

namespace {

constexpr int64_t kWindow = 400, kStride = 320, kPoints = 512;
constexpr double kRate = 16000, kLowest = 50, kHighest = 7600;  // Hz
// Of samples whose variance is about 1: a silent frame's powers are this.
constexpr float kFloor = 1e-3f;
const double kTurn = 2 * std::acos(-1.0);

double melOf(double hertz) { return 2595 * std::log10(1 + hertz / 700); }
double hertzOf(double mel) { return 700 * (std::pow(10, mel / 2595) - 1); }

struct Filters {
  std::vector<int32_t> bins, first = {0};  // the first frequency of each band; where its weights begin
  std::vector<float> weights;
};

Filters filtersOf(int64_t bands) {
  Filters filters;
  std::vector<double> edges;
  const double lowest = melOf(kLowest), step = (melOf(kHighest) - lowest) / static_cast<double>(bands + 1);
  for (int64_t i = 0; i < bands + 2; ++i) edges.push_back(hertzOf(lowest + step * static_cast<double>(i)));
  for (size_t m = 0; m < static_cast<size_t>(bands); ++m) {
    const double low = edges[m], peak = edges[m + 1], high = edges[m + 2];
    const auto begin = static_cast<int64_t>(std::floor(low * kPoints / kRate)) + 1;
    filters.bins.push_back(static_cast<int32_t>(begin));
    for (int64_t k = begin; static_cast<double>(k) * kRate / kPoints < high; ++k) {
      const double hertz = static_cast<double>(k) * kRate / kPoints;
      filters.weights.push_back(
          static_cast<float>(std::min((hertz - low) / (peak - low), (high - hertz) / (high - peak))));
    }
    filters.first.push_back(static_cast<int32_t>(filters.weights.size()));
    if (filters.first[m + 1] == filters.first[m]) {
      throw Error("ERR_MODEL_CONFIG", "The alignment head's melBands are " + std::to_string(bands) +
                                          ", so many that some are narrower than a bin of the spectrum; 40 are usual.");
    }
  }
  return filters;
}

}  // namespace

LogMel::LogMel(int64_t bands, const HubertShape &shape, Backend &backend) : backend_(backend), bands_(bands) {
  if (shape.stride() != kStride || shape.samples(0) + 1 != kWindow) {
    throw Error("ERR_MODEL_CONFIG",
                "The alignment head's melBands need frames of 400 samples every 320, but this model's are " +
                    std::to_string(shape.samples(0) + 1) + " every " + std::to_string(shape.stride()) +
                    ": set melBands to 0.");
  }
  Filters filters = filtersOf(bands);
  const int64_t lowest = *std::min_element(filters.bins.begin(), filters.bins.end());
  int64_t frequencies = 0;
  for (size_t m = 0; m < filters.bins.size(); ++m) {
    filters.bins[m] -= static_cast<int32_t>(lowest);
    frequencies = std::max<int64_t>(frequencies, filters.bins[m] + filters.first[m + 1] - filters.first[m]);
  }
  std::vector<float> waves(static_cast<size_t>(2 * frequencies * kWindow));
  for (int64_t n = 0; n < kWindow; ++n) {
    const double hann = 0.5 - 0.5 * std::cos(kTurn * static_cast<double>(n) / (kWindow - 1));
    for (int64_t k = 0; k < frequencies; ++k) {
      const double angle = kTurn * static_cast<double>((lowest + k) * n % kPoints) / kPoints;
      waves[static_cast<size_t>(k * kWindow + n)] = static_cast<float>(hann * std::cos(angle));
      waves[static_cast<size_t>((frequencies + k) * kWindow + n)] = static_cast<float>(hann * std::sin(angle));
    }
  }

  const auto place = [&](size_t count, size_t size) {
    const size_t at = heldBytes_;
    heldBytes_ += (count * size + 63) / 64 * 64;
    return at;
  };
  const size_t wavesAt = place(waves.size(), sizeof(float)), weightsAt = place(filters.weights.size(), sizeof(float)),
               binsAt = place(filters.bins.size(), sizeof(int32_t)),
               firstAt = place(filters.first.size(), sizeof(int32_t));
  std::vector<char> image(heldBytes_);
  std::memcpy(image.data() + wavesAt, waves.data(), waves.size() * sizeof(float));
  std::memcpy(image.data() + weightsAt, filters.weights.data(), filters.weights.size() * sizeof(float));
  std::memcpy(image.data() + binsAt, filters.bins.data(), filters.bins.size() * sizeof(int32_t));
  std::memcpy(image.data() + firstAt, filters.first.data(), filters.first.size() * sizeof(int32_t));
  memory_ = backend.allocate(heldBytes_);
  backend.upload(memory_, image.data(), heldBytes_);
  char *base = static_cast<char *>(memory_);
  waves_ = matrix(base + wavesAt, DType::f32, 2 * frequencies, kWindow);
  weights_ = vector(base + weightsAt, DType::f32, static_cast<int64_t>(filters.weights.size()));
  bins_ = reinterpret_cast<const int32_t *>(base + binsAt);
  first_ = reinterpret_cast<const int32_t *>(base + firstAt);
}

LogMel::~LogMel() {
  if (memory_) backend_.release(memory_);
}

// Of all frames of the sample axis, those that no utterance has among them; the last window reads the zeros behind it.
void LogMel::forward(const Context &context, const Packing &packing, const View &out) const {
  Workspace &workspace = context.workspace;
  Scratch scratch(workspace);
  const int64_t frames = packing.sampleCount / kStride;
  const View all = workspace.tensor(out.dtype, frames, bands_);
  const auto fit = static_cast<int64_t>(backend_.blockBytes() / (static_cast<size_t>(waves_.rows) * sizeof(float)));
  const int64_t most = std::min(frames, std::max<int64_t>(fit / 32 * 32, 32));
  const View spectrum = workspace.tensor(DType::f32, most, waves_.rows);
  for (int64_t begin = 0; begin < frames; begin += most) {
    const int64_t rows = std::min(most, frames - begin);
    const View windows = matrix(packing.samples.at(0, 0, begin * kStride), DType::f32, rows, kWindow, kStride);
    const View some = spectrum.rowRange(0, rows);
    backend_.run(Gemm{windows, waves_.transposed(), some});
    backend_.run(LogBandPowers{some, bins_, first_, weights_, kFloor, all.rowRange(begin, rows)});
  }
  backend_.run(CopyRows{all, packing.compaction.runs(), out});
}

}  // namespace emoframe
