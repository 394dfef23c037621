// Inputs that are prefetched: uploaded ahead of their pass: the bits that they give are those of inputs sent with it,
// however late or early the two streams of a device do what they were asked for; and an event that nobody waits for
// would be seen.
#include "../ops/device.h"
#include "harness.h"

#ifdef EMOFRAME_SIMT

namespace emoframe {
namespace testing {
namespace {

using simt::Late;

// What the emulation puts off, and which waits it forgets, for as long as it lives.
struct Emulated {
  explicit Emulated(Late late, bool forgetsStreamWaits = false, bool forgetsHostWaits = false)
      : before(simt::settings().late) {
    simt::settings().late = late;
    simt::machine().forgetsStreamWaits = forgetsStreamWaits;
    simt::machine().forgetsHostWaits = forgetsHostWaits;
  }
  ~Emulated() {
    simt::settings().late = before;
    simt::machine().forgetsStreamWaits = simt::machine().forgetsHostWaits = false;
  }
  Emulated(const Emulated &) = delete;
  Emulated &operator=(const Emulated &) = delete;
  Late before;
};

// Six numbers go through two places by two streams, and an op takes each from there.
std::vector<float> throughUploadStreams() {
  const std::shared_ptr<Backend> on = backend();
  constexpr int count = 6;
  constexpr size_t width = 100;
  auto *places = static_cast<float *>(on->allocate(2 * width * sizeof(float)));
  auto *taken = static_cast<float *>(on->allocate(count * width * sizeof(float)));
  std::vector<float> found(count * width);
  {
    const std::unique_ptr<UploadStream> streams[2] = {on->uploadStream(), on->uploadStream()};
    for (int i = 0; i < count; ++i) {
      UploadStream &uploadStream = *streams[i % 2];
      float *place = places + i % 2 * width;
      const std::vector<float> numbers(width, static_cast<float>(i));
      uploadStream.begin();
      uploadStream.upload(place, numbers.data(), width / 2 * sizeof(float));
      uploadStream.upload(place + width / 2, numbers.data(), width / 2 * sizeof(float));
      uploadStream.send();
      uploadStream.await();
      on->run(Convert{vector(place, DType::f32, width), vector(taken + i * width, DType::f32, width)});
      uploadStream.release();
    }
    on->download(found.data(), taken, found.size() * sizeof(float));
  }
  on->release(places);
  on->release(taken);
  return found;
}

// Whether numbers came out otherwise than they went in, or the emulation saw what was wrong.
bool goesWrong() {
  try {
    const std::vector<float> found = throughUploadStreams();
    for (size_t i = 0; i < found.size(); ++i) {
      if (found[i] != static_cast<float>(i / 100)) return true;
    }
    return false;
  } catch (const Error &) {
    simt::clearFault();
    return true;
  }
}

TEST(uploadStreamsKeepTheirOrderWhateverComesLate) {
  for (const Late late : {Late::nothing, Late::copies, Late::kernels, Late::all}) {
    const Emulated emulated(late);
    require(!goesWrong(), "numbers came out otherwise with " + std::to_string(static_cast<int>(late)));
  }
}

// The next call of that name fails, once or with all after it, and then `work` is done.
void failing(const char *name, uint64_t which, bool lasting, const std::function<void()> &work) {
  simt::Plan plan;
  std::vector<const char *> calls;
  plan.calls = &calls;
  plan.before = [&](uint64_t call) {
    if (which > 0 && std::string(calls.back()) == name && --which == 0) {
      simt::machine().plan.failAt = call;
      simt::machine().plan.lasting = lasting;
    }
  };
  simt::machine().plan = plan;
  try {
    work();
  } catch (const Error &) {
    simt::machine().plan = simt::Plan();
    throw;
  }
  simt::machine().plan = simt::Plan();
}

// Memory of the host that late copies are still to read is neither freed nor written, whatever fails.
TEST(pinnedMemoryOutlivesTheCopiesThatReadIt) {
  const Emulated emulated(Late::copies);
  const std::vector<float> numbers(100, 1.0f);
  const size_t bytes = numbers.size() * sizeof(float);
  const auto end = [&](const char *name, uint64_t which, bool lasting, bool sends) {
    const std::string before = simt::whatLives(), beforeButMemory = simt::whatLives(false);
    {
      const std::shared_ptr<Backend> on = backend();
      auto *place = static_cast<float *>(on->allocate(3 * bytes));
      std::unique_ptr<UploadStream> inputs = on->uploadStream();
      const auto begin = [&] {
        inputs->begin();
        inputs->upload(place, numbers.data(), bytes);
        inputs->upload(place + 2 * numbers.size(), numbers.data(), bytes);
      };
      begin();
      inputs->send();  // so that there is an event that is behind nothing of the next
      begin();
      if (sends) {
        inputs->send();
        failing(name, which, lasting, [&] { inputs.reset(); });
      } else {
        requireError("ERR_DEVICE_FAULT", name, [&] { failing(name, which, lasting, [&] { inputs->send(); }); });
        inputs.reset();
      }
      on->release(place);
    }
    const std::string what = std::string(name) + (lasting ? " from then on" : " once");
    const bool fault = simt::hasFault();
    simt::clearFault();
    require(!fault, "a copy from memory that was freed, with " + what);
    require(simt::whatLives(false) == beforeButMemory, "is left with " + what + ": " + simt::whatLives(false));
    require((simt::whatLives() == before) == !lasting, lasting ? "memory is freed that nobody could wait for" : "kept");
  };
  end("cudaEventSynchronize", 1, false, true);
  end("cudaEventSynchronize", 1, true, true);
  end("cudaMemcpyAsync", 2, false, false);
  end("cudaEventRecord", 1, false, false);
}

// So are uploads in the order of ops, whose blocks take turns.
TEST(anUploadThatFailsLeavesTheNextOnesTheirBits) {
  const Emulated emulated(Late::copies);
  const std::shared_ptr<Backend> on = backend();
  constexpr size_t count = 5;
  auto *places = static_cast<float *>(on->allocate(count * sizeof(float)));
  const auto upload = [&](size_t i) {
    const auto number = static_cast<float>(i);
    on->upload(places + i, &number, sizeof(number));
  };
  for (size_t i = 0; i < 2; ++i) upload(i);
  requireError("ERR_DEVICE_FAULT", "cudaEventRecord",
               [&] { failing("cudaEventRecord", 1, false, [&] { upload(2); }); });
  for (size_t i = 3; i < count; ++i) upload(i);
  std::vector<float> found(count);
  on->download(found.data(), places, count * sizeof(float));
  for (size_t i = 0; i < count; ++i) require(found[i] == static_cast<float>(i), "number " + std::to_string(i));
  on->release(places);
}

// Each wait that there is has its order of things in which it is missed.
TEST(aWaitThatIsMissingWouldBeSeen) {
  {
    const Emulated emulated(Late::copies, true);
    require(goesWrong(), "ops that do not wait for their inputs");
  }
  {
    const Emulated emulated(Late::kernels, true);
    require(goesWrong(), "inputs that do not wait for the ops that read the last ones");
  }
  {
    const Emulated emulated(Late::all, false, true);
    require(goesWrong(), "a host that does not wait until pinned memory has been read");
  }
}

enum class Prefetch { never, always };

struct Given {
  Batch batch;
  TrainStep step;
  bool trains;
};

// Passes of training, updates, and classification in between, each sent ahead while the one before is waited for.
std::vector<std::vector<float>> runOf(Prefetch prefetch, bool graphs, Objective objective, bool storedFeatures) {
  const HubertShape shape = withDropout(baseShape());
  BackendOptions options;
  options.graphs = graphs;
  const std::shared_ptr<Backend> on = backend(options);
  auto model = objective == Objective::alignment
                   ? makeAlignmentModel(shape, alignmentHead(AlignmentSource::layers, 2), Precision::fp32, on)
                   : makeModel(shape, PoolingKind::stats, Precision::fp32, on);
  const int64_t stride = shape.stride();
  const std::vector<std::vector<int64_t>> lengths = {
      {20 * stride, 9 * stride + 5}, {14 * stride, 22 * stride}, {30 * stride},
      {8 * stride, 9 * stride},      {31 * stride, 12 * stride}, {20 * stride, 9 * stride + 5}};
  std::vector<Given> all;
  for (size_t i = 0; i < lengths.size(); ++i) {
    all.push_back({makeBatch(shape, lengths[i], static_cast<uint32_t>(70 + i)), {}, i != 3});
    if (storedFeatures) {
      std::vector<std::string> keys;
      for (size_t b = 0; b < lengths[i].size(); ++b) keys.push_back(std::to_string(i) + "." + std::to_string(b));
      model->storeFeatures(keys, all[i].batch.host);
      all[i].batch.host = HostBatch();
      all[i].batch.host.features = keys;
    }
    all[i].batch.host.id = prefetch == Prefetch::always ? i + 1 : 0;
  }
  if (storedFeatures) model->freeze({"feature_extractor."});
  if (objective == Objective::alignment) model->freeze({"feature_", "encoder.", "masked_spec_embed"});
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].step = all[i].batch.step(objective);
    all[i].step.dropout = true;
    all[i].step.step = static_cast<uint32_t>(i);
    all[i].step.denominator = 20;
  }
  size_t next = 0;
  on->whileWaiting([&] {
    if (prefetch == Prefetch::never || next >= all.size()) return;
    const Given &given = all[next++];
    if (given.trains) {
      model->prefetch(given.batch.host, given.step);
    } else {
      model->prefetch(given.batch.host);
    }
  });
  std::vector<std::vector<float>> found;
  int64_t update = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    next = i + 1;
    if (!all[i].trains) {
      found.push_back(model->classify(all[i].batch.host).framePosteriors);
      continue;
    }
    const TrainResult result = model->trainStep(all[i].batch.host, all[i].step);
    found.push_back({static_cast<float>(result.lossSum), static_cast<float>(result.featurePenalty)});
    if (i % 2 == 1) continue;
    OptimizerStep optimizer;
    optimizer.adamW.clipNorm = 1;
    optimizer.adamW.step = ++update;
    found.push_back({static_cast<float>(model->optimizerStep(optimizer))});
  }
  on->whileWaiting(nullptr);
  for (const TensorInfo &tensor : model->tensors()) found.push_back(get(*model, tensor));
  return found;
}

