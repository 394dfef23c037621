#include "feature_encoder.h"

#include <algorithm>

namespace emoframe {

namespace {
constexpr float kEpsilon = 1e-5f;  // of the encoder's own norms, whatever layer_norm_eps says
}

FeatureEncoder::FeatureEncoder(const HubertShape &shape, Parameters &parameters) : groupNorm_(shape.groupNorm) {
  int64_t product = 1;
  for (size_t i = 0; i < shape.convDim.size(); ++i) {
    Layer layer;
    layer.in = i == 0 ? 1 : shape.convDim[i - 1];
    layer.out = shape.convDim[i];
    layer.kernel = shape.convKernel[i];
    layer.stride = shape.convStride[i];
    layer.product = product *= layer.stride;
    const std::string name = "feature_extractor.conv_layers." + std::to_string(i);
    layer.weight = parameters.add(name + ".conv.weight", {layer.out, layer.in, layer.kernel}, Layout::conv);
    if (shape.convBias) layer.bias = parameters.add(name + ".conv.bias", {layer.out});
    if (!groupNorm_ || i == 0) layer.norm = addLayerNorm(parameters, name + ".layer_norm", layer.out, kEpsilon);
    if (i > 0) slack_ = std::max(slack_, layer.kernel - layer.stride);
    layers_.push_back(layer);
  }
}

size_t FeatureEncoder::lowestTrainable(const Parameters &parameters) const {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer &layer = layers_[i];
    for (int32_t index : {layer.weight, layer.bias, layer.norm.gamma, layer.norm.beta}) {
      if (index >= 0 && parameters.trainable(index)) return i;
    }
  }
  return layers_.size();
}

// [rows, kernel · Cin]: row t is the window of output frame t.
View FeatureEncoder::overlappingRows(const Layer &layer, const View &input, int64_t rows) const {
  return matrix(input.data, input.dtype, rows, layer.kernel * layer.in, layer.stride * layer.in);
}

Conv0 FeatureEncoder::conv0Input(const Context &context, const HostBatch &batch, const Packing &packing) const {
  Conv0 conv;
  conv.samples = context.workspace.zeros(DType::f32, 1, packing.sampleCount);
  context.backend.upload(conv.samples.data, batch.samples, static_cast<size_t>(batch.sampleCount) * sizeof(float));
  conv.count = packing.count;
  conv.start = packing.starts.host.data();
  conv.length = packing.lengths.host.data();
  conv.deviceStart = packing.starts.device;
  conv.deviceLength = packing.lengths.device;
  conv.kernel = layers_[0].kernel;
  conv.stride = layers_[0].stride;
  return conv;
}

WindowMoments FeatureEncoder::windowMoments(const Context &context, const HostBatch &batch,
                                            const Packing &packing) const {
  Backend &backend = context.backend;
  const Conv0 conv = conv0Input(context, batch, packing);
  const View mean = context.workspace.tensor(DType::f32, conv.count, conv.kernel);
  const View covariance = context.workspace.tensor(DType::f32, conv.count, conv.kernel, conv.kernel);
  backend.windowCovariance(conv, mean, covariance);
  WindowMoments moments;
  const auto take = [&](const View &v, std::vector<float> &host) {
    host.resize(static_cast<size_t>(v.size()));
    backend.download(host.data(), v.data, host.size() * sizeof(float));
  };
  take(mean, moments.mean);
  take(covariance, moments.covariance);
  for (int32_t b = 0; b < conv.count; ++b) moments.counts.push_back(static_cast<int32_t>(conv.frames(b)));
  return moments;
}

void FeatureEncoder::conv0Setup(const Context &context, const HostBatch &batch, const Packing &packing,
                                Saved &saved) const {
  Backend &backend = context.backend;
  Workspace &workspace = context.workspace;
  const Parameters &parameters = context.parameters;
  const Layer &layer = layers_[0];
  Conv0 &conv = saved.conv0 = conv0Input(context, batch, packing);
  const View weight = matrix(parameters.master(layer.weight).data, DType::f32, layer.out, layer.kernel);
  if (!groupNorm_) {
    conv.weight = weight;
    if (layer.bias >= 0) conv.bias = parameters.master(layer.bias);
    return;
  }
  // GroupNorm takes away whatever a bias adds, so a bias of this layer has no effect and no gradient.
  conv.gelu = true;
  conv.weight = workspace.tensor(DType::f32, packing.count, layer.out, layer.kernel);
  conv.bias = workspace.tensor(DType::f32, packing.count, 1, layer.out);
  saved.windowMean = workspace.tensor(DType::f32, packing.count, layer.kernel);
  saved.windowCovariance = workspace.tensor(DType::f32, packing.count, layer.kernel, layer.kernel);
  if (batch.windowMean) {
    const auto give = [&](const View &v, const float *host) {
      backend.upload(v.data, host, static_cast<size_t>(v.size()) * sizeof(float));
    };
    give(saved.windowMean, batch.windowMean);
    give(saved.windowCovariance, batch.windowCovariance);
  } else {
    backend.windowCovariance(conv, saved.windowMean, saved.windowCovariance);
  }
  backend.foldGroupNorm(weight, parameters.master(layer.norm.gamma), parameters.master(layer.norm.beta), kEpsilon,
                        saved.windowMean, saved.windowCovariance, conv.weight, conv.bias);
}

