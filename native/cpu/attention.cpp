// Attention over packed utterances, in blocks of queries: the scores of one block against all keys of its utterance are
// formed, used and forgotten, so memory grows with T and not with T². Forward keeps only log Σ exp of each row;
// backward forms the probabilities again from it. A head of an utterance is one task in backward, because its dk and dv
// are sums over all queries, added block after block in one order; in forward the query blocks are tasks too.
//
// A bias of the distance is a line for each task, of all distances in its utterance, of which each query adds a part.
// Its gradient is such a line too; those of all utterances are added in their order.
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "backend.h"
#include "blocks.h"
#include "onednn.h"
#include "thread_buffer.h"

namespace emoframe {

namespace {

constexpr int64_t scoreFloats = 128 * 1024;  // 512 KB of scores: half of a 1 MB L2
constexpr int64_t forwardQueries = 512;      // queries a forward task; keys and values are widened once a task

// Queries a block: as many as keep the scores in L2, in multiples of 16.
int64_t queriesOf(int64_t keys) { return std::clamp<int64_t>(scoreFloats / keys / 16 * 16, 16, 256); }

EMOFRAME_SIMD float largestOf(const float *x, int64_t count) {
  float largest = x[0];
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

// e^(scale · score - largest) in place; returns their sum.
EMOFRAME_SIMD float exponentialRow(float *scores, float scale, float largest, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) {
    const float e = exponentialOfNegative(scores[i] * scale - largest);
    scores[i] = e;
    sum += e;
  }
  return sum;
}

EMOFRAME_SIMD void probabilityRow(float *scores, float scale, float logSumExp, int64_t count) {
  for (int64_t i = 0; i < count; ++i) scores[i] = exponential(scores[i] * scale - logSumExp);
}

EMOFRAME_SIMD void scaleRow(float *x, float factor, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] *= factor;
}

// dP to dS in place: p (dP - Σ p dP) · scale.
EMOFRAME_SIMD void softmaxBackwardRow(const float *p, float *dp, float scale, int64_t count) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < count; ++i) dot += p[i] * dp[i];
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) dp[i] = p[i] * (dp[i] - dot) * scale;
}

// score · scale + gate · bias in place.
EMOFRAME_SIMD void biasRow(float *scores, float scale, float gate, const float *bias, int64_t count) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) scores[i] = scores[i] * scale + gate * bias[i];
}

// sums += gate · ds; returns Σ ds · bias, the gradient of the gate.
EMOFRAME_SIMD float biasBackwardRow(const float *ds, float gate, const float *bias, float *sums, int64_t count) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < count; ++i) {
    dot += ds[i] * bias[i];
    sums[i] += gate * ds[i];
  }
  return dot;
}

// One head's biases in an utterance of T rows: `line` has those of distances 1 - T to T - 1.
class BiasLine {
 public:
  BiasLine(const DistanceBias &bias, int64_t head, int64_t T, float *line)
      : bias_(bias), head_(head), T_(T), line_(line) {
    const int64_t reach = (bias.table.rows - 1) / 2;
    for (int64_t i = 0; i < 2 * T - 1; ++i) {
      const int64_t row = std::clamp(i - (T - 1), -reach, reach) + reach;
      line[i] = *static_cast<const float *>(bias.table.at(0, row, head));
    }
  }

  // Scores of query t, in packed row `row`, become scaled and biased.
  void add(float *scores, float scale, int64_t t, int64_t row) const {
    const int64_t from = first(t);
    scaleRow(scores, scale, from);
    biasRow(scores + from, scale, gateOf(row), line_ + T_ - 1 - t + from, T_ - from);
  }
  // Takes the gradient of its scores into `sums`, a line too, and returns that of its gate.
  float takeGradient(const float *ds, int64_t t, int64_t row, float *sums) const {
    const int64_t from = first(t), at = T_ - 1 - t + from;
    return biasBackwardRow(ds + from, gateOf(row), line_ + at, sums + at, T_ - from);
  }

