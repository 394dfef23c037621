// Where the time of HuBERT-base goes, op by op (its real size, random weights):
//   build/profile [forward|train|kmeans] [--device cpu|cuda:0] [--precision fp32|tf32|bf16] [--threads 2]
//                 [--seconds 10] [--shortest S --longest S] [--layers 12] [--warmups 2] [--runs 5] [--json FILE]
// `train` is one masked-prediction step on stored features and its optimiser step. `kmeans` takes 20 000 points of 768
// dimensions, 5 passes, with K 50 and then 500. Figures are of one run, the mean over runs after those that are not
// counted. On a GPU ops are timed there, by events, one after another; then whole runs by the clock, as graphs.
// Utterances last from --shortest to --longest seconds, in turn; without: 5 s in training, and all as one in `forward`.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "../../native/cluster/kmeans.h"
#include "../../native/model/model.h"
#include "../../native/philox.h"
#include "timed_backend.h"

namespace emoframe {
namespace {

struct Options {
  std::string work = "forward", device = "cpu", precision = "fp32", json;
  int32_t threads = 2, layers = 12, warmups = 2, runs = 5;
  double seconds = 10, shortest = 0, longest = 0;
};

Options parse(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name.compare(0, 2, "--") != 0) {
      options.work = name;
      continue;
    }
    if (i + 1 >= argc) throw std::invalid_argument("Expected a value after " + name + ".");
    const std::string value = argv[++i];
    if (name == "--device") {
      options.device = value;
    } else if (name == "--json") {
      options.json = value;
    } else if (name == "--layers") {
      options.layers = std::stoi(value);
    } else if (name == "--warmups") {
      options.warmups = std::stoi(value);
    } else if (name == "--shortest") {
      options.shortest = std::stod(value);
    } else if (name == "--longest") {
      options.longest = std::stod(value);
    } else if (name == "--precision") {
      options.precision = value;
    } else if (name == "--threads") {
      options.threads = std::stoi(value);
    } else if (name == "--runs") {
      options.runs = std::stoi(value);
    } else if (name == "--seconds") {
      options.seconds = std::stod(value);
    } else {
      throw std::invalid_argument("There is no option " + name + ".");
    }
  }
  if (options.longest < options.shortest || (options.longest > 0 && options.shortest < 0.1)) {
    throw std::invalid_argument("Expected 0.1 <= --shortest <= --longest.");
  }
  return options;
}

float uniform(uint32_t site, uint64_t i) { return philoxUniformAt(1, 0, site, i); }

std::vector<float> noise(uint32_t site, int64_t count, float scale) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[i] = scale * (uniform(site, static_cast<uint64_t>(i)) * 2 - 1);
  return values;
}

HubertShape hubertBase(bool training, int32_t layers) {
  HubertShape shape;
  shape.layers = layers;
  shape.convDim.assign(7, 512);
  shape.convKernel = {10, 3, 3, 3, 3, 2, 2};
  shape.convStride = {5, 2, 2, 2, 2, 2, 2};
  if (training) shape.hiddenDropout = shape.attentionDropout = 0.1f;
  return shape;
}

// Weights of ordinary sizes, so that no activation overflows or vanishes.
void randomize(Model &model) {
  uint32_t site = 100;
  for (const TensorInfo &tensor : model.tensors()) {
    int64_t size = 1, fanIn = 1;
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      size *= tensor.shape[i];
      if (i > 0) fanIn *= tensor.shape[i];
    }
    const bool norm = tensor.name.find("layer_norm.weight") != std::string::npos;
    std::vector<float> values =
        norm ? std::vector<float>(static_cast<size_t>(size), 1.0f)
             : noise(site++, size, tensor.shape.size() > 1 ? std::sqrt(3.0f / static_cast<float>(fanIn)) : 0.01f);
    model.importTensor(tensor.name, values.data(), size);
  }
}

