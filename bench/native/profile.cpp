// Where the time of HuBERT-base goes, op by op (its real size, random weights):
//   build/profile [forward|train|kmeans] [--precision fp32|bf16] [--threads 2] [--seconds 10] [--runs 5]
// `train` is one masked-prediction step on stored features and its optimiser step. `kmeans` takes 20 000 points of 768
// dimensions, 5 passes, with K 50 and then 500. Figures are of one run, the mean over runs after one that is not
// counted.
#include <algorithm>
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
  std::string work = "forward", precision = "fp32";
  int32_t threads = 2, runs = 5;
  double seconds = 10;
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
    if (name == "--precision") {
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
  return options;
}

float uniform(uint32_t site, uint64_t i) { return philoxUniformAt(1, 0, site, i); }

std::vector<float> noise(uint32_t site, int64_t count, float scale) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[i] = scale * (uniform(site, static_cast<uint64_t>(i)) * 2 - 1);
  return values;
}

HubertShape hubertBase(bool training) {
  HubertShape shape;
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

void print(const TimedBackend &backend, const Options &options) {
  std::vector<std::pair<std::string, OpTime>> rows(backend.times.begin(), backend.times.end());
  std::sort(rows.begin(), rows.end(), [](const auto &a, const auto &b) { return a.second.seconds > b.second.seconds; });
  double total = 0, flops = 0;
  for (const auto &row : rows) {
    total += row.second.seconds;
    flops += row.second.flops;
  }
  const double runs = options.runs;
  std::printf("%s, %s, %d threads, %s: %.1f ms, %.1f GFLOP, %.0f GFLOP/s\n", options.work.c_str(),
              options.precision.c_str(), options.threads, backend.path().c_str(), 1e3 * total / runs, 1e-9 * flops / runs,
              1e-9 * flops / total);
  for (const auto &[name, time] : rows) {
    if (time.seconds < 0.002 * total) continue;
    std::printf("%8.2f ms %5.1f %% %5lld calls", 1e3 * time.seconds / runs, 100 * time.seconds / total,
                static_cast<long long>(time.calls / options.runs));
    if (time.flops > 0) {
      std::printf("  %6.0f GFLOP/s", 1e-9 * time.flops / time.seconds);
    } else {
      std::printf("%16s", "");
    }
    std::printf("  %s\n", name.c_str());
  }
}

template <typename Once>
void measure(TimedBackend &backend, const Options &options, const Once &once) {
  once();
  once();  // weights are packed at the second use
  backend.times.clear();
  for (int32_t run = 0; run < options.runs; ++run) once();
  print(backend, options);
}

void profileModel(std::shared_ptr<TimedBackend> backend, const Options &options) {
  const bool training = options.work == "train";
  MaskedPredictionHead head;
  if (training) head.clusters = 500;
  const Precision precision = options.precision == "bf16" ? Precision::bf16 : Precision::fp32;
  Model model(backend, hubertBase(training), precision, head, ClassifierHead{});
  randomize(model);

  // Training packs utterances of 5 s; inference takes one.
  const auto count = static_cast<int64_t>(options.seconds * 16000);
  const int64_t length = training ? std::min<int64_t>(count, 80000) : count;
  HostBatch batch;
  for (int64_t at = 0; at + 400 <= count; at += length) {
    batch.starts.push_back(static_cast<int32_t>(at));
    batch.lengths.push_back(static_cast<int32_t>(std::min(length, count - at)));
  }
  batch.sampleCount = (count + 319) / 320 * 320;
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
    measure(backend, options, [&] {
      kmeans(backend, points.data(), count, dimension, settings, [](int64_t, double) { return true; });
    });
  }
}

}  // namespace
}  // namespace emoframe

int main(int argc, char **argv) {
  try {
    const emoframe::Options options = emoframe::parse(argc, argv);
    auto backend = std::make_shared<emoframe::TimedBackend>(emoframe::createBackend("cpu", {options.threads}));
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
