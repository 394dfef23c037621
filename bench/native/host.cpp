// What a step of HuBERT-base costs the host (its real size; batches of other utterances each time), on a CUDA runtime
// that computes nothing (bench/null-cuda):
//   build/host_cost [masked|finetune|predict ...] [--steps 300] [--warmup 40] [--seconds 350] [--least 350]
//                    [--layerdrop 0.05]
// `masked` and `finetune` are training steps on stored features, each with its optimiser step, the next batch's inputs
// sent while the host waits, as training does; `predict` classifies utterances given as samples. A line each says what
// a step came to: kernels, graphs, nodes updated, copies, waits; the host's time in the engine; and, what lies between
// two calls of it included, how long after a wait the device was given something, and all.
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../native/model/model.h"
#include "../../native/philox.h"
#include "null_cuda.h"

namespace emoframe {
namespace {

// In [0, 1): the `i`th of a stream of its own.
double uniform(uint32_t stream, uint64_t i) { return philoxUniformAt(7, 0, stream, i); }

struct Options {
  std::vector<std::string> works;
  int64_t steps = 300, warmup = 40;
  double seconds = 350, least = 350, layerdrop = 0.05;

  // Of audio in a batch: at most.
  double secondsOf(int64_t number) const {
    return least + (seconds - least) * uniform(4, static_cast<uint64_t>(number));
  }
};

Options parse(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name.compare(0, 2, "--") != 0) {
      if (name != "masked" && name != "finetune" && name != "predict")
        throw std::invalid_argument("Expected masked, finetune or predict but received " + name + ".");
      options.works.push_back(name);
      continue;
    }
    if (i + 1 >= argc) throw std::invalid_argument("Expected a value after " + name + ".");
    const std::string value = argv[++i];
    if (name == "--steps") {
      options.steps = std::stoll(value);
    } else if (name == "--warmup") {
      options.warmup = std::stoll(value);
    } else if (name == "--seconds") {
      options.seconds = std::stod(value);
    } else if (name == "--least") {
      options.least = std::stod(value);
    } else if (name == "--layerdrop") {
      options.layerdrop = std::stod(value);
    } else {
      throw std::invalid_argument("There is no option " + name + ".");
    }
  }
  if (options.works.empty()) options.works = {"masked", "finetune", "predict"};
  return options;
}

constexpr int64_t kClusters = 500, kClasses = 4, kRate = 16000;

HubertShape hubertBase(const Options &options) {
  HubertShape shape;
  shape.convDim.assign(7, 512);
  shape.convKernel = {10, 3, 3, 3, 3, 2, 2};
  shape.convStride = {5, 2, 2, 2, 2, 2, 2};
  shape.hiddenDropout = shape.attentionDropout = shape.activationDropout = 0.1f;
  shape.layerdrop = static_cast<float>(options.layerdrop);
  return shape;
}

// Utterances of 2 to 14 s, and batches of some of them.
class Utterances {
 public:
  explicit Utterances(const HubertShape &shape) {
    for (uint64_t i = 0; i < count; ++i) {
      lengths.push_back(static_cast<int32_t>((2 + 12 * uniform(1, i)) * kRate));
      frames.push_back(shape.frames(lengths.back()));
    }
  }
  static std::string key(size_t i) { return "utterance " + std::to_string(i); }

  static constexpr uint64_t count = 400;
  std::vector<int32_t> lengths;
  std::vector<int64_t> frames;
};

// One batch with all that its host side points at.
struct Batch {
  Batch(const Utterances &all, double seconds, bool stored, int64_t number, const std::vector<float> &noise) {
    int64_t samples = 0, frames = 0;
    for (uint64_t i = 0;; ++i) {
      const auto which = static_cast<size_t>(uniform(2, static_cast<uint64_t>(number) * 1000 + i) * Utterances::count);
      if (i > 0 && static_cast<double>(samples + all.lengths[which]) > seconds * kRate) break;
      if (stored) {
        host.features.push_back(Utterances::key(which));
      } else {
        host.starts.push_back(static_cast<int32_t>(samples));
        host.lengths.push_back(all.lengths[which]);
      }
      samples += (all.lengths[which] + 319) / 320 * 320;
      frames += all.frames[which];
      classes.push_back(static_cast<int32_t>(which % kClasses));
    }
    for (int64_t t = 0; t < frames; ++t) {
      labels.push_back(static_cast<int32_t>(t * 7 % kClusters));
      mask.push_back(uniform(3, static_cast<uint64_t>(number * 100000 + t / 10)) < 0.55);
    }
    if (!stored) {
      host.samples = noise.data();
      host.sampleCount = samples;
    }
    host.ticket = static_cast<uint64_t>(number) + 1;
  }
  Batch(const Batch &) = delete;
  Batch &operator=(const Batch &) = delete;

