// What attention's distance biases are made of: WavLM's gates, of which each takes eight numbers and two sigmoids, and
// ALiBi's table.
#include <cmath>
#include <vector>

#include "../slopes.h"
#include "backend.h"
#include "blocks.h"

namespace emoframe {

namespace {

EMOFRAME_INLINE float sigmoid(float x) { return 1 / (1 + exponential(-x)); }

// σ of the sums of the first and of the last four of each head's numbers.
struct Gates {
  float a, b;
};
EMOFRAME_INLINE Gates gatesOf(const float *x) {
  return {sigmoid(x[0] + x[1] + x[2] + x[3]), sigmoid(x[4] + x[5] + x[6] + x[7])};
}

// Distances of a table [2 reach + 1, H].
int64_t reachOf(const View &table) { return (table.rows - 1) / 2; }

// slope · distance in row `row` of a table, below 0.
float slopeTimesDistance(const View &table, int64_t row, int64_t head) {
  return -slopeOf(head, table.cols) * static_cast<float>(std::abs(row - reachOf(table)));
}

const float *floatAt(const View &view, int64_t row, int64_t column) {
  return static_cast<const float *>(view.at(0, row, column));
}

}  // namespace

template <>
void CpuBackend::perform(const PositionGate &op) {
  const int64_t heads = op.gate.cols;
  parallelFor(threads_, op.gate.rows, rowGrain(16 * heads), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const Gates gates = gatesOf(floatAt(op.x, t * heads + h, 0));
        *static_cast<float *>(op.gate.at(0, t, h)) = gates.a * (gates.b * *floatAt(op.scale, 0, h) - 1) + 2;
      }
    }
  });
}

template <>
void CpuBackend::perform(const PositionGateBackward &op) {
  const View &x = op.forward.x, &scale = op.forward.scale;
  const int64_t rows = op.dGate.rows, heads = op.dGate.cols;
  ColumnSums sums(rows, heads);
  parallelChunks(threads_, rows, ColumnSums::grain(rows), [&](int64_t chunk, int64_t begin, int64_t end) {
    ColumnSums::Chunk partial(sums, chunk);
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const Gates gates = gatesOf(floatAt(x, t * heads + h, 0));
        const float c = *floatAt(scale, 0, h), gradient = *floatAt(op.dGate, t, h);
        auto *dx = static_cast<float *>(op.dx.at(0, t * heads + h, 0));
        const float ofA = gradient * (gates.b * c - 1) * gates.a * (1 - gates.a);
        const float ofB = gradient * gates.a * c * gates.b * (1 - gates.b);
        for (int64_t i = 0; i < 8; ++i) dx[i] = i < 4 ? ofA : ofB;
        partial.floats[h] += gradient * gates.a * gates.b;
      }
      partial.rowDone();
    }
    partial.finish();
  });
  if (op.dScale) sums.addInto(op.dScale);
}

template <>
void CpuBackend::perform(const SlopeTable &op) {
  parallelFor(threads_, op.table.rows, rowGrain(op.table.cols), [&](int64_t begin, int64_t end) {
    for (int64_t d = begin; d < end; ++d) {
      for (int64_t h = 0; h < op.table.cols; ++h) {
        const float scale = *floatAt(op.scale, 0, h);
        *static_cast<float *>(op.table.at(0, d, h)) = slopeTimesDistance(op.table, d, h) * (scale < 0 ? 0 : scale);
      }
    }
  });
}

template <>
void CpuBackend::perform(const SlopeTableBackward &op) {
  const int64_t rows = op.dTable.rows, heads = op.dTable.cols;
  ColumnSums sums(rows, heads);
  parallelChunks(threads_, rows, ColumnSums::grain(rows), [&](int64_t chunk, int64_t begin, int64_t end) {
    ColumnSums::Chunk partial(sums, chunk);
    for (int64_t d = begin; d < end; ++d) {
      for (int64_t h = 0; h < heads; ++h) {
        if (*floatAt(op.scale, 0, h) < 0) continue;
        partial.floats[h] += slopeTimesDistance(op.dTable, d, h) * *floatAt(op.dTable, d, h);
      }
      partial.rowDone();
    }
    partial.finish();
  });
  sums.addInto(op.dScale);
}

}  // namespace emoframe
