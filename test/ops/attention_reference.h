// An attention of the op table: its settings, the whole thing in float64 on whole score matrices, and a run of both ops
// that is compared with it.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "harness.h"

namespace emoframe {
namespace test {
namespace attention {

struct Setting {
  std::vector<int32_t> lengths;
  int64_t heads, headSize;
  DType dtype = DType::f32;
  float p = 0;
  double spread = 1;  // of q and k: large makes a sharp softmax
  int64_t gap = 16;   // after each row of q | k | v; half of it after each of the gradients
  bool tf32 = false;
  bool oneSign = false;  // v and dOut: what is summed over frames grows with their number
  int64_t reach = -1;    // of a bias of the distance; below 0: there is none
  bool gate = false;
  int32_t unbiased = 0;
};

inline std::string describe(const Setting &s) {
  std::string text = "lengths";
  for (int32_t length : s.lengths) text += " " + std::to_string(length);
  return text + ", " + std::to_string(s.heads) + " heads of " + std::to_string(s.headSize) + " " + nameOf(s.dtype) +
         (s.p > 0 ? " dropout" : "") + (s.tf32 ? " tf32" : "") + (s.oneSign ? " of one sign" : "") + ", gap " +
         std::to_string(s.gap) +
         (s.reach < 0 ? ""
                      : ", biases within " + std::to_string(s.reach) + (s.gate ? " with a gate" : "") + " but for " +
                            std::to_string(s.unbiased) + " rows");
}

struct Reference {
  Doubles out, logSumExp, dq, dk, dv, dTable, dGate;
};

// Table [2 reach + 1, H] and gate [T, H] as ops.h has them: no table, no bias; no gate, ones.
struct BiasValues {
  Doubles table, gate;
  int64_t unbiased = 0;
};

// Of query t and key s of the utterance that begins at packed row `first`.
inline uint64_t dropoutElement(int64_t first, int64_t t, int64_t s, int64_t heads, int64_t head) {
  const auto row = static_cast<uint64_t>((first + t - t / 8 % 2 * 8) * heads + head);
  return (row << 23) + static_cast<uint64_t>(s / 16 * 32 + s / 2 % 4 * 8 + t / 8 % 2 * 4 + s / 8 % 2 * 2 + s % 2);
}

// From values laid [T, H · D].
inline Reference reference(const std::vector<int32_t> &lengths, int64_t H, int64_t D, double scale,
                           const Dropout &dropout, const Doubles &q, const Doubles &k, const Doubles &v,
                           const Doubles &dOut, const BiasValues &bias = {}) {
  const int64_t width = H * D, reach = (static_cast<int64_t>(bias.table.size()) / H - 1) / 2;
  Reference r;
  r.out.assign(q.size(), 0);
  r.dq = r.dk = r.dv = r.out;
  r.logSumExp.assign(q.size() / static_cast<size_t>(D), 0);
  r.dTable.assign(bias.table.size(), 0);
  r.dGate.assign(bias.gate.size(), 0);
  int64_t first = 0;
  for (int32_t T : lengths) {
    for (int64_t h = 0; h < H; ++h) {
      for (int64_t i = 0; i < T; ++i) {
        const int64_t row = first + i;
        const double *qi = &q[row * width + h * D], *gi = &dOut[row * width + h * D];
        Doubles p(T), keep(T), dp(T);
        const double gate = bias.gate.empty() ? 1 : bias.gate[row * H + h];
        const auto isBiased = [&](int64_t j) {
          return !bias.table.empty() && i >= bias.unbiased && j >= bias.unbiased;
        };
        const auto inTable = [&](int64_t j) { return (std::clamp(j - i, -reach, reach) + reach) * H + h; };
        double largest = -1e300, sum = 0, dot = 0;
        for (int64_t j = 0; j < T; ++j) {
          const double *kj = &k[(first + j) * width + h * D];
          for (int64_t d = 0; d < D; ++d) p[j] += qi[d] * kj[d];
          p[j] *= scale;
          if (isBiased(j)) p[j] += gate * bias.table[inTable(j)];
          largest = std::max(largest, p[j]);
        }
        for (double &x : p) sum += x = std::exp(x - largest);
        r.logSumExp[row * H + h] = largest + std::log(sum);
        for (int64_t j = 0; j < T; ++j) {
          p[j] /= sum;
          keep[j] = dropoutFactor(dropout, dropoutElement(first, i, j, H, h));
          const double *vj = &v[(first + j) * width + h * D];
          double *dvj = &r.dv[(first + j) * width + h * D];
          for (int64_t d = 0; d < D; ++d) {
            r.out[row * width + h * D + d] += p[j] * keep[j] * vj[d];
            dvj[d] += p[j] * keep[j] * gi[d];
            dp[j] += gi[d] * vj[d];
          }
          dp[j] *= keep[j];
          dot += p[j] * dp[j];
        }
        for (int64_t j = 0; j < T; ++j) {
          const double ds = p[j] * (dp[j] - dot);
          const double *kj = &k[(first + j) * width + h * D];
          for (int64_t d = 0; d < D; ++d) {
            r.dq[row * width + h * D + d] += ds * scale * kj[d];
            r.dk[(first + j) * width + h * D + d] += ds * scale * qi[d];
          }
          if (!isBiased(j)) continue;
          r.dTable[inTable(j)] += gate * ds;
          if (!bias.gate.empty()) r.dGate[row * H + h] += bias.table[inTable(j)] * ds;
        }
      }
    }
    first += T;
  }
  return r;
}

// q, k and v side by side in one [T, 3 H D] tensor, as a fused projection leaves them.
struct Run {
  Run(Backend &backend, const Setting &s)
      : bounds(backend, s.lengths),
        width(s.heads * s.headSize),
        qkv(Tensor(backend, s.dtype, bounds.total(), 3 * width, Layout{s.gap, 0, false}).normal(1, s.spread)),
        dOut(Tensor(backend, s.dtype, bounds.total(), width).normal(2)),
        out(backend, s.dtype, bounds.total(), width),
        logSumExp(backend, DType::f32, bounds.total(), s.heads),
        dQkv(backend, s.dtype, bounds.total(), 3 * width, Layout{s.gap / 2, 0, false}),
        table(
            Tensor(backend, DType::f32, 2 * std::max<int64_t>(0, s.reach) + 1, s.heads, Layout{3, 0, false}).normal(3)),
        gate(Tensor(backend, DType::f32, bounds.total(), s.heads, Layout{5, 0, false}).normal(4, 0.5, 1.5)),
        dTable(Tensor(backend, DType::f32, table.view().rows, s.heads, Layout{1, 0, false}).normal(5)),
        dGate(backend, DType::f32, bounds.total(), s.heads, Layout{2, 0, false}) {
    if (s.oneSign) {
      Doubles values = qkv.values;
      for (size_t i = 0; i < values.size(); ++i) {
        if (static_cast<int64_t>(i) % (3 * width) >= 2 * width) values[i] = std::fabs(values[i]);
      }
      qkv.set(values);
      values = dOut.values;
      for (double &x : values) x = std::fabs(x);
      dOut.set(values);
    }
    attention.q = qkv.view().colRange(0, width);
    attention.k = qkv.view().colRange(width, width);
    attention.v = qkv.view().colRange(2 * width, width);
    attention.out = out;
    attention.logSumExp = logSumExp;
    attention.segments = bounds.segments();
    attention.heads = s.heads;
    attention.scale = 1 / std::sqrt(static_cast<float>(s.headSize));
    attention.dropout = {s.p, 0x9E3779B97F4A7C15ull, 3, 17};
    attention.tf32 = s.tf32;
    if (s.reach >= 0) {
      attention.bias.table = table;
      if (s.gate) attention.bias.gate = gate;
      attention.bias.unbiased = s.unbiased;
      gradient.dTable = dTable;
      if (s.gate) gradient.dGate = dGate;
    }
    gradient.forward = attention;
    gradient.dOut = dOut;
    gradient.dq = dQkv.view().colRange(0, width);
    gradient.dk = dQkv.view().colRange(width, width);
    gradient.dv = dQkv.view().colRange(2 * width, width);
    backend.run(attention);
    backend.run(gradient);
  }

