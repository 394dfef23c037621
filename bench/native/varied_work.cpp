#include "varied_work.h"

#include <algorithm>
#include <chrono>

#include "../../native/philox.h"

namespace emoframe {
namespace {

// In [0, 1): the `i`th of a stream of its own.
double uniform(uint32_t stream, uint64_t i) { return philoxUniformAt(7, 0, stream, i); }

constexpr int64_t kClusters = 500, kClasses = 4, kRate = 16000;

HubertShape hubertBase(const VariedWork &work) {
  HubertShape shape;
  shape.convDim.assign(7, 512);
  shape.convKernel = {10, 3, 3, 3, 3, 2, 2};
  shape.convStride = {5, 2, 2, 2, 2, 2, 2};
  shape.hiddenDropout = shape.attentionDropout = shape.activationDropout = 0.1f;
  shape.layerdrop = static_cast<float>(work.layerdrop);
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
    host.id = static_cast<uint64_t>(number) + 1;
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

// Work on batches that come one after another, each sent while the host waits in the one before.
class Run {
 public:
  explicit Run(const VariedWork &work);
  VariedResult measure();

 private:
  void step(int64_t number);

  const VariedWork &work_;
  const bool predicts_;
  const Objective objective_;
  const std::shared_ptr<Backend> backend_ = createBackend("cuda:0", {});
  const std::vector<float> noise_;
  std::unique_ptr<Model> model_;
  std::vector<std::unique_ptr<Batch>> batches_;  // made before: what lies between two calls is counted
  OptimizerStep update_;
};

Run::Run(const VariedWork &work)
    : work_(work),
      predicts_(work.name == "predict"),
      objective_(work.name == "masked" ? Objective::maskedPrediction : Objective::classification),
      noise_(static_cast<size_t>((work.seconds + 20) * kRate), 0.5f) {
  MaskedPredictionHead masked;
  ClassifierHead classifier;
  if (work.name == "masked") {
    masked.clusters = kClusters;
  } else {
    classifier.classes = kClasses;
  }
  const HubertShape shape = hubertBase(work);
  const Utterances utterances(shape);
  model_ = std::make_unique<Model>(backend_, shape, Precision::bf16, masked, classifier);
  PlannedWork planned;
  planned.frames = static_cast<int64_t>((work.seconds + 20) * 50);
  planned.utterances = static_cast<int64_t>(work.seconds / 2) + 1;
  planned.objective = objective_;
  planned.training = !predicts_;
  if (!predicts_) {
    model_->freeze({"feature_extractor."});
    planned.longestStoredFrames = 14 * 50;
    for (const int64_t frames : utterances.frames) planned.storedFrames += frames;
  }
  model_->prepare(planned);
  for (size_t i = 0; i < Utterances::count && !predicts_; ++i) {
    HostBatch one;
    one.samples = noise_.data();
    one.sampleCount = utterances.lengths[i];
    one.starts = {0};
    one.lengths = {utterances.lengths[i]};
    model_->storeFeatures({Utterances::key(i)}, one);
  }
  for (int64_t number = 0; number <= work.warmup + work.steps; ++number) {
    const double seconds = work.least + (work.seconds - work.least) * uniform(4, static_cast<uint64_t>(number));
    batches_.push_back(std::make_unique<Batch>(utterances, seconds, !predicts_, number, noise_));
  }
  update_.adamW.clipNorm = 10;
}

void Run::step(int64_t number) {
  const Batch &batch = *batches_[static_cast<size_t>(number)], &next = *batches_[static_cast<size_t>(number) + 1];
  bool sent = false;
  backend_->whileWaiting([&] {
    if (sent) return;
    sent = true;
    if (predicts_) {
      model_->prefetch(next.host);
    } else {
      model_->prefetch(next.host, next.step(objective_, number + 1));
    }
  });
  if (predicts_) {
    model_->classify(batch.host);
  } else {
    model_->trainStep(batch.host, batch.step(objective_, number));
    update_.adamW.learningRate = 1e-4f / static_cast<float>(number + 1);
    update_.adamW.step = number + 1;
    model_->optimizerStep(update_);
  }
  backend_->whileWaiting(nullptr);
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

VariedResult Run::measure() {
  using Clock = std::chrono::steady_clock;
  int64_t number = 0;
  while (number < work_.warmup) step(number++);
  const GraphUse before = backend_->graphs();
  nullcuda::reset();
  std::vector<double> host, first, last;
  nullcuda::Counts counts;
  for (; number < work_.warmup + work_.steps; ++number) {
    const Clock::time_point begin = Clock::now();
    step(number);
    host.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    const nullcuda::Counts now = nullcuda::counts();
    first.push_back(now.firstLaunchSeconds - counts.firstLaunchSeconds);
    last.push_back(now.lastLaunchSeconds - counts.lastLaunchSeconds);
    counts = now;
  }
  VariedResult result;
  result.counts = counts;
  result.graphs = backend_->graphs();
  result.graphs.replayed -= before.replayed;
  result.graphs.made -= before.made;
  result.graphs.plain -= before.plain;
  result.hostSeconds = median(host);
  result.firstLaunchSeconds = median(first);
  result.lastLaunchSeconds = median(last);
  return result;
}

}  // namespace

VariedResult measureVaried(const VariedWork &work) { return Run(work).measure(); }

}  // namespace emoframe