TEST(prefetchedPassesGiveTheSameBits) {
  for (const Objective objective : {Objective::maskedPrediction, Objective::classification, Objective::alignment}) {
    const bool stored = objective == Objective::maskedPrediction;
    const auto plain = runOf(Prefetch::never, false, objective, stored);
    for (const Late late : {Late::copies, Late::kernels, Late::all}) {
      const Emulated emulated(late);
      const bool graphs = late != Late::all;
      require(runOf(Prefetch::always, graphs, objective, stored) == plain,
              "other bits with " + std::to_string(static_cast<int>(late)) + " late");
    }
  }
}

// In a whole pass too, and it is really the way that inputs go.
TEST(aPassThatDoesNotWaitForItsInputsWouldBeSeen) {
  const auto plain = runOf(Prefetch::always, true, Objective::classification, false);
  const Emulated emulated(Late::copies, true);
  bool seen = false;
  try {
    seen = runOf(Prefetch::always, true, Objective::classification, false) != plain;
  } catch (const Error &) {
    simt::clearFault();
    seen = true;
  }
  require(seen, "a pass computes with inputs that are not there");
}

TEST(whatWasPrefetchedIsUsedByItsPassAlone) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  Batch batch = makeBatch(shape, {12 * shape.stride(), 9 * shape.stride()});
  Batch other = makeBatch(shape, {15 * shape.stride()}, 9);
  const auto posteriors = [&](const Batch &of) { return model->classify(of.host).framePosteriors; };
  const std::vector<float> expected = posteriors(batch), expectedOther = posteriors(other);
  batch.host.id = 5;
  model->prefetch(batch.host);
  const std::vector<float> samples = batch.samples;
  std::fill(batch.samples.begin(), batch.samples.end(), 0.5f);
  require(posteriors(other) == expectedOther, "a pass in between");
  require(posteriors(batch) == expected, "the pass has what was sent");
  require(posteriors(batch) != expected, "and another one has what it is given");
  batch.samples = samples;
  batch.host.samples = batch.samples.data();

  // Of several the last waits, and the passes over the others upload theirs.
  Batch third = batch;
  third.host.samples = third.samples.data();
  for (uint64_t id = 6; id < 9; ++id) {
    third.host.id = id;
    model->prefetch(third.host);
  }
  for (uint64_t id = 6; id < 9; ++id) {
    third.host.id = id;
    require(posteriors(third) == expected, "batch " + std::to_string(id));
  }
}