 private:
  // The first key that query t has a bias of.
  int64_t first(int64_t t) const { return t < bias_.unbiased ? T_ : std::min<int64_t>(T_, bias_.unbiased); }
  float gateOf(int64_t row) const { return bias_.gate ? *static_cast<const float *>(bias_.gate.at(0, row, head_)) : 1; }

  const DistanceBias &bias_;
  int64_t head_, T_;
  const float *line_;
};

// The gradients of a bias's table by utterance and head, each of those distances that there are: [2 r + 1] with
// r = min(reach, T - 1).
class TableGradients {
 public:
  TableGradients(const Segments &segments, int64_t heads, const View &dTable)
      : segments_(segments), heads_(heads), dTable_(dTable), reach_((dTable.rows - 1) / 2), first_(1, 0) {
    for (int32_t b = 0; b < segments.count; ++b) first_.push_back(first_.back() + heads * size(b));
    sums_.resize(static_cast<size_t>(first_.back()), 0.0);
  }

  // All of an utterance and head, once: sums of distances 1 - T to T - 1.
  void take(int32_t segment, int64_t head, const float *line) {
    const int64_t T = segments_.length(segment), r = std::min(reach_, T - 1);
    double *sums = sums_.data() + first_[segment] + head * size(segment);
    for (int64_t i = 0; i < 2 * T - 1; ++i) sums[std::clamp(i - (T - 1), -r, r) + r] += line[i];
  }
  void addInto(int threads) const {
    parallelFor(threads, dTable_.rows, rowGrain(heads_ * segments_.count), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t head = 0; head < heads_; ++head) {
          double total = 0;
          for (int32_t b = 0; b < segments_.count; ++b) {
            const int64_t i = row - reach_ + size(b) / 2;
            if (i >= 0 && i < size(b)) total += sums_[first_[b] + head * size(b) + i];
          }
          auto *target = static_cast<float *>(dTable_.at(0, row, head));
          *target = static_cast<float>(*target + total);
        }
      }
    });
  }

 private:
  int64_t size(int32_t segment) const {
    const int64_t T = segments_.length(segment);
    return T == 0 ? 0 : 2 * std::min(reach_, T - 1) + 1;
  }

  const Segments &segments_;
  int64_t heads_;
  const View &dTable_;
  int64_t reach_;
  std::vector<int64_t> first_;  // of each utterance
  std::vector<double> sums_;
};

// One head of some rows, [rows, D] as `dtype`, `stride` apart: where it lies, or widened.
struct Head {
  const void *data;
  int64_t stride;

  onednn::Operand plain() const { return {data, stride, false}; }
  onednn::Operand transposed() const { return {data, stride, true}; }
};

Head readHead(const View &x, DType dtype, int64_t row, int64_t rows, int64_t head, int64_t D, ThreadBuffer &scratch) {
  if (x.dtype == dtype) return {x.at(0, row, head * D), x.rowStride};
  float *out = scratch.floats(rows * D);
  for (int64_t r = 0; r < rows; ++r) readBlock(x, 0, row + r, head * D, D, out + r * D);
  return {out, D};
}

// Rows of probabilities or their gradients, [rows, T], formed in fp32 and multiplied
// as `dtype`: where they lie, or rounded.
struct Rows {
  const void *data;
  int64_t T;

  onednn::Operand plain() const { return {data, T, false}; }
  onednn::Operand transposed() const { return {data, T, true}; }
};

Rows asOperand(const float *values, DType dtype, int64_t rows, int64_t T, ThreadBuffer &scratch) {
  if (dtype == DType::f32) return {values, T};
  const View rounded = vector(scratch.floats((rows * T + 1) / 2), DType::bf16, rows * T);
  for (int64_t r = 0; r < rows; ++r) storeBlock(rounded, 0, 0, r * T, T, values + r * T);
  return {rounded.data, T};
}

void storeHead(const View &x, int64_t row, int64_t rows, int64_t head, int64_t D, const float *values) {
  for (int64_t r = 0; r < rows; ++r) storeBlock(x, 0, row + r, head * D, D, values + r * D);
}

// Utterance `segment`, head `head`, queries [begin, end) of the utterance.
struct Task {
  int32_t segment;
  int64_t head, begin, end;
};