  TrainStep step(Objective objective, int64_t number) const {
    const bool masked = objective == Objective::maskedPrediction;
    TrainStep step;
    step.objective = objective;
    step.labels = masked ? labels.data() : classes.data();
    step.labelCount = static_cast<int64_t>(masked ? labels.size() : classes.size());
    step.mask = mask.data();
    step.maskCount = static_cast<int64_t>(mask.size());
    step.denominator = static_cast<double>(masked ? mask.size() : classes.size());
    step.seed = 1;
    step.step = static_cast<uint32_t>(number);
    return step;
  }

  HostBatch host;
  std::vector<int32_t> labels, classes;
  std::vector<uint8_t> mask;
};

void print(const std::string &work, const Options &options, double seconds) {
  const nullcuda::Counts all = nullcuda::counts();
  const auto each = [&](uint64_t n) { return static_cast<double>(n) / static_cast<double>(options.steps); };
  std::printf(
      "%-8s  %6.1f kernels alone, %4.2f graphs of %.1f kernels, %6.1f nodes updated, %4.2f graphs made, %4.1f "
      "attributes\n"
      "          %.1f uploads (%.2f MB), %.1f downloads (%.0f bytes), %.2f waits, %.2f allocations\n"
      "          host %.0f us; from waits to first launches %.0f us, to last launches %.0f us\n",
      work.c_str(), each(all.kernels), each(all.graphs),
      all.graphs ? static_cast<double>(all.graphKernels) / all.graphs : 0.0, each(all.nodeUpdates),
      each(all.graphsMade), each(all.attributes), each(all.uploads), 1e-6 * each(all.uploadedBytes),
      each(all.downloads), each(all.downloadedBytes), each(all.waits), each(all.allocations),
      1e6 * seconds / static_cast<double>(options.steps),
      1e6 * all.firstLaunchSeconds / static_cast<double>(options.steps),
      1e6 * all.lastLaunchSeconds / static_cast<double>(options.steps));
}

void measure(const std::string &work, const Options &options) {
  using Clock = std::chrono::steady_clock;
  const bool predicts = work == "predict";
  const Objective objective = work == "masked" ? Objective::maskedPrediction : Objective::classification;
  const std::shared_ptr<Backend> backend = createBackend("cuda:0", {});
  MaskedPredictionHead masked;
  if (work == "masked") masked.clusters = kClusters;
  ClassifierHead classifier;
  if (work != "masked") classifier.classes = kClasses;
  const HubertShape shape = hubertBase(options);
  const Utterances utterances(shape);
  const std::vector<float> noise(static_cast<size_t>((options.seconds + 20) * kRate), 0.5f);
  Model model(backend, shape, Precision::bf16, masked, classifier);
  PlannedWork planned;
  planned.frames = static_cast<int64_t>((options.seconds + 20) * 50);
  planned.utterances = static_cast<int64_t>(options.seconds / 2);
  planned.objective = objective;
  planned.training = !predicts;
  if (!predicts) {
    model.freeze({"feature_extractor."});
    planned.longestStoredFrames = 14 * 50;
    for (const int64_t frames : utterances.frames) planned.storedFrames += frames;
  }
  model.prepare(planned);
  for (size_t i = 0; i < Utterances::count && !predicts; ++i) {
    HostBatch one;
    one.samples = noise.data();
    one.sampleCount = utterances.lengths[i];
    one.starts = {0};
    one.lengths = {utterances.lengths[i]};
    model.storeFeatures({Utterances::key(i)}, one);
  }

  OptimizerStep update;
  update.adamW.clipNorm = 10;
  std::vector<std::unique_ptr<Batch>> batches;  // made before: what lies between two calls is counted
  for (int64_t number = 0; number <= options.warmup + options.steps; ++number)
    batches.push_back(std::make_unique<Batch>(utterances, options.secondsOf(number), !predicts, number, noise));
  double seconds = 0;
  for (int64_t i = -options.warmup; i < options.steps; ++i) {
    if (i == 0) {
      nullcuda::reset();
      seconds = 0;
    }
    const int64_t number = i + options.warmup;
    const Batch &batch = *batches[static_cast<size_t>(number)], &next = *batches[static_cast<size_t>(number) + 1];
    bool sent = false;
    backend->whileWaiting([&] {
      if (sent) return;
      sent = true;
      if (predicts) {
        model.sendAhead(next.host);
      } else {
        model.sendAhead(next.host, next.step(objective, number + 1));
      }
    });
    const Clock::time_point begin = Clock::now();
    if (predicts) {
      model.classify(batch.host);
    } else {
      model.trainStep(batch.host, batch.step(objective, number));
      update.adamW.learningRate = 1e-4f / static_cast<float>(number + 1);
      update.adamW.step = number + 1;
      model.optimizerStep(update);
    }
    seconds += std::chrono::duration<double>(Clock::now() - begin).count();
    backend->whileWaiting(nullptr);
  }
  print(work, options, seconds);
}

}  // namespace
}  // namespace emoframe

int main(int argc, char **argv) {
  try {
    const emoframe::Options options = emoframe::parse(argc, argv);
    for (const std::string &work : options.works) emoframe::measure(work, options);
  } catch (const std::exception &error) {
    std::fprintf(stderr, "host_cost: %s\n", error.what());
    return 1;
  }
  return 0;
}