void FeatureEncoder::forward(const Context &context, const HostBatch &batch, const Packing &packing, Saved *saved,
                             const View &out) const {
  Backend &backend = context.backend;
  Workspace &workspace = context.workspace;
  const Workspace::Mark mark = workspace.mark();
  Context local = context;
  local.training = saved != nullptr;
  Saved unkept;
  Saved &state = saved ? *saved : unkept;
  state.layers.resize(layers_.size());
  conv0Setup(local, batch, packing, state);

  // When nothing is kept, outputs alternate between two buffers, and what lies between norm and GELU shares a third.
  const auto rowsOf = [&](size_t i) { return packing.sampleCount / layers_[i].product; };
  View alternating[2], between;
  if (!saved) {
    int64_t size[3] = {0, 0, 0};
    for (size_t i = 0; i < layers_.size(); ++i) {
      size[i & 1] = std::max(size[i & 1], (rowsOf(i) + slack_) * layers_[i].out);
      if (!groupNorm_) size[2] = std::max(size[2], rowsOf(i) * layers_[i].out);
    }
    for (int j = 0; j < 2; ++j) alternating[j] = workspace.tensor(context.dtype, 1, size[j]);
    between = workspace.tensor(context.dtype, 1, size[2]);
  }
  const auto temporary = [&](int64_t rows, int64_t cols) {
    return saved ? workspace.tensor(context.dtype, rows, cols) : matrix(between.data, context.dtype, rows, cols);
  };

  View input;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer &layer = layers_[i];
    SavedLayer &kept = state.layers[i];
    const int64_t rows = rowsOf(i);
    const View whole = saved ? workspace.tensor(context.dtype, rows + slack_, layer.out)
                             : matrix(alternating[i & 1].data, context.dtype, rows + slack_, layer.out);
    const View y = whole.rowRange(0, rows);
    const bool normed = !groupNorm_;
    kept.input = input;
    if (i == 0 && groupNorm_) {
      backend.conv0Forward(state.conv0, y);
    } else {
      // LayerNorm form: product → y, norm → activation, GELU → y; else GELU of the product → y. Training keeps the
      // product apart, because the norm's or GELU's backward reads it.
      const View activation = normed || saved ? temporary(rows, layer.out) : View{};
      const View product = !normed ? activation : saved ? workspace.tensor(context.dtype, rows, layer.out) : y;
      if (i == 0) {
        backend.conv0Forward(state.conv0, product);
      } else {
        Gemm gemm;
        gemm.a = overlappingRows(layer, input, rows);
        gemm.b = context.parameters.compute(layer.weight).transposed();
        gemm.out = product;
        if (!normed) gemm.gelu = y;
        if (layer.bias >= 0) gemm.bias = context.parameters.master(layer.bias);
        gemm.weightKey = local.key(layer.weight);
        backend.gemm(gemm);
      }
      if (normed) {
        kept.norm.x = product;
        kept.norm.y = activation;
        useLayerNorm(local, layer.norm, kept.norm);
        backend.addNormForward(kept.norm);
        backend.geluForward(activation, Dropout{}, y);
      }
      kept.activation = activation;
    }
    if (slack_ > 0) backend.fill(whole.rowRange(rows, slack_), 0);
    input = whole;
  }
  backend.copyRows(input, packing.compaction.runs(), out);
  if (!saved) workspace.rewind(mark);
}

