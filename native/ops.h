// The op set: everything the model computes on a device. An op is a value: a struct whose fields say what is read and
// what is written. `Op`, at the end, is the one list of them; a backend runs them (backend.run(Gemm{...})), and each
// has its implementation in the file of its family, in native/cpu (oneDNN and SIMD loops) and native/cuda (kernels).
// native/model is written once over them. test/ops runs one table of cases against any backend.
//
// Conventions
// - Activations are packed: [T, C], utterances laid end to end on one time axis, `Segments` giving their bounds.
// - Activation views are f32 or bf16 as their dtype says; parameters, statistics, losses and gradients of parameters
//   are f32. Every op accumulates in fp32 (or wider) and rounds once on store. All views of one op that are said to be
//   "activations" have the same dtype unless the op says otherwise.
// - A gradient of an activation is overwritten unless the op says "accumulates". A gradient of a parameter is always
//   accumulated, so a micro-batch adds to the ones before it.
// - Results do not depend on thread count or timing: fixed reduction trees, no floating-point atomics.
// - Empty inputs (zero rows, zero segments) are legal and do nothing but what is said of the outputs.
// - Memory of the host that an op points to (segments, runs, lists) is read before `run` returns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "view.h"

namespace emoframe {

// Bounds of `count` utterances on a packed axis: utterance b is rows [offsets[b], offsets[b+1]).
// `offsets` is readable by the host, `deviceOffsets` by the backend (the same array on the CPU).
struct Segments {
  int32_t count = 0;
  const int32_t *offsets = nullptr;        // [count + 1], offsets[0] = 0
  const int32_t *deviceOffsets = nullptr;  // [count + 1]

  int64_t total() const { return count == 0 ? 0 : offsets[count]; }
  int64_t length(int32_t b) const { return offsets[b + 1] - offsets[b]; }
};

// A table of row runs: run i takes rows [source[i], source[i] + length[i]) to rows starting at target[i]; a negative
// source stands for rows of zeros.
struct RowRuns {
  int32_t count = 0;
  const int32_t *source = nullptr, *target = nullptr, *length = nullptr;  // host, [count]
  const int32_t *deviceSource = nullptr, *deviceTarget = nullptr, *deviceLength = nullptr;
};

// Several values, in the memory of whoever asks for the op.
template <typename T>
class List {
 public:
  List() = default;
  List(const std::vector<T> &values) : data_(values.data()), size_(values.size()) {}

  const T *begin() const { return data_; }
  const T *end() const { return data_ + size_; }
  size_t size() const { return size_; }
  const T &operator[](size_t i) const { return data_[i]; }