// One line of JSON for each work that was profiled.
void write(const TimedBackend &backend, const Options &options, double milliseconds, double clock) {
  std::FILE *file = std::fopen(options.json.c_str(), "a");
  if (!file) throw std::runtime_error("Cannot write " + options.json + ".");
  const GraphUse use = backend.graphs();
  std::fprintf(file,
               "{\"work\": \"%s\", \"device\": \"%s\", \"precision\": \"%s\", \"seconds\": %g, \"layers\": %d, "
               "\"milliseconds\": %.4f, \"clock\": %.4f, \"replayed\": %lld, \"ops\": {",
               options.work.c_str(), backend.name().c_str(), options.precision.c_str(), options.seconds, options.layers,
               milliseconds, clock, static_cast<long long>(use.replayed));
  const char *comma = "";
  for (const auto &[name, time] : backend.times) {
    std::fprintf(file, "%s\"%s\": [%.4f, %g, %.4g]", comma, name.c_str(), 1e3 * time.seconds / options.runs,
                 static_cast<double>(time.calls) / options.runs, time.flops / options.runs);
    comma = ", ";
  }
  std::fprintf(file, "}}\n");
  std::fclose(file);
}

void print(const TimedBackend &backend, const Options &options, double clock) {
  std::vector<std::pair<std::string, OpTime>> rows(backend.times.begin(), backend.times.end());
  std::sort(rows.begin(), rows.end(), [](const auto &a, const auto &b) { return a.second.seconds > b.second.seconds; });
  double total = 0, flops = 0;
  for (const auto &row : rows) {
    total += row.second.seconds;
    flops += row.second.flops;
  }
  const double runs = options.runs;
  std::printf("%s, %s, %s, %d threads, %s: %.2f ms, %.1f GFLOP, %.0f GFLOP/s; whole runs: %.2f ms by the clock\n",
              options.work.c_str(), options.precision.c_str(), backend.name().c_str(), options.threads,
              backend.path().c_str(), 1e3 * total / runs, 1e-9 * flops / runs, 1e-9 * flops / total, clock);
  for (const auto &[name, time] : rows) {
    if (time.seconds < 0.002 * total) continue;
    std::printf("%8.3f ms %5.1f %% %5lld calls", 1e3 * time.seconds / runs, 100 * time.seconds / total,
                static_cast<long long>(time.calls / options.runs));
    if (time.flops > 0) {
      std::printf("  %6.0f GFLOP/s", 1e-9 * time.flops / time.seconds);
    } else {
      std::printf("%16s", "");
    }
    std::printf("  %s\n", name.c_str());
  }
  if (!options.json.empty()) write(backend, options, 1e3 * total / runs, clock);
}

template <typename Once>
void measure(TimedBackend &backend, const Options &options, const Once &once) {
  // Two at least where figures count: weights are packed at the second use, and graphs made.
  for (int32_t run = 0; run < options.warmups; ++run) once();
  backend.finish();
  backend.times.clear();
  for (int32_t run = 0; run < options.runs; ++run) once();
  backend.finish();
  backend.timing = false;
  for (int32_t run = 0; run < options.warmups; ++run) once();
  backend.synchronize();
  const auto started = std::chrono::steady_clock::now();
  for (int32_t run = 0; run < options.runs; ++run) once();
  backend.synchronize();
  const std::chrono::duration<double, std::milli> clock = std::chrono::steady_clock::now() - started;
  backend.timing = true;
  print(backend, options, clock.count() / options.runs);
}

// Lengths in samples, of --seconds in all.
std::vector<int64_t> lengthsOf(const Options &options) {
  const auto count = static_cast<int64_t>(options.seconds * 16000);
  const double usual = options.work == "train" ? std::min(5.0, options.seconds) : options.seconds;
  const double shortest = options.longest > 0 ? options.shortest : usual;
  const double longest = options.longest > 0 ? options.longest : usual;
  const auto utterances = std::max<int64_t>(1, std::llround(2 * options.seconds / (shortest + longest)));
  std::vector<int64_t> lengths;
  int64_t at = 0;
  for (int64_t i = 0; at + 400 <= count; ++i) {
    const double place = utterances > 1 ? static_cast<double>(i % utterances) / static_cast<double>(utterances - 1) : 1;
    const auto length = static_cast<int64_t>(16000 * (shortest + place * (longest - shortest)));
    lengths.push_back(std::min(length, count - at));
    at += (lengths.back() + 319) / 320 * 320;
  }
  return lengths;
}

