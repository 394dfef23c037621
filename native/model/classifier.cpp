#include "classifier.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../error.h"

namespace emoframe {

Classifier::Classifier(const ClassifierHead &head, const HubertShape &shape, Parameters &parameters)
    : head_(head),
      hidden_(shape.hiddenSize),
      pooled_(head.pooling == PoolingKind::stats ? 2 * shape.hiddenSize : shape.hiddenSize),
      dropout_(shape.finalDropout) {
  if (head.pooling != PoolingKind::mean) score_ = parameters.add("pooling.weight", {hidden_});
  linear_ = addLinear(parameters, "classifier", pooled_, head.classes);
}

const int32_t *Classifier::targets(const TrainStep &step, int64_t utterances, Workspace &workspace) const {
  for (int64_t b = 0; b < utterances; ++b) {
    if (step.labels[b] < 0 || step.labels[b] >= head_.classes) {
      throw Error("ERR_LABEL", "Utterance " + std::to_string(b) + " of the batch has the label " +
                                   std::to_string(step.labels[b]) + ", which is not one of the " +
                                   std::to_string(head_.classes) + " classes.");
    }
  }
  return workspace.upload(std::vector<int32_t>(step.labels, step.labels + utterances));
}

Pooling Classifier::pool(const Context &context, const Segments &segments, const View &hidden) const {
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
  pooling.attention = context.workspace.tensor(DType::f32, 1, hidden.rows);
  pooling.pooled = context.workspace.tensor(DType::f32, segments.count, pooled_);
  context.backend.poolForward(pooling);
  return pooling;
}

View Classifier::logits(const Context &context, const View &pooled) const {
  const View out = context.workspace.tensor(DType::f32, pooled.rows, head_.classes);
  Gemm gemm;
  gemm.a = pooled;
  gemm.b = context.parameters.master(linear_.weight).transposed();
  gemm.out = out;
  gemm.bias = context.parameters.master(linear_.bias);
  context.backend.gemm(gemm);
  return out;
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
    backend.dropout(hidden, dropout, h);
  }
  const Pooling pooling = pool(context, segments, h);

  SoftmaxCrossEntropy loss;
  loss.logits = logits(context, pooling.pooled);
  loss.labels = labels;
  loss.gradientScale = static_cast<float>(1 / denominator);
  loss.result = sums;
  loss.dLogits = workspace.tensor(DType::f32, segments.count, head_.classes);
  backend.softmaxCrossEntropy(loss);

  if (parameters.trainable(linear_.bias)) backend.columnSum(loss.dLogits, parameters.gradient(linear_.bias));
  Gemm gemm;
  if (parameters.trainable(linear_.weight)) {
    gemm.a = loss.dLogits.transposed();
    gemm.b = pooling.pooled;
    gemm.out = parameters.gradient(linear_.weight);
    gemm.accumulate = true;
    backend.gemm(gemm);
  }
  gemm = {};
  gemm.a = loss.dLogits;
  gemm.b = parameters.master(linear_.weight);
  gemm.out = workspace.tensor(DType::f32, segments.count, pooled_);
  backend.gemm(gemm);
  backend.poolBackward(pooling, gemm.out, dHidden, score_ >= 0 ? parameters.gradient(score_) : View{});
  if (dropout.p > 0) backend.dropout(dHidden, dropout, dHidden);
}

// A frame's weight is exp(score) over the sum that is wanted, so any frame gives it; the heaviest gives it best.
std::vector<float> Classifier::scoreLogSums(const Context &context, const Segments &segments, const View &hidden,
                                            const std::vector<float> &attention) const {
  std::vector<float> row(static_cast<size_t>(hidden_)), w(row.size()), sums;
  const auto download = [&](const void *source, std::vector<float> &host) {
    context.backend.download(host.data(), source, host.size() * sizeof(float));
  };
  if (score_ >= 0) download(context.parameters.master(score_).data, w);
  for (int32_t b = 0; b < segments.count; ++b) {
    const auto first = attention.begin() + segments.offsets[b], last = attention.begin() + segments.offsets[b + 1];
    const auto heaviest = std::max_element(first, last);
    double score = 0;
    if (score_ >= 0) {
      download(hidden.at(0, heaviest - attention.begin(), 0), row);
      score = std::inner_product(row.begin(), row.end(), w.begin(), 0.0);
    }
    if (head_.pooling == PoolingKind::attention) score = std::tanh(score);
    if (head_.pooling == PoolingKind::stats) score = std::max(score, 0.0);
    sums.push_back(static_cast<float>(score - std::log(static_cast<double>(*heaviest))));
  }
  return sums;
}

void Classifier::classify(const Context &context, const Segments &segments, const View &hidden,
                          Classified &result) const {
  Backend &backend = context.backend;
  Workspace &workspace = context.workspace;
  const Parameters &parameters = context.parameters;
  const auto take = [&](const View &v, std::vector<float> &host) {
    host.resize(static_cast<size_t>(v.size()));
    backend.download(host.data(), v.data, host.size() * sizeof(float));
  };
  const Pooling pooling = pool(context, segments, hidden);
  const View logits = this->logits(context, pooling.pooled);
  const View posteriors = workspace.tensor(DType::f32, hidden.rows, head_.classes);
  const View weight = parameters.master(linear_.weight);
  Gemm gemm;
  gemm.b = weight.colRange(0, hidden_).transposed();
  if (head_.pooling != PoolingKind::stats) {
    gemm.a = hidden;
    gemm.bias = parameters.master(linear_.bias);
    gemm.out = posteriors;
    backend.gemm(gemm);
  } else {
    // The classifier reads [h_t ; σ] with σ of the whole utterance: a bias of its own for each utterance.
    const View biases = workspace.tensor(DType::f32, segments.count, head_.classes);
    Gemm deviation;
    deviation.a = pooling.pooled.colRange(hidden_, hidden_);
    deviation.b = weight.colRange(hidden_, hidden_).transposed();
    deviation.bias = parameters.master(linear_.bias);
    deviation.out = biases;
    backend.gemm(deviation);
    for (int32_t b = 0; b < segments.count; ++b) {
      gemm.a = hidden.rowRange(segments.offsets[b], segments.length(b));
      gemm.bias = biases.rowRange(b, 1);
      gemm.out = posteriors.rowRange(segments.offsets[b], segments.length(b));
      backend.gemm(gemm);
    }
  }
  backend.softmaxRows(posteriors, posteriors);

  take(logits, result.logits);
  take(pooling.attention, result.attention);
  take(pooling.pooled, result.pooled);
  take(posteriors, result.framePosteriors);
  result.scoreLogSums = scoreLogSums(context, segments, hidden, result.attention);
}

}  // namespace emoframe
