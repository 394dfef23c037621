#include "engine.h"

#include <atomic>

#include "caller_memory.h"
#include "cluster/kmeans.h"
#include "environment.h"
#include "model.h"
#include "model/alignment.h"
#include "values.h"

namespace emoframe::addon {

namespace {

HubertShape readShape(const Napi::Object &object) {
  HubertShape shape;
  shape.convDim = integers(object, "convDim");
  shape.convKernel = integers(object, "convKernel");
  shape.convStride = integers(object, "convStride");
  shape.convBias = boolean(object, "convBias");
  shape.groupNorm = boolean(object, "groupNorm");
  shape.featureProjectionLayerNorm = boolean(object, "featureProjectionLayerNorm");
  shape.hiddenSize = integer(object, "hiddenSize");
  shape.layers = integer(object, "layers");
  shape.heads = integer(object, "heads");
  shape.intermediateSize = integer(object, "intermediateSize");
  shape.positionalKernel = integer(object, "positionalKernel");
  shape.positionalGroups = integer(object, "positionalGroups");
  if (has(object, "positionalDepth")) shape.positionalDepth = integer(object, "positionalDepth");
  if (has(object, "positionBias")) {
    const Napi::Object bias = asObject(need(object, "positionBias"), "positionBias");
    shape.positionBias = choice<PositionBias>(need(bias, "kind"), "the kind of positionBias",
                                              {{"buckets", PositionBias::buckets}, {"slopes", PositionBias::slopes}});
    if (shape.positionBias == PositionBias::buckets) {
      shape.biasBuckets = integer(bias, "buckets");
      shape.biasReach = integer(bias, "reach");
    }
  }
  if (has(object, "extraTokens")) shape.extraTokens = integer(object, "extraTokens");
  shape.stableLayerNorm = boolean(object, "stableLayerNorm");
  shape.layerNormEpsilon = real(object, "layerNormEpsilon");
  if (has(object, "featureProjectionEpsilon")) {
    shape.featureProjectionEpsilon = real(object, "featureProjectionEpsilon");
  }
  shape.hiddenDropout = real(object, "hiddenDropout");
  shape.attentionDropout = real(object, "attentionDropout");
  shape.activationDropout = real(object, "activationDropout");
  shape.featureProjectionDropout = real(object, "featureProjectionDropout");
  shape.finalDropout = real(object, "finalDropout");
  shape.layerdrop = real(object, "layerdrop");
  return shape;
}

ClassifierHead readClassifier(const Napi::Object &object) {
  ClassifierHead head;
  head.classes = integer(object, "classes");
  if (has(object, "task")) {
    head.task = choice<HeadTask>(need(object, "task"), "task",
                                 {{"classification", HeadTask::classification}, {"regression", HeadTask::regression}});
  }
  if (has(object, "source")) {
    head.layers = choice<bool>(need(object, "source"), "source", {{"output", false}, {"layers", true}});
  }
  if (has(object, "inputNorm")) {
    head.inputNorm = choice<InputNorm>(need(object, "inputNorm"), "inputNorm",
                                       {{"frame", InputNorm::frame}, {"utterance", InputNorm::utterance}});
  }
  if (has(object, "projector")) head.projector = integer(object, "projector");
  head.pooling = choice<PoolingKind>(need(object, "pooling"), "pooling",
                                     {{"mean", PoolingKind::mean},
                                      {"sum", PoolingKind::sum},
                                      {"max", PoolingKind::max},
                                      {"attention", PoolingKind::attention},
                                      {"attention-linear", PoolingKind::attentionLinear},
                                      {"stats", PoolingKind::stats},
                                      {"attentive-stats", PoolingKind::attentiveStats}});
  if (has(object, "dense")) {
    const Napi::Array layers = asList(need(object, "dense"), "dense layers");
    for (uint32_t i = 0; i < layers.Length(); ++i) {
      const Napi::Object layer = asObject(layers.Get(i), "a dense layer");
      head.dense.push_back(
          {integer(layer, "width"), has(layer, "norm") && boolean(layer, "norm"),
           choice<Activation>(need(layer, "activation"), "activation",
                              {{"none", Activation::none}, {"tanh", Activation::tanh}, {"relu", Activation::relu}})});
    }
  }
  if (has(object, "bias")) head.bias = boolean(object, "bias");
  if (has(object, "frames")) {
    const Napi::Object frames = asObject(need(object, "frames"), "frames");
    head.frameWindow = integer(frames, "window");
    head.frameHop = integer(frames, "hop");
  }
  return head;
}

AlignmentHead readAlignment(const Napi::Object &object) {
  AlignmentHead head;
  head.classes = integer(object, "classes");
  head.neutral = static_cast<int32_t>(integer(object, "neutral"));
  head.source = choice<AlignmentSource>(need(object, "source"), "source",
                                        {{"features", AlignmentSource::features},
                                         {"hidden", AlignmentSource::hidden},
                                         {"layers", AlignmentSource::layers}});
  head.layer = readLayer(need(object, "layer"));
  head.chunkFrames = integer(object, "chunkFrames");
  head.contextFrames = integer(object, "contextFrames");
  head.width = integer(object, "width");
  head.halfWidths = integers(object, "halfWidths");
  if (has(object, "melBands")) head.melBands = integer(object, "melBands");
  head.dropout = real(object, "dropout");
  head.scale = real(object, "scale");
  head.switchingCost = real(object, "switchingCost");
  return head;
}

}  // namespace

Napi::Function EngineObject::define(Napi::Env env) {
  return DefineClass(
      env, "NativeEngine",
      {InstanceAccessor<&EngineObject::device>("device"), InstanceAccessor<&EngineObject::path>("path"),
       InstanceAccessor<&EngineObject::precisions>("precisions"), translated<&EngineObject::createModel>("createModel"),
       translated<&EngineObject::kmeans>("kmeans"), translated<&EngineObject::assign>("assign"),
       translated<&EngineObject::align>("align"), translated<&EngineObject::memory>("memory"),
       translated<&EngineObject::graphs>("graphs"), translated<&EngineObject::dispose>("dispose")});
}

Napi::Value EngineObject::create(const Napi::CallbackInfo &info) {
  return Environment::of(info.Env()).engine.New({info[0]});
}

EngineObject::EngineObject(const Napi::CallbackInfo &info) : Napi::ObjectWrap<EngineObject>(info) {
  const Napi::Env env = info.Env();
  translating(env, [&] {
    const Napi::Object options = asObject(info[0], "the engine's options");
    BackendOptions settings;
    const int64_t threads = integer(options, "threads");
    if (threads < 0 || threads > INT32_MAX)
      throw Error("ERR_ARGUMENT", "Expected a number from 0 to 2147483647 for threads.");
    settings.threads = static_cast<int32_t>(threads);
    const int64_t limit = integer(options, "memoryLimit");
    if (limit < 0) throw Error("ERR_ARGUMENT", "Expected no negative number for memoryLimit.");
    settings.memoryLimit = static_cast<size_t>(limit);
    settings.graphs = boolean(options, "graphs");
    worker_ = Worker::start(env, text(options, "device"), settings);
  });
}

Napi::Value EngineObject::device(const Napi::CallbackInfo &info) {
  return Napi::String::New(info.Env(), worker_->device());
}
Napi::Value EngineObject::path(const Napi::CallbackInfo &info) {
  return Napi::String::New(info.Env(), worker_->path());
}

Napi::Value EngineObject::precisions(const Napi::CallbackInfo &info) {
  Napi::Array names = Napi::Array::New(info.Env());
  const auto add = [&](const char *name) { names.Set(names.Length(), name); };
  add("fp32");
  if (worker_->multipliesTf32()) add("tf32");
  add("bf16");
  return names;
}

Napi::Value EngineObject::createModel(const Napi::CallbackInfo &info) {
  const Napi::Object options = asObject(info[0], "the model's options");
  const HubertShape shape = readShape(asObject(need(options, "shape"), "shape"));
  const auto precision =
      choice<Precision>(need(options, "precision"), "precision",
                        {{"fp32", Precision::fp32}, {"tf32", Precision::tf32}, {"bf16", Precision::bf16}});
  MaskedPredictionHead masked;
  if (has(options, "maskedPrediction")) {
    const Napi::Object head = asObject(need(options, "maskedPrediction"), "maskedPrediction");
    masked.clusters = integer(head, "clusters");
    masked.dimension = integer(head, "dimension");
    masked.temperature = real(head, "temperature");
  }
  ClassifierHead classifier;
  if (has(options, "classifier")) classifier = readClassifier(asObject(need(options, "classifier"), "classifier"));
  AlignmentHead alignment;
  if (has(options, "alignment")) alignment = readAlignment(asObject(need(options, "alignment"), "alignment"));
  auto slot = std::make_shared<ModelSlot>();
  auto tensors = std::make_shared<std::vector<TensorInfo>>();
  Worker *worker = worker_.get();
  return worker_->run(
      info.Env(), {info.This()},
      [=](Backend &) {
        slot->model = std::make_unique<Model>(worker->backend(), shape, precision, masked, classifier, alignment);
        *tensors = slot->model->tensors();
        worker->addModel(slot);
      },
      [=, owner = worker_](Napi::Env env) { return ModelObject::create(env, owner, slot, std::move(*tensors)); });
}

Napi::Value EngineObject::kmeans(const Napi::CallbackInfo &info) {
  const Napi::Object options = asObject(info[0], "the k-means options");
  const int64_t dimension = integer(options, "dimension");
  KMeansSettings settings;
  settings.clusters = integer(options, "clusters");
  settings.restarts = integer(options, "restarts");
  settings.miniBatch = text(options, "algorithm") == "mini-batch";
  settings.batchSize = integer(options, "batchSize");
  settings.maxIterations = integer(options, "maxIterations");
  settings.tolerance = number(options, "tolerance");
  settings.seed = static_cast<uint64_t>(integer(options, "seed"));

  const Napi::Value cancel = need(options, "cancel"), progress = need(options, "progress");
  const auto *cancelled = reinterpret_cast<const std::atomic<int32_t> *>(liveValues<int32_t>(cancel, 1, "cancel"));
  double *reached = liveValues<double>(progress, 2, "progress");
  const Floats points(need(options, "points"), "points");
  if (dimension < 1 || points.count() % dimension != 0)
    throw Error("ERR_ARGUMENT", "Expected points to hold whole rows of the dimension given.");
  auto result = std::make_shared<KMeansResult>();
  Worker *worker = worker_.get();
  return worker_->run(
      info.Env(), {info.This(), cancel, progress},
      [=](Backend &backend) {
        const int64_t count = points.count() / dimension;
        *result = emoframe::kmeans(backend, points.data(), count, dimension, settings,
                                   [=](int64_t iteration, double inertia) {
                                     reached[0] = static_cast<double>(iteration);
                                     reached[1] = inertia;
                                     return cancelled->load() == 0 && !worker->stopped();
                                   });
      },
      [=](Napi::Env env) {
        Napi::Object out = Napi::Object::New(env);
        out.Set("centroids", floatArray(env, std::move(result->centroids)));
        out.Set("labels", intArray(env, std::move(result->labels)));
        out.Set("inertia", Napi::Number::New(env, result->inertia));
        Napi::Array inertias = Napi::Array::New(env, result->inertias.size());
        for (uint32_t i = 0; i < result->inertias.size(); ++i) inertias.Set(i, result->inertias[i]);
        out.Set("inertias", inertias);
        out.Set("iterations", Napi::Number::New(env, static_cast<double>(result->iterations)));
        return out;
      });
}

Napi::Value EngineObject::assign(const Napi::CallbackInfo &info) {
  const Floats points(info[0], "points"), centroids(info[1], "centroids");
  const int64_t dimension = integer(info[2], "dimension");
  if (dimension < 1 || points.count() % dimension != 0 || centroids.count() % dimension != 0 || centroids.count() == 0)
    throw Error("ERR_ARGUMENT", "Expected points and centroids to hold whole rows of the dimension given.");
  const int64_t count = points.count() / dimension, clusters = centroids.count() / dimension;
  auto labels = std::make_shared<std::vector<int32_t>>();
  auto inertia = std::make_shared<double>(0);
  return worker_->run(
      info.Env(), {info.This()},
      [=](Backend &backend) {
        labels->resize(static_cast<size_t>(count));
        *inertia =
            emoframe::assign(backend, points.data(), count, dimension, centroids.data(), clusters, labels->data());
      },
      [=](Napi::Env env) {
        return objectOf(env,
                        {{"labels", intArray(env, std::move(*labels))}, {"inertia", Napi::Number::New(env, *inertia)}});
      });
}

Napi::Value EngineObject::align(const Napi::CallbackInfo &info) {
  const Floats frameLogits(info[0], "frameLogits");
  const std::vector<int32_t> offsets = Ints(info[1], "offsets").list();
  const Napi::Object options = asObject(info[2], "the alignment's options");
  AlignSettings settings;
  settings.neutral = static_cast<int32_t>(integer(options, "neutral"));
  settings.scale = real(options, "scale");
  settings.switchingCost = real(options, "switchingCost");
  settings.bias = Floats(need(options, "bias"), "bias").list();
  auto result = std::make_shared<Aligned>();
  return worker_->run(
      info.Env(), {info.This()},
      [=](Backend &backend) {
        *result = emoframe::align(backend, frameLogits.data(), frameLogits.count(), offsets, settings);
      },
      [=](Napi::Env env) {
        return objectOf(env, {{"logits", floatArray(env, std::move(result->logits))},
                              {"occupancies", floatArray(env, std::move(result->occupancies))}});
      });
}

Napi::Value EngineObject::memory(const Napi::CallbackInfo &info) {
  auto use = std::make_shared<MemoryUse>();
  return worker_->run(
      info.Env(), {info.This()}, [=](Backend &backend) { *use = backend.memory(); },
      [=](Napi::Env env) {
        return objectOf(env, {{"held", bytesNumber(env, use->held)},
                              {"peak", bytesNumber(env, use->peak)},
                              {"available", bytesNumber(env, use->available)}});
      });
}

Napi::Value EngineObject::graphs(const Napi::CallbackInfo &info) {
  auto use = std::make_shared<GraphUse>();
  return worker_->run(
      info.Env(), {info.This()}, [=](Backend &backend) { *use = backend.graphs(); },
      [=](Napi::Env env) {
        Napi::Object out = Napi::Object::New(env);
        out.Set("replayed", static_cast<double>(use->replayed));
        out.Set("made", static_cast<double>(use->made));
        out.Set("plain", static_cast<double>(use->plain));
        if (!use->reason.empty()) out.Set("reason", use->reason);
        return out;
      });
}

Napi::Value EngineObject::dispose(const Napi::CallbackInfo &info) {
  worker_->stop();
  return info.Env().Undefined();
}

}  // namespace emoframe::addon
