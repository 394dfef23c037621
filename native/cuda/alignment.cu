// Forward-backward over an utterance's islands of an emotion (native/island_path.h). A warp takes one utterance and one
// emotion, in tiles of 512 frames that begin with the utterance, so what else is in the batch does not matter. A lane
// has up to 16 frames of a tile in a row and makes of them the matrix that brings weights ahead of them to weights
// behind them; a scan of those over the lanes gives each what comes to its frames from before the tile, another what
// follows them, and with both a lane goes over its frames forward and back. So a tile takes as long as 16 frames and
// ten products of matrices would one after another.
//
// Forward over the tiles, what comes to each is kept (24 bytes); back over them, the rest is done. An utterance of one
// tile, about 10 s, is gone over once. Bound by the arithmetic of logarithms in double: logits are read once or twice,
// occupancies written once.
#include "../island_path.h"
#include "backend.h"
#include "elements.cuh"
#include "launch.cuh"
#include "ragged.cuh"

namespace emoframe {

namespace {

constexpr int laneFrames = 16, tileFrames = 32 * laneFrames;
constexpr int places = 33;  // of a row of 32 lanes in shared memory: neighbouring frames lie in different banks

// What frames do to weights: from weights ahead of them (n0 with weight 1, as fromBefore; e; n1) to those behind them.
struct Transfer {
  PathWeights fromBefore;
  double insideToInside, insideToAfter, afterToInside, afterToAfter;
};
__device__ Transfer noFrames() { return {weightsOfStart(), 0, logOfNothing, logOfNothing, 0}; }

__device__ PathWeights forwardThrough(const PathWeights &w, const Transfer &m) {
  const double inside = logAdd(w.inside + m.insideToInside, w.after + m.afterToInside);
  const double after = logAdd(w.inside + m.insideToAfter, w.after + m.afterToAfter);
  return {w.before + m.fromBefore.before, logAdd(inside, w.before + m.fromBefore.inside),
          logAdd(after, w.before + m.fromBefore.after)};
}
__device__ PathWeights backwardThrough(const PathWeights &w, const Transfer &m) {
  const double before = logAdd(w.inside + m.fromBefore.inside, w.after + m.fromBefore.after);
  return {logAdd(before, w.before + m.fromBefore.before),
          logAdd(w.inside + m.insideToInside, w.after + m.insideToAfter),
          logAdd(w.inside + m.afterToInside, w.after + m.afterToAfter)};
}
__device__ Transfer joined(const Transfer &first, const Transfer &second) {
  return {forwardThrough(first.fromBefore, second),
          logAdd(first.insideToInside + second.insideToInside, first.insideToAfter + second.afterToInside),
          logAdd(first.insideToInside + second.insideToAfter, first.insideToAfter + second.afterToAfter),
          logAdd(first.afterToInside + second.insideToInside, first.afterToAfter + second.afterToInside),
          logAdd(first.afterToInside + second.insideToAfter, first.afterToAfter + second.afterToAfter)};
}

// Another lane's, by exchange(value).
template <typename Exchange>
__device__ inline PathWeights exchanged(const PathWeights &w, Exchange exchange) {
  return {exchange(w.before), exchange(w.inside), exchange(w.after)};
}
template <typename Exchange>
__device__ inline Transfer exchanged(const Transfer &m, Exchange exchange) {
  return {exchanged(m.fromBefore, exchange), exchange(m.insideToInside), exchange(m.insideToAfter),
          exchange(m.afterToInside), exchange(m.afterToAfter)};
}
// Through the frames of this lane and all before it, or behind it.
__device__ Transfer upToLane(Transfer m) {
#pragma unroll 1
  for (int step = 1; step < 32; step *= 2) {
    const Transfer other = exchanged(m, [&](double value) { return shuffleUp(value, step); });
    if (laneOf() >= step) m = joined(other, m);
  }
  return m;
}
__device__ Transfer fromLaneOn(Transfer m) {
#pragma unroll 1
  for (int step = 1; step < 32; step *= 2) {
    const Transfer other = exchanged(m, [&](double value) { return shuffleDown(value, step); });
    if (laneOf() + step < 32) m = joined(m, other);
  }
  return m;
}

struct Alignment {
  Strided<const float> logits, bias;
  const int32_t *offsets;
  int64_t columns, neutral;
  double scale;
  PathCosts costs;
  Strided<float> utteranceLogits, occupancies;
  PathWeights *comes;  // to each tile but an utterance's last from before it, in each column
};

// A tile of one utterance in one column. Shared memory has, for each frame, its emission, later its occupancy, and the
// weights up to it.
struct Tile {
  const Alignment &op;
  int64_t column, begin;  // frame of the batch
  int count, perLane;     // frames
  bool first;             // of the utterance
  double *emissions, *before, *inside, *after;

