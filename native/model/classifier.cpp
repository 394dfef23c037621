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
  switch (head_.pooling) {
    case PoolingKind::mean:
      pooling.score = Score::none;
      break;
    case PoolingKind::attention:
      pooling.score = Score::tanh;
      break;
    case PoolingKind::attentionLinear:
      pooling.score = Score::linear;
      break;
    case PoolingKind::stats:
      pooling.score = Score::relu;
      pooling.standardDeviation = true;
      break;
  }
  if (score_ >= 0) pooling.w = context.parameters.master(score_);
  return pooling;
}

void Classifier::logits(const Context &context, const View &pooled, const View &out) const {
  Gemm gemm;
  gemm.a = pooled;
  gemm.b = context.parameters.master(linear_.weight).transposed();
  gemm.out = out;
  gemm.bias = context.parameters.master(linear_.bias);
  context.backend.run(gemm);
}

void Classifier::step(const Context &context, const Segments &segments, const int32_t *labels, double denominator,
                      const View &hidden, const View &dHidden, const View &sums) const {
  Backend &backend = context.backend;
  Workspace &workspace = context.workspace;
  Parameters &parameters = context.parameters;
  Scratch scratch(workspace);
  const Dropout dropout = context.dropout(dropout_, site::classifier);
  View h = hidden;
  if (dropout.p > 0) {
    h = workspace.tensor(context.dtype, hidden.rows, hidden.cols);
    backend.run(ApplyDropout{hidden, dropout, h});
  }
  Pooling pooling = this->pooling(context, segments, h);
  pooling.attention = workspace.tensor(DType::f32, 1, h.rows);
  pooling.pooled = workspace.tensor(DType::f32, segments.count, pooled_);
  backend.run(pooling);

  SoftmaxCrossEntropy loss;
  loss.logits = workspace.tensor(DType::f32, segments.count, head_.classes);
  logits(context, pooling.pooled, loss.logits);
  loss.labels = labels;
  loss.gradientScale = static_cast<float>(1 / denominator);
  loss.result = sums;
  loss.dLogits = workspace.tensor(DType::f32, segments.count, head_.classes);
  backend.run(loss);

  if (parameters.trainable(linear_.bias)) backend.run(ColumnSum{loss.dLogits, parameters.gradient(linear_.bias)});
  Gemm gemm;
  if (parameters.trainable(linear_.weight)) {
    gemm.a = loss.dLogits.transposed();
    gemm.b = pooling.pooled;
    gemm.out = parameters.gradient(linear_.weight);
    gemm.accumulate = true;
    backend.run(gemm);
  }
  gemm = {};
  gemm.a = loss.dLogits;
  gemm.b = parameters.master(linear_.weight);
  gemm.out = workspace.tensor(DType::f32, segments.count, pooled_);
  backend.run(gemm);
  backend.run(PoolingBackward{pooling, gemm.out, dHidden, score_ >= 0 ? parameters.gradient(score_) : View{}});
  if (dropout.p > 0) backend.run(ApplyDropout{dHidden, dropout, dHidden});
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
  Backend &backend = context.backend;
  const Parameters &parameters = context.parameters;
  const Segments segments = selection.segments();

  Pooling pooling = this->pooling(context, segments, hidden);
  pooling.attention = results.of(result.attention);
  pooling.pooled = results.of(result.pooled);
  pooling.logSums = results.of(result.scoreLogSums);
  backend.run(pooling);
  logits(context, pooling.pooled, results.of(result.logits));

  const View weight = parameters.master(linear_.weight);
  Gemm gemm;
  gemm.a = hidden;
  gemm.b = weight.colRange(0, hidden_).transposed();
  gemm.out = results.of(result.framePosteriors);
  if (head_.pooling != PoolingKind::stats) {
    gemm.bias = parameters.master(linear_.bias);
  } else {
    // The classifier reads [h_t ; σ] with σ of the whole utterance: a bias of its own for each utterance.
    Gemm deviation;
    deviation.a = pooling.pooled.colRange(hidden_, hidden_);
    deviation.b = weight.colRange(hidden_, hidden_).transposed();
    deviation.bias = parameters.master(linear_.bias);
    deviation.out = context.workspace.tensor(DType::f32, segments.count, head_.classes);
    backend.run(deviation);
    backend.run(GatherRows{deviation.out, selection.owners.device, gemm.out});
    gemm.accumulate = true;
  }
  backend.run(gemm);
  backend.run(SoftmaxRows{gemm.out, gemm.out});
}

}  // namespace emoframe
