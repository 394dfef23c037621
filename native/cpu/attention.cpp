// Attention over packed utterances, in blocks of queries: the scores of one block against all keys of its utterance are
// formed, used and forgotten, so memory grows with T and not with T². Forward keeps only log Σ exp of each row;
// backward forms the probabilities again from it. A head of an utterance is one task in backward, because its dk and dv
// are sums over all queries, added block after block in one order; in forward the query blocks are tasks too.
#include <algorithm>
#include <cmath>

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
    static thread_local ThreadBuffer keys, values, queries, scores, rounded, sums, outputs, factors;
    const Task &task = tasks[index];
    const int64_t first = attention.segments.offsets[task.segment], T = attention.segments.length(task.segment);
    const Head k = readHead(attention.k, dtype, first, T, task.head, D, keys);
    const Head v = readHead(attention.v, dtype, first, T, task.head, D, values);
    const int64_t step = queriesOf(T);
    for (int64_t t = task.begin; t < task.end; t += step) {
      const int64_t rows = std::min(step, task.end - t), row = first + t;
      const Head q = readHead(attention.q, dtype, row, rows, task.head, D, queries);
      float *p = scores.floats(rows * T), *sum = sums.floats(rows);
      onednn::product(dtype, rows, T, D, q.plain(), k.transposed(), false, p, T);
      forEachRow(attention, row, rows, task.head, T, factors, [&](int64_t r, const float *keep) {
        const float largest = largestOf(p + r * T, T) * attention.scale;
        sum[r] = exponentialRow(p + r * T, attention.scale, largest, T);
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
  parallelFor(threads_, static_cast<int64_t>(tasks.size()), 1, [&](int64_t index, int64_t) {
    static thread_local ThreadBuffer keys, values, queries, outputs, probabilities, kept, gradients, factors, rounded,
        dQueries, dKeys, dValues;
    const Task &task = tasks[index];
    const int64_t first = attention.segments.offsets[task.segment], T = attention.segments.length(task.segment);
    const Head k = readHead(attention.k, dtype, first, T, task.head, D, keys);
    const Head v = readHead(attention.v, dtype, first, T, task.head, D, values);
    float *dk = dKeys.floats(T * D), *dv = dValues.floats(T * D);
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
        probabilityRow(p + r * T, attention.scale, *logSumExpAt(attention, row + r, task.head), T);
        if (keep) {
          multiply(p + r * T, keep, pKept + r * T, T);
          multiply(dp + r * T, keep, dp + r * T, T);
        }
        softmaxBackwardRow(p + r * T, dp + r * T, attention.scale, T);
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
  });
}

}  // namespace emoframe
