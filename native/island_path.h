// The recursions of an IslandAlignment for one utterance and emotion, for every backend. All weights are logarithms in
// double: half an hour of frames multiplies up to weights that no linear number holds, and a path that stays neutral
// may outweigh all others by more than an exponent can say, though it does not count in the end.
#pragma once

#include <cmath>

#include "host_device.h"
#include "ops.h"

namespace emoframe {

// The logarithm of 0, as it may be added to and subtracted from itself without becoming NaN.
constexpr double logOfNothing = -1e300;
constexpr double logOfHalf = -0.69314718055994531;

// Log probabilities of keeping a state and of leaving it.
struct PathCosts {
  double stay, leave;
};
inline PathCosts pathCosts(double switchingCost) {
  const double share = std::log1p(std::exp(-std::fabs(switchingCost)));
  return {std::fmin(switchingCost, 0.0) - share, std::fmin(-switchingCost, 0.0) - share};
}
// What a path begins with, as if it came from n0: n0 or e, ½ each.
EMOFRAME_HOST_DEVICE inline PathCosts firstCosts() { return {logOfHalf, logOfHalf}; }

// Of n0, e and n1.
struct PathWeights {
  double before, inside, after;
};
// Ahead of an utterance's first frame, and behind its last one.
EMOFRAME_HOST_DEVICE inline PathWeights weightsOfStart() { return {0, logOfNothing, logOfNothing}; }
EMOFRAME_HOST_DEVICE inline PathWeights weightsOfEnd() { return {logOfNothing, 0, 0}; }

// log(e^a + e^b). NaN stays NaN. Below e^-37 a share of 1 is rounded away; not asking for it is far faster where most
// shares are, as exponentials that underflow are slow.
EMOFRAME_HOST_DEVICE inline double logAdd(double a, double b) {
  const double larger = a > b ? a : b, below = a > b ? b - a : a - b;
  return below < -37 ? larger : larger + log(1 + exp(below));
}

// From all paths up to a frame to those up to the next one, whose emission in e is r. `fromBefore`: what n0 is left
// with, firstCosts() in an utterance's first frame.
EMOFRAME_HOST_DEVICE inline PathWeights stepForward(const PathWeights &w, double r, const PathCosts &costs,
                                                    const PathCosts &fromBefore) {
  const double inside = logAdd(w.inside + costs.stay, w.after + costs.leave);
  return {w.before + fromBefore.stay, r + logAdd(inside, w.before + fromBefore.leave),
          logAdd(w.inside + costs.leave, w.after + costs.stay)};
}

// From what follows a frame, by the state in it, to what follows the frame before: r is the emission of the later one.
EMOFRAME_HOST_DEVICE inline PathWeights stepBackward(const PathWeights &w, double r, const PathCosts &costs) {
  const double inside = r + w.inside, enter = inside + costs.leave;
  return {logAdd(w.before + costs.stay, enter), logAdd(inside + costs.stay, w.after + costs.leave),
          logAdd(w.after + costs.stay, enter)};
}

// The share of paths that are in e, given what leads to a frame and what follows it.
EMOFRAME_HOST_DEVICE inline double occupancyOf(const PathWeights &forward, const PathWeights &backward) {
  const double outside = logAdd(forward.before + backward.before, forward.after + backward.after);
  const double odds = outside - (forward.inside + backward.inside);
  return odds < -37 ? 1 : 1 / (1 + exp(odds > 104 ? 104 : odds));  // e^-104 is 0 in float
}

}  // namespace emoframe
