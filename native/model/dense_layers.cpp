#include "dense_layers.h"

namespace emoframe {

namespace {

constexpr float kEpsilon = 1e-5f;  // PyTorch's default

}  // namespace

DenseLayers::DenseLayers(const ClassifierHead &head, int64_t in, float dropout, Parameters &parameters)
    : dropout_(dropout) {
  for (const DenseLayer &layer : head.dense) {
    const std::string name = "dense." + std::to_string(layers_.size());
    Layer its;
    its.linear = addLinear(parameters, name, in, layer.width);
    its.normed = layer.norm;
    if (layer.norm) its.norm = addLayerNorm(parameters, name + ".norm", layer.width, kEpsilon);
    its.activation = layer.activation;
    layers_.push_back(its);
    in = layer.width;
  }
  output_ = addLinear(parameters, "classifier", in, head.classes, head.bias);
}

Dropout DenseLayers::dropout(const Context &context, size_t before) const {
  return context.dropout(layers_.empty() ? 0 : dropout_, site::dense(static_cast<int64_t>(before)));
}

void DenseLayers::forward(const Context &context, const View &x, Saved &saved, const View &out) const {
  const auto rows = [&](int64_t cols) { return context.workspace.tensor(DType::f32, x.rows, cols); };
  const auto dropped = [&](const View &h, size_t before) {
    const Dropout dropout = this->dropout(context, before);
    if (dropout.p <= 0) return h;
    const View kept = rows(h.cols);
    context.run(ApplyDropout{h, dropout, kept});
    return kept;
  };
  saved.layers.resize(layers_.size());
  View h = x;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer &layer = layers_[i];
    Saved::Layer &its = saved.layers[i];
    its.in = dropped(h, i);
    h = rows(context.parameters.master(layer.linear.weight).rows);
    exactForward(context, layer.linear, its.in, h);
    if (layer.normed) {
      its.norm.x = h;
      its.norm.y = h = rows(h.cols);
      useLayerNorm(context, layer.norm, its.norm);
      context.run(its.norm);
    }
    if (layer.activation != Activation::none) context.run(Activate{h, layer.activation, h});
    its.out = h;
  }
  saved.in = dropped(h, layers_.size());
  exactForward(context, output_, saved.in, out);
}

void DenseLayers::backward(const Context &context, const Saved &saved, const View &dOut, const View &dX) const {
  Scratch scratch(context.workspace);
  const auto like = [&](const View &h) { return context.workspace.tensor(DType::f32, h.rows, h.cols); };
  // The gradient of what dropout left, and then of what it was given.
  const auto backThroughLinear = [&](const Linear &linear, const View &in, const View &dy, size_t before) {
    const View dIn = before == 0 ? dX : like(in);
    exactBackward(context, linear, in, dy, dIn);
    const Dropout dropout = this->dropout(context, before);
    if (dIn && dropout.p > 0) context.run(ApplyDropout{dIn, dropout, dIn});
    return dIn;
  };
  View d = backThroughLinear(output_, saved.in, dOut, layers_.size());
  for (size_t i = layers_.size(); i-- > 0;) {
    const Layer &layer = layers_[i];
    const Saved::Layer &its = saved.layers[i];
    if (layer.activation != Activation::none) context.run(ActivateBackward{its.out, layer.activation, d, d});
    if (layer.normed) {
      const View dLinear = like(its.norm.x);
      layerNormBackward(context, layer.norm, {its.norm, d, View{}, dLinear});
      d = dLinear;
    }
    d = backThroughLinear(layer.linear, its.in, d, i);
  }
}

}  // namespace emoframe
