#include "feature_encoder.h"

#include <algorithm>

namespace emoframe {

namespace {

constexpr float kEpsilon = 1e-5f;  // of the encoder's own norms, whatever layer_norm_eps says

// Conv 0 over a block's rows.
Conv0 partOf(const Conv0 &whole, const FrameBlock &block) {
  Conv0 conv = whole;
  conv.samples = whole.samples.colRange(block.first * whole.stride, block.rows[0] * whole.stride);
  conv.count = static_cast<int32_t>(block.starts.host.size());
  conv.start = block.starts.host.data();
  conv.length = block.lengths.host.data();
  conv.deviceStart = block.starts.device;
  conv.deviceLength = block.lengths.device;
  for (View *filters : {&conv.weight, &conv.bias}) {
    if (!*filters || filters->batch == 1) continue;
    filters->data = filters->at(block.skipped, 0, 0);
    filters->batch = conv.count;
  }
  return conv;
}

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

Conv0 FeatureEncoder::conv0Input(const Packing &packing) const {
  Conv0 conv;
  conv.samples = packing.samples;
  conv.count = packing.count;
  conv.start = packing.starts.host.data();
  conv.length = packing.lengths.host.data();
  conv.deviceStart = packing.starts.device;
  conv.deviceLength = packing.lengths.device;
  conv.kernel = layers_[0].kernel;
  conv.stride = layers_[0].stride;
  return conv;
}

void FeatureEncoder::normalize(const Context &context, const Packing &packing) const {
  if (!packing.normalize) return;
  NormalizeWaveforms waveforms;
  waveforms.samples = packing.samples;
  waveforms.count = packing.count;
  waveforms.start = packing.starts.host.data();
  waveforms.length = packing.lengths.host.data();
  waveforms.deviceStart = packing.starts.device;
  waveforms.deviceLength = packing.lengths.device;
  waveforms.statistics = packing.waveform;
  waveforms.epsilon = packing.epsilon;
  context.run(waveforms);
}

WindowMoments FeatureEncoder::windowMoments(const Context &context, const Packing &packing) const {
  normalize(context, packing);
  const Conv0 conv = conv0Input(packing);
  const View mean = context.workspace.tensor(DType::f32, conv.count, conv.kernel);
  const View covariance = context.workspace.tensor(DType::f32, conv.count, conv.kernel, conv.kernel);
  context.run(WindowCovariance{conv, mean, covariance});
  WindowMoments moments;
  const auto take = [&](const View &v, std::vector<float> &host) {
    host.resize(static_cast<size_t>(v.size()));
    context.backend.download(host.data(), v.data, host.size() * sizeof(float));
  };
  take(mean, moments.mean);
  take(covariance, moments.covariance);
  for (int32_t b = 0; b < conv.count; ++b) moments.counts.push_back(static_cast<int32_t>(conv.frames(b)));
  return moments;
}

void FeatureEncoder::conv0Setup(const Context &context, const Packing &packing, Saved &saved) const {
  Workspace &workspace = context.workspace;
  const Parameters &parameters = context.parameters;
  const Layer &layer = layers_[0];
  Conv0 &conv = saved.conv0 = conv0Input(packing);
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
  if (packing.windowMean) {
    saved.windowMean = packing.windowMean;
    saved.windowCovariance = packing.windowCovariance;
  } else {
    saved.windowMean = workspace.tensor(DType::f32, packing.count, layer.kernel);
    saved.windowCovariance = workspace.tensor(DType::f32, packing.count, layer.kernel, layer.kernel);
    context.run(WindowCovariance{conv, saved.windowMean, saved.windowCovariance});
  }
  context.run(FoldGroupNorm{weight, parameters.master(layer.norm.gamma), parameters.master(layer.norm.beta), kEpsilon,
                            saved.windowMean, saved.windowCovariance, conv.weight, conv.bias});
}

void FeatureEncoder::forward(const Context &context, const Packing &packing, Saved *saved, const View &out) const {
  Context local = context;
  local.training = saved != nullptr;
  normalize(local, packing);
  if (saved) {
    conv0Setup(local, packing, *saved);
    forwardAll(local, packing, *saved, out);
    return;
  }
  Scratch scratch(context.workspace);
  Saved setup;
  conv0Setup(local, packing, setup);
  forwardBlocks(local, packing, setup.conv0, out);
}

// input [rows in, Cin] → y [rows, Cout]. LayerNorm form: product → norm → GELU; else GELU of the product. `product` and
// `activation` are where those lie, if they are to be kept or have no better place.
void FeatureEncoder::layerForward(const Context &context, size_t i, const Conv0 &conv0, const View &input,
                                  const View &product, const View &activation, const View &y, AddNorm &norm) const {
  const Layer &layer = layers_[i];
  const bool normed = !groupNorm_;
  if (i == 0) {
    context.run(Conv0Forward{conv0, normed ? product : y});
  } else {
    Gemm gemm = context.product(overlappingRows(layer, input, y.rows),
                                context.parameters.compute(layer.weight).transposed(), product);
    if (!normed) gemm.gelu = y;
    if (layer.bias >= 0) gemm.bias = context.parameters.master(layer.bias);
    gemm.weightKey = context.key(layer.weight);
    context.run(gemm);
  }
  if (!normed) return;
  norm.x = product;
  norm.y = activation;
  useLayerNorm(context, layer.norm, norm);
  context.run(norm);
  context.run(Gelu{activation, Dropout{}, y});
}

// Everything that backward reads is kept: products apart from outputs, because the
// norm's or GELU's backward reads them.
void FeatureEncoder::forwardAll(const Context &context, const Packing &packing, Saved &saved, const View &out) const {
  saved.layers.resize(layers_.size());
  View input;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer &layer = layers_[i];
    SavedLayer &kept = saved.layers[i];
    const int64_t rows = packing.sampleCount / layer.product;
    const View whole = context.tensor(rows + slack_, layer.out);
    kept.input = input;
    if (i > 0 || !groupNorm_) kept.activation = context.tensor(rows, layer.out);
    const View product = groupNorm_ ? kept.activation : context.tensor(rows, layer.out);
    layerForward(context, i, saved.conv0, input, product, kept.activation, whole.rowRange(0, rows), kept.norm);
    if (slack_ > 0) context.run(Fill{whole.rowRange(rows, slack_), 0});
    input = whole;
  }
  context.run(CopyRows{input, packing.compaction.runs(), out});
}

// Blocks need utterances in the order of their starts; those that are not go through as one.
int64_t FeatureEncoder::framesOfBlock(DType dtype, size_t blockBytes, const Packing &packing) const {
  const int64_t frames = packing.sampleCount / layers_.back().product;
  if (!std::is_sorted(packing.starts.host.begin(), packing.starts.host.end())) return frames;
  int64_t largest = 1;  // bytes of a frame's rows of any layer
  for (const Layer &layer : layers_) {
    const int64_t rows = layers_.back().product / layer.product;
    largest = std::max(largest, rows * layer.out * static_cast<int64_t>(sizeOf(dtype)));
  }
  const int64_t fit = static_cast<int64_t>(blockBytes) / largest / 32 * 32;
  return std::min(frames, std::max<int64_t>(fit, 32));
}

std::vector<FrameBlock> FeatureEncoder::blocksOf(const Packing &packing, int64_t most) const {
  const Conv0 whole = conv0Input(packing);
  const int64_t frames = packing.sampleCount / layers_.back().product;
  const IndexArray &source = packing.compaction.source, &target = packing.compaction.target;
  std::vector<FrameBlock> blocks;
  for (int64_t begin = 0; begin < frames; begin += most) {
    FrameBlock block;
    block.rows.resize(layers_.size());
    block.rows.back() = std::min(most, frames - begin);
    for (size_t i = layers_.size() - 1; i > 0; --i) {
      block.rows[i - 1] = (block.rows[i] - 1) * layers_[i].stride + std::max(layers_[i].kernel, layers_[i].stride);
    }
    // The last of conv 0's windows reach a little further than its rows.
    const int64_t further = (whole.kernel - 1) / whole.stride;
    block.rows[0] += further;
    block.first = begin * layers_.back().product / whole.stride;
    for (int32_t b = 0; b < whole.count; ++b) {
      const int64_t itsFirst = whole.start[b] / whole.stride, itsEnd = itsFirst + whole.frames(b);
      // The last row's window would end past the samples; no row that is asked for reads it.
      const int64_t from = std::max(itsFirst, block.first);
      const int64_t to = std::min(itsEnd, block.first + block.rows[0] - further);
      if (from < to) {
        block.starts.host.push_back(static_cast<int32_t>((from - block.first) * whole.stride));
        block.lengths.host.push_back(static_cast<int32_t>((to - from - 1) * whole.stride + whole.kernel));
      } else if (block.starts.host.empty()) {
        ++block.skipped;
      }
    }
    for (size_t run = 0; run < source.host.size(); ++run) {
      const int64_t from = std::max<int64_t>(source.host[run], begin);
      const int64_t to =
          std::min<int64_t>(source.host[run] + packing.compaction.length.host[run], begin + block.rows.back());
      if (from < to) block.valid.add(from - begin, target.host[run] + from - source.host[run], to - from);
    }
    blocks.push_back(std::move(block));
  }
  return blocks;
}

void FeatureEncoder::layOut(const HostBatch &batch, bool kept, DType dtype, size_t blockBytes, Packing &packing,
                            Workspace &workspace) const {
  std::vector<Workspace::Part> utterances;
  for (size_t b = 0; b < batch.starts.size(); ++b) {
    utterances.push_back({batch.starts[b], batch.samplesOf(b), batch.lengths[b]});
  }
  std::sort(utterances.begin(), utterances.end(), [](const auto &a, const auto &b) { return a.at < b.at; });
  // What the last block reads past the axis is zeros.
  packing.samples = workspace.upload(utterances, packing.sampleCount + reach_);
  packing.samples.cols = packing.sampleCount;
  packing.normalize = batch.normalize;
  packing.epsilon = batch.epsilon;
  if (!batch.waveform.empty()) {
    packing.waveform = reinterpret_cast<const double *>(
        workspace.upload(reinterpret_cast<const uint8_t *>(batch.waveform.data()),
                         static_cast<int64_t>(batch.waveform.size() * sizeof(double))));
  }
  if (batch.windowMean) {
    const int64_t kernel = layers_[0].kernel;
    const View mean = workspace.upload(batch.windowMean, batch.windowMeanSize);
    const View covariance = workspace.upload(batch.windowCovariance, batch.windowCovarianceSize);
    packing.windowMean = matrix(mean.data, DType::f32, packing.count, kernel);
    packing.windowCovariance =
        batched(covariance.data, DType::f32, packing.count, kernel, kernel, kernel * kernel, kernel);
  }
  if (kept) return;
  packing.blocks = blocksOf(packing, framesOfBlock(dtype, blockBytes, packing));
  for (FrameBlock &block : packing.blocks) {
    block.starts.upload(workspace);
    block.lengths.upload(workspace);
    block.valid.upload(workspace);
  }
}

void FeatureEncoder::forwardBlocks(const Context &context, const Packing &packing, const Conv0 &conv0,
                                   const View &out) const {
  for (const FrameBlock &block : packing.blocks) {
    Scratch scratch(context.workspace);
    const std::vector<int64_t> &rows = block.rows;
    const Conv0 conv = partOf(conv0, block);

    // Outputs alternate between two places, and what lies between norm and GELU shares a third.
    View place[3];
    int64_t sizes[3] = {0, 0, 0};
    for (size_t i = 0; i < layers_.size(); ++i) {
      sizes[i & 1] = std::max(sizes[i & 1], rows[i] * layers_[i].out);
      if (!groupNorm_) sizes[2] = std::max(sizes[2], rows[i] * layers_[i].out);
    }
    for (int p = 0; p < 3; ++p) place[p] = context.tensor(1, sizes[p]);
    View input;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const auto at = [&](const View &v) { return matrix(v.data, context.dtype, rows[i], layers_[i].out); };
      const View y = at(place[i & 1]);
      AddNorm norm;
      layerForward(context, i, conv, input, groupNorm_ ? View{} : y, groupNorm_ ? View{} : at(place[2]), y, norm);
      input = y;
    }
    context.run(CopyRows{input, block.valid.runs(), out});
  }
}

