#include "model.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "caller_memory.h"
#include "environment.h"
#include "values.h"

namespace emoframe::addon {

// A batch with the memory that it points at.
struct ModelObject::Batch {
  explicit Batch(const Napi::Value &value);

  HostBatch host;

 private:
  std::vector<Floats> memory_;
};

namespace {

struct NamedFloats {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> data;
};

int64_t elements(const TensorInfo &info) {
  int64_t size = 1;
  for (const int64_t side : info.shape) size *= side;
  return size;
}

Napi::Array named(Napi::Env env, std::vector<NamedFloats> &&tensors) {
  Napi::Array out = Napi::Array::New(env, tensors.size());
  for (uint32_t i = 0; i < tensors.size(); ++i) {
    out.Set(i, objectOf(env, {{"name", Napi::String::New(env, tensors[i].name)},
                              {"shape", shapeArray(env, tensors[i].shape)},
                              {"data", floatArray(env, std::move(tensors[i].data))}}));
  }
  return out;
}

std::vector<int32_t> intList(const Napi::Object &object, const char *name) {
  return Ints(need(object, name), name).list();
}

Objective objectiveOf(const Napi::Object &options) {
  return choice<Objective>(need(options, "objective"), "objective",
                           {{"masked-prediction", Objective::maskedPrediction},
                            {"classification", Objective::classification},
                            {"regression", Objective::regression},
                            {"alignment", Objective::alignment}});
}

// The options of a step with the memory that they point at.
struct GivenStep {
  TrainStep step;
  Ints labels, frameLabels;
  Floats targets, otherOutputs, otherTargets;
  Given<uint8_t> mask;
};

GivenStep readStep(const Napi::Object &options) {
  GivenStep given;
  TrainStep &step = given.step;
  step.objective = objectiveOf(options);
  given.labels = Ints(need(options, "labels"), "labels");
  step.labels = given.labels.data();
  step.labelCount = given.labels.count();
  if (has(options, "frameLabels")) {
    given.frameLabels = Ints(need(options, "frameLabels"), "frameLabels");
    step.frameLabels = given.frameLabels.data();
    step.frameLabelCount = given.frameLabels.count();
  }
  if (has(options, "targets")) {
    given.targets = Floats(need(options, "targets"), "targets");
    step.targets = given.targets.data();
    step.targetCount = given.targets.count();
  }
  if (has(options, "others")) {
    const Napi::Object others = asObject(need(options, "others"), "others");
    given.otherOutputs = Floats(need(others, "outputs"), "outputs");
    given.otherTargets = Floats(need(others, "targets"), "targets");
    if (given.otherOutputs.count() != given.otherTargets.count())
      throw Error("ERR_BATCH", "Expected as many targets as outputs of other passes.");
    step.otherOutputs = given.otherOutputs.data();
    step.otherTargets = given.otherTargets.data();
    step.otherCount = given.otherOutputs.count();
  }
  if (has(options, "mask")) {
    given.mask = Given<uint8_t>(need(options, "mask"), "mask");
    step.mask = given.mask.data();
    step.maskCount = given.mask.count();
  }
  step.denominator = number(options, "denominator");
  step.featurePenalty = real(options, "featurePenalty");
  step.featureGradientScale = real(options, "featureGradientScale");
  step.seed = static_cast<uint64_t>(integer(options, "seed"));
  step.step = static_cast<uint32_t>(integer(options, "step"));
  step.dropout = boolean(options, "dropout");
  return given;
}

std::vector<ParameterGroup> readGroups(const Napi::Value &value) {
  const Napi::Array list = asList(value, "groups");
  std::vector<ParameterGroup> groups;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object item = asObject(list.Get(i), "a group");
    groups.push_back({text(item, "prefix"), real(item, "learningRate")});
  }
  return groups;
}

}  // namespace