  Doubles part(const Doubles &all, int64_t index) const {
    Doubles result;
    for (int64_t t = 0; t < bounds.total(); ++t) {
      for (int64_t c = 0; c < width; ++c) result.push_back(all[(t * 3 + index) * width + c]);
    }
    return result;
  }

  BiasValues biases() const {
    if (!attention.bias.table) return {};
    return {table.values, attention.bias.gate ? gate.values : Doubles(), attention.bias.unbiased};
  }

  Bounds bounds;
  int64_t width;
  Tensor qkv, dOut, out, logSumExp, dQkv;
  Tensor table, gate, dTable, dGate;  // where the setting has a bias
  Attention attention;
  AttentionBackward gradient;
};

inline void check(Backend &backend, Report &report, const Setting &s) {
  const Run run(backend, s);
  if (report.timed) return;
  const Reference r =
      reference(s.lengths, s.heads, s.headSize, run.attention.scale, run.attention.dropout, run.part(run.qkv.values, 0),
                run.part(run.qkv.values, 1), run.part(run.qkv.values, 2), run.dOut.values, run.biases());
  // A gradient of q or k comes of four products in a row.
  const double tolerance = s.tf32 ? 1.4 * tf32Tolerance : toleranceOf(s.dtype);
  report.close(run.out, r.out, s.tf32 ? tf32Tolerance : tolerance, describe(s) + ": out");
  report.close(run.logSumExp, r.logSumExp, s.tf32 ? tf32Tolerance : 1e-5, describe(s) + ": log sum exp");
  bool intact = false;
  const Doubles gradients = run.dQkv.read(&intact);
  report.check(intact, describe(s), "memory around the gradients was written");
  // What is left of long sums of one sign is small beside them: even fp32 sums in sequence are off by 2e-5 of it, and
  // those that a tensor core cuts off by 2e-4 and more.
  const double ofDifferences = s.oneSign ? 4 * tolerance : tolerance;
  report.close(run.part(gradients, 0), r.dq, ofDifferences, describe(s) + ": dq");
  report.close(run.part(gradients, 1), r.dk, ofDifferences, describe(s) + ": dk");
  report.close(run.part(gradients, 2), r.dv, tolerance, describe(s) + ": dv");
  report.untouched(run.qkv, describe(s));
  if (s.reach < 0) return;
  Doubles sums = r.dTable;
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += run.dTable.values[i];
  report.close(run.dTable, sums, tolerance, describe(s) + ": dTable");
  report.untouched(run.table, describe(s));
  if (!s.gate) return;
  report.close(run.dGate, r.dGate, tolerance, describe(s) + ": dGate");
  report.untouched(run.gate, describe(s));
}

}  // namespace attention
}  // namespace test
}  // namespace emoframe
