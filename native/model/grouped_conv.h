// A grouped convolution of the packed axis, same length, as products: each group is its own, over overlapping rows, so
// x is laid out group by group, [G, Tp, C/G], with kernel/2 zero rows before, between and behind the utterances; row v
// of the view is the window [v, v + kernel) of padded rows. An even kernel gives one frame too many at the end, which
// is not taken (transformers drops it too). A weight is [C, k, C/G], the order of a row of the window.
#pragma once

#include "linear.h"
#include "packing.h"

namespace emoframe {

class GroupedConv {
 public:
  explicit GroupedConv(const HubertShape &shape)
      : kernel_(shape.positionalKernel),
        groups_(shape.positionalGroups),
        groupSize_(shape.hiddenSize / shape.positionalGroups) {}

  int64_t row() const { return kernel_ * groupSize_; }  // of a weight
  int64_t kernel() const { return kernel_; }
  int64_t groups() const { return groups_; }
  int64_t groupSize() const { return groupSize_; }

  // Fills packing.padded.
  void layOut(Packing &packing, Workspace &workspace) const;
  View byGroup(const View &x) const;  // [T, C] seen as [G, T, C/G]
  View pad(const Context &context, const PaddedAxis &axis, const View &x) const;
  View output(const Context &context, const PaddedAxis &axis) const;  // [G, rows, C/G], of which `axis.take` is taken
  // Of the padded input and a weight, with its bias [C]; where its result goes is left to the caller.
  Gemm product(const Context &context, const PaddedAxis &axis, const View &padded, const void *weight,
               const View &bias) const;
  // Of the output's gradient, padded. dWeight f32 [C, k, C/G], added to when `accumulate`.
  void weightGradient(const Context &context, const PaddedAxis &axis, const View &padded, const View &dPadded,
                      void *dWeight, bool accumulate) const;
  // dX [T, C], added to when `accumulate`. `flipped`: in group γ, flipped[(γ, i), k, o] = weight[(γ, o), kernel - 1 -
  // k, i], as activations.
  void inputGradient(const Context &context, const PaddedAxis &axis, const View &dPadded, const void *flipped,
                     const View &dX, bool accumulate) const;

 private:
  View overlappingRows(const View &padded, int64_t rows) const;
  View weightOf(const void *data, DType dtype) const;

  int64_t kernel_, groups_, groupSize_;
};

}  // namespace emoframe
