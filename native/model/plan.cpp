// How much memory work will take: the very same work is gone through on a backend that only counts, so that what is
// said cannot drift from what is done. Work is planned at its largest: every frame masked, every layer kept, and each
// utterance as long as its frames allow.
#include <algorithm>

#include "../memory_account.h"
#include "parts.h"

namespace emoframe {

namespace {

// Address space of the arena of a model that only counts: more than any work takes.
constexpr size_t kBoundless = size_t{1} << 46;

// Frames of each utterance of the work.
std::vector<int64_t> sharesOf(const PlannedWork &work) {
  std::vector<int64_t> shares;
  for (int64_t b = 0; b < work.utterances; ++b) {
    shares.push_back((b + 1) * work.frames / work.utterances - b * work.frames / work.utterances);
  }
  return shares;
}

// A batch of silence, and what it points at.
struct SilentBatch {
  SilentBatch(const HubertShape &shape, const std::vector<int64_t> &frames) {
    const int64_t stride = shape.stride();
    int64_t at = 0;
    for (const int64_t its : frames) {
      const int64_t length = shape.samples(its);
      host.starts.push_back(static_cast<int32_t>(at));
      host.lengths.push_back(static_cast<int32_t>(length));
      at += (length + stride - 1) / stride * stride;
    }
    samples.resize(static_cast<size_t>(at));
    host.samples = samples.data();
    host.sampleCount = at;
    host.normalize = true;
  }
  SilentBatch(const SilentBatch &) = delete;
  SilentBatch &operator=(const SilentBatch &) = delete;