TEST(whatWasPrefetchedDoesNotOutliveWhatItFollowsFrom) {
  const HubertShape shape = baseShape();
  auto model = makeModel(shape);
  const Batch longer = makeBatch(shape, {20 * shape.stride()}, 3), shorter = makeBatch(shape, {11 * shape.stride()}, 4);
  model->storeFeatures({"a"}, longer.host);
  HostBatch stored;
  stored.features = {"a"};
  stored.id = 1;
  model->prefetch(stored);
  model->storeFeatures({"a"}, shorter.host);
  require(model->classify(stored).framePosteriors == model->classify(shorter.host).framePosteriors,
          "features that were stored since");
  stored.id = 2;
  model->prefetch(stored);
  model->clearFeatures();
  requireError("ERR_BATCH", "key a", [&] { model->classify(stored); });
  requireError("ERR_BATCH", "key a", [&] { model->prefetch(stored); });

  Batch batch = makeBatch(shape, {20 * shape.stride()}, 3);
  batch.host.id = 3;
  const TrainStep step = batch.step(Objective::classification);
  model->prefetch(batch.host, step);
  model->freeze({"feature_extractor."});
  const double frozen = model->trainStep(batch.host, step).lossSum;
  model->freeze({});
  model->prefetch(batch.host, step);
  PlannedWork work;
  work.frames = 30;
  work.utterances = 1;
  work.training = true;
  model->prepare(work);
  require(model->trainStep(batch.host, step).lossSum == frozen, "memory that was taken anew");
}

