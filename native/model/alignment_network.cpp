#include "alignment_network.h"

#include <algorithm>

namespace emoframe {

namespace {
const std::string kName = "alignment.";
constexpr float kEpsilon = 1e-5f;  // whatever layer_norm_eps says, which is the encoder's
}  // namespace

AlignmentNetwork::AlignmentNetwork(const AlignmentHead &head, int64_t source, Parameters &parameters)
    : source_(source), bands_(head.melBands), width_(head.width), dropout_(head.dropout) {
  inputMean_ = parameters.add(kName + "input_mean", {source_ + bands_}, Layout::plain, false, true);
  inputFactor_ = parameters.add(kName + "input_factor", {source_ + bands_}, Layout::plain, false, true);
  projection_ = addLinear(parameters, kName + "projection", source_ + bands_, width_);
  for (size_t i = 0; i < head.halfWidths.size(); ++i) {
    const std::string block = kName + "blocks." + std::to_string(i);
    norms_.push_back(addLayerNorm(parameters, block + ".norm", width_, kEpsilon));
    convs_.emplace_back(block + ".conv", width_, head.halfWidths[i], parameters);
    gap_ = std::max(gap_, head.halfWidths[i]);
  }
  norms_.push_back(addLayerNorm(parameters, kName + "norm", width_, kEpsilon));
  output_ = addLinear(parameters, kName + "output", width_, head.classes);
}

void AlignmentNetwork::forward(const Context &context, const LocalAxis &axis, const View &x, const View &mel,
                               Saved &saved, const View &logits) const {
  const auto activations = [&](int64_t cols) { return context.tensor(x.rows, cols); };
  // Without a backward pass to follow, blocks take turns in one place, and their sums in two.
  const auto inPlace = [&](View &place) {
    if (context.training || !place) place = activations(width_);
    return place;
  };
  View normed, branch, sums[2];
  saved.input = activations(source_ + bands_);
  const View mean = context.parameters.master(inputMean_), factor = context.parameters.master(inputFactor_);
  const auto standardize = [&](const View &part, int64_t column) {
    context.run(StandardizeColumns{part, mean.colRange(column, part.cols), factor.colRange(column, part.cols),
                                   saved.input.colRange(column, part.cols)});
  };
  standardize(x, 0);
  if (bands_ > 0) standardize(mel, source_);
  saved.norms.resize(norms_.size());
  saved.convs.resize(convs_.size());
  saved.norms[0].x = activations(width_);
  linearForward(context, projection_, saved.input, saved.norms[0].x);

  for (size_t i = 0; i < norms_.size(); ++i) {
    AddNorm &norm = saved.norms[i];
    const bool last = i == convs_.size();
    // What comes out is small and enters the loss: it is f32, as the classifier's is.
    norm.y = last ? context.workspace.tensor(DType::f32, x.rows, width_) : inPlace(normed);
    if (i > 0 && (!last || context.training)) norm.sum = inPlace(sums[i & 1]);
    useLayerNorm(context, norms_[i], norm);
    context.run(norm);
    if (last) break;
    AddNorm &next = saved.norms[i + 1];
    next.x = inPlace(branch);
    next.residual = i > 0 ? norm.sum : norm.x;
    next.dropout = context.dropout(dropout_, site::layer(static_cast<int64_t>(i), site::alignment));
    convs_[i].forward(context, axis, norm.y, saved.convs[i], next.x);
  }
  Gemm gemm{saved.norms.back().y, context.parameters.master(output_.weight).transposed(), logits};
  gemm.bias = context.parameters.master(output_.bias);
  context.run(gemm);
}

void AlignmentNetwork::backward(const Context &context, const LocalAxis &axis, const Saved &saved, const View &dLogits,
                                const View &dX) const {
  const Parameters &parameters = context.parameters;
  Scratch scratch(context.workspace);
  const int64_t rows = dLogits.rows;
  const auto activations = [&](int64_t cols) { return context.tensor(rows, cols); };

  biasGradient(context, output_, dLogits);
  if (parameters.trainable(output_.weight)) {
    context.run(Gemm{dLogits.transposed(), saved.norms.back().y, parameters.gradient(output_.weight), true});
  }
  const View dNormed = activations(width_);
  context.run(Gemm{dLogits, parameters.master(output_.weight), dNormed});

  // The gradient of the stream takes turns; dropout's stands apart from it.
  const View turns[2] = {activations(width_), activations(width_)}, dropped = activations(width_);
  View dStream;
  for (size_t i = norms_.size(); i-- > 0;) {
    AddNormBackward norm{saved.norms[i], dNormed, dStream, turns[i & 1]};
    if (saved.norms[i].dropout.p > 0) norm.dx = dropped;
    layerNormBackward(context, norms_[i], norm);
    dStream = norm.dSumOut;
    if (i > 0) convs_[i - 1].backward(context, axis, saved.convs[i - 1], norm.dx ? norm.dx : dStream, dNormed);
  }
  // Mel bands are what they are: a gradient goes into the source alone.
  const View dInput = dX && bands_ > 0 ? activations(source_ + bands_) : dX;
  linearBackward(context, projection_, saved.input, dStream, dInput);
  if (!dX) return;
  const View factor = parameters.master(inputFactor_).colRange(0, source_);
  context.run(StandardizeColumns{dInput.colRange(0, source_), View{}, factor, dX});
}

}  // namespace emoframe