// dPre [rows, Cout] is the gradient of the product. dInput [rows in + slack, Cin],
// absent when nothing below is trained.
void FeatureEncoder::convBackward(const Context &context, const Layer &layer, const View &input, const View &dPre,
                                  const View &dInput) const {
  const Parameters &parameters = context.parameters;
  if (layer.bias >= 0 && parameters.trainable(layer.bias)) {
    context.run(ColumnSum{dPre, parameters.gradient(layer.bias)});
  }
  if (parameters.trainable(layer.weight)) {
    context.run(context.product(dPre.transposed(), overlappingRows(layer, input, dPre.rows),
                                parameters.gradient(layer.weight), true));
  }
  if (!dInput) return;
  // Taps [m · stride, (m + 1) · stride) of frame t touch input rows stride · (t + m) + [0, stride), which for a fixed m
  // do not overlap between frames: one product for each such block of taps, the first of which may write.
  const int64_t width = layer.stride * layer.in;
  const int64_t written = layer.kernel < layer.stride ? 0 : dPre.rows * layer.stride;
  context.run(Fill{dInput.rowRange(written, dInput.rows - written), 0});
  for (int64_t tap = 0; tap < layer.kernel; tap += layer.stride) {
    const int64_t taps = std::min(layer.stride, layer.kernel - tap);
    context.run(
        context.product(dPre, context.parameters.compute(layer.weight).colRange(tap * layer.in, taps * layer.in),
                        matrix(dInput.at(0, tap, 0), dInput.dtype, dPre.rows, taps * layer.in, width), tap > 0));
  }
}