 private:
  const T *data_ = nullptr;
  size_t size_ = 0;
};

// Dropout with Philox: element i of the op's [rows, cols] input, i = row * cols + col, has the 16 bits i mod 8 (lower
// half of word 0, upper half of word 0, lower half of word 1 ...) of block i / 8 of the stream (seed, step, site). It
// is kept iff they are at least t = round(p 2^16), and then scaled by 1 / (1 - t 2^-16). p = 0 is the identity.
struct Dropout {
  float p = 0;
  uint64_t seed = 0;
  uint32_t step = 0;
  uint32_t site = 0;
};

// --- elementwise -----------------------------------------------------------------------------------------------------
struct Fill {
  View out;
  float value;
};

// Copies, changing dtype where they differ; any strides, and the batch's may go backwards.
struct Convert {
  View in, out;
};

struct Add {  // out = a + b, may alias
  View a, b, out;
};

struct Scale {  // in place
  View x;
  float factor;
};

struct ApplyDropout {  // its own backward
  View x;
  Dropout dropout;
  View out;  // may alias
};

struct Gelu {  // y = dropout(gelu(x)), exact erf form
  View x;
  Dropout dropout;
  View y;
};
struct GeluBackward {  // dx = gelu'(x) · dropout(dy)
  View x;
  Dropout dropout;
  View dy;
  View dx;  // may alias dy
};

enum class Activation : uint8_t { none, tanh, relu };
struct Activate {  // y = f(x)
  View x;
  Activation activation;
  View y;  // may alias x
};
struct ActivateBackward {  // dx = f'(x) · dy, by y = f(x)
  View y;
  Activation activation;
  View dy;
  View dx;  // may alias dy
};

struct StandardizeColumns {  // out[t] = (x[t] - mean) · factor
  View x;
  View mean, factor;  // f32 [C]; mean may be absent
  View out;           // of x's dtype; may be x
};

// --- reductions ------------------------------------------------------------------------------------------------------
struct ColumnSum {  // out += Σ_t x[t]
  View x;
  View out;  // f32 [C]
};

struct SumSquares {  // out = Σ over all of xs, wide accumulation
  List<View> xs;
  View out;  // f32 [1]
};

struct SoftmaxRows {
  View x, y;  // f32 [N, C], may alias
};

// --- rows ------------------------------------------------------------------------------------------------------------
// Copies row runs; in and out may differ in dtype and have a batch dimension (the same for both). Rows of `out` that no
// run names are left alone.
struct CopyRows {
  View in;
  RowRuns runs;
  View out;
  bool accumulate = false;  // out += instead; in and out have one dtype
  View gelu = {};           // optional, as out, in and out of one dtype: gelu of what is copied; not with accumulate
};

struct MaskRows {  // x[t] = embedding for rows with mask[t] != 0
  View x;
  const uint8_t *mask;  // backend memory, [T]
  View embedding;
};
struct MaskRowsBackward {  // dEmbedding += Σ masked dx[t]; then those rows of dx become zero
  View dx;
  const uint8_t *mask;
  View dEmbedding;  // f32 [C]
};

struct GatherRows {  // out[i] = x[index[i]]
  View x;
  const int32_t *index;  // backend memory
  View out;
};
struct ScatterRows {  // dx[index[i]] = dOut[i], other rows zero
  View dOut;
  const int32_t *index;  // backend memory, distinct
  View dx;
};

// --- products --------------------------------------------------------------------------------------------------------
// out = a · b (+ bias) with the batch index going over all three; fp32 accumulation.
struct Gemm {
  View a;                   // [batch, M, K], activations; rows may overlap
  View b;                   // [batch, K, N], same dtype as a; usually a transposed weight; rows may overlap
  View out;                 // [batch, M, N], f32 or bf16, colStride 1, rows do not overlap; may be absent beside gelu
  bool accumulate = false;  // out += a · b (+ bias)
  View bias = {};           // optional [batch or 1, 1, N] f32
  View gelu = {};           // optional, as out: dropout(gelu(a · b (+ bias))); not with accumulate
  View slope =
      {};  // optional beside gelu, as out: its derivative by a · b, gelu'(a · b (+ bias)) times dropout's factor
  Dropout dropout = {};    // of gelu [batch · M, N]
  View factor = {};        // optional, as out: out = (a · b (+ bias)) · factor; neither with accumulate nor with gelu
  View columnSum = {};     // optional f32 [1, N]: += the sums of out's rows, of all items; not with gelu
  uint64_t weightKey = 0;  // nonzero: names the contents of b, which a backend may then keep in a packed form
  bool tf32 = false;       // f32 elements of a and b are rounded to tf32 first; where Backend::multipliesTf32 alone
};

// Varlen bidirectional attention: softmax(scale · q kᵀ) v within each utterance, dropout on the probabilities.
// q, k, v, out and their gradients are [T, H · D] activations (any row stride); head h is columns [h D, (h + 1) D).
// Dropout: query t and key s, counted from their utterance's start, have element
//   ((row · H + h) << 23) + (s >> 4 << 5) + ((s >> 1 & 3) << 3) + ((t >> 3 & 1) << 2) + ((s >> 3 & 1) << 1) + (s & 1),
// where row is the packed row of query t & ~8. So a block serves queries t and t + 8 with keys s, s + 1, s + 8 and
// s + 9, which one lane of a warp has among its results where tensor cores multiply q by kᵀ, and two lanes where they
// multiply k by qᵀ.
//
// A bias of the distance may be added to the scaled scores: gate[t, h] · table[clamp(s - t), h] for query t and key s,
// but not to or from the first `unbiased` rows of an utterance.
struct DistanceBias {
  View table;      // f32 [2 reach + 1, H], colStride 1: of distances -reach ... reach; farther ones as the farthest
  View gate = {};  // optional f32 [T, H], of a query; absent: 1
  int32_t unbiased = 0;  // rows of each utterance
};
struct Attention {
  View q, k, v;
  View out;
  View logSumExp;  // f32 [T, H], log Σ exp(score), written by forward, read by backward
  Segments segments;
  int64_t heads = 1;
  float scale = 1;
  Dropout dropout;
  bool tf32 = false;       // as in Gemm, for each of the products, of the gradients too
  DistanceBias bias = {};  // table absent: none
};
struct AttentionBackward {
  Attention forward;
  View dOut;
  View dq, dk, dv;
  View dTable = {};  // f32, as the bias's table, accumulated; absent where it is not trained
  View dGate = {};   // f32, as the bias's gate, overwritten; absent where there is no gate
};

// What of WavLM's distance bias depends on the query. With a = σ(x[0] + x[1] + x[2] + x[3]) and b = σ(x[4] + ... +
// x[7]) of row t · H + h: gate[t, h] = a (b · scale[h] - 1) + 2.
struct PositionGate {
  View x;      // f32 [T · H, 8]
  View scale;  // f32 [1, H]
  View gate;   // f32 [T, H]
};
struct PositionGateBackward {
  PositionGate forward;  // gate is not read
  View dGate;            // f32 [T, H]
  View dx;               // f32 [T · H, 8], overwritten
  View dScale;           // f32 [1, H], accumulated; absent where it is not trained
};

// ALiBi's table for DistanceBias: table[d, h] = -slope_h · |d - reach| · max(0, scale[h]), with the slopes of slopes.h.
// A scale below 0 has no gradient.
struct SlopeTable {
  View scale;  // f32 [1, H]
  View table;  // f32 [2 reach + 1, H]
};
struct SlopeTableBackward {
  View scale;
  View dTable;
  View dScale;  // f32 [1, H], accumulated
};

// --- waveforms -------------------------------------------------------------------------------------------------------
// Waveforms brought to zero mean and unit variance, in place: utterance b's samples [start[b], start[b] + length[b])
// become (x - mean) · scale, with its own mean and scale = 1 / sqrt(variance + ε), or with those given. Statistics and
// arithmetic are in double, rounded once. Samples between utterances stay as they are.
struct NormalizeWaveforms {
  View samples;  // [1, S] f32
  int32_t count = 0;
  const int32_t *start = nullptr, *length = nullptr;              // host, [count], samples
  const int32_t *deviceStart = nullptr, *deviceLength = nullptr;  // the same for the backend
  const double *statistics = nullptr;  // optional, backend memory, [count, 2]: mean and scale
  double epsilon = 1e-7;
};

// Log powers of bands of frequency: out[t, m] = log(Σ_i weights[first[m] + i] (re² + im²)[t, bins[m] + i] + floor),
// over i from 0 to first[m + 1] - first[m]: a band weighs bins that follow one another.
struct LogBandPowers {
  View spectrum;                   // f32 [T, 2 K], colStride 1: real parts of K bins, then imaginary ones
  const int32_t *bins = nullptr;   // backend memory, [M]: the first bin of each band
  const int32_t *first = nullptr;  // backend memory, [M + 1]: where its weights begin
  View weights;                    // f32 [1, first[M]]
  float floor = 0;                 // above 0 where a frame may be silent
  View out;                        // [T, M] activations
};

// --- conv 0 and the folded GroupNorm (groups = channels) -------------------------------------------------------------
// Conv 0: one input channel, so no matrix product pays. Utterance b occupies samples [start[b], start[b] + length[b])
// and writes frames start[b] / stride + [0, (length[b] - kernel) / stride + 1).
struct Conv0 {
  View samples;  // [1, S] f32
  int32_t count = 0;
  const int32_t *start = nullptr, *length = nullptr;  // host, [count], samples; starts are multiples of stride
  const int32_t *deviceStart = nullptr, *deviceLength = nullptr;  // the same for the backend
  int64_t kernel = 10, stride = 5;
  View weight;  // f32 [count or 1, C, kernel]: one filter bank an utterance (GroupNorm folded in) or one for all
  View bias;    // f32 [count or 1, 1, C], or absent
  bool gelu = false;