ModelObject::Batch::Batch(const Napi::Value &value) {
  const Napi::Object object = asObject(value, "the batch");
  static std::atomic<uint64_t> count{0};
  host.id = ++count;
  if (has(object, "features")) {
    host.features = strings(need(object, "features"), "features");
  } else {
    const Napi::Array list = asList(need(object, "samples"), "typed arrays for samples");
    host.starts = intList(object, "starts");
    host.lengths = intList(object, "lengths");
    // Counted once: an element's getter may change how many there are.
    const uint32_t count = list.Length();
    if (count != host.starts.size() || count != host.lengths.size())
      throw Error("ERR_BATCH", "Expected as many arrays of samples as starts and lengths.");
    for (uint32_t b = 0; b < count; ++b) {
      const Floats its(list.Get(b), "samples");
      if (its.count() != host.lengths[b])
        throw Error("ERR_BATCH", "Expected lengths to be those of the arrays of samples.");
      host.utterances.push_back(its.data());
      memory_.push_back(its);
      host.sampleCount = std::max(host.sampleCount, host.starts[b] + its.count());
    }
    host.normalize = has(object, "normalize") && boolean(object, "normalize");
    if (has(object, "epsilon")) host.epsilon = number(object, "epsilon");
    if (has(object, "waveform")) host.waveform = Given<double>(need(object, "waveform"), "waveform").list();
  }
  if (has(object, "windowMean")) {
    const Floats mean(need(object, "windowMean"), "windowMean");
    const Floats covariance(need(object, "windowCovariance"), "windowCovariance");
    host.windowMean = mean.data();
    host.windowMeanSize = mean.count();
    host.windowCovariance = covariance.data();
    host.windowCovarianceSize = covariance.count();
    memory_.push_back(mean);
    memory_.push_back(covariance);
  }
  if (has(object, "frameStarts")) host.frameStarts = intList(object, "frameStarts");
  if (has(object, "frameCounts")) host.frameCounts = intList(object, "frameCounts");
}

Napi::Function ModelObject::define(Napi::Env env) {
  return DefineClass(env, "NativeModel",
                     {translated<&ModelObject::tensors>("tensors"),
                      translated<&ModelObject::importTensors>("importTensors"),
                      translated<&ModelObject::exportGradients>("exportGradients"),
                      translated<&ModelObject::readTensor>("readTensor"),
                      translated<&ModelObject::hasMoments>("hasMoments"),
                      translated<&ModelObject::importMoments>("importMoments"),
                      translated<&ModelObject::freeze>("freeze"),
                      translated<&ModelObject::plan>("plan"),
                      translated<&ModelObject::prepare>("prepare"),
                      translated<&ModelObject::packForInference>("packForInference"),
                      translated<&ModelObject::storeFeatures>("storeFeatures"),
                      translated<&ModelObject::featureBytes>("featureBytes"),
                      translated<&ModelObject::storedFrames>("storedFrames"),
                      translated<&ModelObject::clearFeatures>("clearFeatures"),
                      translated<&ModelObject::encode>("encode"),
                      translated<&ModelObject::classify>("classify"),
                      translated<&ModelObject::alignmentInput>("alignmentInput"),
                      translated<&ModelObject::windowMoments>("windowMoments"),
                      translated<&ModelObject::trainStep>("trainStep"),
                      translated<&ModelObject::trainOutputs>("trainOutputs"),
                      translated<&ModelObject::optimizerStep>("optimizerStep"),
                      translated<&ModelObject::clearGradients>("clearGradients"),
                      translated<&ModelObject::dispose>("dispose")});
}

Napi::Value ModelObject::create(Napi::Env env, std::shared_ptr<Worker> worker, std::shared_ptr<ModelSlot> slot,
                                std::vector<TensorInfo> tensors) {
  const Napi::Object object = Environment::of(env).model.New({Napi::External<ModelSlot>::New(env, slot.get())});
  ModelObject *self = Unwrap(object);
  self->worker_ = std::move(worker);
  self->slot_ = std::move(slot);
  self->tensors_ = std::move(tensors);
  return object;
}

ModelObject::ModelObject(const Napi::CallbackInfo &info) : Napi::ObjectWrap<ModelObject>(info) {
  // Only createModel has such a value to give: `new model.constructor()` has not.
  if (!info[0].IsExternal())
    throw toJavaScript(info.Env(), {"ERR_ARGUMENT", "Models are made by an engine's createModel()."});
}

