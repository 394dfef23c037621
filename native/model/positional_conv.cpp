#include "positional_conv.h"

namespace emoframe {

namespace {
const std::string kName = "encoder.pos_conv_embed.conv.";
}

PositionalConv::PositionalConv(const HubertShape &shape, Parameters &parameters)
    : conv_(shape), hidden_(shape.hiddenSize) {
  bias_ = parameters.add(kName + "bias", {hidden_});
  g_ = parameters.add(kName + "parametrizations.weight.original0", {1, 1, conv_.kernel()});
  v_ = parameters.add(kName + "parametrizations.weight.original1", {hidden_, conv_.groupSize(), conv_.kernel()},
                      emoframe::Layout::conv);
}

PositionalConv::~PositionalConv() {
  if (weight_) backend_->release(weight_);
  if (flipped_) backend_->release(flipped_);
}

size_t PositionalConv::heldBytes() const { return (weight_ ? weightBytes_ : 0) + (flipped_ ? weightBytes_ : 0); }

// Once for each version of the parameters.
void PositionalConv::normalizeWeight(const Context &context) {
  const Parameters &parameters = context.parameters;
  const int64_t row = conv_.row();
  weightBytes_ = static_cast<size_t>(hidden_ * row) * sizeOf(context.dtype);
  backend_ = &context.backend;
  const bool flips = context.training && !flipped_;  // backward alone reads it
  if (!weight_) weight_ = backend_->allocate(weightBytes_);
  if (flips) flipped_ = backend_->allocate(weightBytes_);
  if (weightVersion_ == parameters.version() && !flips) return;
  backend_->run(WeightNorm{parameters.master(v_), vector(parameters.master(g_).data, DType::f32, conv_.kernel()),
                           conv_.kernel(), conv_.groups(), matrix(weight_, context.dtype, hidden_, row),
                           flipped_ ? matrix(flipped_, context.dtype, hidden_, row) : View{}});
  weightVersion_ = parameters.version();
}

void PositionalConv::forward(const Context &context, const Packing &packing, const View &x, Saved &saved,
                             const View &y) {
  normalizeWeight(context);
  const PaddedAxis &axis = packing.padded;
  if (context.training) saved.activation = context.tensor(x.rows, x.cols);
  saved.padded = conv_.pad(context, axis, x);
  Scratch scratch(context.workspace);
  const View out = conv_.output(context, axis);
  Gemm gemm = conv_.product(context, axis, saved.padded, weight_, context.parameters.master(bias_));
  (context.training ? gemm.out : gemm.gelu) = out;
  gemm.weightKey = context.key(v_);
  context.run(gemm);
  context.run(context.training
                  ? CopyRows{out, axis.take.runs(), conv_.byGroup(saved.activation), false, conv_.byGroup(y)}
                  : CopyRows{out, axis.take.runs(), conv_.byGroup(y)});
}

void PositionalConv::backward(const Context &context, const Packing &packing, const Saved &saved, const View &dY,
                              const View &dX) {
  Parameters &parameters = context.parameters;
  Scratch scratch(context.workspace);
  const PaddedAxis &axis = packing.padded;
  const View dActivation = context.tensor(dY.rows, dY.cols);
  context.run(GeluBackward{saved.activation, Dropout{}, dY, dActivation});
  if (parameters.trainable(bias_)) context.run(ColumnSum{dActivation, parameters.gradient(bias_)});
  const View padded = conv_.pad(context, axis, dActivation);
  if (parameters.trainable(g_) || parameters.trainable(v_)) {
    const View dWeight = context.workspace.tensor(DType::f32, hidden_, conv_.row());
    conv_.weightGradient(context, axis, saved.padded, padded, dWeight.data, false);
    context.run(WeightNormBackward{
        parameters.master(v_), vector(parameters.master(g_).data, DType::f32, conv_.kernel()), conv_.kernel(), dWeight,
        parameters.gradient(v_), vector(parameters.gradient(g_).data, DType::f32, conv_.kernel())});
  }
  if (dX) conv_.inputGradient(context, axis, padded, flipped_, dX, true);
}

}  // namespace emoframe
