// The step that trains the whole model: its parts in order, forward and backward, for each of the objectives.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "finite.h"
#include "parts.h"

namespace emoframe {

namespace {

void require(bool holds, const std::string &message) {
  if (!holds) throw Error("ERR_BATCH", message);
}

void requireCount(int64_t expected, int64_t received, const std::string &what) {
  require(expected == received,
          "Expected " + std::to_string(expected) + " " + what + " but received " + std::to_string(received) + ".");
}

void checkRegression(const TrainStep &step, int64_t utterances, int64_t outputs) {
  requireCount(0, step.labelCount, "labels of a regression");
  require(step.denominator == 1, "A regression's loss has the denominator 1.");
  if (step.outputsOnly) return;
  requireCount(utterances * outputs, step.targets ? step.targetCount : 0,
               "targets, " + std::to_string(outputs) + " an utterance,");
  require(step.otherCount % outputs == 0, "Expected " + std::to_string(outputs) +
                                              " outputs for each utterance of other passes but received " +
                                              std::to_string(step.otherCount) + " in all.");
}

// What the loss of a pass is a share of: utterances or frames of the whole update.
double countOfUpdate(const TrainStep &step, int64_t own, int64_t outputs) {
  if (step.objective != Objective::regression) return step.denominator;
  return static_cast<double>(own + step.otherCount / outputs);
}

}  // namespace

void Model::Parts::checkTargets(const TrainStep &step, const Packing &packing) const {
  const bool masked = step.objective == Objective::maskedPrediction;
  const bool aligned = step.objective == Objective::alignment;
  const bool regression = step.objective == Objective::regression;
  if (masked && !maskedPrediction) throw Error("ERR_HEAD", "This model was made without a masked-prediction head.");
  if (aligned && !alignment) throw Error("ERR_HEAD", "This model was made without an alignment head.");
  if (!masked && !aligned) {
    if (!classifier) throw Error("ERR_HEAD", "This model was made without a classifier.");
    if (classifier->regression() != regression) {
      throw Error("ERR_HEAD", regression ? "This model's head gives classes, not values: train it with the objective "
                                           "classification."
                                         : "This model's head gives values, not classes: train it with the objective "
                                           "regression.");
    }
    if (classifierHead.inputNorm == InputNorm::utterance) {
      throw Error("ERR_MODEL_CONFIG",
                  "A head that norms all values of an utterance at once (inputNorm utterance) "
                  "cannot be trained: use inputNorm frame, or none.");
    }
  }
  require(!step.outputsOnly || regression, "Outputs are asked for of the objective regression only.");
  if (step.frameLabels) requireCount(packing.total(), step.frameLabelCount, "labels of frames");
  require(!step.frameLabels || aligned, "Frame labels are for the objective alignment only.");
  require((!step.targets && step.otherCount == 0) || regression, "Targets are for the objective regression only.");
  require(!step.mask || !aligned, "Alignment is trained without a mask.");
  if (regression) {
    checkRegression(step, packing.count, classifierHead.classes);
  } else {
    requireCount(masked ? packing.total() : packing.count, step.labels ? step.labelCount : 0,
                 masked ? "frame labels" : "utterance labels");
  }
  if (step.mask) requireCount(packing.total(), step.maskCount, "frames of a mask");
  require(!masked || step.mask, "Masked prediction needs a mask.");
  require(step.denominator > 0 && std::isfinite(step.denominator), "The loss denominator must be above 0.");
}

View Model::Parts::trainedSource(const Context &context, const PassInputs &inputs, const View &features,
                                 const LayerSum *sum, TrainedSource &saved) {
  const int64_t frames = inputs.packing.total();
  const View embedded = context.tensor(frames, shape.hiddenSize);
  projection.forward(context, features, inputs.mask, saved.projected, embedded);
  const View source = workspace.tensor(sum ? DType::f32 : dtype, frames, shape.hiddenSize);
  if (sum) {
    sum->forward(context, transformer, inputs.packing, embedded, saved.summed, source);
  } else {
    transformer.forward(context, inputs.packing, embedded, modelOutput, saved.transformed, source);
  }
  return source;
}

TrainResult Model::Parts::train(const HostBatch &batch, const TrainStep &step, const PassInputs &inputs) {
  const Context context = this->context(&step);
  const Packing &packing = inputs.packing;
  const MaskedPrediction::Targets &frames = inputs.frames;
  const bool encoderTrained = encoder.trainable(parameters);
  parameters.ensureGradients();
  parameters.gradientsChange();
  accumulating = true;

  TrainResult result;
  FeatureEncoder::Saved encoded;
  TrainedSource saved;
  const auto activations = [&](int64_t cols) { return workspace.tensor(dtype, packing.total(), cols); };
  const View reported = parameters.sums(), sums = reported.colRange(Parameters::losses, 2);
  backend->run(Fill{reported, 0});
  const View features = this->features(context, batch, packing, encoderTrained ? &encoded : nullptr);
  if (step.featurePenalty > 0 || batch.features.empty())
    sumOfSquares(features, reported.colRange(Parameters::featureSquares, 1));
  const auto backThroughFeatures = [&](const View &dFeatures) {
    if (step.featurePenalty > 0) {
      // d/dx of penalty · mean(x²), weighted by this micro-batch's share of the update.
      const double share =
          static_cast<double>(result.count) / countOfUpdate(step, result.count, classifierHead.classes);
      const View dPenalty = activations(encoder.features());
      backend->run(Convert{features, dPenalty});
      backend->run(
          Scale{dPenalty, static_cast<float>(2 * step.featurePenalty * share / static_cast<double>(features.size()))});
      backend->run(Add{dFeatures, dPenalty, dFeatures});
    }
    if (step.featureGradientScale != 1) backend->run(Scale{dFeatures, step.featureGradientScale});
    encoder.backward(context, packing, encoded, dFeatures);
  };
  const bool belowTransformer = encoderTrained || projection.trainable(parameters, inputs.mask != nullptr);
  const auto backThroughProjection = [&](const View &dEmbedded) {
    const View dFeatures = encoderTrained ? activations(encoder.features()) : View{};
    projection.backward(context, saved.projected, dEmbedded, dFeatures);
    if (encoderTrained) backThroughFeatures(dFeatures);
  };
  const ChunkedStates *states = alignment ? alignment->states() : nullptr;
  const View mel = step.objective == Objective::alignment ? this->mel(context, batch, packing) : View{};
  View source = features;  // what the head reads
  const bool belowHead = belowTransformer || transformer.trainable(parameters);
  if (step.objective != Objective::alignment) {
    const LayerSum *sum = step.objective == Objective::maskedPrediction ? nullptr : classifier->layerSum();
    source = trainedSource(context, inputs, features, sum, saved);
    const bool weights = sum && sum->trainable(parameters);
    View dSource;
    if (step.objective == Objective::maskedPrediction) {
      dSource = activations(shape.hiddenSize);
      result.count = frames.count;
      if (frames.count > 0) maskedPrediction->step(context, frames, step.denominator, source, dSource, sums);
    } else {
      if (belowHead || weights) dSource = workspace.tensor(source.dtype, source.rows, source.cols);
      classifier->step(context, packing.segments(), inputs.classifier, step.denominator, source, dSource, sums);
      result.count = packing.count;
    }
    if (weights) sum->backwardToWeights(context, saved.summed, dSource);
    if (result.count > 0 && belowHead) {
      const View dEmbedded = belowTransformer ? activations(shape.hiddenSize) : View{};
      if (sum) {
        sum->backwardToStates(context, transformer, packing, saved.summed, dSource, dEmbedded);
      } else {
        transformer.backward(context, packing, saved.transformed, dSource, dEmbedded);
      }
      if (belowTransformer) backThroughProjection(dEmbedded);
    }
  } else if (!states) {
    result.count = packing.count;
    const View dFeatures = encoderTrained ? activations(encoder.features()) : View{};
    alignment->step(context, packing.segments(), inputs.alignment, step.denominator, features, mel, dFeatures, sums);
    if (encoderTrained) backThroughFeatures(dFeatures);
  } else {
    result.count = packing.count;
    const bool weights = states->trainsWeights(parameters);
    const bool below = !states->weighted() && belowHead;
    // What is not trained runs as in inference.
    const Context ofSource = below ? context : this->context(nullptr);
    const Chunks &chunks = inputs.alignment.chunks;
    ChunkedStates::Saved chunked;
    const View embedded = activations(shape.hiddenSize);
    source = activations(shape.hiddenSize);
    projection.forward(ofSource, features, nullptr, saved.projected, embedded);
    states->forward(ofSource, transformer, chunks, embedded, chunked, source);
    const View dSource = below || weights ? activations(shape.hiddenSize) : View{};
    alignment->step(context, packing.segments(), inputs.alignment, step.denominator, source, mel, dSource, sums);
    if (weights) states->backwardToWeights(context, chunks, chunked, dSource);
    if (below) {
      const View dEmbedded = belowTransformer ? activations(shape.hiddenSize) : View{};
      states->backward(context, transformer, chunks, chunked, dSource, dEmbedded);
      if (belowTransformer) backThroughProjection(dEmbedded);
    }
  }

  const bool likelyLast = ++passes == passesOfUpdate;
  if (likelyLast) parameters.sumGradientSquares();

  // Only now does the host wait, once: a device has had all of the step by then.
  float found[4];
  backend->download(found, reported.data, sizeof(found));
  if (likelyLast) parameters.takeGradientSquares(found[Parameters::gradientSquares]);
  result.lossSum = found[Parameters::losses];
  result.correct = static_cast<int64_t>(std::isfinite(found[Parameters::correct]) ? found[Parameters::correct] : 0);
  result.featurePenalty = found[Parameters::featureSquares] / static_cast<double>(features.size());
  if (!std::isfinite(result.lossSum) || !std::isfinite(result.featurePenalty)) {
    const int32_t b = firstNotFinite(source, packing);
    throw Error("ERR_NOT_FINITE",
                std::string(std::isfinite(result.lossSum) ? "The feature penalty" : "The loss") +
                    " is not a finite number" +
                    (b < 0 ? ""
                           : ": " + utteranceOfBatch(b) + " is the first whose " +
                                 (source.data == features.data ? "features of the convolutions are not"
                                                               : "hidden states are not")) +
                    ". The gradients of this update were cleared: repeat all of it, with a lower learning rate if this "
                    "goes on.");
  }
  return result;
}

std::vector<float> Model::Parts::trainOutputs(const HostBatch &batch, const TrainStep &step, const PassInputs &inputs) {
  const Context context = this->context(&step);
  const Packing &packing = inputs.packing;
  // With all that a step keeps, so that not even a rounding differs.
  FeatureEncoder::Saved encoded;
  TrainedSource saved;
  const View features = this->features(context, batch, packing, encoder.trainable(parameters) ? &encoded : nullptr);
  const View source = trainedSource(context, inputs, features, classifier->layerSum(), saved);
  const View outputs = workspace.tensor(DType::f32, packing.count, classifierHead.classes);
  classifier->outputs(context, packing.segments(), source, outputs);
  std::vector<float> result(static_cast<size_t>(outputs.size()));
  backend->download(result.data(), outputs.data, result.size() * sizeof(float));
  return result;
}

std::vector<float> Model::trainOutputs(const HostBatch &batch, const TrainStep &step) {
  std::vector<float> outputs = parts_->pass(batch.id, parts_->packed(batch, &step), [&](const PassInputs &inputs) {
    return parts_->trainOutputs(batch, step, inputs);
  });
  const int64_t width = parts_->classifierHead.classes;
  std::vector<int32_t> rows(outputs.size() / static_cast<size_t>(width) + 1);
  std::iota(rows.begin(), rows.end(), 0);
  requireFinite(outputs, width, rows, "outputs in row");
  return outputs;
}

TrainResult Model::trainStep(const HostBatch &batch, const TrainStep &step) {
  parts_->accumulating = false;
  try {
    return parts_->pass(batch.id, parts_->packed(batch, &step),
                        [&](const PassInputs &inputs) { return parts_->train(batch, step, inputs); });
  } catch (...) {
    // A batch that was refused has changed nothing; a step that failed midway has added part of its gradient.
    if (parts_->accumulating) {
      try {
        clearGradients();
      } catch (const Error &) {
        // They are cleared before they are next used; the error that is on its way says more.
      }
    }
    throw;
  }
}

double Model::optimizerStep(const OptimizerStep &step) {
  Step asOne(*parts_->backend);
  const double norm = parts_->parameters.optimizerStep(step.adamW, step.groups);
  asOne.end();
  parts_->passesOfUpdate = std::max<int64_t>(parts_->passes, 1);
  parts_->passes = 0;
  if (parts_->encoder.trainable(parts_->parameters) && parts_->cache.bytes() > 0) clearFeatures();
  return norm;
}

void Model::clearGradients() {
  parts_->passes = 0;
  parts_->parameters.clearGradients();
}

}  // namespace emoframe
