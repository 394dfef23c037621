#include "grouped_conv.h"

namespace emoframe {

void GroupedConv::layOut(Packing &packing, Workspace &workspace) const {
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

View GroupedConv::byGroup(const View &x) const {
  return batched(x.data, x.dtype, groups_, x.rows, groupSize_, groupSize_, x.rowStride);
}

View GroupedConv::overlappingRows(const View &padded, int64_t rows) const {
  return batched(padded.data, padded.dtype, groups_, rows, row(), padded.batchStride, groupSize_);
}

View GroupedConv::weightOf(const void *data, DType dtype) const {
  return batched(const_cast<void *>(data), dtype, groups_, groupSize_, row(), groupSize_ * row(), row());
}

View GroupedConv::pad(const Context &context, const PaddedAxis &axis, const View &x) const {
  const View padded = context.tensor(groups_, axis.paddedRows, groupSize_);
  context.run(CopyRows{byGroup(x), axis.pad.runs(), padded});
  return padded;
}

View GroupedConv::output(const Context &context, const PaddedAxis &axis) const {
  return context.tensor(groups_, axis.rows, groupSize_);
}

Gemm GroupedConv::product(const Context &context, const PaddedAxis &axis, const View &padded, const void *weight,
                          const View &bias) const {
  Gemm gemm = context.product(overlappingRows(padded, axis.rows), weightOf(weight, context.dtype).transposed(), View{});
  gemm.bias = batched(bias.data, DType::f32, groups_, 1, groupSize_, groupSize_, groupSize_);
  return gemm;
}

void GroupedConv::weightGradient(const Context &context, const PaddedAxis &axis, const View &padded,
                                 const View &dPadded, void *dWeight, bool accumulate) const {
  // Frame t of an utterance is padded row P + t here and row P + t - gap of the overlapping view.
  const View dOut = batched(dPadded.at(0, kernel_ / 2, 0), dPadded.dtype, groups_, axis.rows, groupSize_,
                            dPadded.batchStride, groupSize_);
  context.run(context.product(dOut.transposed(), overlappingRows(padded, axis.rows), weightOf(dWeight, DType::f32),
                              accumulate));
}

void GroupedConv::inputGradient(const Context &context, const PaddedAxis &axis, const View &dPadded,
                                const void *flipped, const View &dX, bool accumulate) const {
  const View out = output(context, axis);
  context.run(context.product(overlappingRows(dPadded, axis.rows), weightOf(flipped, context.dtype).transposed(), out));
  context.run(CopyRows{out, axis.takeGradient.runs(), byGroup(dX), accumulate});
}

}  // namespace emoframe
