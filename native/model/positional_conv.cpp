#include "positional_conv.h"

namespace emoframe {

namespace {
const std::string kName = "encoder.pos_conv_embed.conv.";
}

PositionalConv::PositionalConv(const HubertShape &shape, Parameters &parameters)
    : hidden_(shape.hiddenSize),
      kernel_(shape.positionalKernel),
      groups_(shape.positionalGroups),
      groupSize_(shape.hiddenSize / shape.positionalGroups) {
  bias_ = parameters.add(kName + "bias", {hidden_});
  g_ = parameters.add(kName + "parametrizations.weight.original0", {1, 1, kernel_});
  v_ = parameters.add(kName + "parametrizations.weight.original1", {hidden_, groupSize_, kernel_},
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
  const int64_t row = kernel_ * groupSize_;
  weightBytes_ = static_cast<size_t>(hidden_ * row) * sizeOf(context.dtype);
  backend_ = &context.backend;
  const bool flips = context.training && !flipped_;  // backward alone reads it
  if (!weight_) weight_ = backend_->allocate(weightBytes_);
  if (flips) flipped_ = backend_->allocate(weightBytes_);
  if (weightVersion_ == parameters.version() && !flips) return;
  backend_->run(WeightNorm{parameters.master(v_), vector(parameters.master(g_).data, DType::f32, kernel_), kernel_,
                           groups_, matrix(weight_, context.dtype, hidden_, row),
                           flipped_ ? matrix(flipped_, context.dtype, hidden_, row) : View{}});
  weightVersion_ = parameters.version();
}

void PositionalConv::layOut(Packing &packing, Workspace &workspace) const {
  const int64_t gap = kernel_ / 2;
  PaddedAxis &axis = packing.padded;
  axis.paddedRows = padUtterances(packing, gap, axis.pad, axis.take);
  axis.rows = axis.paddedRows - kernel_ + 1;
  // The flipped kernel reaches kernel - 1 - gap rows back, one fewer than gap when the kernel is even.
  const int64_t later = 2 * gap - (kernel_ - 1);
  for (size_t b = 0; b < axis.take.source.host.size(); ++b) {
    axis.takeGradient.add(axis.take.source.host[b] + later, axis.take.target.host[b], axis.take.length.host[b]);
  }
  axis.pad.upload(workspace);
  axis.take.upload(workspace);
  axis.takeGradient.upload(workspace);
}

View PositionalConv::byGroup(const View &x) const {
  return batched(x.data, x.dtype, groups_, x.rows, groupSize_, groupSize_, x.rowStride);
}

View PositionalConv::overlappingRows(const View &padded, int64_t rows) const {
  return batched(padded.data, padded.dtype, groups_, rows, kernel_ * groupSize_, padded.batchStride, groupSize_);
}

View PositionalConv::pad(const Context &context, const PaddedAxis &axis, const View &x) const {
  const View padded = context.tensor(groups_, axis.paddedRows, groupSize_);
  context.run(CopyRows{byGroup(x), axis.pad.runs(), padded});
  return padded;
}

void PositionalConv::forward(const Context &context, const Packing &packing, const View &x, Saved &saved,
                             const View &y) {
  normalizeWeight(context);
  const PaddedAxis &axis = packing.padded;
  if (context.training) saved.activation = context.tensor(x.rows, x.cols);
  saved.padded = pad(context, axis, x);
  Scratch scratch(context.workspace);
  const View out = context.tensor(groups_, axis.rows, groupSize_);
  const int64_t row = kernel_ * groupSize_;
  Gemm gemm = context.product(
      overlappingRows(saved.padded, axis.rows),
      batched(weight_, context.dtype, groups_, groupSize_, row, groupSize_ * row, row).transposed(), {});
  (context.training ? gemm.out : gemm.gelu) = out;
  gemm.bias =
      batched(context.parameters.master(bias_).data, DType::f32, groups_, 1, groupSize_, groupSize_, groupSize_);
  gemm.weightKey = context.key(v_);
  context.run(gemm);
  context.run(context.training ? CopyRows{out, axis.take.runs(), byGroup(saved.activation), false, byGroup(y)}
                               : CopyRows{out, axis.take.runs(), byGroup(y)});
}

void PositionalConv::backward(const Context &context, const Packing &packing, const Saved &saved, const View &dY,
                              const View &dX) {
  Parameters &parameters = context.parameters;
  Scratch scratch(context.workspace);
  const int64_t row = kernel_ * groupSize_;
  const PaddedAxis &axis = packing.padded;
  const View dActivation = context.tensor(dY.rows, dY.cols);
  context.run(GeluBackward{saved.activation, Dropout{}, dY, dActivation});
  if (parameters.trainable(bias_)) context.run(ColumnSum{dActivation, parameters.gradient(bias_)});
  const View padded = pad(context, axis, dActivation);
  if (parameters.trainable(g_) || parameters.trainable(v_)) {
    // Frame t of an utterance is padded row P + t here and row P + t - gap of the overlapping view.
    const View dOut = batched(padded.at(0, kernel_ / 2, 0), padded.dtype, groups_, axis.rows, groupSize_,
                              padded.batchStride, groupSize_);
    const View dWeight = context.workspace.tensor(DType::f32, groups_, groupSize_, row);
    context.run(context.product(dOut.transposed(), overlappingRows(saved.padded, axis.rows), dWeight));
    context.run(WeightNormBackward{parameters.master(v_), vector(parameters.master(g_).data, DType::f32, kernel_),
                                   kernel_, matrix(dWeight.data, DType::f32, hidden_, row), parameters.gradient(v_),
                                   vector(parameters.gradient(g_).data, DType::f32, kernel_)});
  }
  if (!dX) return;
  const View out = context.tensor(groups_, axis.rows, groupSize_);
  context.run(context.product(
      overlappingRows(padded, axis.rows),
      batched(flipped_, context.dtype, groups_, groupSize_, row, groupSize_ * row, row).transposed(), out));
  context.run(CopyRows{out, axis.takeGradient.runs(), byGroup(dX), true});
}

}  // namespace emoframe