ModelObject::~ModelObject() {
  if (slot_ && !slot_->disposed.exchange(true)) worker_->removeModel(slot_);
}

Napi::Value ModelObject::run(Method work, Worker::Finish finish, Method prefetch, std::shared_ptr<Chain> chain) {
  if (slot_->disposed) throw Error("ERR_DISPOSED", "The model was disposed of: load it again to go on.");
  const auto onModel = [slot = slot_](Method method) -> Worker::Work {
    if (!method) return nullptr;
    return [slot, method = std::move(method)](Backend &) {
      if (!slot->model) throw Error("ERR_DISPOSED", "The model was disposed of before this work began.");
      method(*slot->model);
    };
  };
  return worker_->run(Env(), {Value()}, onModel(std::move(work)), std::move(finish), onModel(std::move(prefetch)),
                      std::move(chain));
}

Napi::Value ModelObject::pass(Batch batch, Pass work, Worker::Finish finish, std::shared_ptr<const FrameRanges> kept) {
  const auto given = std::make_shared<const Batch>(std::move(batch));
  return run([given, work = std::move(work)](Model &model) { work(model, given->host); }, std::move(finish),
             [given, kept](Model &model) { model.prefetch(given->host, kept.get()); });
}

Napi::Value ModelObject::train(const std::function<Napi::Value(const std::shared_ptr<Chain> &)> &call) {
  const std::shared_ptr<Chain> chain(slot_, &slot_->training);
  try {
    return call(chain);
  } catch (const Error &error) {
    return run([error](Model &) { throw error; }, nullptr, nullptr, chain);
  }
}

Napi::Value ModelObject::tensors(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env, tensors_.size());
  for (uint32_t i = 0; i < tensors_.size(); ++i) {
    out.Set(i, objectOf(env, {{"name", Napi::String::New(env, tensors_[i].name)},
                              {"shape", shapeArray(env, tensors_[i].shape)}}));
  }
  return out;
}

Napi::Value ModelObject::importTensors(const Napi::CallbackInfo &info) {
  struct Source {
    std::string name;
    Floats data;
  };
  const Napi::Array list = asList(info[0], "tensors");
  std::vector<Source> sources;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object item = asObject(list.Get(i), "a tensor");
    sources.push_back({text(item, "name"), Floats(need(item, "data"), "data")});
  }
  return run([sources = std::move(sources), slot = slot_](Model &model) {
    for (const Source &source : sources) model.importTensor(source.name, source.data.data(), source.data.count());
    if (model.featureBytes() == 0) {
      std::lock_guard<std::mutex> lock(slot->mutex);
      slot->storedFrames.clear();
      slot->featureBytes = 0;
    }
  });
}

Napi::Value ModelObject::exportGradients(const Napi::CallbackInfo &) {
  auto result = std::make_shared<std::vector<NamedFloats>>();
  return run(
      [wanted = tensors_, result](Model &model) {
        for (const TensorInfo &tensor : wanted) {
          NamedFloats item{tensor.name, tensor.shape, std::vector<float>(static_cast<size_t>(elements(tensor)))};
          model.exportGradient(tensor.name, item.data.data());
          result->push_back(std::move(item));
        }
      },
      [result](Napi::Env env) { return named(env, std::move(*result)); });
}