std::vector<Task> tasksOf(const Attention &attention, int64_t queries) {
  std::vector<Task> tasks;
  for (int32_t b = 0; b < attention.segments.count; ++b) {
    const int64_t T = attention.segments.length(b), step = queries > 0 ? queries : T;
    for (int64_t h = 0; h < attention.heads; ++h) {
      for (int64_t t = 0; t < T; t += step) tasks.push_back({b, h, t, std::min(T, t + step)});
    }
  }
  return tasks;
}

// body(r, keep) for every row of a block that begins at packed row `row`, whose place in its
// utterance is a multiple of 16. `keep`: the dropout factors of its keys, which rows 8 apart have
// from the same random numbers; null without dropout.
template <typename Body>
void forEachRow(const Attention &attention, int64_t row, int64_t rows, int64_t head, int64_t T, ThreadBuffer &factors,
                const Body &body) {
  if (attention.dropout.p <= 0) {
    for (int64_t r = 0; r < rows; ++r) body(r, nullptr);
    return;
  }
  float *keep = factors.floats(2 * T);
  for (int64_t r = 0; r < rows; ++r) {
    if ((r & 8) != 0) continue;
    attentionDropoutFactors(attention.dropout, static_cast<uint64_t>((row + r) * attention.heads + head), T, keep,
                            keep + T);
    body(r, keep);
    if (r + 8 < rows) body(r + 8, keep + T);
  }
}

float *logSumExpAt(const Attention &attention, int64_t row, int64_t head) {
  return static_cast<float *>(attention.logSumExp.at(0, row, head));
}

}  // namespace

template <>
void CpuBackend::perform(const Attention &attention) {
  const int64_t D = attention.q.cols / attention.heads;
  const DType dtype = onednn::multiplies(attention.q.dtype) ? attention.q.dtype : DType::f32;
  const std::vector<Task> tasks = tasksOf(attention, forwardQueries);
  parallelFor(threads_, static_cast<int64_t>(tasks.size()), 1, [&](int64_t index, int64_t) {
    static thread_local ThreadBuffer keys, values, queries, scores, rounded, sums, outputs, factors, biases;
    const Task &task = tasks[index];
    const int64_t first = attention.segments.offsets[task.segment], T = attention.segments.length(task.segment);
    const Head k = readHead(attention.k, dtype, first, T, task.head, D, keys);
    const Head v = readHead(attention.v, dtype, first, T, task.head, D, values);
    std::optional<BiasLine> bias;
    if (attention.bias.table) bias.emplace(attention.bias, task.head, T, biases.floats(2 * T - 1));
    const float scale = bias ? 1 : attention.scale;  // of scores once there is a bias among them
    const int64_t step = queriesOf(T);
    for (int64_t t = task.begin; t < task.end; t += step) {
      const int64_t rows = std::min(step, task.end - t), row = first + t;
      const Head q = readHead(attention.q, dtype, row, rows, task.head, D, queries);
      float *p = scores.floats(rows * T), *sum = sums.floats(rows);
      onednn::product(dtype, rows, T, D, q.plain(), k.transposed(), false, p, T);
      forEachRow(attention, row, rows, task.head, T, factors, [&](int64_t r, const float *keep) {
        if (bias) bias->add(p + r * T, attention.scale, t + r, row + r);
        const float largest = largestOf(p + r * T, T) * scale;
        sum[r] = exponentialRow(p + r * T, scale, largest, T);
        if (attention.logSumExp) *logSumExpAt(attention, row + r, task.head) = largest + std::log(sum[r]);
        if (keep) multiply(p + r * T, keep, p + r * T, T);
      });
      float *o = outputs.floats(rows * D);
      onednn::product(dtype, rows, D, T, asOperand(p, dtype, rows, T, rounded).plain(), v.plain(), false, o, D);
      // Dividing D outputs by the sum costs less than dividing T probabilities.
      for (int64_t r = 0; r < rows; ++r) scaleRow(o + r * D, 1 / sum[r], D);
      storeHead(attention.out, row, rows, task.head, D, o);
    }
  });
}