void FeatureEncoder::conv0Backward(const Context &context, const Packing &packing, const Saved &saved,
                                   const View &dOut) const {
  Parameters &parameters = context.parameters;
  const Layer &layer = layers_[0];
  const View moment0 = context.workspace.tensor(DType::f32, packing.count, 1, layer.out);
  const View moment1 = context.workspace.tensor(DType::f32, packing.count, layer.out, layer.kernel);
  context.run(Conv0Backward{saved.conv0, dOut, moment0, moment1});
  const auto flat = [](const View &v) { return vector(v.data, v.dtype, v.size()); };
  const View dWeight = parameters.gradient(layer.weight);
  if (!groupNorm_) {
    context.run(ColumnSum{matrix(moment1.data, DType::f32, packing.count, layer.out * layer.kernel), flat(dWeight)});
    if (layer.bias >= 0) {
      context.run(
          ColumnSum{matrix(moment0.data, DType::f32, packing.count, layer.out), parameters.gradient(layer.bias)});
    }
    return;
  }
  std::vector<int64_t> frames;
  for (int32_t b = 0; b < packing.count; ++b) frames.push_back(saved.conv0.frames(b));
  const auto filters = [&](const View &v) { return matrix(v.data, DType::f32, layer.out, layer.kernel); };
  context.run(FoldGroupNormBackward{filters(parameters.master(layer.weight)), parameters.master(layer.norm.gamma),
                                    kEpsilon, saved.windowMean, saved.windowCovariance, frames, moment0, moment1,
                                    filters(dWeight), parameters.gradient(layer.norm.gamma),
                                    parameters.gradient(layer.norm.beta)});
}

