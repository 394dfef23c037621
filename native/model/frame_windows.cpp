#include "frame_windows.h"

#include <algorithm>

namespace emoframe {

namespace {

// Of windows whose rows lie side by side: 16 MB of f32 with 1024 columns.
constexpr int64_t kBlockRows = 4096;

struct Window {
  int64_t first, frames;  // on the packed axis
};

}  // namespace

FrameWindows layOutWindows(const Packing &packing, const Selection &selection, int64_t window, int64_t hop,
                           bool largest, Workspace &workspace) {
  FrameWindows windows;
  std::vector<Window> all;
  for (int32_t b = 0; b < packing.count; ++b) {
    const int64_t begin = packing.offsets.host[b], frames = packing.frames[b];
    const int64_t firstKept = selection.rows.source.host.empty() ? 0 : selection.rows.source.host[b] - begin;
    const int64_t endKept = firstKept + selection.segments().length(b);
    const auto nearest = [&](int64_t t) { return std::min((t + (hop - 1) / 2) / hop, (frames - 1) / hop); };
    const int64_t first = nearest(firstKept), before = static_cast<int64_t>(all.size());
    for (int64_t t = firstKept; t < endKept; ++t) {
      windows.nearest.host.push_back(static_cast<int32_t>(before + nearest(t) - first));
    }
    for (int64_t i = first; i <= nearest(endKept - 1); ++i) {
      const int64_t from = std::max<int64_t>(i * hop - window / 2, 0);
      all.push_back({begin + from, std::min(i * hop - window / 2 + window, frames) - from});
    }
  }
  if (largest) {
    const int64_t total = packing.total(), utterances = packing.count;
    all.assign(static_cast<size_t>(utterances + (total - utterances) / hop), {0, std::min(window, total)});
  }
  windows.count = static_cast<int64_t>(all.size());
  const auto inBlock = static_cast<size_t>(std::max<int64_t>(kBlockRows / window, 1));
  for (size_t i = 0; i < all.size(); ++i) {
    if (i % inBlock == 0) {
      windows.blocks.emplace_back();
      windows.blocks.back().offsets.host.push_back(0);
    }
    FrameWindows::Block &block = windows.blocks.back();
    block.frames.add(all[i].first, block.rows(), all[i].frames);
    block.offsets.host.push_back(static_cast<int32_t>(block.rows() + all[i].frames));
  }
  for (FrameWindows::Block &block : windows.blocks) {
    block.frames.upload(workspace);
    block.offsets.upload(workspace);
  }
  windows.nearest.upload(workspace);
  return windows;
}

}  // namespace emoframe