TEST(whatIsWrongIsSaidByThePassToo) {
  const HubertShape shape = baseShape();
  const std::shared_ptr<Backend> on = backend();
  auto model = makeModel(shape, PoolingKind::attention, Precision::fp32, on);
  Batch batch = makeBatch(shape, {12 * shape.stride(), 9 * shape.stride()});
  const double loss = model->trainStep(batch.host, batch.step(Objective::classification)).lossSum;
  batch.host.id = 1;
  std::vector<int32_t> labels = batch.classLabels;
  batch.classLabels[1] = kClasses;
  requireError("ERR_LABEL", "Utterance 1 ",
               [&] { model->prefetch(batch.host, batch.step(Objective::classification)); });
  requireError("ERR_LABEL", "Utterance 1 ",
               [&] { model->trainStep(batch.host, batch.step(Objective::classification)); });
  batch.classLabels = labels;
  require(model->trainStep(batch.host, batch.step(Objective::classification)).lossSum == loss, "it goes on");
}

TEST(memoryThatWasPlannedSufficesToPrefetch) {
  const HubertShape shape = baseShape();
  const std::shared_ptr<Backend> on = backend();
  auto model = makeModel(shape, PoolingKind::mean, Precision::fp32, on);
  Batch batches[2];
  for (uint32_t i = 0; i < 2; ++i) {
    batches[i] = makeBatch(shape, {shape.samples(25), shape.samples(25)}, 20 + i);
    const int32_t before = batches[i].host.starts[0];  // makeBatch leaves room before the first
    for (int32_t &start : batches[i].host.starts) start -= before;
    batches[i].host.samples += before;
    batches[i].host.sampleCount -= before;
  }
  PlannedWork work;
  work.frames = 50;
  work.utterances = 2;
  const size_t planned = model->prepare(work).total(), staging = on->memory().staging;
  size_t next = 1;
  on->whileWaiting([&] {
    batches[next % 2].host.id = next;
    model->prefetch(batches[next % 2].host);
  });
  for (; next < 6; ++next) model->classify(batches[(next + 1) % 2].host);
  on->whileWaiting(nullptr);
  require(on->memory().peak <= planned + 4096, "no more of the device's than was planned");
  require(on->memory().staging == staging, "nor of the host's");
}

TEST(theHostWaitsForABatchOnceHoweverManyUtterancesItHas) {
  const HubertShape shape = baseShape();
  for (PoolingKind pooling : {PoolingKind::mean, PoolingKind::attention, PoolingKind::stats}) {
    const std::shared_ptr<Backend> on = backend();
    auto model = makeModel(shape, pooling, Precision::fp32, on);
    for (const size_t utterances : {1, 5}) {
      const Batch batch = makeBatch(shape, std::vector<int64_t>(utterances, shape.samples(6)));
      int waits = 0;
      on->whileWaiting([&] { ++waits; });
      model->classify(batch.host);
      on->whileWaiting(nullptr);
      require(waits == 1, std::to_string(waits) + " waits for " + std::to_string(utterances) + " utterances");
    }
  }
}

}  // namespace
}  // namespace testing
}  // namespace emoframe

#endif
