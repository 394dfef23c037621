// Where frames get their outputs from when a head does not say of a frame alone what it says of an utterance: windows
// of frames, to each of which the whole head is applied.
//
// A window lies around every hop-th frame of an utterance, counted from its first, and ends where the utterance does; a
// frame has the outputs of the window around the nearest of these, of two the earlier. Windows of a pass over a part of
// an utterance are those of the whole utterance if the part begins at a multiple of the hop, and wherever the part's
// ends are not the utterance's, frames that are kept are half a window and half a hop away from them.
//
// The head is applied to some windows at a time, whose frames are copied side by side, so that the memory for them does
// not grow with the pass.
#pragma once

#include "packing.h"

namespace emoframe {

struct FrameWindows {
  struct Block {
    RunTable frames;     // packed frames → rows
    IndexArray offsets;  // [windows + 1], rows

    int32_t count() const { return static_cast<int32_t>(offsets.host.size()) - 1; }
    int64_t rows() const { return offsets.host.back(); }
    Segments segments() const { return {count(), offsets.host.data(), offsets.device}; }
  };
  std::vector<Block> blocks;
  IndexArray nearest;  // [kept frames]: the window whose outputs it has
  int64_t count = 0;   // windows
};

// `largest`: in place of the windows of these utterances as many and as long ones as so many frames of so many
// utterances may have: for planning.
FrameWindows layOutWindows(const Packing &packing, const Selection &selection, int64_t window, int64_t hop,
                           bool largest, Workspace &workspace);

}  // namespace emoframe