template <>
void CpuBackend::perform(const AttentionBackward &gradient) {
  const Attention &attention = gradient.forward;
  const int64_t D = attention.q.cols / attention.heads;
  const DType dtype = onednn::multiplies(attention.q.dtype) ? attention.q.dtype : DType::f32;
  const std::vector<Task> tasks = tasksOf(attention, 0);
  std::optional<TableGradients> tableGradients;
  if (gradient.dTable) tableGradients.emplace(attention.segments, attention.heads, gradient.dTable);
  parallelFor(threads_, static_cast<int64_t>(tasks.size()), 1, [&](int64_t index, int64_t) {
    static thread_local ThreadBuffer keys, values, queries, outputs, probabilities, kept, gradients, factors, rounded,
        dQueries, dKeys, dValues, biases, dBiases;
    const Task &task = tasks[index];
    const int64_t first = attention.segments.offsets[task.segment], T = attention.segments.length(task.segment);
    const Head k = readHead(attention.k, dtype, first, T, task.head, D, keys);
    const Head v = readHead(attention.v, dtype, first, T, task.head, D, values);
    float *dk = dKeys.floats(T * D), *dv = dValues.floats(T * D), *dBias = nullptr;
    std::optional<BiasLine> bias;
    if (attention.bias.table) {
      bias.emplace(attention.bias, task.head, T, biases.floats(2 * T - 1));
      dBias = dBiases.floats(2 * T - 1);
      fillFloats(dBias, 0, 2 * T - 1);
    }
    const float scale = bias ? 1 : attention.scale;  // of scores once there is a bias among them
    const int64_t step = queriesOf(T);
    for (int64_t t = 0; t < T; t += step) {
      const int64_t rows = std::min(step, T - t), row = first + t;
      const bool accumulate = t > 0;
      const Head q = readHead(attention.q, dtype, row, rows, task.head, D, queries);
      const Head dOut = readHead(gradient.dOut, dtype, row, rows, task.head, D, outputs);
      float *p = probabilities.floats(rows * T), *dp = gradients.floats(rows * T);
      onednn::product(dtype, rows, T, D, q.plain(), k.transposed(), false, p, T);
      onednn::product(dtype, rows, T, D, dOut.plain(), v.transposed(), false, dp, T);
      float *pKept = attention.dropout.p > 0 ? kept.floats(rows * T) : p;
      forEachRow(attention, row, rows, task.head, T, factors, [&](int64_t r, const float *keep) {
        if (bias) bias->add(p + r * T, attention.scale, t + r, row + r);
        probabilityRow(p + r * T, scale, *logSumExpAt(attention, row + r, task.head), T);
        if (keep) {
          multiply(p + r * T, keep, pKept + r * T, T);
          multiply(dp + r * T, keep, dp + r * T, T);
        }
        softmaxBackwardRow(p + r * T, dp + r * T, scale, T);
        if (bias) {
          const float dGate = bias->takeGradient(dp + r * T, t + r, row + r, dBias);
          if (gradient.dGate) *static_cast<float *>(gradient.dGate.at(0, row + r, task.head)) = dGate;
          scaleRow(dp + r * T, attention.scale, T);
        }
      });
      onednn::product(dtype, T, D, rows, asOperand(pKept, dtype, rows, T, rounded).transposed(), dOut.plain(),
                      accumulate, dv, D);
      const Rows ds = asOperand(dp, dtype, rows, T, rounded);
      onednn::product(dtype, T, D, rows, ds.transposed(), q.plain(), accumulate, dk, D);
      float *dq = dQueries.floats(rows * D);
      onednn::product(dtype, rows, D, T, ds.plain(), k.plain(), false, dq, D);
      storeHead(gradient.dq, row, rows, task.head, D, dq);
    }
    storeHead(gradient.dk, first, T, task.head, D, dk);
    storeHead(gradient.dv, first, T, task.head, D, dv);
    if (tableGradients) tableGradients->take(task.segment, task.head, dBias);
  });
  if (tableGradients) tableGradients->addInto(threads_);
}

}  // namespace emoframe