Precision precisionOf(const std::string &name) {
  if (name == "fp32") return Precision::fp32;
  if (name == "tf32") return Precision::tf32;
  if (name == "bf16") return Precision::bf16;
  throw std::invalid_argument("Expected fp32, tf32 or bf16 but received " + name + ".");
}

void profileModel(std::shared_ptr<TimedBackend> backend, const Options &options) {
  const bool training = options.work == "train";
  MaskedPredictionHead head;
  if (training) head.clusters = 500;
  Model model(backend, hubertBase(training, options.layers), precisionOf(options.precision), head, ClassifierHead{});
  randomize(model);

  HostBatch batch;
  for (const int64_t length : lengthsOf(options)) {
    batch.starts.push_back(static_cast<int32_t>(batch.sampleCount));
    batch.lengths.push_back(static_cast<int32_t>(length));
    batch.sampleCount += (length + 319) / 320 * 320;
  }
  const std::vector<float> samples = noise(1, batch.sampleCount, 1);
  batch.samples = samples.data();
  if (!training) {
    measure(*backend, options, [&] { model.encode(batch, modelOutput); });
    return;
  }
  std::vector<std::string> keys;
  for (size_t i = 0; i < batch.starts.size(); ++i) keys.push_back(std::to_string(i));
  model.freeze({"feature_extractor."});
  model.storeFeatures(keys, batch);
  HostBatch stored;
  stored.features = keys;
  int64_t frames = 0;
  for (const std::string &key : keys) frames += model.storedFrames(key);
  std::vector<int32_t> labels(static_cast<size_t>(frames));
  std::vector<uint8_t> mask(static_cast<size_t>(frames));
  for (int64_t t = 0; t < frames; ++t) {
    labels[t] = static_cast<int32_t>(uniform(2, static_cast<uint64_t>(t)) * 500);
    mask[t] = uniform(3, static_cast<uint64_t>(t / 10)) < 0.55f;
  }
  TrainStep step;
  step.objective = Objective::maskedPrediction;
  step.labels = labels.data();
  step.labelCount = step.maskCount = frames;
  step.mask = mask.data();
  step.denominator = static_cast<double>(std::count(mask.begin(), mask.end(), 1));
  OptimizerStep update;
  update.adamW.clipNorm = 10;
  measure(*backend, options, [&] {
    model.trainStep(stored, step);
    model.optimizerStep(update);
    ++step.step;
    ++update.adamW.step;
  });
}

void profileKMeans(TimedBackend &backend, Options options) {
  constexpr int64_t count = 20000, dimension = 768;
  std::vector<float> points = noise(1, count * dimension, 1);
  const std::vector<float> centres = noise(2, 200 * dimension, 1);
  for (int64_t i = 0; i < count * dimension; ++i) {
    points[i] += centres[static_cast<size_t>(i / dimension % 200 * dimension + i % dimension)];
  }
  for (const int64_t clusters : {50, 500}) {
    KMeansSettings settings;
    settings.clusters = clusters;
    settings.restarts = 1;
    settings.maxIterations = 5;
    settings.tolerance = 0;
    options.work = "kmeans K=" + std::to_string(clusters);
    measure(backend, options,
            [&] { kmeans(backend, points.data(), count, dimension, settings, [](int64_t, double) { return true; }); });
  }
}

}  // namespace
}  // namespace emoframe

int main(int argc, char **argv) {
  try {
    const emoframe::Options options = emoframe::parse(argc, argv);
    auto backend = std::make_shared<emoframe::TimedBackend>(emoframe::createBackend(options.device, {options.threads}));
    if (options.work == "kmeans") {
      emoframe::profileKMeans(*backend, options);
    } else if (options.work == "forward" || options.work == "train") {
      emoframe::profileModel(backend, options);
    } else {
      throw std::invalid_argument("Expected forward, train or kmeans but received " + options.work + ".");
    }
  } catch (const std::exception &error) {
    std::fprintf(stderr, "profile: %s\n", error.what());
    return 1;
  }
  return 0;
}
