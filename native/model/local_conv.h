// y = GELU(conv(x) + b) over 2 h + 1 frames, h on either side of each, zeros beyond an utterance's ends.
//
// One matrix product over overlapping rows, as in positional_conv.h, of one group: utterances lie with gaps of zeros
// between them on an axis that all convolutions of a network share, as its gap is the largest of their half-widths.
// Row v of an axis's products is frame v + gap of the padded rows.
#pragma once

#include "context.h"
#include "packing.h"

namespace emoframe {

// The packed axis with `gap` rows of zeros around utterances.
struct LocalAxis {
  int64_t gap = 0, paddedRows = 0;
  RunTable pad;   // packed frame → padded row, and the rows of zeros between
  RunTable take;  // row of a product → packed frame

  int64_t rows() const { return paddedRows - 2 * gap; }  // of a product
};
LocalAxis layOutLocally(const Packing &packing, int64_t gap, Workspace &workspace);

class LocalConv {
 public:
  LocalConv(const std::string &name, int64_t width, int64_t halfWidth, Parameters &parameters);

  struct Saved {
    View padded;      // [padded rows, W]
    View activation;  // what GELU reads [T, W]
  };
  void forward(const Context &context, const LocalAxis &axis, const View &x, Saved &saved, const View &y) const;
  // dX [T, W] is overwritten; it may be dY's memory.
  void backward(const Context &context, const LocalAxis &axis, const Saved &saved, const View &dY,
                const View &dX) const;

 private:
  View pad(const Context &context, const LocalAxis &axis, const View &x) const;
  View windows(const LocalAxis &axis, const View &padded) const;
  View flippedWeight(const Context &context) const;

  int64_t width_, halfWidth_, kernel_;
  int32_t weight_, bias_;
};

}  // namespace emoframe
