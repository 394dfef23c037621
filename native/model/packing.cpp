#include "packing.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../error.h"
#include "finite.h"

namespace emoframe {

void RunTable::add(int64_t from, int64_t to, int64_t count) {
  source.host.push_back(static_cast<int32_t>(from));
  target.host.push_back(static_cast<int32_t>(to));
  length.host.push_back(static_cast<int32_t>(count));
}

void RunTable::upload(Workspace &workspace) {
  source.upload(workspace);
  target.upload(workspace);
  length.upload(workspace);
}

RowRuns RunTable::runs() const {
  return {static_cast<int32_t>(source.host.size()),
          source.host.data(),
          target.host.data(),
          length.host.data(),
          source.device,
          target.device,
          length.device};
}

RowRuns RunTable::inverse() const {
  RowRuns r = runs();
  std::swap(r.source, r.target);
  std::swap(r.deviceSource, r.deviceTarget);
  return r;
}

namespace {

[[noreturn]] void refuse(const std::string &message) { throw Error("ERR_BATCH", message); }

std::string utterance(size_t b) { return "Utterance " + std::to_string(b) + " of the batch "; }

void checkSamples(const HubertShape &shape, const HostBatch &batch) {
  const int64_t stride = shape.stride();
  if (!batch.hasSamples()) refuse("The batch has neither samples nor feature keys.");
  if (batch.lengths.size() != batch.starts.size()) {
    refuse("The batch has " + std::to_string(batch.starts.size()) + " starts but " +
           std::to_string(batch.lengths.size()) + " lengths.");
  }
  if (batch.sampleCount > std::numeric_limits<int32_t>::max() - stride) {
    refuse("The batch holds more samples than an index can count; make it smaller.");
  }
  std::vector<size_t> order(batch.starts.size());
  for (size_t b = 0; b < order.size(); ++b) order[b] = b;
  for (size_t b = 0; b < order.size(); ++b) {
    const int64_t start = batch.starts[b], length = batch.lengths[b];
    if (start < 0 || start % stride != 0) {
      refuse(utterance(b) + "starts at sample " + std::to_string(start) + ", which is not a multiple of " +
             std::to_string(stride) + ".");
    }
    if (length < 0 || start + length > batch.sampleCount) {
      refuse(utterance(b) + "ends after the samples given.");
    }
    if (shape.frames(length) < 1) {
      refuse(utterance(b) + "has " + std::to_string(length) + " samples, too short for one frame.");
    }
    const float *samples = batch.samplesOf(b);
    if (allFinite(samples, length)) continue;
    const auto bad = std::find_if(samples, samples + length, [](float x) { return !std::isfinite(x); });
    throw Error("ERR_NOT_FINITE", utterance(b) + "has a sample that is not a finite number, at position " +
                                      std::to_string(bad - samples) + ".");
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return batch.starts[a] < batch.starts[b]; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (batch.starts[order[i]] < batch.starts[order[i - 1]] + batch.lengths[order[i - 1]]) {
      refuse(utterance(order[i]) + "overlaps utterance " + std::to_string(order[i - 1]) + ".");
    }
  }
}

void checkMoments(const HubertShape &shape, const HostBatch &batch, size_t count) {
  if (!batch.windowMean && !batch.windowCovariance) return;
  if (!shape.groupNorm) refuse("This model has no GroupNorm: it takes no moments of windows.");
  const int64_t kernel = shape.convKernel[0], utterances = static_cast<int64_t>(count);
  if (batch.windowMeanSize != utterances * kernel || batch.windowCovarianceSize != utterances * kernel * kernel) {
    refuse("Expected " + std::to_string(utterances * kernel) + " means and " +
           std::to_string(utterances * kernel * kernel) + " covariances of windows but received " +
           std::to_string(batch.windowMeanSize) + " and " + std::to_string(batch.windowCovarianceSize) + ".");
  }
}

}  // namespace

Selection select(const Packing &packing, const FrameRanges *kept, Workspace &workspace) {
  Selection selection;
  selection.count = packing.count;
  if (!kept) {
    selection.offsets = packing.offsets;
    return selection;
  }
  const auto count = static_cast<size_t>(packing.count);
  if (kept->starts.size() != count || kept->counts.size() != count) {
    refuse("The batch has " + std::to_string(count) + " utterances but " + std::to_string(kept->starts.size()) +
           " ranges of kept frames.");
  }
  int32_t total = 0;
  selection.offsets.host.push_back(0);
  for (size_t b = 0; b < count; ++b) {
    const int64_t first = kept->starts[b], frames = kept->counts[b];
    if (first < 0 || frames < 1 || first + frames > packing.frames[b]) {
      refuse(utterance(b) + "has " + std::to_string(packing.frames[b]) + " frames, but " + std::to_string(frames) +
             " from frame " + std::to_string(first) + " were to be kept.");
    }
    selection.rows.add(packing.offsets.host[b] + first, total, frames);
    total += static_cast<int32_t>(frames);
    selection.offsets.host.push_back(total);
  }
  selection.offsets.upload(workspace);
  selection.rows.upload(workspace);
  return selection;
}

Packing pack(const HubertShape &shape, const HostBatch &batch,
             const std::function<StoredFeatures(const std::string &)> &stored, Workspace &workspace) {
  Packing packing;
  const bool byKey = !batch.features.empty();
  if (byKey && batch.hasSamples()) refuse("A batch holds samples or feature keys, not both.");
  const size_t count = byKey ? batch.features.size() : batch.starts.size();
  if (count == 0) refuse("The batch holds no utterance.");
  if (!byKey) checkSamples(shape, batch);
  for (const std::vector<int32_t> *range : {&batch.frameStarts, &batch.frameCounts}) {
    if (!range->empty() && range->size() != count) {
      refuse("The batch has " + std::to_string(count) + " utterances but " + std::to_string(range->size()) +
             " frame ranges.");
    }
  }
  if (batch.frameStarts.empty() != batch.frameCounts.empty()) {
    refuse("Frame ranges need both frameStarts and frameCounts.");
  }
  checkMoments(shape, batch, count);
  if (!batch.waveform.empty() && (!batch.normalize || batch.waveform.size() != 2 * count)) {
    refuse("Expected a mean and a scale for each of " + std::to_string(count) +
           " utterances that are normalised but received " + std::to_string(batch.waveform.size()) + " numbers.");
  }

  packing.count = static_cast<int32_t>(count);
  const int64_t stride = shape.stride();
  if (!byKey) {
    packing.sampleCount = (batch.sampleCount + stride - 1) / stride * stride;
    packing.starts.host = batch.starts;
    packing.lengths.host = batch.lengths;
  }
  packing.offsets.host.push_back(0);
  int64_t total = 0;
  for (size_t b = 0; b < count; ++b) {
    const StoredFeatures all =
        byKey ? stored(batch.features[b]) : StoredFeatures{batch.starts[b] / stride, shape.frames(batch.lengths[b])};
    const int64_t available = all.frames;
    if (available < 0) refuse("No features are stored under the key " + batch.features[b] + ".");
    const int64_t first = batch.frameStarts.empty() ? 0 : batch.frameStarts[b];
    const int64_t frames = batch.frameCounts.empty() ? available : batch.frameCounts[b];
    if (first < 0 || frames < 1 || first + frames > available) {
      refuse(utterance(b) + "has " + std::to_string(available) + " frames, but " + std::to_string(frames) +
             " from frame " + std::to_string(first) + " were asked for.");
    }
    packing.compaction.add(all.first + first, total, frames);
    packing.frames.push_back(frames);
    total += frames;
    if (total > std::numeric_limits<int32_t>::max()) refuse("The batch holds more frames than an index can count.");
    packing.offsets.host.push_back(static_cast<int32_t>(total));
  }
  packing.starts.upload(workspace);
  packing.lengths.upload(workspace);
  packing.offsets.upload(workspace);
  packing.compaction.upload(workspace);
  return packing;
}

int64_t padUtterances(const Packing &packing, int64_t gap, RunTable &pad, RunTable &take) {
  int64_t at = gap;
  pad.add(-1, 0, gap);
  for (int32_t b = 0; b < packing.count; ++b) {
    const int64_t first = packing.offsets.host[b], length = packing.frames[b];
    pad.add(first, at, length);
    pad.add(-1, at + length, gap);
    take.add(at - gap, first, length);
    at += length + gap;
  }
  return at;
}

}  // namespace emoframe
