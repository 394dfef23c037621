// The CPU backend: oneDNN for matrix products, SIMD loops for the rest. One op family a file beside this one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "../memory_account.h"
#include "../ops.h"

namespace emoframe {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const BackendOptions &options);
  ~CpuBackend() override;

  std::string name() const override;
  std::string path() const override;
  void *allocate(size_t bytes) override;
  void release(void *pointer) noexcept override;
  // Half of a large L3: what one op writes the next one finds there.
  size_t blockBytes() const override { return size_t{16} << 20; }
  const void *readable(const void *host) override { return host; }
  bool takeWeight(const View &b, uint64_t key) override;
  void discard(void *pointer, size_t bytes) override;
  void upload(void *target, const void *hostSource, size_t bytes) override;
  void download(void *hostTarget, const void *source, size_t bytes) override;
  void synchronize() override;
  MemoryUse memory() const override;
  std::unique_ptr<Backend> counting() const override;
  void reserveScratch(size_t) override {}  // threads keep their own
  void fill(const View &out, float value) override;
  void convert(const View &in, const View &out) override;
  void add(const View &a, const View &b, const View &out) override;
  void scale(const View &x, float factor) override;
  void dropout(const View &x, const Dropout &dropout, const View &out) override;
  void geluForward(const View &x, const Dropout &dropout, const View &y) override;
  void geluBackward(const View &x, const Dropout &dropout, const View &dy, const View &dx) override;
  void standardizeColumns(const View &x, const View &mean, const View &factor, const View &out) override;
  void columnSum(const View &x, const View &out) override;
  void sumSquares(const std::vector<View> &xs, const View &out) override;
  void softmaxRows(const View &x, const View &y) override;
  void copyRows(const View &in, const RowRuns &runs, const View &out, bool accumulate, const View &gelu) override;
  void maskRows(const View &x, const uint8_t *mask, const View &embedding) override;
  void maskRowsBackward(const View &dx, const uint8_t *mask, const View &dEmbedding) override;
  void gatherRows(const View &x, const int32_t *index, const View &out) override;
  void scatterRows(const View &dOut, const int32_t *index, const View &dx) override;
  void gemm(const Gemm &gemm) override;
  void normalizeWaveforms(const Waveforms &waveforms) override;
  void logBandPowers(const LogBandPowers &op) override;
  void windowCovariance(const Conv0 &conv, const View &mean, const View &covariance) override;
  void foldGroupNorm(const View &weight, const View &gamma, const View &beta, float epsilon, const View &mean,
                     const View &covariance, const View &foldedWeight, const View &foldedBias) override;
  void conv0Forward(const Conv0 &conv, const View &out) override;
  void conv0Backward(const Conv0 &conv, const View &dOut, const View &moment0, const View &moment1) override;
  void foldGroupNormBackward(const View &weight, const View &gamma, float epsilon, const View &mean,
                             const View &covariance, const std::vector<int64_t> &frames, const View &moment0,
                             const View &moment1, const View &dWeight, const View &dGamma, const View &dBeta) override;
  void weightNormForward(const View &v, const View &g, int64_t kernel, int64_t groups, const View &weight,
                         const View &flipped) override;
  void weightNormBackward(const View &v, const View &g, int64_t kernel, const View &dWeight, const View &dv,
                          const View &dg) override;
  void attentionForward(const Attention &attention) override;
  void attentionBackward(const Attention &attention, const AttentionGradient &gradient) override;
  void addNormForward(const AddNorm &norm) override;
  void addNormBackward(const AddNorm &norm, const AddNormGradient &gradient) override;
  void poolForward(const Pooling &pooling) override;
  void poolBackward(const Pooling &pooling, const View &dPooled, const View &dh, const View &dw) override;
  void cosineCrossEntropy(const CosineCrossEntropy &loss) override;
  void softmaxCrossEntropy(const SoftmaxCrossEntropy &loss) override;
  void alignForward(const IslandAlignment &alignment) override;
  void alignBackward(const IslandAlignment &alignment, const View &dUtteranceLogits, const View &dLogits) override;
  void assignClusters(const ClusterAssignment &assignment) override;
  void adamW(const AdamW &settings, const std::vector<AdamWTensor> &tensors) override;

 private:
  struct PackedWeights;  // gemm.cpp

  int32_t threads_;
  MemoryAccount account_;
  std::map<const char *, size_t> allocations_;  // by address: which packed weights lie inside
  std::unique_ptr<PackedWeights> packed_;
};

}  // namespace emoframe
