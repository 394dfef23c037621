// Forward-backward over an utterance's islands of an emotion (native/island_path.h). One utterance and one emotion a
// task: forward, keeping the weights of each frame (24 bytes), then back with them to the occupancies.
#include <vector>

#include "../island_path.h"
#include "backend.h"
#include "parallel.h"

namespace emoframe {

namespace {

float *elementOf(const View &view, int64_t row, int64_t column) {
  return static_cast<float *>(view.at(0, row, column));
}

// log Z of the emotion in `column` over frames [begin, end), of which there is one at least.
double alignOne(const IslandAlignment &op, const PathCosts &costs, int64_t column, int64_t begin, int64_t end) {
  const double scale = op.scale;
  const auto emission = [&](int64_t t) {
    return scale * (static_cast<double>(*elementOf(op.logits, t, column)) - *elementOf(op.logits, t, op.neutral));
  };
  std::vector<PathWeights> kept(static_cast<size_t>(end - begin));
  PathWeights forward = weightsOfStart();
  for (int64_t t = begin; t < end; ++t) {
    forward = kept[t - begin] = stepForward(forward, emission(t), costs, t == begin ? firstCosts() : costs);
  }
  PathWeights backward = weightsOfEnd();
  for (int64_t t = end - 1; t >= begin; --t) {
    *elementOf(op.occupancies, t, column) = static_cast<float>(occupancyOf(kept[t - begin], backward));
    backward = stepBackward(backward, emission(t), costs);
  }
  return logAdd(forward.inside, forward.after);
}

}  // namespace

template <>
void CpuBackend::perform(const IslandAlignment &op) {
  const int64_t B = op.segments.count, C = op.logits.cols;
  const PathCosts costs = pathCosts(op.switchingCost);
  // Utterances of one column after another, so that threads seldom write to one utterance's frames.
  parallelFor(threads_, B * C, 1, [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < last; ++task) {
      const int64_t column = task / B, b = task % B;
      const int64_t begin = op.segments.offsets[b], end = op.segments.offsets[b + 1];
      double logZ = 0;
      if (column == op.neutral) {
        for (int64_t t = begin; t < end; ++t) *elementOf(op.occupancies, t, column) = 0;
      } else if (begin < end) {
        logZ = alignOne(op, costs, column, begin, end);
      }
      *elementOf(op.utteranceLogits, b, column) = static_cast<float>(logZ + *elementOf(op.bias, 0, column));
    }
  });
}

template <>
void CpuBackend::perform(const IslandAlignmentBackward &op) {
  const IslandAlignment &alignment = op.forward;
  const int64_t C = alignment.logits.cols;
  parallelFor(threads_, alignment.segments.count, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      for (int64_t t = alignment.segments.offsets[b]; t < alignment.segments.offsets[b + 1]; ++t) {
        double sum = 0;
        for (int64_t c = 0; c < C; ++c) {
          if (c == alignment.neutral) continue;
          const double gradient = static_cast<double>(alignment.scale) * *elementOf(op.dUtteranceLogits, b, c) *
                                  *elementOf(alignment.occupancies, t, c);
          *elementOf(op.dLogits, t, c) = static_cast<float>(gradient);
          sum += gradient;
        }
        *elementOf(op.dLogits, t, alignment.neutral) = static_cast<float>(-sum);
      }
    }
  });
}

}  // namespace emoframe