Napi::Value ModelObject::readTensor(const Napi::CallbackInfo &info) {
  const std::string name = text(info[0], "name"), part = text(info[1], "part");
  const auto found =
      std::find_if(tensors_.begin(), tensors_.end(), [&](const TensorInfo &tensor) { return tensor.name == name; });
  if (found == tensors_.end()) throw Error("ERR_TENSOR", "The model has no tensor named " + name + ".");
  const auto count = static_cast<size_t>(elements(*found));
  if (part != "weights" && part != "m" && part != "v")
    throw Error("ERR_ARGUMENT", "Expected weights, m or v for part but received " + part + ".");
  // After all that runs JavaScript.
  const Seen<float> into = look<float>(info[2], "into");
  if (into.count < count) {
    throw Error("ERR_TENSOR", name + " has " + std::to_string(count) + " elements, more than the " +
                                  std::to_string(into.count) + " there is room for.");
  }
  const auto read = [name, part](Model &model, float *target) {
    if (part == "weights") {
      model.exportTensor(name, target);
    } else {
      model.exportMoments(name, part == "m" ? target : nullptr, part == "v" ? target : nullptr);
    }
  };
  if (auto own = Environment::of(info.Env()).ownMemory->find(into.data, count * sizeof(float)))
    return run([read, memory = std::shared_ptr<float>(own, into.data)](Model &model) { read(model, memory.get()); });
  auto values = std::make_shared<std::vector<float>>();
  return run(
      [read, values, count](Model &model) {
        values->resize(count);
        read(model, values->data());
      },
      [values](Napi::Env env) { return floatArray(env, std::move(*values)); });
}

Napi::Value ModelObject::hasMoments(const Napi::CallbackInfo &) {
  auto result = std::make_shared<bool>(false);
  return run([result](Model &model) { *result = model.hasMoments(); },
             [result](Napi::Env env) { return Napi::Boolean::New(env, *result); });
}

Napi::Value ModelObject::importMoments(const Napi::CallbackInfo &info) {
  struct Source {
    std::string name;
    Floats m, v;
  };
  const Napi::Array list = asList(info[0], "moments");
  std::vector<Source> sources;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object item = asObject(list.Get(i), "moments");
    Source source{text(item, "name"), Floats(need(item, "m"), "m"), Floats(need(item, "v"), "v")};
    if (source.m.count() != source.v.count())
      throw Error("ERR_TENSOR", "The two moments of " + source.name + " differ in size.");
    sources.push_back(std::move(source));
  }
  return run([sources = std::move(sources)](Model &model) {
    for (const Source &its : sources) model.importMoments(its.name, its.m.data(), its.v.data(), its.m.count());
  });
}

Napi::Value ModelObject::packForInference(const Napi::CallbackInfo &) {
  return run([](Model &model) { model.packForInference(); });
}

Napi::Value ModelObject::freeze(const Napi::CallbackInfo &info) {
  const std::vector<std::string> prefixes = strings(info[0], "prefixes");
  if (slot_->disposed) throw Error("ERR_DISPOSED", "The model was disposed of: load it again to go on.");
  worker_->post([slot = slot_, prefixes](Backend &) {
    if (slot->model) slot->model->freeze(prefixes);
  });
  return info.Env().Undefined();
}

Napi::Value ModelObject::plan(const Napi::CallbackInfo &info) { return planned(info[0], false); }
Napi::Value ModelObject::prepare(const Napi::CallbackInfo &info) { return planned(info[0], true); }

Napi::Value ModelObject::planned(const Napi::Value &value, bool prepares) {
  const Napi::Object options = asObject(value, "the work to plan");
  PlannedWork work;
  work.frames = integer(options, "frames");
  work.utterances = integer(options, "utterances");
  work.training = has(options, "objective");
  if (work.training) work.objective = objectiveOf(options);
  work.storedFrames = integer(options, "storedFrames");
  work.longestStoredFrames = integer(options, "longestStoredFrames");
  work.ranges = has(options, "ranges") && boolean(options, "ranges");
  auto plan = std::make_shared<MemoryPlan>();
  return run([work, prepares, plan](Model &model) { *plan = prepares ? model.prepare(work) : model.plan(work); },
             [plan](Napi::Env env) {
               return objectOf(env, {{"weights", bytesNumber(env, plan->weights)},
                                     {"gradients", bytesNumber(env, plan->gradients)},
                                     {"moments", bytesNumber(env, plan->moments)},
                                     {"features", bytesNumber(env, plan->features)},
                                     {"activations", bytesNumber(env, plan->activations)},
                                     {"scratch", bytesNumber(env, plan->scratch)},
                                     {"total", bytesNumber(env, plan->total())},
                                     {"held", bytesNumber(env, plan->held)},
                                     {"available", bytesNumber(env, plan->available)},
                                     {"staging", bytesNumber(env, plan->staging)}});
             });
}