// dPre [rows, Cout] is the gradient of the product. dInput [rows in + slack, Cin], absent when nothing below is
// trained.
void FeatureEncoder::convBackward(const Context &context, const Layer &layer, const View &input, const View &dPre,
                                  const View &dInput) const {
  Backend &backend = context.backend;
  const Parameters &parameters = context.parameters;
  if (layer.bias >= 0 && parameters.trainable(layer.bias)) {
    backend.columnSum(dPre, parameters.gradient(layer.bias));
  }
  if (parameters.trainable(layer.weight)) {
    Gemm gemm;
    gemm.a = dPre.transposed();
    gemm.b = overlappingRows(layer, input, dPre.rows);
    gemm.out = parameters.gradient(layer.weight);
    gemm.accumulate = true;
    backend.gemm(gemm);
  }
  if (!dInput) return;
  // Taps [m · stride, (m + 1) · stride) of frame t touch input rows stride · (t + m) + [0, stride), which for a fixed m
  // do not overlap between frames: one product for each such block of taps, the first of which may write.
  const int64_t width = layer.stride * layer.in;
  const int64_t written = layer.kernel < layer.stride ? 0 : dPre.rows * layer.stride;
  backend.fill(dInput.rowRange(written, dInput.rows - written), 0);
  for (int64_t tap = 0; tap < layer.kernel; tap += layer.stride) {
    const int64_t taps = std::min(layer.stride, layer.kernel - tap);
    Gemm gemm;
    gemm.a = dPre;
    gemm.b = context.parameters.compute(layer.weight).colRange(tap * layer.in, taps * layer.in);
    gemm.out = matrix(dInput.at(0, tap, 0), dInput.dtype, dPre.rows, taps * layer.in, width);
    gemm.accumulate = tap > 0;
    backend.gemm(gemm);
  }
}

void FeatureEncoder::conv0Backward(const Context &context, const Packing &packing, const Saved &saved,
                                   const View &dOut) const {
  Backend &backend = context.backend;
  Parameters &parameters = context.parameters;
  const Layer &layer = layers_[0];
  const View moment0 = context.workspace.tensor(DType::f32, packing.count, 1, layer.out);
  const View moment1 = context.workspace.tensor(DType::f32, packing.count, layer.out, layer.kernel);
  backend.conv0Backward(saved.conv0, dOut, moment0, moment1);
  const auto flat = [](const View &v) { return vector(v.data, v.dtype, v.size()); };
  const View dWeight = parameters.gradient(layer.weight);
  if (!groupNorm_) {
    backend.columnSum(matrix(moment1.data, DType::f32, packing.count, layer.out * layer.kernel), flat(dWeight));
    if (layer.bias >= 0) {
      backend.columnSum(matrix(moment0.data, DType::f32, packing.count, layer.out), parameters.gradient(layer.bias));
    }
    return;
  }
  std::vector<int64_t> frames;
  for (int32_t b = 0; b < packing.count; ++b) frames.push_back(saved.conv0.frames(b));
  const auto filters = [&](const View &v) { return matrix(v.data, DType::f32, layer.out, layer.kernel); };
  backend.foldGroupNormBackward(filters(parameters.master(layer.weight)), parameters.master(layer.norm.gamma), kEpsilon,
                                saved.windowMean, saved.windowCovariance, frames, moment0, moment1, filters(dWeight),
                                parameters.gradient(layer.norm.gamma), parameters.gradient(layer.norm.beta));
}

void FeatureEncoder::backward(const Context &context, const Packing &packing, const Saved &saved,
                              const View &dOut) const {
  Backend &backend = context.backend;
  Workspace &workspace = context.workspace;
  const size_t lowest = lowestTrainable(context.parameters);
  if (lowest == layers_.size()) return;
  Scratch scratch(workspace);
  // Frames that were dropped get no gradient, so none reaches the rows below that only they have read.
  View gradient = workspace.zeros(context.dtype, packing.sampleCount / layers_.back().product, layers_.back().out);
  backend.copyRows(dOut, packing.compaction.inverse(), gradient);
  for (size_t i = layers_.size(); i-- > lowest;) {
    const Layer &layer = layers_[i];
    const SavedLayer &kept = saved.layers[i];
    if (kept.activation) backend.geluBackward(kept.activation, Dropout{}, gradient, gradient);
    if (kept.norm.y) {
      AddNormGradient norm;
      norm.dy = gradient;
      norm.dSumOut = workspace.tensor(context.dtype, gradient.rows, gradient.cols);
      layerNormBackward(context, layer.norm, kept.norm, norm);
      gradient = norm.dSumOut;
    }
    if (i == 0) {
      conv0Backward(context, packing, saved, gradient);
      break;
    }
    View dInput;
    if (i > lowest) dInput = workspace.tensor(context.dtype, kept.input.rows, kept.input.cols);
    convBackward(context, layer, kept.input, gradient, dInput);
    if (dInput) gradient = dInput.rowRange(0, dInput.rows - slack_);
  }
}

}  // namespace emoframe
