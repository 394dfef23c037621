#include "masked_prediction.h"

#include "../error.h"

namespace emoframe {

MaskedPrediction::MaskedPrediction(const MaskedPredictionHead &head, int64_t hidden, Parameters &parameters)
    : head_(head) {
  projection_ = addLinear(parameters, "final_proj", hidden, head.dimension);
  embeddings_ = parameters.add("label_embs_concat", {head.clusters, head.dimension});
}

MaskedPrediction::Targets MaskedPrediction::targets(const TrainStep &step, int64_t frames, Workspace &workspace) const {
  std::vector<int32_t> masked, labels;
  for (int64_t t = 0; t < frames; ++t) {
    if (!step.mask[t]) continue;
    const int32_t label = step.labels[t];
    if (label < 0 || label >= head_.clusters) {
      throw Error("ERR_LABEL", "Frame " + std::to_string(t) + " of the batch is masked but its label " +
                                   std::to_string(label) + " is not one of the " + std::to_string(head_.clusters) +
                                   " clusters.");
    }
    masked.push_back(static_cast<int32_t>(t));
    labels.push_back(label);
  }
  return {static_cast<int64_t>(masked.size()), workspace.upload(masked), workspace.upload(labels)};
}

void MaskedPrediction::step(const Context &context, const Targets &targets, double denominator, const View &hidden,
                            const View &dHidden, const View &sums) const {
  const Parameters &parameters = context.parameters;
  Scratch scratch(context.workspace);
  const View masked = context.tensor(targets.count, hidden.cols);
  const View z = context.tensor(targets.count, head_.dimension);
  context.run(GatherRows{hidden, targets.frames, masked});
  linearForward(context, projection_, masked, z);

  CosineCrossEntropy loss;
  loss.z = z;
  loss.embeddings = parameters.master(embeddings_);
  loss.labels = targets.labels;
  loss.temperature = head_.temperature;
  loss.gradientScale = static_cast<float>(1 / denominator);
  loss.result = sums;
  loss.dz = context.tensor(targets.count, head_.dimension);
  if (parameters.trainable(embeddings_)) loss.dEmbeddings = parameters.gradient(embeddings_);
  context.run(loss);

  const View dMasked = context.tensor(targets.count, hidden.cols);
  linearBackward(context, projection_, masked, loss.dz, dMasked);
  context.run(ScatterRows{dMasked, targets.frames, dHidden});
}

}  // namespace emoframe