Napi::Value ModelObject::storeFeatures(const Napi::CallbackInfo &info) {
  const std::vector<std::string> keys = strings(info[0], "keys");
  return pass(Batch(info[1]), [keys, slot = slot_](Model &model, const HostBatch &batch) {
    model.storeFeatures(keys, batch);
    std::lock_guard<std::mutex> lock(slot->mutex);
    for (const std::string &key : keys) slot->storedFrames[key] = model.storedFrames(key);
    slot->featureBytes = model.featureBytes();
  });
}

Napi::Value ModelObject::featureBytes(const Napi::CallbackInfo &info) {
  std::lock_guard<std::mutex> lock(slot_->mutex);
  return Napi::Number::New(info.Env(), static_cast<double>(slot_->featureBytes));
}

Napi::Value ModelObject::storedFrames(const Napi::CallbackInfo &info) {
  const std::string key = text(info[0], "key");
  std::lock_guard<std::mutex> lock(slot_->mutex);
  const auto found = slot_->storedFrames.find(key);
  return Napi::Number::New(info.Env(), found == slot_->storedFrames.end() ? -1 : static_cast<double>(found->second));
}

Napi::Value ModelObject::clearFeatures(const Napi::CallbackInfo &info) {
  worker_->post([slot = slot_](Backend &) {
    if (slot->model) slot->model->clearFeatures();
  });
  std::lock_guard<std::mutex> lock(slot_->mutex);
  slot_->storedFrames.clear();
  slot_->featureBytes = 0;
  return info.Env().Undefined();
}

// What became of the frames of a batch: `hidden` [T, C] and their bounds.
Napi::Value ModelObject::encoded(Batch batch, const std::function<Encoded(Model &, const HostBatch &)> &encode) {
  auto result = std::make_shared<Encoded>();
  return pass(
      std::move(batch), [encode, result](Model &model, const HostBatch &host) { *result = encode(model, host); },
      [result](Napi::Env env) {
        return objectOf(env, {{"hidden", floatArray(env, std::move(result->hidden))},
                              {"offsets", intArray(env, std::move(result->offsets))}});
      });
}

Napi::Value ModelObject::encode(const Napi::CallbackInfo &info) {
  const int64_t layer = readLayer(info[1]);
  return encoded(Batch(info[0]), [layer](Model &model, const HostBatch &batch) { return model.encode(batch, layer); });
}

Napi::Value ModelObject::alignmentInput(const Napi::CallbackInfo &info) {
  return encoded(Batch(info[0]), [](Model &model, const HostBatch &batch) { return model.alignmentInput(batch); });
}

Napi::Value ModelObject::classify(const Napi::CallbackInfo &info) {
  std::shared_ptr<const FrameRanges> kept;
  if (info[1].IsObject()) {
    const Napi::Object ranges = info[1].As<Napi::Object>();
    kept = std::make_shared<FrameRanges>(FrameRanges{intList(ranges, "starts"), intList(ranges, "counts")});
  }
  const Heads heads =
      info[2].IsUndefined()
          ? Heads::all
          : choice<Heads>(info[2], "head", {{"classifier", Heads::classifier}, {"alignment", Heads::alignment}});
  auto result = std::make_shared<Classified>();
  return pass(
      Batch(info[0]),
      [kept, heads, result](Model &model, const HostBatch &batch) {
        *result = model.classify(batch, kept.get(), heads);
      },
      [result](Napi::Env env) {
        Napi::Object out = objectOf(env, {{"logits", floatArray(env, std::move(result->logits))},
                                          {"framePosteriors", floatArray(env, std::move(result->framePosteriors))},
                                          {"attention", floatArray(env, std::move(result->attention))},
                                          {"pooled", floatArray(env, std::move(result->pooled))},
                                          {"scoreLogSums", floatArray(env, std::move(result->scoreLogSums))},
                                          {"offsets", intArray(env, std::move(result->offsets))}});
        Aligned &aligned = result->aligned;
        if (!aligned.logits.empty()) {
          out.Set("alignment", objectOf(env, {{"logits", floatArray(env, std::move(aligned.logits))},
                                              {"frameLogits", floatArray(env, std::move(aligned.frameLogits))},
                                              {"occupancies", floatArray(env, std::move(aligned.occupancies))}}));
        }
        return out;
      },
      kept);
}

