// Memory that is planned before it is taken, and what happens when there is not enough.
#include "harness.h"

namespace emoframe {
namespace testing {
namespace {

constexpr size_t kSlack = 4096;  // allocations are rounded up

OptimizerStep firstStep() {
  OptimizerStep step;
  step.adamW.step = 1;
  return step;
}

// One pass of `frames` frames in all, the work that is planned at its largest.
struct Pass {
  Batch batch;
  TrainStep step;
  Pass(const HubertShape &shape, const std::vector<int64_t> &frames, Objective objective) {
    std::vector<int64_t> lengths;
    for (const int64_t its : frames) lengths.push_back(shape.samples(its));
    batch = makeBatch(shape, lengths);
    const auto before = batch.host.starts[0];  // makeBatch leaves room before the first
    for (int32_t &start : batch.host.starts) start -= before;
    batch.host.samples += before;
    batch.host.sampleCount -= before;
    std::fill(batch.mask.begin(), batch.mask.end(), 1);
    step = batch.step(objective);
    step.dropout = true;
    step.featurePenalty = 1;
  }
};

PlannedWork workOf(const Batch &batch, Objective objective) {
  PlannedWork work;
  work.frames = batch.totalFrames;
  work.utterances = static_cast<int64_t>(batch.frames.size());
  work.training = true;
  work.objective = objective;
  return work;
}

TEST(thePlanIsWhatTrainingTakes) {
  for (const HubertShape &plain : familyShapes()) {
    const HubertShape shape = withDropout(plain);
    for (Objective objective : {Objective::maskedPrediction, Objective::classification}) {
      // Of other families it is the encoder alone that needs other memory.
      if (objective == Objective::maskedPrediction && shape.positionBias != PositionBias::none) continue;
      for (Precision precision : precisions()) {
        if (precision != Precision::bf16 && shape.positionBias != PositionBias::none) continue;
        const std::shared_ptr<Backend> on = backend();
        auto model = makeModel(shape, PoolingKind::stats, precision, on);
        // A table of slopes is as long as the longest utterance that there may be.
        const bool slopes = shape.positionBias == PositionBias::slopes;
        const Pass pass(shape, slopes ? std::vector<int64_t>{120} : std::vector<int64_t>{40, 40, 40}, objective);
        const MemoryPlan plan = model->prepare(workOf(pass.batch, objective));
        require(plan.features == 0 && plan.held > 0 && plan.activations > 0, "the parts of the plan");
        const size_t reserved = on->memory().held;
        for (int64_t i = 0; i < 2; ++i) {
          model->trainStep(pass.batch.host, pass.step);
          model->optimizerStep(firstStep());
        }
        if (objective == Objective::classification) model->classify(pass.batch.host);
        const MemoryUse use = on->memory();
        require(use.held > reserved, "gradients and moments come with the first step");
        requireNear(static_cast<double>(use.peak), static_cast<double>(plan.total()), kSlack, "the peak");
        requireNear(static_cast<double>(use.scratch), static_cast<double>(plan.scratch), 0, "temporaries of ops");
      }
    }
  }
}

// However frames are cut into utterances, which have the more windows the more of them there are.
TEST(thePlanIsWhatHeadsTake) {
  for (const HubertShape &shape : {baseShape(), largeShape(), emotion2vecShape()}) {
    for (const HeadTask task : {HeadTask::classification, HeadTask::regression}) {
      const auto objective = task == HeadTask::regression ? Objective::regression : Objective::classification;
      ClassifierHead head = wholeHead(PoolingKind::attentiveStats);
      head.task = task;
      head.frameWindow = 300;  // so that there are several blocks of windows
      const Pass pass(shape, {76, 26, 11, 1}, objective);
      PlannedWork work = workOf(pass.batch, objective);
      const auto requirePlanned = [&](const MemoryUse &use, const MemoryPlan &plan, const std::string &what) {
        const auto peak = static_cast<double>(use.peak), planned = static_cast<double>(plan.total());
        require(peak <= planned + kSlack && peak > 0.9 * planned, what + " takes what was planned");
      };
      {
        const std::shared_ptr<Backend> on = backend();
        auto model = makeHeadModel(withDropout(shape), head, Precision::bf16, on);
        const MemoryPlan plan = model->prepare(work);
        TrainStep step = pass.step;
        if (task == HeadTask::regression) {
          TrainStep outputs = step;
          outputs.outputsOnly = true;
          const std::vector<float> values = model->trainOutputs(pass.batch.host, outputs);
          step.otherOutputs = step.otherTargets = values.data();
          step.otherCount = static_cast<int64_t>(values.size());
          model->trainStep(pass.batch.host, step);
        } else {
          model->trainStep(pass.batch.host, step);
        }
        model->optimizerStep(firstStep());
        requirePlanned(on->memory(), plan, "training");
      }
      work.training = false;
      work.ranges = true;
      const std::shared_ptr<Backend> on = backend();
      auto model = makeHeadModel(shape, head, Precision::bf16, on);
      const MemoryPlan plan = model->prepare(work);
      const FrameRanges kept = {{1, 0, 2, 0}, {75, 25, 3, 1}};
      model->classify(pass.batch.host, &kept);
      model->classify(pass.batch.host);
      requirePlanned(on->memory(), plan, "inference");
    }
  }
}

TEST(thePlanIsWhatStoredFeaturesTake) {
  const HubertShape shape = baseShape();
  const std::shared_ptr<Backend> on = backend();
  auto model = makeModel(shape, PoolingKind::mean, Precision::bf16, on);
  model->freeze({"feature_extractor."});
  const Pass pass(shape, {30, 30}, Objective::classification);
  PlannedWork work = workOf(pass.batch, Objective::classification);
  work.storedFrames = 60;
  work.longestStoredFrames = 30;
  const MemoryPlan plan = model->prepare(work);
  require(plan.features == 60 * 16 * 2, "bytes of the features");
  for (size_t b = 0; b < 2; ++b) {
    const Batch one = alone(shape, pass.batch, b);
    model->storeFeatures({std::to_string(b)}, one.host);
  }
  HostBatch stored;
  stored.features = {"0", "1"};
  model->trainStep(stored, pass.step);
  model->optimizerStep(firstStep());
  const size_t peak = on->memory().peak;
  require(peak <= plan.total() + kSlack, "no more than was planned");
  require(static_cast<double>(peak) > 0.98 * static_cast<double>(plan.total()), "and not much less");
}

// Rows of features and of mel bands behind them.
TEST(thePlanIsWhatStoredMelBandsTake) {
  const HubertShape shape = melShape();
  const std::shared_ptr<Backend> on = backend();
  AlignmentHead head = alignmentHead();
  head.melBands = 12;
  auto model = makeAlignmentModel(shape, head, Precision::bf16, on);
  model->freeze({"feature_extractor."});
  const Pass pass(shape, {30, 30}, Objective::alignment);
  PlannedWork work = workOf(pass.batch, Objective::alignment);
  work.storedFrames = 60;
  work.longestStoredFrames = 30;
  const MemoryPlan plan = model->prepare(work);
  require(plan.features == 60 * (16 + 12) * 2, "bytes of the features");
  for (size_t b = 0; b < 2; ++b) model->storeFeatures({std::to_string(b)}, alone(shape, pass.batch, b).host);
  HostBatch stored;
  stored.features = {"0", "1"};
  model->trainStep(stored, pass.step);
  model->optimizerStep(firstStep());
  model->classify(stored);
  const auto peak = static_cast<double>(on->memory().peak), planned = static_cast<double>(plan.total());
  require(peak <= planned + kSlack && peak > 0.95 * planned, "what was planned, and not much less");
}

TEST(thePlanIsWhatInferenceTakes) {
  const HubertShape shape = largeShape();
  const std::shared_ptr<Backend> on = backend();
  auto model = makeModel(shape, PoolingKind::attention, Precision::fp32, on);
  const Pass pass(shape, {50, 50}, Objective::classification);
  PlannedWork work = workOf(pass.batch, Objective::classification);
  work.training = false;
  const FrameRanges ranges = {{0, 0}, {50, 50}};
  for (const bool windows : {false, true}) {
    work.ranges = windows;
    const MemoryPlan plan = model->prepare(work);
    require(plan.gradients == 0 && plan.moments == 0, "no gradients to run a model");
    model->classify(pass.batch.host, windows ? &ranges : nullptr);
    requireNear(static_cast<double>(on->memory().peak), static_cast<double>(plan.total()), kSlack, "the peak");
    // What is held already is known, so that a larger pass is not refused for what need not be had.
    requireNear(static_cast<double>(model->plan(work).held), static_cast<double>(on->memory().held), kSlack, "held");
  }
}

TEST(thePlanIsWhatAlignmentTakes) {
  AlignmentHead hearsBands = alignmentHead();
  hearsBands.melBands = 12;
  for (const AlignmentHead &head : {alignmentHead(), alignmentHead(AlignmentSource::hidden),
                                    alignmentHead(AlignmentSource::layers, 2), hearsBands}) {
    const HubertShape shape = withDropout(head.melBands > 0 ? melShape() : largeShape());
    for (const Precision precision : precisions()) {
      if (precision != Precision::fp32 && head.source != AlignmentSource::features) continue;
      // One utterance has the most context; of several, any division has to fit.
      for (const std::vector<int64_t> &frames : {std::vector<int64_t>{61}, {20, 20, 21}, {1, 59, 1}}) {
        const std::shared_ptr<Backend> on = backend();
        auto model = makeAlignmentModel(shape, head, precision, on);
        Pass pass(shape, frames, Objective::alignment);
        pass.step.frameLabels = pass.batch.frameLabels.data();
        pass.step.frameLabelCount = pass.batch.totalFrames;
        for (int32_t &label : pass.batch.frameLabels) label %= kClasses;
        const MemoryPlan plan = model->prepare(workOf(pass.batch, Objective::alignment));
        for (int64_t i = 0; i < 2; ++i) {
          model->trainStep(pass.batch.host, pass.step);
          model->optimizerStep(firstStep());
        }
        model->classify(pass.batch.host);
        const MemoryUse use = on->memory();
        const auto peak = static_cast<double>(use.peak), planned = static_cast<double>(plan.total());
        require(peak <= planned + kSlack, "no more than was planned");
        // Features have no chunks; parts of an utterance that is one are all there are.
        const bool exact = frames.size() == 1 || head.source == AlignmentSource::features;
        if (exact && frames[0] != 1) requireNear(peak, planned, kSlack, "the peak");
        require(peak > 0.8 * planned, "and not much less");
        requireNear(static_cast<double>(model->plan(workOf(pass.batch, Objective::alignment)).held),
                    static_cast<double>(use.held), kSlack, "held");
      }
    }
  }
}

TEST(smallerWorkFitsWhatWasPlanned) {
  const HubertShape shape = withDropout(baseShape());
  const std::shared_ptr<Backend> on = backend();
  auto model = makeModel(shape, PoolingKind::attention, Precision::fp32, on);
  PlannedWork work = workOf(Pass(shape, {40, 40, 40}, Objective::maskedPrediction).batch, Objective::maskedPrediction);
  const size_t planned = model->prepare(work).total();
  for (const std::vector<int64_t> &frames : {std::vector<int64_t>{120}, {7, 90}, {1, 1, 100}, {118, 1, 1}}) {
    const Pass pass(shape, frames, Objective::maskedPrediction);
    model->trainStep(pass.batch.host, pass.step);
    model->optimizerStep(firstStep());
  }
  require(on->memory().peak <= planned + kSlack, "no more than was planned");
}

TEST(planningChangesNothing) {
  const HubertShape shape = withDropout(baseShape());
  const Pass pass(shape, {20, 11}, Objective::maskedPrediction);
  std::vector<float> gradients[2];
  for (int planned = 0; planned < 2; ++planned) {
    const std::shared_ptr<Backend> on = backend();
    auto model = makeModel(shape, PoolingKind::attention, Precision::fp32, on);
    const size_t before = on->memory().held;
    if (planned) {
      model->plan(workOf(pass.batch, Objective::maskedPrediction));
      require(on->memory().held == before, "planning takes nothing");
      model->prepare(workOf(pass.batch, Objective::maskedPrediction));
    }
    model->trainStep(pass.batch.host, pass.step);
    gradients[planned] = gradient(*model, {"encoder.layers.0.feed_forward.output_dense.weight", {16, 24}});
  }
  require(gradients[0] == gradients[1], "the same gradients");
}

TEST(workThatDoesNotFitIsRefusedBeforeItBegins) {
  const HubertShape shape = baseShape();
  BackendOptions options;
  options.memoryLimit = size_t(8) << 20;
  const std::shared_ptr<Backend> on = backend(options);
  auto model = makeModel(shape, PoolingKind::attention, Precision::fp32, on);
  const Pass pass(shape, {20, 11}, Objective::classification);
  PlannedWork work = workOf(pass.batch, Objective::classification);
  const MemoryPlan fits = model->prepare(work);
  require(fits.total() - fits.held <= fits.available, "what fits is not refused");
  const size_t held = on->memory().held;
  work.frames = 20000;
  const MemoryPlan plan = model->plan(work);
  require(plan.total() > options.memoryLimit && plan.available < options.memoryLimit,
          "what it needs and what there is");
  requireError("ERR_OUT_OF_MEMORY", "MB available", [&] { model->prepare(work); });
  require(on->memory().held == held, "nothing was taken");
  model->trainStep(pass.batch.host, pass.step);
  work.utterances = 0;
  requireError("ERR_ARGUMENT", "at least one utterance", [&] { model->plan(work); });
  work.utterances = 1;
  work.frames = int64_t(1) << 31;
  requireError("ERR_ARGUMENT", "more samples", [&] { model->plan(work); });
}

// The same results as on an engine that never ran out.
TEST(anEngineIsUsableAfterItRanOutOfMemory) {
  const HubertShape shape = withDropout(baseShape());
  const Pass small(shape, {20, 11}, Objective::maskedPrediction);
  const Pass large(shape, {20000}, Objective::maskedPrediction);
  std::vector<std::vector<float>> weights[2];
  for (int failing = 0; failing < 2; ++failing) {
    BackendOptions options;
    options.memoryLimit = failing ? size_t(12) << 20 : 0;
    const std::shared_ptr<Backend> on = backend(options);
    auto model = makeModel(shape, PoolingKind::attention, Precision::fp32, on);
    for (int64_t i = 1; i <= 2; ++i) {
      if (failing) {
        requireError("ERR_OUT_OF_MEMORY", "of 12 MB left", [&] { model->trainStep(large.batch.host, large.step); });
        requireError("ERR_OUT_OF_MEMORY", "memoryLimit", [&] { model->encode(large.batch.host, 1); });
        requireError("ERR_OUT_OF_MEMORY", "needed", [&] { model->classify(large.batch.host); });
        requireError("ERR_OUT_OF_MEMORY", "needed", [&] { model->storeFeatures({"a"}, large.batch.host); });
        requireError("ERR_OUT_OF_MEMORY", "needed", [&] { on->allocate(SIZE_MAX / 2); });
        require(on->memory().held < size_t(4) << 20, "the arena was given back");
      }
      model->trainStep(small.batch.host, small.step);
      OptimizerStep step;
      step.adamW.step = i;
      model->optimizerStep(step);
    }
    for (const TensorInfo &tensor : model->tensors()) weights[failing].push_back(get(*model, tensor));
  }
  require(weights[0] == weights[1], "training went on as if nothing had been");
}

// Found by fuzzing.
TEST(planningARegressionWithoutAHeadSaysSo) {
  Model headless(backend(), baseShape(), Precision::fp32, MaskedPredictionHead{}, ClassifierHead{});
  PlannedWork work;
  work.frames = work.utterances = 1;
  work.training = true;
  work.objective = Objective::regression;
  requireError("ERR_HEAD", "classifier", [&] { headless.plan(work); });
}

}  // namespace
}  // namespace testing
}  // namespace emoframe
