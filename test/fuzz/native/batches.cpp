// What is checked of a batch before a model is given it: where utterances lie, the frames that are wanted, moments. On
// a backend that only counts, so thousands of batches a second.
#include <algorithm>

#include "model/packing.h"
#include "targets.h"

namespace emoframe {
namespace fuzz {

FUZZ(batches) {
  HubertShape shape;
  shape.convDim = {12, 8, 16};
  shape.convKernel = {10, 3, 2};
  shape.convStride = {5, 2, 2};
  if (input.flag()) {
    shape.convKernel = input.integers(4);
    shape.convStride = input.integers(4);
    shape.convDim.assign(shape.convKernel.size(), 8);
  }
  shape.groupNorm = input.flag();
  HostBatch batch;
  std::vector<std::vector<float>> samples;
  const size_t count = input.below(9);
  if (input.below(3) == 0) {
    for (size_t b = 0; b < count; ++b)
      batch.features.push_back(std::string(1, static_cast<char>('a' + input.below(4))));
  }
  if (input.below(3) > 0) {
    for (size_t b = 0; b < count; ++b) {
      samples.push_back(input.floats(input.byte()));
      batch.utterances.push_back(samples.back().data());
      batch.lengths.push_back(static_cast<int32_t>(samples.back().size()));
      batch.starts.push_back(input.flag() ? static_cast<int32_t>(b * 260) : input.index());
      batch.sampleCount = std::max(batch.sampleCount, batch.starts[b] + static_cast<int64_t>(samples[b].size()));
    }
  }
  batch.normalize = input.flag();
  batch.waveform.resize(input.below(4) == 0 ? input.below(20) : 0);
  const std::vector<float> moments = input.floats(input.below(3) == 0 ? input.byte() : 0);
  if (!moments.empty()) {
    batch.windowMean = batch.windowCovariance = moments.data();
    batch.windowMeanSize = static_cast<int64_t>(input.below(moments.size() + 1));
    batch.windowCovarianceSize = static_cast<int64_t>(moments.size());
  }
  batch.frameStarts = input.indices(9);
  batch.frameCounts = input.indices(9);
  const FrameRanges kept{input.indices(9), input.indices(9)};
  const bool ranges = input.flag();
  const StoredFeatures stored{input.integerOr(0), input.integerOr(20)};

  static const std::unique_ptr<Backend> counting = smallBackend()->counting();
  Workspace workspace(*counting);
  attempt([&] {
    shape.validate();
    const auto find = [&](const std::string &key) { return key == "a" ? StoredFeatures{} : stored; };
    const Packing packing = pack(shape, batch, find, workspace);
    RunTable pad, take;
    padUtterances(packing, 3, pad, take);
    const Selection selection = select(packing, ranges ? &kept : nullptr, workspace);
    if (selection.total() > packing.total() || selection.count != packing.count) __builtin_trap();
  });
}

}  // namespace fuzz
}  // namespace emoframe
