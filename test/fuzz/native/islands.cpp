// Forward-backward over frame logits that are given, with bounds and settings of any kind.
#include "model/alignment.h"
#include "targets.h"

namespace emoframe {
namespace fuzz {

FUZZ(islands) {
  AlignSettings settings;
  settings.neutral = static_cast<int32_t>(input.integerOr(0));
  settings.scale = input.singleOr(0.1f);
  settings.switchingCost = input.singleOr(4);
  settings.bias = input.floats(input.below(7));
  const size_t frames = input.below(30);
  const size_t size = input.flag() ? frames * settings.bias.size() : input.below(120);
  const std::vector<float> logits = input.floats(size);
  std::vector<int32_t> offsets = {0};
  if (input.flag()) {
    offsets = input.indices(6);
  } else {
    for (size_t at = 0; at < frames;) {
      at = std::min(frames, at + 1 + input.below(9));
      offsets.push_back(static_cast<int32_t>(at));
    }
  }
  attempt([&] { align(*smallBackend(), logits.data(), static_cast<int64_t>(size), offsets, settings); });
}

}  // namespace fuzz
}  // namespace emoframe
