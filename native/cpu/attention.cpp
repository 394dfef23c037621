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

constexpr int64_t scoreFloats = 64 * 1024;  // 256 KB of scores: a quarter of a 1 MB L2
constexpr int64_t forwardQueries = 512;     // queries a forward task; keys and values are widened once a task

// Queries a block: as many as keep the scores in L2, in multiples of 16.
int64_t queriesOf(int64_t keys) { return std::clamp<int64_t>(scoreFloats / keys / 16 * 16, 16, 256); }

// Scores to probabilities in place; returns log Σ exp(scale · score).
EMOFRAME_SIMD float softmaxRow(float *scores, float scale, int64_t count) {
  float largest = scores[0];
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) largest = scores[i] > largest ? scores[i] : largest;
  largest *= scale;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) {
    const float e = exponential(scores[i] * scale - largest);
    scores[i] = e;
    sum += e;
  }
  const float inverse = 1.0f / sum;
  for (int64_t i = 0; i < count; ++i) scores[i] *= inverse;
  return largest + std::log(sum);
}

EMOFRAME_SIMD void probabilityRow(float *scores, float scale, float logSumExp, int64_t count) {
  for (int64_t i = 0; i < count; ++i) scores[i] = exponential(scores[i] * scale - logSumExp);
}

// dP to dS in place: p (dP - Σ p dP) · scale.
EMOFRAME_SIMD void softmaxBackwardRow(const float *p, float *dp, float scale, int64_t count) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < count; ++i) dot += p[i] * dp[i];
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) dp[i] = p[i] * (dp[i] - dot) * scale;
}

// One head of some rows, [rows, D] f32, `stride` apart: where it lies, or widened.
struct Head {
  const float *data;
  int64_t stride;
};

Head readHead(const View &x, int64_t row, int64_t rows, int64_t head, int64_t D, ThreadBuffer &scratch) {
  if (x.dtype == DType::f32) return {static_cast<const float *>(x.at(0, row, head * D)), x.rowStride};
  float *out = scratch.floats(rows * D);
  for (int64_t r = 0; r < rows; ++r) readBlock(x, 0, row + r, head * D, D, out + r * D);
  return {out, D};
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

uint64_t dropoutElement(const Attention &attention, int64_t row, int64_t head) {
  return static_cast<uint64_t>(row * attention.heads + head) << 22;
}

float *logSumExpAt(const Attention &attention, int64_t row, int64_t head) {
  return static_cast<float *>(attention.logSumExp.at(0, row, head));
}

}  // namespace

void CpuBackend::attentionForward(const Attention &attention) {
  const int64_t D = attention.q.cols / attention.heads;
  const std::vector<Task> tasks = tasksOf(attention, forwardQueries);
  parallelFor(threads_, static_cast<int64_t>(tasks.size()), 1, [&](int64_t index, int64_t) {
    static thread_local ThreadBuffer keys, values, queries, scores, outputs, factors;
    const Task &task = tasks[index];
    const int64_t first = attention.segments.offsets[task.segment], T = attention.segments.length(task.segment);
    const Head k = readHead(attention.k, first, T, task.head, D, keys);
    const Head v = readHead(attention.v, first, T, task.head, D, values);
    const int64_t step = queriesOf(T);
    for (int64_t t = task.begin; t < task.end; t += step) {
      const int64_t rows = std::min(step, task.end - t), row = first + t;
      const Head q = readHead(attention.q, row, rows, task.head, D, queries);
      float *p = scores.floats(rows * T);
      onednn::sgemm(false, true, rows, T, D, q.data, q.stride, k.data, k.stride, 0, p, T);
      for (int64_t r = 0; r < rows; ++r) {
        const float logSumExp = softmaxRow(p + r * T, attention.scale, T);
        if (attention.logSumExp) *logSumExpAt(attention, row + r, task.head) = logSumExp;
        if (attention.dropout.p > 0) {
          float *keep = factors.floats(T);
          dropoutFactors(attention.dropout, dropoutElement(attention, row + r, task.head), T, keep);
          multiply(p + r * T, keep, p + r * T, T);
        }
      }
      float *o = outputs.floats(rows * D);
      onednn::sgemm(false, false, rows, D, T, p, T, v.data, v.stride, 0, o, D);
      storeHead(attention.out, row, rows, task.head, D, o);
    }
  });
}

void CpuBackend::attentionBackward(const Attention &attention, const AttentionGradient &gradient) {
  const int64_t D = attention.q.cols / attention.heads;
  const std::vector<Task> tasks = tasksOf(attention, 0);
  parallelFor(threads_, static_cast<int64_t>(tasks.size()), 1, [&](int64_t index, int64_t) {
    static thread_local ThreadBuffer keys, values, queries, outputs, probabilities, kept, gradients, factors, dQueries,
        dKeys, dValues;
    const Task &task = tasks[index];
    const int64_t first = attention.segments.offsets[task.segment], T = attention.segments.length(task.segment);
    const Head k = readHead(attention.k, first, T, task.head, D, keys);
    const Head v = readHead(attention.v, first, T, task.head, D, values);
    float *dk = dKeys.floats(T * D), *dv = dValues.floats(T * D);
    const int64_t step = queriesOf(T);
    for (int64_t t = 0; t < T; t += step) {
      const int64_t rows = std::min(step, T - t), row = first + t;
      const float beta = t > 0 ? 1.0f : 0.0f;
      const Head q = readHead(attention.q, row, rows, task.head, D, queries);
      const Head dOut = readHead(gradient.dOut, row, rows, task.head, D, outputs);
      float *p = probabilities.floats(rows * T), *dp = gradients.floats(rows * T);
      onednn::sgemm(false, true, rows, T, D, q.data, q.stride, k.data, k.stride, 0, p, T);
      onednn::sgemm(false, true, rows, T, D, dOut.data, dOut.stride, v.data, v.stride, 0, dp, T);
      const bool drops = attention.dropout.p > 0;
      float *pKept = drops ? kept.floats(rows * T) : p;
      for (int64_t r = 0; r < rows; ++r) {
        probabilityRow(p + r * T, attention.scale, *logSumExpAt(attention, row + r, task.head), T);
        if (drops) {
          float *keep = factors.floats(T);
          dropoutFactors(attention.dropout, dropoutElement(attention, row + r, task.head), T, keep);
          multiply(p + r * T, keep, pKept + r * T, T);
          multiply(dp + r * T, keep, dp + r * T, T);
        }
        softmaxBackwardRow(p + r * T, dp + r * T, attention.scale, T);
      }
      onednn::sgemm(true, false, T, D, rows, pKept, T, dOut.data, dOut.stride, beta, dv, D);
      onednn::sgemm(true, false, T, D, rows, dp, T, q.data, q.stride, beta, dk, D);
      float *dq = dQueries.floats(rows * D);
      onednn::sgemm(false, false, rows, D, T, dp, T, k.data, k.stride, 0, dq, D);
      storeHead(gradient.dq, row, rows, task.head, D, dq);
    }
    storeHead(gradient.dk, first, T, task.head, D, dk);
    storeHead(gradient.dv, first, T, task.head, D, dv);
  });
}

}  // namespace emoframe