  std::vector<float> samples;
  HostBatch host;
};

// Utterances of an update's other passes: more than updates have, for values of which a few bytes each are kept; fewer
// where each has so many outputs that these alone would fill memory.
int64_t othersOf(int64_t outputs) { return std::clamp<int64_t>((1 << 24) / outputs, 1, 4096); }

TrainStep largestStep(const PlannedWork &work, int64_t outputs, const std::vector<int32_t> &labels,
                      const std::vector<uint8_t> &mask, const std::vector<float> &targets) {
  TrainStep step;
  step.objective = work.objective;
  if (work.objective == Objective::regression) {
    step.targets = step.otherOutputs = step.otherTargets = targets.data();
    step.targetCount = work.utterances * outputs;
    step.otherCount = othersOf(outputs) * outputs;
  } else {
    step.labels = labels.data();
    step.labelCount = work.objective == Objective::maskedPrediction ? work.frames : work.utterances;
  }
  if (work.objective == Objective::alignment) {
    step.frameLabels = labels.data();
    step.frameLabelCount = work.frames;
  } else {
    step.mask = mask.data();
    step.maskCount = work.frames;
  }
  step.featurePenalty = 1;
  return step;
}

}  // namespace

MemoryPlan Model::plan(const PlannedWork &work) const {
  if (work.utterances < 1 || work.frames < work.utterances) {
    throw Error("ERR_ARGUMENT", "Expected at least one utterance, and as many frames, to plan for but received " +
                                    std::to_string(work.utterances) + " and " + std::to_string(work.frames) + ".");
  }
  HubertShape shape = parts_->shape;
  shape.layerdrop = 0;
  if (work.storedFrames < 0 || work.longestStoredFrames < 0) {
    throw Error("ERR_ARGUMENT", "Expected no negative number of stored frames to plan for.");
  }
  const int64_t longest = std::max(work.frames, work.longestStoredFrames);
  if (longest > INT32_MAX / shape.stride() / 2) {
    throw Error("ERR_ARGUMENT", "A pass of " + std::to_string(longest) +
                                    " frames holds more samples than an index can count: plan a smaller one.");
  }
  Model model(parts_->backend->counting(), shape, parts_->precision, parts_->maskedHead, parts_->classifierHead,
              parts_->alignmentHead);
  Parts &parts = *model.parts_;
  parts.parameters.freezeLike(parts_->parameters);
  parts.planning = true;
  // Where features are stored, utterances are parts of what was stored.
  parts.longestPlanned = work.longestStoredFrames > 0 ? work.longestStoredFrames : work.frames;
  parts.workspace.reserve(kBoundless);
  parts.inputBuffers.reserve(kBoundless);

  const std::vector<int64_t> shares = sharesOf(work);
  const SilentBatch batch(shape, shares);
  HostBatch given = batch.host;
  if (work.storedFrames > 0) {
    const SilentBatch stored(shape, {std::max<int64_t>(work.longestStoredFrames, 1)});
    model.storeFeatures({"longest"}, stored.host);
    given = {};
    for (size_t b = 0; b < shares.size(); ++b) {
      given.features.push_back(std::to_string(b));
      parts.cache.store(given.features.back(), matrix(nullptr, parts.dtype, shares[b], parts.cache.cols()));
    }
  }
  MemoryPlan plan;
  if (work.training) {
    const std::vector<int32_t> labels(static_cast<size_t>(work.frames), 0);
    const std::vector<uint8_t> mask(labels.size(), 1);
    const bool regression = work.objective == Objective::regression;
    const int64_t outputs = std::max<int64_t>(parts.classifierHead.classes, 1);
    const std::vector<float> targets(
        regression ? static_cast<size_t>(std::max(work.utterances, othersOf(outputs)) * outputs) : 0, 0.0f);
    model.trainStep(given, largestStep(work, outputs, labels, mask, targets));
    model.optimizerStep({});
    plan.gradients = parts.parameters.arenaBytes();
    plan.moments = 2 * parts.parameters.arenaBytes();
  }
  if ((parts.classifier || parts.alignment) && (!work.training || work.objective != Objective::maskedPrediction)) {
    FrameRanges all;
    for (const int64_t its : shares) {
      all.starts.push_back(0);
      all.counts.push_back(static_cast<int32_t>(its));
    }
    model.classify(given, work.ranges ? &all : nullptr);
  } else if (!work.training) {
    model.encode(given, modelOutput);
  }

  const MemoryUse use = parts.backend->memory();
  const auto passFeatures = static_cast<size_t>(parts.cache.heldBytes());
  const auto sets = static_cast<size_t>(parts.inputBuffers.sets());
  plan.inputs = parts.inputBuffers.peak();
  plan.activations = parts.workspace.peak() + sets * plan.inputs;
  plan.scratch = use.scratch;
  plan.staging = use.staging + sets * plan.inputs;
  plan.features = static_cast<size_t>(work.storedFrames * parts.cache.cols()) * sizeOf(parts.dtype);
  plan.weights = use.held - (1 + sets) * kBoundless - use.scratch - passFeatures - plan.gradients - plan.moments;

  const MemoryUse now = parts_->backend->memory();
  plan.held = parts_->parameters.heldBytes() + parts_->transformer.heldBytes() + parts_->workspace.size() +
              (parts_->logMel ? parts_->logMel->heldBytes() : 0) + parts_->inputBuffers.size() +
              static_cast<size_t>(parts_->cache.heldBytes()) + now.scratch;
  plan.available = now.available;
  return plan;
}

MemoryPlan Model::prepare(const PlannedWork &work) {
  const MemoryPlan plan = this->plan(work);
  const size_t more = plan.total() - std::min(plan.total(), plan.held);
  if (more > plan.available) {
    const std::string features =
        plan.features > 0 ? " and " + megabytes(plan.features) + " for stored features" : std::string();
    throw Error("ERR_OUT_OF_MEMORY", "This work needs " + megabytes(plan.total()) + " of " + parts_->backend->name() +
                                         ", " + megabytes(plan.activations) + " of it for a pass" + features + ": " +
                                         megabytes(more) + " more than it has, with " + megabytes(plan.available) +
                                         " available.");
  }
  try {
    parts_->workspace.reserve(plan.activations - static_cast<size_t>(parts_->inputBuffers.sets()) * plan.inputs);
    parts_->inputBuffers.reserve(plan.inputs);
    parts_->cache.reserve(work.storedFrames);
    parts_->backend->reserveScratch(plan.scratch);
  } catch (...) {
    parts_->workspace.release();
    parts_->inputBuffers.release();
    throw;
  }
  return plan;
}

}  // namespace emoframe
