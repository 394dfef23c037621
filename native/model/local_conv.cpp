#include "local_conv.h"

namespace emoframe {

LocalAxis layOutLocally(const Packing &packing, int64_t gap, Workspace &workspace) {
  LocalAxis axis;
  axis.gap = gap;
  axis.paddedRows = padUtterances(packing, gap, axis.pad, axis.take);
  axis.pad.upload(workspace);
  axis.take.upload(workspace);
  return axis;
}

LocalConv::LocalConv(const std::string &name, int64_t width, int64_t halfWidth, Parameters &parameters)
    : width_(width), halfWidth_(halfWidth), kernel_(2 * halfWidth + 1) {
  weight_ = parameters.add(name + ".weight", {width, width, kernel_}, Layout::conv);
  bias_ = parameters.add(name + ".bias", {width});
}

View LocalConv::pad(const Context &context, const LocalAxis &axis, const View &x) const {
  const View padded = context.tensor(axis.paddedRows, width_);
  context.run(CopyRows{x, axis.pad.runs(), padded});
  return padded;
}

// [rows of a product, kernel · W]: the window around each frame.
View LocalConv::windows(const LocalAxis &axis, const View &padded) const {
  return matrix(padded.at(0, axis.gap - halfWidth_, 0), padded.dtype, axis.rows(), kernel_ * width_, width_);
}

void LocalConv::forward(const Context &context, const LocalAxis &axis, const View &x, Saved &saved,
                        const View &y) const {
  Workspace &workspace = context.workspace;
  const Workspace::Mark mark = workspace.mark();
  saved.padded = pad(context, axis, x);
  if (context.training) saved.activation = context.tensor(x.rows, width_);
  const Workspace::Mark kept = workspace.mark();
  const View out = context.tensor(axis.rows(), width_);
  Gemm gemm = context.product(windows(axis, saved.padded), context.parameters.compute(weight_).transposed(), {});
  (context.training ? gemm.out : gemm.gelu) = out;
  gemm.bias = context.parameters.master(bias_);
  gemm.weightKey = context.key(weight_);
  context.run(gemm);
  context.run(context.training ? CopyRows{out, axis.take.runs(), saved.activation, false, y}
                               : CopyRows{out, axis.take.runs(), y});
  workspace.rewind(context.training ? kept : mark);
}

// [Cin, kernel, Cout] with taps in the opposite order: what the data gradient's windows are multiplied by. The weight
// is [Cout, kernel, Cin], so for each tap it is a transposition, read from the last tap on.
View LocalConv::flippedWeight(const Context &context) const {
  const View weight = context.parameters.compute(weight_);
  const int64_t row = kernel_ * width_;
  const View flipped = context.tensor(width_, row);
  View taps = batched(weight.at(0, 0, row - width_), weight.dtype, kernel_, width_, width_, -width_, row).transposed();
  context.run(Convert{taps, batched(flipped.data, flipped.dtype, kernel_, width_, width_, width_, row)});
  return flipped;
}

void LocalConv::backward(const Context &context, const LocalAxis &axis, const Saved &saved, const View &dY,
                         const View &dX) const {
  const Parameters &parameters = context.parameters;
  Scratch scratch(context.workspace);
  const View dActivation = context.tensor(dY.rows, width_);
  context.run(GeluBackward{saved.activation, Dropout{}, dY, dActivation});
  if (parameters.trainable(bias_)) context.run(ColumnSum{dActivation, parameters.gradient(bias_)});
  const View padded = pad(context, axis, dActivation);
  if (parameters.trainable(weight_)) {
    context.run(context.product(padded.rowRange(axis.gap, axis.rows()).transposed(), windows(axis, saved.padded),
                                parameters.gradient(weight_), true));
  }
  const View out = context.tensor(axis.rows(), width_);
  context.run(context.product(windows(axis, padded), flippedWeight(context).transposed(), out));
  context.run(CopyRows{out, axis.take.runs(), dX});
}

}  // namespace emoframe
