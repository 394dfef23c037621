#include "feature_encoder.h"

#include <algorithm>

namespace emoframe {

namespace {

constexpr float kEpsilon = 1e-5f;  // of the encoder's own norms, whatever layer_norm_eps says

// Conv 0 over some of its rows, [first, first + rows): the utterances that have frames there, clipped.
struct Conv0Block {
  Conv0Block(const Conv0 &whole, int64_t first, int64_t rows, Workspace &workspace) : conv(whole) {
    conv.samples = whole.samples.colRange(first * whole.stride, rows * whole.stride);
    int32_t skipped = 0;
    for (int32_t b = 0; b < whole.count; ++b) {
      const int64_t begin = whole.start[b] / whole.stride, end = begin + whole.frames(b);
      // The last row's window would end past the samples; no row that is asked for reads it.
      const int64_t from = std::max(begin, first), to = std::min(end, first + rows - (whole.kernel - 1) / whole.stride);
      if (from < to) {
        starts.host.push_back(static_cast<int32_t>((from - first) * whole.stride));
        lengths.host.push_back(static_cast<int32_t>((to - from - 1) * whole.stride + whole.kernel));
      } else if (starts.host.empty()) {
        ++skipped;
      }
    }
    starts.upload(workspace);
    lengths.upload(workspace);
    conv.count = static_cast<int32_t>(starts.host.size());
    conv.start = starts.host.data();
    conv.length = lengths.host.data();
    conv.deviceStart = starts.device;
    conv.deviceLength = lengths.device;
    for (View *filters : {&conv.weight, &conv.bias}) {
      if (!*filters || filters->batch == 1) continue;
      filters->data = filters->at(skipped, 0, 0);
      filters->batch = conv.count;
    }
  }
  Conv0Block(const Conv0Block &) = delete;
  Conv0Block &operator=(const Conv0Block &) = delete;

  Conv0 conv;
  IndexArray starts, lengths;
};

}  // namespace

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
    reach_ += std::max<int64_t>(layer.kernel - layer.stride, 0) * (product / layer.stride);
    layers_.push_back(layer);
  }
  reach_ += layers_[0].stride * ((layers_[0].kernel - 1) / layers_[0].stride);
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
  // What the last block reads past the axis is zeros.
  conv.samples = context.workspace.zeros(DType::f32, 1, packing.sampleCount + reach_);
  conv.samples.cols = packing.sampleCount;
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
  Context local = context;
  local.training = saved != nullptr;
  if (saved) {
    conv0Setup(local, batch, packing, *saved);
    forwardAll(local, packing, *saved, out);
    return;
  }
  Scratch scratch(context.workspace);
  Saved setup;
  conv0Setup(local, batch, packing, setup);
  forwardBlocks(local, packing, setup.conv0, out);
}

// input [rows in, Cin] → y [rows, Cout]. LayerNorm form: product → norm → GELU; else GELU of the product. `product` and
// `activation` are where those lie, if they are to be kept or have no better place.
void FeatureEncoder::layerForward(const Context &context, size_t i, const Conv0 &conv0, const View &input,
                                  const View &product, const View &activation, const View &y, AddNorm &norm) const {
  Backend &backend = context.backend;
  const Layer &layer = layers_[i];
  const bool normed = !groupNorm_;
  if (i == 0) {
    backend.conv0Forward(conv0, normed ? product : y);
  } else {
    Gemm gemm;
    gemm.a = overlappingRows(layer, input, y.rows);
    gemm.b = context.parameters.compute(layer.weight).transposed();
    gemm.out = product;
    if (!normed) gemm.gelu = y;
    if (layer.bias >= 0) gemm.bias = context.parameters.master(layer.bias);
    gemm.weightKey = context.key(layer.weight);
    backend.gemm(gemm);
  }
  if (!normed) return;
  norm.x = product;
  norm.y = activation;
  useLayerNorm(context, layer.norm, norm);
  backend.addNormForward(norm);
  backend.geluForward(activation, Dropout{}, y);
}