  __device__ int place(int lane, int k) const { return k * places + lane; }
  __device__ int placeOf(int frame) const { return place(frame / perLane, frame % perLane); }
  __device__ int framesOfLane() const {
    const int left = count - laneOf() * perLane;
    return left < 0 ? 0 : left < perLane ? left : perLane;
  }
  __device__ PathCosts fromBefore(int k) const { return first && laneOf() == 0 && k == 0 ? firstCosts() : op.costs; }

  __device__ void load() const {
    __syncwarp();
    for (int i = laneOf(); i < count; i += 32) {
      emissions[placeOf(i)] = op.scale * (static_cast<double>(*op.logits.at(0, begin + i, column)) -
                                          static_cast<double>(*op.logits.at(0, begin + i, op.neutral)));
    }
    __syncwarp();
  }
  // Of this lane's frames.
  __device__ Transfer transfer() const {
    Transfer m = noFrames();
#pragma unroll 1
    for (int k = 0; k < framesOfLane(); ++k) {
      const double r = emissions[place(laneOf(), k)];
      m.fromBefore = stepForward(m.fromBefore, r, op.costs, fromBefore(k));
      const Transfer was = m;
      const PathCosts &costs = op.costs;
      m.insideToInside = r + logAdd(was.insideToInside + costs.stay, was.insideToAfter + costs.leave);
      m.insideToAfter = logAdd(was.insideToInside + costs.leave, was.insideToAfter + costs.stay);
      m.afterToInside = r + logAdd(was.afterToInside + costs.stay, was.afterToAfter + costs.leave);
      m.afterToAfter = logAdd(was.afterToInside + costs.leave, was.afterToAfter + costs.stay);
    }
    return m;
  }
  // Over this lane's frames; returns the weights behind them.
  __device__ PathWeights forward(PathWeights w) const {
#pragma unroll 1
    for (int k = 0; k < framesOfLane(); ++k) {
      const int at = place(laneOf(), k);
      w = stepForward(w, emissions[at], op.costs, fromBefore(k));
      before[at] = w.before;
      inside[at] = w.inside;
      after[at] = w.after;
    }
    return w;
  }
  // Back over them, given what follows the last; returns what follows the frame before the first.
  __device__ PathWeights backward(PathWeights w) const {
#pragma unroll 1
    for (int k = framesOfLane() - 1; k >= 0; --k) {
      const int at = place(laneOf(), k);
      const double r = emissions[at];
      emissions[at] = occupancyOf({before[at], inside[at], after[at]}, w);
      w = stepBackward(w, r, op.costs);
    }
    return w;
  }
  __device__ void storeOccupancies() const {
    __syncwarp();
    for (int i = laneOf(); i < count; i += 32) {
      *op.occupancies.at(0, begin + i, column) = static_cast<float>(emissions[placeOf(i)]);
    }
  }
};
constexpr size_t tileBytes = 4 * sizeof(double) * laneFrames * places;

// Tile `number` of an utterance's frames.
__device__ Tile tileOf(const Alignment &op, int64_t column, int64_t begin, int64_t length, int64_t number) {
  constexpr int values = laneFrames * places;
  auto *shared = reinterpret_cast<double *>(sharedMemory());
  const int64_t left = length - number * tileFrames;
  const int count = left < tileFrames ? static_cast<int>(left) : tileFrames;
  return {op,
          column,
          begin + number * tileFrames,
          count,
          (count + 31) / 32,
          number == 0,
          shared,
          shared + values,
          shared + 2 * values,
          shared + 3 * values};
}

// A warp, alone in its block: utterance and column of blockIdx.x. Shared memory: tileBytes.
__global__ void __launch_bounds__(32) alignKernel(Alignment op) {
  const int64_t b = blockIdx.x / op.columns, column = blockIdx.x % op.columns;
  const int lane = laneOf();
  const int64_t begin = op.offsets[b], length = op.offsets[b + 1] - begin;
  double logZ = 0;
  if (column == op.neutral) {
    for (int64_t t = begin + lane; t < begin + length; t += 32) *op.occupancies.at(0, t, column) = 0;
  } else if (length > 0) {
    const int64_t last = (length - 1) / tileFrames;
    // Kept of an utterance is one less than it has tiles, so those before keep begin / tileFrames at most.
    PathWeights *comes = op.comes + begin / tileFrames * op.columns + column;
    PathWeights come = weightsOfStart();
#pragma unroll 1
    for (int64_t number = 0; number < last; ++number) {
      const Tile tile = tileOf(op, column, begin, length, number);
      if (lane == 0) comes[number * op.columns] = come;
      tile.load();
      const PathWeights gone = forwardThrough(come, upToLane(tile.transfer()));
      come = exchanged(gone, [](double value) { return shuffleIndex(value, 31); });
    }
    PathWeights follow = weightsOfEnd();
#pragma unroll 1
    for (int64_t number = last; number >= 0; --number) {
      const Tile tile = tileOf(op, column, begin, length, number);
      tile.load();
      if (number < last) come = comes[number * op.columns];
      const Transfer own = tile.transfer();
      Transfer others = exchanged(upToLane(own), [](double value) { return shuffleUp(value, 1); });
      if (lane == 0) others = noFrames();
      const PathWeights gone = tile.forward(forwardThrough(come, others));
      if (number == last) logZ = logAdd(gone.inside, gone.after);  // in lane 31: behind all frames
      others = exchanged(fromLaneOn(own), [](double value) { return shuffleDown(value, 1); });
      if (lane == 31) others = noFrames();
      follow = tile.backward(backwardThrough(follow, others));
      follow = exchanged(follow, [](double value) { return shuffleIndex(value, 0); });
      tile.storeOccupancies();
    }
  }
  if (lane != 31) return;
  *op.utteranceLogits.at(0, b, column) = static_cast<float>(logZ + static_cast<double>(*op.bias.at(0, 0, column)));
}

// A thread a frame.
constexpr int gradientThreads = 128;
__global__ void __launch_bounds__(gradientThreads)
    alignGradientKernel(Strided<const float> occupancies, Strided<const float> dUtteranceLogits, const int32_t *offsets,
                        int32_t utterances, int64_t frames, int64_t columns, int64_t neutral, double scale,
                        Strided<float> dLogits) {
  const int64_t t = static_cast<int64_t>(blockIdx.x) * gradientThreads + threadIdx.x;
  if (t >= frames) return;
  const int32_t b = utteranceOf(offsets, utterances, t);
  if (b < 0) return;
  double sum = 0;
  for (int64_t c = 0; c < columns; ++c) {
    if (c == neutral) continue;
    const double gradient =
        scale * static_cast<double>(*dUtteranceLogits.at(0, b, c)) * static_cast<double>(*occupancies.at(0, t, c));
    *dLogits.at(0, t, c) = static_cast<float>(gradient);
    sum += gradient;
  }
  *dLogits.at(0, t, neutral) = static_cast<float>(-sum);
}

}  // namespace

template <>
void CudaBackend::perform(const IslandAlignment &op) {
  const int64_t B = op.segments.count, T = op.logits.rows, C = op.logits.cols;
  Alignment alignment = {};
  alignment.logits = strided<const float>(op.logits);
  alignment.bias = strided<const float>(op.bias);
  alignment.offsets = op.segments.deviceOffsets;
  alignment.columns = C;
  alignment.neutral = op.neutral;
  alignment.scale = static_cast<double>(op.scale);
  alignment.costs = pathCosts(static_cast<double>(op.switchingCost));
  alignment.utteranceLogits = strided<float>(op.utteranceLogits);
  alignment.occupancies = strided<float>(op.occupancies);
  alignment.comes = static_cast<PathWeights *>(scratch(sizeof(PathWeights) * static_cast<size_t>(T / tileFrames * C)));
  launch(alignKernel, static_cast<uint32_t>(B * C), 32, tileBytes, stream(), alignment);
}

template <>
void CudaBackend::perform(const IslandAlignmentBackward &op) {
  const IslandAlignment &alignment = op.forward;
  launch(alignGradientKernel, blocksFor(alignment.logits.rows, gradientThreads), gradientThreads, 0, stream(),
         strided<const float>(alignment.occupancies), strided<const float>(op.dUtteranceLogits),
         alignment.segments.deviceOffsets, alignment.segments.count, alignment.logits.rows, alignment.logits.cols,
         alignment.neutral, static_cast<double>(alignment.scale), strided<float>(op.dLogits));
}

}  // namespace emoframe
