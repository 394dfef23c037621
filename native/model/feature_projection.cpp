#include "feature_projection.h"

namespace emoframe {

FeatureProjection::FeatureProjection(const HubertShape &shape, Parameters &parameters)
    : normed_(shape.featureProjectionLayerNorm), dropout_(shape.featureProjectionDropout) {
  maskEmbedding_ = parameters.add("masked_spec_embed", {shape.hiddenSize});
  if (normed_) {
    norm_ = addLayerNorm(parameters, "feature_projection.layer_norm", shape.convDim.back(),
                         shape.featureProjectionEpsilon > 0 ? shape.featureProjectionEpsilon : shape.layerNormEpsilon);
  }
  linear_ = addLinear(parameters, "feature_projection.projection", shape.convDim.back(), shape.hiddenSize);
}

bool FeatureProjection::trainable(const Parameters &parameters, bool masking) const {
  return (masking && parameters.trainable(maskEmbedding_)) || parameters.anyTrainable("feature_projection.");
}

void FeatureProjection::forward(const Context &context, const View &features, const uint8_t *mask, Saved &saved,
                                const View &out) const {
  saved.features = saved.input = features;
  saved.mask = mask;
  if (normed_) {
    saved.input = context.tensor(features.rows, features.cols);
    saved.norm.x = features;
    saved.norm.y = saved.input;
    useLayerNorm(context, norm_, saved.norm);
    context.run(saved.norm);
  }
  linearForward(context, linear_, saved.input, out);
  const Dropout dropout = context.dropout(dropout_, site::projection);
  if (dropout.p > 0) context.run(ApplyDropout{out, dropout, out});
  if (mask) context.run(MaskRows{out, mask, context.parameters.master(maskEmbedding_)});
}

void FeatureProjection::backward(const Context &context, const Saved &saved, const View &dOut,
                                 const View &dFeatures) const {
  Parameters &parameters = context.parameters;
  Scratch scratch(context.workspace);
  if (saved.mask) context.run(MaskRowsBackward{dOut, saved.mask, parameters.gradient(maskEmbedding_)});
  const Dropout dropout = context.dropout(dropout_, site::projection);
  if (dropout.p > 0) context.run(ApplyDropout{dOut, dropout, dOut});
  const bool normTrained = normed_ && (parameters.trainable(norm_.gamma) || parameters.trainable(norm_.beta));
  if (!normed_) {
    linearBackward(context, linear_, saved.input, dOut, dFeatures);
    return;
  }
  View dInput;
  if (normTrained || dFeatures) dInput = context.tensor(saved.input.rows, saved.input.cols);
  linearBackward(context, linear_, saved.input, dOut, dInput);
  if (!dInput) return;
  const View dSum = dFeatures ? dFeatures : context.tensor(saved.features.rows, saved.features.cols);
  layerNormBackward(context, norm_, {saved.norm, dInput, View{}, dSum});
}

}  // namespace emoframe
