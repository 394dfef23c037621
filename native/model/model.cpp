// The whole model: its parts in order, and what is done with them but for training (training.cpp).
#include "model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../error.h"
#include "finite.h"
#include "head_checks.h"
#include "parts.h"

namespace emoframe {

namespace {

const std::string kFeatureEncoder = "feature_extractor.";

}  // namespace

Model::Parts::Parts(std::shared_ptr<Backend> on, const HubertShape &hubert, Precision itsPrecision,
                    const MaskedPredictionHead &masked, const ClassifierHead &classified, const AlignmentHead &aligned)
    : backend(std::move(on)),
      shape(hubert),
      precision(itsPrecision),
      maskedHead(masked),
      classifierHead(classified),
      alignmentHead(aligned),
      dtype(precision == Precision::bf16 ? DType::bf16 : DType::f32),
      parameters(*backend, precision),
      workspace(*backend),
      inputBuffers(*backend, workspace),
      cache(*backend, dtype, hubert.convDim.back() + (aligned.classes > 0 ? aligned.melBands : 0)),
      projection(shape, parameters),
      encoder(shape, parameters),
      transformer(shape, parameters, *backend) {
  if (masked.clusters > 0) {
    maskedPrediction = std::make_unique<MaskedPrediction>(masked, shape.hiddenSize, parameters);
  }
  if (classified.classes > 0) classifier = std::make_unique<Classifier>(classified, shape, parameters);
  if (aligned.classes > 0) alignment = std::make_unique<Alignment>(aligned, shape, parameters);
  if (aligned.classes > 0 && aligned.melBands > 0) {
    logMel = std::make_unique<LogMel>(aligned.melBands, shape, *backend);
  }
  parameters.allocate();
}

Context Model::Parts::context(const TrainStep *step) {
  Context context{*backend, workspace, parameters};
  context.dtype = dtype;
  context.tf32 = precision == Precision::tf32;
  if (step) {
    context.training = true;
    context.dropping = step->dropout;
    context.seed = step->seed;
    context.step = step->step;
  }
  return context;
}

InputBuffers::Fill Model::Parts::packed(const HostBatch &batch, const TrainStep *step, const FrameRanges *kept) {
  return [this, &batch, step, kept](Workspace &memory) {
    PassInputs inputs;
    Packing &packing = inputs.packing = pack(
        shape, batch, [&](const std::string &key) { return cache.at(key); }, memory);
    const bool encoderTrained = step && encoder.trainable(parameters);
    if (step) {
      checkTargets(*step, packing);
      if (encoderTrained && !batch.features.empty()) {
        throw Error("ERR_BATCH", "Stored features cannot train the feature encoder: give samples, or freeze " +
                                     kFeatureEncoder.substr(0, kFeatureEncoder.size() - 1) + ".");
      }
      if (step->objective == Objective::maskedPrediction) {
        inputs.frames = maskedPrediction->targets(*step, packing.total(), memory);
      } else if (step->objective == Objective::alignment) {
        inputs.alignment = alignment->layOut(step, packing, transformer, planning, memory);
      } else {
        inputs.classifier = classifier->layOut(*step, packing, memory);
      }
      if (step->mask) inputs.mask = memory.upload(step->mask, step->maskCount);
    } else {
      inputs.selection = select(packing, kept, memory);
      if (classifier) inputs.classifier = classifier->layOut(packing, inputs.selection, planning, memory);
      if (alignment) inputs.alignment = alignment->layOut(nullptr, packing, transformer, planning, memory);
    }
    if (!step || step->objective != Objective::alignment) transformer.layOut(packing, longestPlanned, memory);
    if (batch.features.empty()) {
      encoder.layOut(batch, encoderTrained, dtype, backend->blockBytes(), packing, memory);
    }
    return inputs;
  };
}

View Model::Parts::features(const Context &context, const HostBatch &batch, const Packing &packing,
                            FeatureEncoder::Saved *saved) {
  const View out = workspace.tensor(dtype, packing.total(), encoder.features());
  if (batch.features.empty()) {
    encoder.forward(context, packing, saved, out);
  } else {
    backend->run(CopyRows{cache.rows().colRange(0, out.cols), packing.compaction.runs(), out});
  }
  return out;
}

View Model::Parts::mel(const Context &context, const HostBatch &batch, const Packing &packing) {
  if (!logMel) return {};
  const View out = workspace.tensor(dtype, packing.total(), logMel->bands());
  if (batch.features.empty()) {
    logMel->forward(context, packing, out);
  } else {
    backend->run(CopyRows{cache.rows().colRange(encoder.features(), out.cols), packing.compaction.runs(), out});
  }
  return out;
}

View Model::Parts::embedded(const View &features) {
  const View out = workspace.tensor(dtype, features.rows, shape.hiddenSize);
  Scratch scratch(workspace);
  FeatureProjection::Saved projected;
  projection.forward(context(nullptr), features, nullptr, projected, out);
  return out;
}

View Model::Parts::hidden(const Packing &packing, const View &embedded, int64_t layer) {
  const View out = workspace.tensor(DType::f32, packing.total(), shape.hiddenSize);
  Scratch scratch(workspace);
  Transformer::Saved transformed;
  transformer.forward(context(nullptr), packing, embedded, layer, transformed, out);
  return out;
}

View Model::Parts::classifierSource(const Packing &packing, const View &embedded) {
  const LayerSum *sum = classifier->layerSum();
  if (!sum) return hidden(packing, embedded, modelOutput);
  const View out = workspace.tensor(DType::f32, packing.total(), shape.hiddenSize);
  Scratch scratch(workspace);
  LayerSum::Saved saved;
  sum->forward(context(nullptr), transformer, packing, embedded, saved, out);
  return out;
}

View Model::Parts::alignmentSource(const Context &context, const PassInputs &inputs, const View &features,
                                   const View &embedded) {
  const ChunkedStates *states = alignment->states();
  if (!states) return features;
  const View source = workspace.tensor(dtype, inputs.packing.total(), shape.hiddenSize);
  ChunkedStates::Saved saved;
  states->forward(context, transformer, inputs.alignment.chunks, embedded, saved, source);
  return source;
}

Model::Model(std::shared_ptr<Backend> backend, const HubertShape &shape, Precision precision,
             const MaskedPredictionHead &maskedPrediction, const ClassifierHead &classifier,
             const AlignmentHead &alignment) {
  checkHeads(shape, maskedPrediction, classifier, alignment);
  if (precision == Precision::tf32 && !backend->multipliesTf32()) {
    throw Error("ERR_DEVICE_UNSUPPORTED", "Device " + backend->name() +
                                              " cannot multiply in tf32: use precision fp32, which is more exact, or "
                                              "bf16, or a device cuda:N.");
  }
  parts_ = std::make_unique<Parts>(std::move(backend), shape, precision, maskedPrediction, classifier, alignment);
}

Model::~Model() = default;

const HubertShape &Model::shape() const { return parts_->shape; }

std::vector<TensorInfo> Model::tensors() const {
  std::vector<TensorInfo> infos;
  for (const Parameter &p : parts_->parameters.table()) infos.push_back({p.name, p.shape});
  return infos;
}

void Model::importTensor(const std::string &name, const float *data, int64_t size) {
  parts_->parameters.importValue(name, data, size);
  if (name.compare(0, kFeatureEncoder.size(), kFeatureEncoder) == 0) clearFeatures();
}
void Model::exportTensor(const std::string &name, float *data) const { parts_->parameters.exportValue(name, data); }
void Model::exportGradient(const std::string &name, float *data) const {
  parts_->parameters.exportGradient(name, data);
}
bool Model::hasMoments() const { return parts_->parameters.hasMoments(); }
void Model::exportMoments(const std::string &name, float *m, float *v) const {
  parts_->parameters.exportMoments(name, m, v);
}
void Model::importMoments(const std::string &name, const float *m, const float *v, int64_t size) {
  parts_->parameters.importMoments(name, m, v, size);
}
void Model::packForInference() {
  if (parts_->parameters.packedForInference()) return;
  parts_->transformer.packForInference(parts_->parameters);
  parts_->parameters.packForInference();
}
void Model::freeze(const std::vector<std::string> &prefixes) {
  parts_->parameters.freeze(prefixes);
  parts_->inputBuffers.forget();
}

void Model::storeFeatures(const std::vector<std::string> &keys, const HostBatch &batch) {
  Parts &parts = *parts_;
  if (!batch.features.empty()) throw Error("ERR_BATCH", "Features to store are computed from samples, not from keys.");
  parts.pass(batch.id, parts.packed(batch, nullptr), [&](const PassInputs &inputs) {
    const Packing &packing = inputs.packing;
    if (keys.size() != static_cast<size_t>(packing.count)) {
      throw Error("ERR_BATCH", "The batch has " + std::to_string(packing.count) + " utterances but " +
                                   std::to_string(keys.size()) + " keys were given.");
    }
    const View features = parts.features(parts.context(nullptr), batch, packing, nullptr);
    parts.requireFinite(features, packing, "features of the convolutions");
    const View mel = parts.mel(parts.context(nullptr), batch, packing);
    for (int32_t b = 0; b < packing.count; ++b) {
      std::vector<View> rows;
      for (const View &part : {features, mel}) {
        if (part) rows.push_back(part.rowRange(packing.offsets.host[b], packing.frames[b]));
      }
      parts.cache.store(keys[b], rows);
    }
  });
  parts.inputBuffers.forgetStored();
}
int64_t Model::featureBytes() const { return parts_->cache.bytes(); }
int64_t Model::storedFrames(const std::string &key) const { return parts_->cache.at(key).frames; }
void Model::clearFeatures() {
  parts_->cache.clear();
  parts_->inputBuffers.forgetStored();
}

void Model::prefetch(const HostBatch &batch, const TrainStep &step) {
  parts_->inputBuffers.prefetch(batch.id, parts_->packed(batch, &step));
}
void Model::prefetch(const HostBatch &batch, const FrameRanges *kept) {
  parts_->inputBuffers.prefetch(batch.id, parts_->packed(batch, nullptr, kept));
}

Encoded Model::encode(const HostBatch &batch, int64_t layer) {
  Parts &parts = *parts_;
  if (layer != modelOutput && (layer < 0 || layer > parts.transformer.layers())) {
    throw Error("ERR_ARGUMENT", "The layer must be from 0 to " + std::to_string(parts.transformer.layers()) +
                                    " but is " + std::to_string(layer) + ".");
  }
  return parts.pass(batch.id, parts.packed(batch, nullptr), [&](const PassInputs &inputs) {
    const Packing &packing = inputs.packing;
    const View features = parts.features(parts.context(nullptr), batch, packing, nullptr);
    const View hidden = parts.hidden(packing, parts.embedded(features), layer);
    Encoded encoded;
    if (parts.planning) return encoded;
    encoded.hidden.resize(static_cast<size_t>(hidden.size()));
    parts.backend->download(encoded.hidden.data(), hidden.data, encoded.hidden.size() * sizeof(float));
    encoded.offsets = packing.offsets.host;
    requireFinite(encoded.hidden, hidden.cols, encoded.offsets, "a hidden state at frame");
    return encoded;
  });
}

Classified Model::classify(const HostBatch &batch, const FrameRanges *kept, Heads heads) {
  Parts &parts = *parts_;
  const bool pools = parts.classifier && heads != Heads::alignment;
  const bool aligns = parts.alignment && heads != Heads::classifier;
  if (!pools && !aligns) {
    throw Error("ERR_HEAD", heads == Heads::classifier  ? "This model was made without a classifier."
                            : heads == Heads::alignment ? "This model was made without an alignment head."
                                                        : "This model was made without a classifier and without an "
                                                          "alignment head.");
  }
  return parts.pass(batch.id, parts.packed(batch, nullptr, kept), [&](const PassInputs &inputs) {
    const Packing &packing = inputs.packing;
    const Selection &selection = inputs.selection;
    const Context inference = parts.context(nullptr);
    Classified result;
    Results results;
    if (pools) parts.classifier->addResults(selection, results, result);
    if (aligns) parts.alignment->addResults(selection, results, result.aligned);
    const View features = parts.features(inference, batch, packing, nullptr);
    const View mel = aligns ? parts.mel(inference, batch, packing) : View{};
    const ChunkedStates *states = aligns ? parts.alignment->states() : nullptr;
    const View embedded = pools || states ? parts.embedded(features) : View{};
    results.take(inference);
    if (pools) {
      parts.classifier->classify(inference, inputs.classifier, selection, parts.classifierSource(packing, embedded),
                                 results, result);
    }
    if (aligns) {
      const View source = parts.alignmentSource(inference, inputs, features, embedded);
      parts.alignment->classify(inference, inputs.alignment, selection, source, mel, results, result.aligned);
    }
    // What is planned takes memory of the device, and not for its results that of this machine.
    if (parts.planning) return result;
    results.download(inference);
    result.offsets = selection.offsets.host;
    std::vector<int32_t> rows(static_cast<size_t>(selection.count) + 1);
    std::iota(rows.begin(), rows.end(), 0);
    const auto check = [&](const std::vector<float> &frames, const std::string &what,
                           const std::vector<float> &logits) {
      const int64_t classes = static_cast<int64_t>(logits.size()) / selection.count;
      requireFinite(frames, classes, result.offsets, what);
      requireFinite(logits, classes, rows, "logits in row");
    };
    if (pools) {
      const bool values = parts.classifier->regression();
      check(result.framePosteriors, values ? "values at frame" : "class probabilities at frame", result.logits);
    }
    if (aligns) check(result.aligned.frameLogits, "logits at frame", result.aligned.logits);
    return result;
  });
}

Encoded Model::alignmentInput(const HostBatch &batch) {
  Parts &parts = *parts_;
  if (!parts.alignment) throw Error("ERR_HEAD", "This model was made without an alignment head.");
  return parts.pass(batch.id, parts.packed(batch, nullptr), [&](const PassInputs &inputs) {
    const Context inference = parts.context(nullptr);
    const View features = parts.features(inference, batch, inputs.packing, nullptr);
    const View mel = parts.mel(inference, batch, inputs.packing);
    const View embedded = parts.alignment->states() ? parts.embedded(features) : View{};
    const View source = parts.alignmentSource(inference, inputs, features, embedded);
    const View exact = parts.workspace.tensor(DType::f32, source.rows, source.cols + mel.cols);
    parts.backend->run(Convert{source, exact.colRange(0, source.cols)});
    if (mel) parts.backend->run(Convert{mel, exact.colRange(source.cols, mel.cols)});
    Encoded encoded;
    encoded.hidden.resize(static_cast<size_t>(exact.size()));
    parts.backend->download(encoded.hidden.data(), exact.data, encoded.hidden.size() * sizeof(float));
    encoded.offsets = inputs.packing.offsets.host;
    requireFinite(encoded.hidden, exact.cols, encoded.offsets, "the alignment network's input at frame");
    return encoded;
  });
}

WindowMoments Model::windowMoments(const HostBatch &batch) {
  Parts &parts = *parts_;
  if (!batch.features.empty()) throw Error("ERR_BATCH", "Moments of windows are computed from samples, not from keys.");
  return parts.pass(batch.id, parts.packed(batch, nullptr), [&](const PassInputs &inputs) {
    return parts.encoder.windowMoments(parts.context(nullptr), inputs.packing);
  });
}

void Model::Parts::sumOfSquares(const View &x, const View &sum) {
  Scratch scratch(workspace);
  View exact = x;
  if (x.dtype != DType::f32) {
    exact = workspace.tensor(DType::f32, x.rows, x.cols);
    backend->run(Convert{x, exact});
  }
  backend->run(SumSquares{std::vector<View>{exact}, sum});
}

double Model::Parts::meanSquare(const View &x) {
  Scratch scratch(workspace);
  const View sum = workspace.tensor(DType::f32, 1, 1);
  sumOfSquares(x, sum);
  float squares;
  backend->download(&squares, sum.data, sizeof(squares));
  return squares / static_cast<double>(x.size());
}

int32_t Model::Parts::firstNotFinite(const View &values, const Packing &packing) {
  for (int32_t b = 0; b < packing.count; ++b) {
    if (!std::isfinite(meanSquare(values.rowRange(packing.offsets.host[b], packing.frames[b])))) return b;
  }
  return -1;
}

void Model::Parts::requireFinite(const View &values, const Packing &packing, const std::string &what) {
  const int32_t b = firstNotFinite(values, packing);
  if (b < 0) return;
  throw Error("ERR_NOT_FINITE", utteranceOfBatch(b) + " gives " + what +
                                    " that are not finite numbers. Check its audio; if that is good, the model's "
                                    "weights are damaged.");
}

}  // namespace emoframe
