// The step that trains the whole model: its parts in order, forward and backward, for each of the objectives.
#include <algorithm>
#include <cmath>

#include "finite.h"
#include "parts.h"

namespace emoframe {

void Model::Parts::checkTargets(const TrainStep &step, const Packing &packing) const {
  const bool masked = step.objective == Objective::maskedPrediction;
  const bool aligned = step.objective == Objective::alignment;
  if (masked && !maskedPrediction) throw Error("ERR_HEAD", "This model was made without a masked-prediction head.");
  if (aligned && !alignment) throw Error("ERR_HEAD", "This model was made without an alignment head.");
  if (!masked && !aligned && !classifier) throw Error("ERR_HEAD", "This model was made without a classifier.");
  if (step.frameLabels && step.frameLabelCount != packing.total()) {
    throw Error("ERR_BATCH", "Expected labels of " + std::to_string(packing.total()) + " frames but received " +
                                 std::to_string(step.frameLabelCount) + ".");
  }
  if (step.frameLabels && !aligned) throw Error("ERR_BATCH", "Frame labels are for the objective alignment only.");
  if (step.mask && aligned) throw Error("ERR_BATCH", "Alignment is trained without a mask.");
  const int64_t wanted = masked ? packing.total() : packing.count;
  if (!step.labels || step.labelCount != wanted) {
    throw Error("ERR_BATCH", "Expected " + std::to_string(wanted) + (masked ? " frame" : " utterance") +
                                 " labels but received " + std::to_string(step.labels ? step.labelCount : 0) + ".");
  }
  if (step.mask && step.maskCount != packing.total()) {
    throw Error("ERR_BATCH", "Expected a mask of " + std::to_string(packing.total()) + " frames but received " +
                                 std::to_string(step.maskCount) + ".");
  }
  if (masked && !step.mask) throw Error("ERR_BATCH", "Masked prediction needs a mask.");
  if (!(step.denominator > 0) || !std::isfinite(step.denominator)) {
    throw Error("ERR_BATCH", "The loss denominator must be above 0.");
  }
}

TrainResult Model::Parts::train(const HostBatch &batch, const TrainStep &step, const PassInputs &inputs) {
  const Context context = this->context(&step);
  const Packing &packing = inputs.packing;
  const MaskedPrediction::Targets &frames = inputs.frames;
  const uint8_t *mask = inputs.mask;
  const bool encoderTrained = encoder.trainable(parameters);
  parameters.ensureGradients();
  parameters.gradientsChange();
  accumulating = true;

  TrainResult result;
  FeatureEncoder::Saved encoded;
  FeatureProjection::Saved projected;
  Transformer::Saved transformed;
  const auto activations = [&](int64_t cols) { return workspace.tensor(dtype, packing.total(), cols); };
  const View reported = parameters.sums(), sums = reported.colRange(Parameters::losses, 2);
  backend->run(Fill{reported, 0});
  const View features = this->features(context, batch, packing, encoderTrained ? &encoded : nullptr);
  if (step.featurePenalty > 0 || batch.features.empty())
    sumOfSquares(features, reported.colRange(Parameters::featureSquares, 1));
  const auto backThroughFeatures = [&](const View &dFeatures) {
    if (step.featurePenalty > 0) {
      // d/dx of penalty · mean(x²), weighted by this micro-batch's share of the update.
      const double share = static_cast<double>(result.count) / step.denominator;
      const View dPenalty = activations(encoder.features());
      backend->run(Convert{features, dPenalty});
      backend->run(
          Scale{dPenalty, static_cast<float>(2 * step.featurePenalty * share / static_cast<double>(features.size()))});
      backend->run(Add{dFeatures, dPenalty, dFeatures});
    }
    if (step.featureGradientScale != 1) backend->run(Scale{dFeatures, step.featureGradientScale});
    encoder.backward(context, packing, encoded, dFeatures);
  };
  const bool belowTransformer = encoderTrained || projection.trainable(parameters, mask != nullptr);
  const auto backThroughProjection = [&](const View &dEmbedded) {
    const View dFeatures = encoderTrained ? activations(encoder.features()) : View{};
    projection.backward(context, projected, dEmbedded, dFeatures);
    if (encoderTrained) backThroughFeatures(dFeatures);
  };
  const ChunkedStates *states = alignment ? alignment->states() : nullptr;
  const View mel = step.objective == Objective::alignment ? this->mel(context, batch, packing) : View{};
  View source = features;  // what the head reads
  if (step.objective != Objective::alignment) {
    const View embedded = activations(shape.hiddenSize);
    projection.forward(context, features, mask, projected, embedded);
    const View hidden = source = activations(shape.hiddenSize);
    transformer.forward(context, packing, embedded, modelOutput, transformed, hidden);
    const View dHidden = activations(shape.hiddenSize);
    if (step.objective == Objective::classification) {
      classifier->step(context, packing.segments(), inputs.classes, step.denominator, hidden, dHidden, sums);
      result.count = packing.count;
    } else if (frames.count > 0) {
      maskedPrediction->step(context, frames, step.denominator, hidden, dHidden, sums);
      result.count = frames.count;
    }
    if (result.count > 0 && (belowTransformer || transformer.trainable(parameters))) {
      const View dEmbedded = belowTransformer ? activations(shape.hiddenSize) : View{};
      transformer.backward(context, packing, transformed, dHidden, dEmbedded);
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
    const bool below = !states->weighted() && (belowTransformer || transformer.trainable(parameters));
    // What is not trained runs as in inference.
    const Context ofSource = below ? context : this->context(nullptr);
    const Chunks &chunks = inputs.alignment.chunks;
    ChunkedStates::Saved chunked;
    const View embedded = activations(shape.hiddenSize);
    source = activations(shape.hiddenSize);
    projection.forward(ofSource, features, nullptr, projected, embedded);
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

TrainResult Model::trainStep(const HostBatch &batch, const TrainStep &step) {
  parts_->accumulating = false;
  try {
    return parts_->pass(batch.id, parts_->packed(batch, &step),
                        [&](const PassInputs &inputs) { return parts_->train(batch, step, inputs); });
  } catch (...) {
    // A batch that was refused has changed nothing; a step that failed midway has added part of its gradient.
    if (parts_->accumulating) clearGradients();
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
  parts_->parameters.clearGradients();
  parts_->passes = 0;
}

}  // namespace emoframe