  int64_t frames(int32_t b) const { return length[b] < kernel ? 0 : (length[b] - kernel) / stride + 1; }
};

struct Conv0Forward {
  Conv0 conv;
  View out;  // [S / stride, C] activations; frames of no utterance are set to zero
};
// With g = dOut · gelu'(pre-activation, recomputed) when conv.gelu, else dOut; both overwritten.
struct Conv0Backward {
  Conv0 conv;
  View dOut;
  View moment0;  // f32 [count, 1, C] = Σ_t g[t, c]
  View moment1;  // f32 [count, C, kernel] = Σ_t g[t, c] window[t, k]
};

// Of each utterance's windows, over its own frames, population form, accumulated in double.
struct WindowCovariance {
  Conv0 conv;
  View mean;        // f32 [count, kernel]
  View covariance;  // f32 [count, kernel, kernel]
};

// w' = w γ r, b' = β - γ r (w · mean), r = 1 / sqrt(wᵀ cov w + ε).
struct FoldGroupNorm {
  View weight, gamma, beta;
  float epsilon;
  View mean, covariance;  // of WindowCovariance
  View foldedWeight;      // f32 [count, C, kernel]
  View foldedBias;        // f32 [count, 1, C]
};
// Gradients of w, γ, β through the fold, from Conv0Backward's moments. All accumulated; each may be absent.
struct FoldGroupNormBackward {
  View weight, gamma;
  float epsilon;
  View mean, covariance;
  List<int64_t> frames;  // [count]
  View moment0, moment1;
  View dWeight, dGamma, dBeta;
};

// --- the positional convolution's weight norm (over dim 2: one magnitude a tap) --------------------------------------
// v [C, kernel, C/G] (row = output channel), g [kernel]: weight = g v / ‖v‖ per tap, written as `weight` in v's layout
// and as `flipped` [C, kernel, C/G] for the data gradient: in group γ, flipped[(γ, i), k, o] =
// weight[(γ, o), kernel - 1 - k, i]. Both are activations; either may be absent.
struct WeightNorm {
  View v;  // f32, as [C, kernel · C/G]
  View g;  // f32
  int64_t kernel, groups;
  View weight, flipped;
};
struct WeightNormBackward {
  View v, g;
  int64_t kernel;
  View dWeight;  // f32, in v's layout
  View dv, dg;   // accumulated
};

// --- norm, pooling, losses -------------------------------------------------------------------------------------------
// y = LayerNorm(residual + dropout(x)) with affine; the sum is written for those who read it: backward, and pre-norm
// residual streams. y is of the sum as it is stored, or, where it is not, of the sum in fp32.
struct AddNorm {
  View x;         // [T, C]
  View residual;  // optional [T, C]
  Dropout dropout;
  View sum;          // optional [T, C]: residual + dropout(x), which backward needs where either is used
  View gamma, beta;  // f32 [C]
  float epsilon = 1e-5f;
  View y;           // [T, C], activations or f32; absent: only the sum is formed
  View mean, rstd;  // f32 [T], optional in inference
};
struct AddNormBackward {
  AddNorm forward;
  View dy;       // [T, C]; absent when AddNorm had no y
  View dSumIn;   // optional [T, C]: gradient that reaches the sum by other ways; absent: zero
  View dSumOut;  // [T, C]: the whole gradient of the sum, which is also that of the residual
  View dx = {};  // optional [T, C]: gradient of x = dropout applied to dSumOut; may alias dSumOut when p = 0
  View dGamma = {}, dBeta = {};  // f32 [C], accumulated
};

// What a pooling scores frames by: none = all alike; otherwise score = f(h · w), or what is given, and weights are the
// softmax over the utterance.
enum class Score : uint8_t { none, tanh, relu, linear, given };
// What it makes of them: their weighted mean; their sum; the largest of each channel. The last two have no scores.
enum class Reduction : uint8_t { mean, sum, max };
// What is appended to the mean: nothing, sqrt(v + 1e-5), or sqrt(max(v, 1e-5)), of the variance v = Σ a (h - mean)².
enum class Deviation : uint8_t { none, added, clamped };
struct Pooling {
  View h;  // [T, C]
  Segments segments;
  Score score = Score::none;
  Reduction reduction = Reduction::mean;
  Deviation deviation = Deviation::none;
  View w = {};       // f32 [C], of scores f(h · w)
  View scores = {};  // f32 [1, T], where they are given
  // f32 [T] out (forward), in (backward): softmax weights; 1 / T for none; of max, the share of channels whose largest
  // value is first there.
  View attention;
  View pooled;   // f32 [B, C or 2 C] out (forward), in (backward)
  View logSums;  // optional f32 [B] out (forward): log Σ exp(score) over the utterance's frames
};
struct PoolingBackward {
  Pooling forward;
  View dPooled;       // f32 [B, C or 2 C]
  View dh;            // [T, C], overwritten
  View dw = {};       // f32 [C], accumulated, of scores f(h · w)
  View dScores = {};  // f32 [1, T], overwritten, where they are given
};

// Cosine logits cos(z, e) / temperature over label embeddings, cross-entropy, forward and backward in one.
struct CosineCrossEntropy {
  View z;                           // [N, D] activations
  View embeddings;                  // f32 [K, D]
  const int32_t *labels = nullptr;  // backend memory, [N], in [0, K)
  float temperature = 0.1f;
  float gradientScale = 1;  // dz and dEmbeddings carry this factor (1 / total frames of the update)
  View result;              // f32 [2]: sum of losses, number of frames whose largest logit is its label's
  View dz;                  // optional [N, D]
  View dEmbeddings;         // optional f32 [K, D], accumulated
};

struct SoftmaxCrossEntropy {
  View logits;                      // f32 [N, C]
  const int32_t *labels = nullptr;  // backend memory, [N]
  // Optional, backend memory, [N]: factors of rows' losses and gradients. A row of 0 counts
  // for nothing: its label may be missing.
  const float *shares = nullptr;
  float gradientScale = 1;
  View result;   // f32 [2]: sum of losses, number correct
  View dLogits;  // optional f32 [N, C]
};

// 1 - CCC, Lin's concordance correlation coefficient 2 cov / (var x + var y + (mean x - mean y)²) of the rows' outputs
// with their targets, population form, in double; the mean over columns. With fewer than two rows, or where the
// denominator is 0, a column's CCC is 0 and has no gradient.
struct Concordance {
  View outputs, targets;  // f32 [N, D]
  View result;            // f32 [2]: the loss, and 0
  View dOutputs;          // optional f32 [N, D]
};

// An utterance of emotion e as a path: neutral frames and at least one island of e. States n0 → e ⇄ n1; the first frame
// is in n0 or e (½ each), the last in e or n1; from frame to frame a state is kept with σ(cost) and left with σ(-cost).
// A frame in e weighs exp(r), r = scale (z[e] - z[neutral]), one in n0 or n1 weighs 1. Z = the sum of all paths'
// weights, by the forward recursion, in double and log space. An utterance without frames has Z = 1.
struct IslandAlignment {
  View logits;  // f32 [T, C]: z, of frames
  View bias;    // f32 [1, C]
  Segments segments;
  int32_t neutral = 0;  // its column
  float scale = 0.1f, switchingCost = 4;
  View utteranceLogits;  // f32 [B, C] out: log Z[e] + bias[e], and bias[neutral]
  View occupancies;      // f32 [T, C] out: the share of Z whose paths are in e at t; 0 in the neutral column
};
// Reads the occupancies. The bias's gradient is a ColumnSum of dUtteranceLogits.
struct IslandAlignmentBackward {
  IslandAlignment forward;
  View dUtteranceLogits;  // f32 [B, C]
  // f32 [T, C], overwritten: in e's column scale · dUtteranceLogits[e] · occupancy, in the neutral one minus their sum.
  View dLogits;
};

// --- k-means ---------------------------------------------------------------------------------------------------------
// R restarts side by side: label[r][n] = argmin_k ‖x[n] - c[r][k]‖² (lowest k on a tie), with what Lloyd's algorithm
// needs of it.
struct AssignClusters {
  View x;                     // f32 [N, C]
  View centroids;             // f32 [R, K, C]
  int32_t *labels = nullptr;  // backend memory, [R, N]
  View distance;              // optional f32 [R, N]: the squared distance to that centroid
  View sums, counts;          // optional f32 [R, K, C] and [R, 1, K] of the members; overwritten, added up in double
};

// --- optimiser -------------------------------------------------------------------------------------------------------
// One parameter tensor for the optimiser: all flat f32 [n], except shadow.
struct AdamWTensor {
  View parameter, gradient, m, v;
  View shadow;  // optional bf16 [n]: the rounded copy used in compute, rewritten after the update
};
// Decoupled weight decay as in PyTorch: p -= lr·decay·p; then p -= lr · m̂ / (sqrt(v̂) +
// ε), bias-corrected by `step` (from 1).
struct AdamW {
  float learningRate = 1e-4f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, weightDecay = 0;
  int64_t step = 1;
  float clipNorm = 0;  // > 0: gradients are multiplied by min(1, clipNorm / (norm + 1e-6))
  // f32 [1]: Σ g², as SumSquares writes it: where it is not finite nothing is
  // updated. May be absent when clipNorm is 0.
  View gradientSquares;
  List<AdamWTensor> tensors;
};

// A reference to one of several.
template <typename... Ops>
class OneOf {
 public:
  template <typename T>
  OneOf(const T &op) : op_(&op) {}

  template <typename Visitor>
  auto visit(const Visitor &visitor) const {
    return std::visit([&](const auto *op) { return visitor(*op); }, op_);
  }

 private:
  std::variant<const Ops *...> op_;
};

using Op = OneOf<Fill, Convert, Add, Scale, ApplyDropout, Gelu, GeluBackward, Activate, ActivateBackward,
                 StandardizeColumns, ColumnSum, SumSquares, SoftmaxRows, CopyRows, MaskRows, MaskRowsBackward,
                 GatherRows, ScatterRows, Gemm, Attention, AttentionBackward, PositionGate, PositionGateBackward,
                 SlopeTable, SlopeTableBackward, NormalizeWaveforms, LogBandPowers, Conv0Forward, Conv0Backward,
                 WindowCovariance, FoldGroupNorm, FoldGroupNormBackward, WeightNorm, WeightNormBackward, AddNorm,
                 AddNormBackward, Pooling, PoolingBackward, CosineCrossEntropy, SoftmaxCrossEntropy, Concordance,
                 IslandAlignment, IslandAlignmentBackward, AssignClusters, AdamW>;

}  // namespace emoframe
