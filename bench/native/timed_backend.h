// A backend that passes every op on to another and keeps, for each op and shape, how often it was called, how long it
// took and how many floating-point operations it did. Steps are not passed on as such meanwhile: each op is done as it
// is asked for.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "op_clock.h"
#include "ops.h"

namespace emoframe {

struct OpTime {
  int64_t calls = 0;
  double seconds = 0, flops = 0;
};

class TimedBackend final : public Backend {
 public:
  explicit TimedBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)), clock_(clockOf(*inner_)) {}

  // Without, everything is passed on as it is, steps too.
  bool timing = true;
  void settle() { clock_->settle(); }  // `times` has all ops so far
  std::map<std::string, OpTime> times;

  std::string name() const override { return inner_->name(); }
  std::string path() const override { return inner_->path(); }
  void *allocate(size_t bytes) override { return inner_->allocate(bytes); }
  void release(void *pointer) noexcept override { inner_->release(pointer); }
  size_t blockBytes() const override { return inner_->blockBytes(); }
  const void *readable(const void *host) override { return inner_->readable(host); }
  bool takeWeight(const View &b, uint64_t key) override { return inner_->takeWeight(b, key); }
  bool multipliesTf32() const override { return inner_->multipliesTf32(); }
  void discard(void *pointer, size_t bytes) override { inner_->discard(pointer, bytes); }
  void upload(void *target, const void *source, size_t bytes) override { inner_->upload(target, source, bytes); }
  void download(void *target, const void *source, size_t bytes) override { inner_->download(target, source, bytes); }
  void synchronize() override { inner_->synchronize(); }
  MemoryUse memory() const override { return inner_->memory(); }
  std::unique_ptr<Backend> counting() const override { return inner_->counting(); }
  void reserveScratch(size_t bytes) override { inner_->reserveScratch(bytes); }
  void beginStep() override {
    if (!timing) inner_->beginStep();
  }
  void endStep() override {
    if (!timing) inner_->endStep();
  }
  GraphUse graphs() const override { return inner_->graphs(); }

  void fill(const View &out, float value) override {
    time("fill " + shapeOf(out), 0, [&] { inner_->fill(out, value); });
  }
  void convert(const View &in, const View &out) override {
    time("convert " + shapeOf(in), 0, [&] { inner_->convert(in, out); });
  }
  void add(const View &a, const View &b, const View &out) override {
    time("add " + shapeOf(a), 0, [&] { inner_->add(a, b, out); });
  }
  void scale(const View &x, float factor) override {
    time("scale " + shapeOf(x), 0, [&] { inner_->scale(x, factor); });
  }
  void dropout(const View &x, const Dropout &dropout, const View &out) override {
    time("dropout " + shapeOf(x), 0, [&] { inner_->dropout(x, dropout, out); });
  }
  void geluForward(const View &x, const Dropout &dropout, const View &y) override {
    time("gelu " + shapeOf(x), 0, [&] { inner_->geluForward(x, dropout, y); });
  }
  void geluBackward(const View &x, const Dropout &dropout, const View &dy, const View &dx) override {
    time("gelu backward " + shapeOf(x), 0, [&] { inner_->geluBackward(x, dropout, dy, dx); });
  }
  void standardizeColumns(const View &x, const View &mean, const View &factor, const View &out) override {
    time("standardize " + shapeOf(x), 0, [&] { inner_->standardizeColumns(x, mean, factor, out); });
  }
  void columnSum(const View &x, const View &out) override {
    time("column sum " + shapeOf(x), 0, [&] { inner_->columnSum(x, out); });
  }
  void sumSquares(const std::vector<View> &xs, const View &out) override {
    time("sum of squares", 0, [&] { inner_->sumSquares(xs, out); });
  }
  void softmaxRows(const View &x, const View &y) override {
    time("softmax rows", 0, [&] { inner_->softmaxRows(x, y); });
  }
  void copyRows(const View &in, const RowRuns &runs, const View &out, bool accumulate, const View &gelu) override {
    const char *what = accumulate ? "add rows to " : gelu ? "copy rows and their gelu to " : "copy rows to ";
    time(what + shapeOf(out), 0, [&] { inner_->copyRows(in, runs, out, accumulate, gelu); });
  }
  void maskRows(const View &x, const uint8_t *mask, const View &embedding) override {
    time("mask rows", 0, [&] { inner_->maskRows(x, mask, embedding); });
  }
  void maskRowsBackward(const View &dx, const uint8_t *mask, const View &dEmbedding) override {
    time("mask rows backward", 0, [&] { inner_->maskRowsBackward(dx, mask, dEmbedding); });
  }
  void gatherRows(const View &x, const int32_t *index, const View &out) override {
    time("gather rows", 0, [&] { inner_->gatherRows(x, index, out); });
  }
  void scatterRows(const View &dOut, const int32_t *index, const View &dx) override {
    time("scatter rows", 0, [&] { inner_->scatterRows(dOut, index, dx); });
  }
  void gemm(const Gemm &gemm) override {
    const View &out = gemm.out ? gemm.out : gemm.gelu;
    const double work = 2.0 * static_cast<double>(out.size()) * static_cast<double>(gemm.a.cols);
    const char *form = gemm.a.colStride != 1 ? " (aT b)" : gemm.b.colStride != 1 ? " (a bT)" : " (a b)";
    time("gemm " + shapeOf(out) + " x " + std::to_string(gemm.a.cols) + form, work, [&] { inner_->gemm(gemm); });
  }
  void normalizeWaveforms(const Waveforms &waveforms) override {
    time("normalize waveforms", 0, [&] { inner_->normalizeWaveforms(waveforms); });
  }
  void logBandPowers(const LogBandPowers &op) override {
    time("log powers of bands " + shapeOf(op.out), 0, [&] { inner_->logBandPowers(op); });
  }
  void windowCovariance(const Conv0 &conv, const View &mean, const View &covariance) override {
    time("window covariance", 0, [&] { inner_->windowCovariance(conv, mean, covariance); });
  }
  void foldGroupNorm(const View &weight, const View &gamma, const View &beta, float epsilon, const View &mean,
                     const View &covariance, const View &foldedWeight, const View &foldedBias) override {
    time("fold GroupNorm", 0,
         [&] { inner_->foldGroupNorm(weight, gamma, beta, epsilon, mean, covariance, foldedWeight, foldedBias); });
  }
  void conv0Forward(const Conv0 &conv, const View &out) override {
    const double work = 2.0 * static_cast<double>(out.size()) * static_cast<double>(conv.kernel);
    time("conv 0 " + shapeOf(out), work, [&] { inner_->conv0Forward(conv, out); });
  }
  void conv0Backward(const Conv0 &conv, const View &dOut, const View &moment0, const View &moment1) override {
    time("conv 0 backward " + shapeOf(dOut), 0, [&] { inner_->conv0Backward(conv, dOut, moment0, moment1); });
  }
  void foldGroupNormBackward(const View &weight, const View &gamma, float epsilon, const View &mean,
                             const View &covariance, const std::vector<int64_t> &frames, const View &moment0,
                             const View &moment1, const View &dWeight, const View &dGamma, const View &dBeta) override {
    time("fold GroupNorm backward", 0, [&] {
      inner_->foldGroupNormBackward(weight, gamma, epsilon, mean, covariance, frames, moment0, moment1, dWeight, dGamma,
                                    dBeta);
    });
  }
  void weightNormForward(const View &v, const View &g, int64_t kernel, int64_t groups, const View &weight,
                         const View &flipped) override {
    time("weight norm", 0, [&] { inner_->weightNormForward(v, g, kernel, groups, weight, flipped); });
  }
  void weightNormBackward(const View &v, const View &g, int64_t kernel, const View &dWeight, const View &dv,
                          const View &dg) override {
    time("weight norm backward", 0, [&] { inner_->weightNormBackward(v, g, kernel, dWeight, dv, dg); });
  }
  void attentionForward(const Attention &attention) override {
    time("attention", attentionWork(attention, 4), [&] { inner_->attentionForward(attention); });
  }
  void attentionBackward(const Attention &attention, const AttentionGradient &gradient) override {
    time("attention backward", attentionWork(attention, 10), [&] { inner_->attentionBackward(attention, gradient); });
  }
  void addNormForward(const AddNorm &norm) override {
    time("add + norm " + shapeOf(norm.x), 0, [&] { inner_->addNormForward(norm); });
  }
  void addNormBackward(const AddNorm &norm, const AddNormGradient &gradient) override {
    time("add + norm backward " + shapeOf(norm.x), 0, [&] { inner_->addNormBackward(norm, gradient); });
  }
  void poolForward(const Pooling &pooling) override {
    time("pooling", 0, [&] { inner_->poolForward(pooling); });
  }
  void poolBackward(const Pooling &pooling, const View &dPooled, const View &dh, const View &dw) override {
    time("pooling backward", 0, [&] { inner_->poolBackward(pooling, dPooled, dh, dw); });
  }
  void cosineCrossEntropy(const CosineCrossEntropy &loss) override {
    const double work = 6.0 * static_cast<double>(loss.z.size()) * static_cast<double>(loss.embeddings.rows);
    time("cosine cross-entropy", work, [&] { inner_->cosineCrossEntropy(loss); });
  }
  void softmaxCrossEntropy(const SoftmaxCrossEntropy &loss) override {
    time("softmax cross-entropy", 0, [&] { inner_->softmaxCrossEntropy(loss); });
  }
  void alignForward(const IslandAlignment &alignment) override {
    time("align", 0, [&] { inner_->alignForward(alignment); });
  }
  void alignBackward(const IslandAlignment &alignment, const View &dUtteranceLogits, const View &dLogits) override {
    time("align backward", 0, [&] { inner_->alignBackward(alignment, dUtteranceLogits, dLogits); });
  }
  void assignClusters(const ClusterAssignment &assignment) override {
    const View &c = assignment.centroids;
    const double work = 2.0 * static_cast<double>(assignment.x.size()) * static_cast<double>(c.batch * c.rows);
    const char *what = assignment.sums ? "assign clusters, sums" : c.rows == 1 ? "distances" : "assign clusters";
    time(what, work, [&] { inner_->assignClusters(assignment); });
  }
  void adamW(const AdamW &settings, const std::vector<AdamWTensor> &tensors) override {
    time("AdamW", 0, [&] { inner_->adamW(settings, tensors); });
  }

 private:
  static std::string shapeOf(const View &v) {
    std::string text = "[";
    if (v.batch > 1) text += std::to_string(v.batch) + ", ";
    return text + std::to_string(v.rows) + ", " + std::to_string(v.cols) + "]";
  }
  static double attentionWork(const Attention &attention, double products) {
    double work = 0;
    for (int32_t b = 0; b < attention.segments.count; ++b) {
      const double length = static_cast<double>(attention.segments.length(b));
      work += products * length * length * static_cast<double>(attention.q.cols);
    }
    return work;
  }
  template <typename Call>
  void time(const std::string &name, double flops, const Call &call) {
    if (!timing) return call();
    OpTime &entry = times[name];
    clock_->begin();
    call();
    clock_->end(entry.seconds);
    entry.flops += flops;
    ++entry.calls;
  }

  std::unique_ptr<Backend> inner_;
  std::unique_ptr<OpClock> clock_;
};

}  // namespace emoframe