void FeatureEncoder::backward(const Context &context, const Packing &packing, const Saved &saved,
                              const View &dOut) const {
  const size_t lowest = lowestTrainable(context.parameters);
  if (lowest == layers_.size()) return;
  Scratch scratch(context.workspace);
  // Frames that were dropped get no gradient, so none reaches the rows below that only they have read.
  View gradient =
      context.workspace.zeros(context.dtype, packing.sampleCount / layers_.back().product, layers_.back().out);
  context.run(CopyRows{dOut, packing.compaction.inverse(), gradient});
  for (size_t i = layers_.size(); i-- > lowest;) {
    const Layer &layer = layers_[i];
    const SavedLayer &kept = saved.layers[i];
    if (kept.activation) context.run(GeluBackward{kept.activation, Dropout{}, gradient, gradient});
    if (kept.norm.y) {
      const View dSum = context.tensor(gradient.rows, gradient.cols);
      layerNormBackward(context, layer.norm, {kept.norm, gradient, View{}, dSum});
      gradient = dSum;
    }
    if (i == 0) {
      conv0Backward(context, packing, saved, gradient);
      break;
    }
    View dInput;
    if (i > lowest) dInput = context.tensor(kept.input.rows, kept.input.cols);
    convBackward(context, layer, kept.input, gradient, dInput);
    if (dInput) gradient = dInput.rowRange(0, dInput.rows - slack_);
  }
}

}  // namespace emoframe