// Everything that backward reads is kept: products apart from outputs, because the norm's or GELU's backward reads
// them.
void FeatureEncoder::forwardAll(const Context &context, const Packing &packing, Saved &saved, const View &out) const {
  Workspace &workspace = context.workspace;
  saved.layers.resize(layers_.size());
  View input;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer &layer = layers_[i];
    SavedLayer &kept = saved.layers[i];
    const int64_t rows = packing.sampleCount / layer.product;
    const View whole = workspace.tensor(context.dtype, rows + slack_, layer.out);
    kept.input = input;
    View product;
    if (i > 0 || !groupNorm_) kept.activation = workspace.tensor(context.dtype, rows, layer.out);
    product = groupNorm_ ? kept.activation : workspace.tensor(context.dtype, rows, layer.out);
    layerForward(context, i, saved.conv0, input, product, kept.activation, whole.rowRange(0, rows), kept.norm);
    if (slack_ > 0) context.backend.fill(whole.rowRange(rows, slack_), 0);
    input = whole;
  }
  context.backend.copyRows(input, packing.compaction.runs(), out);
}

// Blocks need utterances in the order of their starts; those that are not go through as one.
int64_t FeatureEncoder::framesOfBlock(const Context &context, const Packing &packing) const {
  const int64_t frames = packing.sampleCount / layers_.back().product;
  if (!std::is_sorted(packing.starts.host.begin(), packing.starts.host.end())) return frames;
  int64_t largest = 1;  // bytes of a frame's rows of any layer
  for (const Layer &layer : layers_) {
    const int64_t rows = layers_.back().product / layer.product;
    largest = std::max(largest, rows * layer.out * static_cast<int64_t>(sizeOf(context.dtype)));
  }
  const int64_t fit = static_cast<int64_t>(context.backend.blockBytes()) / largest / 32 * 32;
  return std::min(frames, std::max<int64_t>(fit, 32));
}

void FeatureEncoder::forwardBlocks(const Context &context, const Packing &packing, const Conv0 &conv0,
                                   const View &out) const {
  Workspace &workspace = context.workspace;
  const int64_t frames = packing.sampleCount / layers_.back().product, most = framesOfBlock(context, packing);
  for (int64_t first = 0; first < frames; first += most) {
    Scratch scratch(workspace);
    // Rows of every layer that the block's frames read.
    std::vector<int64_t> rows(layers_.size());
    rows.back() = std::min(most, frames - first);
    for (size_t i = layers_.size() - 1; i > 0; --i) {
      rows[i - 1] = (rows[i] - 1) * layers_[i].stride + std::max(layers_[i].kernel, layers_[i].stride);
    }
    // The last of conv 0's windows reach a little further than its rows.
    rows[0] += (conv0.kernel - 1) / conv0.stride;
    Conv0Block block(conv0, first * layers_.back().product / conv0.stride, rows[0], workspace);

    // Outputs alternate between two places, and what lies between norm and GELU shares a third.
    View place[3];
    int64_t sizes[3] = {0, 0, 0};
    for (size_t i = 0; i < layers_.size(); ++i) {
      sizes[i & 1] = std::max(sizes[i & 1], rows[i] * layers_[i].out);
      if (!groupNorm_) sizes[2] = std::max(sizes[2], rows[i] * layers_[i].out);
    }
    for (int p = 0; p < 3; ++p) place[p] = workspace.tensor(context.dtype, 1, sizes[p]);
    View input;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const auto at = [&](const View &v) { return matrix(v.data, context.dtype, rows[i], layers_[i].out); };
      const View y = at(place[i & 1]);
      AddNorm norm;
      layerForward(context, i, block.conv, input, groupNorm_ ? View{} : y, groupNorm_ ? View{} : at(place[2]), y, norm);
      input = y;
    }

    RunTable valid;
    const IndexArray &source = packing.compaction.source, &target = packing.compaction.target;
    for (size_t run = 0; run < source.host.size(); ++run) {
      const int64_t begin = std::max<int64_t>(source.host[run], first);
      const int64_t end =
          std::min<int64_t>(source.host[run] + packing.compaction.length.host[run], first + rows.back());
      if (begin < end) valid.add(begin - first, target.host[run] + begin - source.host[run], end - begin);
    }
    valid.upload(workspace);
    context.backend.copyRows(input, valid.runs(), out);
  }
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
