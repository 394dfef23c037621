#include "classifier.h"

namespace emoframe {

Classifier::Classifier(const ClassifierHead &head, const HubertShape &shape, Parameters &parameters)
    : head_(head),
      hidden_(shape.hiddenSize),
      pooled_(head.pooling == PoolingKind::stats ? 2 * shape.hiddenSize : shape.hiddenSize),
      dropout_(shape.finalDropout) {
  if (head.pooling != PoolingKind::mean) score_ = parameters.add("pooling.weight", {hidden_});
  linear_ = addLinear(parameters, "classifier", pooled_, head.classes);
}

Pooling Classifier::pooling(const Context &context, const Segments &segments, const View &hidden) const {
  Pooling pooling;
  pooling.h = hidden;
  pooling.segments = segments;
  pooling.score = head_.pooling == PoolingKind::mean              ? Score::none
                  : head_.pooling == PoolingKind::attention       ? Score::tanh
                  : head_.pooling == PoolingKind::attentionLinear ? Score::linear
                                                                  : Score::relu;
  if (head_.pooling == PoolingKind::stats) pooling.deviation = Deviation::added;
  if (score_ >= 0) pooling.w = context.parameters.master(score_);
  return pooling;
}

void Classifier::logits(const Context &context, const View &pooled, const View &out) const {
  Gemm gemm{pooled, context.parameters.master(linear_.weight).transposed(), out};
  gemm.bias = context.parameters.master(linear_.bias);
  context.run(gemm);
}

void Classifier::step(const Context &context, const Segments &segments, const int32_t *labels, double denominator,
                      const View &hidden, const View &dHidden, const View &sums) const {
  Workspace &workspace = context.workspace;
  Parameters &parameters = context.parameters;
  Scratch scratch(workspace);
  const Dropout dropout = context.dropout(dropout_, site::classifier);
  View h = hidden;
  if (dropout.p > 0) {
    h = context.tensor(hidden.rows, hidden.cols);
    context.run(ApplyDropout{hidden, dropout, h});
  }
  Pooling pooling = this->pooling(context, segments, h);
  pooling.attention = workspace.tensor(DType::f32, 1, h.rows);
  pooling.pooled = workspace.tensor(DType::f32, segments.count, pooled_);
  context.run(pooling);

  SoftmaxCrossEntropy loss;
  loss.logits = workspace.tensor(DType::f32, segments.count, head_.classes);
  logits(context, pooling.pooled, loss.logits);
  loss.labels = labels;
  loss.gradientScale = static_cast<float>(1 / denominator);
  loss.result = sums;
  loss.dLogits = workspace.tensor(DType::f32, segments.count, head_.classes);
  context.run(loss);

  if (parameters.trainable(linear_.bias)) context.run(ColumnSum{loss.dLogits, parameters.gradient(linear_.bias)});
  if (parameters.trainable(linear_.weight)) {
    context.run(Gemm{loss.dLogits.transposed(), pooling.pooled, parameters.gradient(linear_.weight), true});
  }
  const View dPooled = workspace.tensor(DType::f32, segments.count, pooled_);
  context.run(Gemm{loss.dLogits, parameters.master(linear_.weight), dPooled});
  context.run(PoolingBackward{pooling, dPooled, dHidden, score_ >= 0 ? parameters.gradient(score_) : View{}});
  if (dropout.p > 0) context.run(ApplyDropout{dHidden, dropout, dHidden});
}

void Classifier::layOut(Selection &selection, Workspace &workspace) const {
  if (head_.pooling != PoolingKind::stats) return;
  std::vector<int32_t> &owners = selection.owners.host;
  for (int32_t b = 0; b < selection.count; ++b) owners.resize(static_cast<size_t>(selection.offsets.host[b + 1]), b);
  selection.owners.upload(workspace);
}

void Classifier::addResults(const Selection &selection, Results &results, Classified &result) const {
  const int64_t B = selection.count, T = selection.total();
  results.add(result.logits, B, head_.classes);
  results.add(result.framePosteriors, T, head_.classes);
  results.add(result.attention, 1, T);
  results.add(result.pooled, B, pooled_);
  results.add(result.scoreLogSums, 1, B);
}

void Classifier::classify(const Context &context, const Selection &selection, const View &hidden,
                          const Results &results, const Classified &result) const {
  const Parameters &parameters = context.parameters;
  const Segments segments = selection.segments();

  Pooling pooling = this->pooling(context, segments, hidden);
  pooling.attention = results.of(result.attention);
  pooling.pooled = results.of(result.pooled);
  pooling.logSums = results.of(result.scoreLogSums);
  context.run(pooling);
  logits(context, pooling.pooled, results.of(result.logits));

  const View weight = parameters.master(linear_.weight);
  Gemm gemm{hidden, weight.colRange(0, hidden_).transposed(), results.of(result.framePosteriors)};
  if (head_.pooling != PoolingKind::stats) {
    gemm.bias = parameters.master(linear_.bias);
  } else {
    // The classifier reads [h_t ; σ] with σ of the whole utterance: a bias of its own for each utterance.
    Gemm deviation{pooling.pooled.colRange(hidden_, hidden_), weight.colRange(hidden_, hidden_).transposed(),
                   context.workspace.tensor(DType::f32, segments.count, head_.classes)};
    deviation.bias = parameters.master(linear_.bias);
    context.run(deviation);
    context.run(GatherRows{deviation.out, selection.owners.device, gemm.out});
    gemm.accumulate = true;
  }
  context.run(gemm);
  context.run(SoftmaxRows{gemm.out, gemm.out});
}

}  // namespace emoframe