Napi::Value ModelObject::windowMoments(const Napi::CallbackInfo &info) {
  auto result = std::make_shared<WindowMoments>();
  return pass(
      Batch(info[0]), [result](Model &model, const HostBatch &batch) { *result = model.windowMoments(batch); },
      [result](Napi::Env env) {
        return objectOf(env, {{"mean", floatArray(env, std::move(result->mean))},
                              {"covariance", floatArray(env, std::move(result->covariance))},
                              {"counts", intArray(env, std::move(result->counts))}});
      });
}

Napi::Value ModelObject::trainStep(const Napi::CallbackInfo &info) {
  return train([&](const std::shared_ptr<Chain> &chain) {
    const auto batch = std::make_shared<const Batch>(info[0]);
    const auto given = std::make_shared<const GivenStep>(readStep(asObject(info[1], "the step's options")));
    auto result = std::make_shared<TrainResult>();
    return run([batch, given, result](Model &model) { *result = model.trainStep(batch->host, given->step); },
               [result](Napi::Env env) {
                 return objectOf(env, {{"lossSum", Napi::Number::New(env, result->lossSum)},
                                       {"count", Napi::Number::New(env, static_cast<double>(result->count))},
                                       {"correct", Napi::Number::New(env, static_cast<double>(result->correct))},
                                       {"featurePenalty", Napi::Number::New(env, result->featurePenalty)}});
               },
               [batch, given](Model &model) { model.prefetch(batch->host, given->step); }, chain);
  });
}

Napi::Value ModelObject::trainOutputs(const Napi::CallbackInfo &info) {
  return train([&](const std::shared_ptr<Chain> &chain) {
    const auto batch = std::make_shared<const Batch>(info[0]);
    GivenStep read = readStep(asObject(info[1], "the step's options"));
    read.step.outputsOnly = true;
    const auto given = std::make_shared<const GivenStep>(std::move(read));
    auto outputs = std::make_shared<std::vector<float>>();
    return run([batch, given, outputs](Model &model) { *outputs = model.trainOutputs(batch->host, given->step); },
               [outputs](Napi::Env env) { return floatArray(env, std::move(*outputs)); },
               [batch, given](Model &model) { model.prefetch(batch->host, given->step); }, chain);
  });
}

Napi::Value ModelObject::optimizerStep(const Napi::CallbackInfo &info) {
  return train([&](const std::shared_ptr<Chain> &chain) {
    const Napi::Object options = asObject(info[0], "the optimiser's options");
    OptimizerStep step;
    step.adamW.learningRate = real(options, "learningRate");
    step.adamW.beta1 = real(options, "beta1");
    step.adamW.beta2 = real(options, "beta2");
    step.adamW.epsilon = real(options, "epsilon");
    step.adamW.weightDecay = real(options, "weightDecay");
    step.adamW.clipNorm = real(options, "clipNorm");
    step.adamW.step = integer(options, "step");
    if (has(options, "groups")) step.groups = readGroups(need(options, "groups"));
    auto norm = std::make_shared<double>(0);
    return run([step, norm](Model &model) { *norm = model.optimizerStep(step); },
               [norm](Napi::Env env) {
                 return objectOf(env, {{"gradientNorm", Napi::Number::New(env, *norm)}});
               },
               nullptr, chain);
  });
}

Napi::Value ModelObject::clearGradients(const Napi::CallbackInfo &) {
  ++slot_->training.round;  // what comes next does not build on what came before
  return run([](Model &model) { model.clearGradients(); });
}

Napi::Value ModelObject::dispose(const Napi::CallbackInfo &info) {
  if (!slot_->disposed.exchange(true)) worker_->removeModel(slot_);
  return info.Env().Undefined();
}

}  // namespace emoframe::addon
