// A backend whose ops do nothing: the same step of the same model runs on it in no time and takes no memory, and what
// it would have taken is counted. For devices whose ops take no memory of the backend's themselves.
#pragma once

#include <cstring>

#include "memory_account.h"
#include "ops.h"

namespace emoframe {

class CountingBackend final : public Backend {
 public:
  CountingBackend(std::string name, std::string path, size_t blockBytes)
      : name_(std::move(name)), path_(std::move(path)), blockBytes_(blockBytes) {}

  std::string name() const override { return name_; }
  std::string path() const override { return path_; }
  size_t blockBytes() const override { return blockBytes_; }

  void *allocate(size_t bytes) override { return memory_.take(bytes); }
  void release(void *pointer) noexcept override { memory_.giveBack(pointer); }
  const void *readable(const void *host) override { return host; }
  bool takeWeight(const View &, uint64_t) override { return false; }
  void discard(void *, size_t) override {}
  void upload(void *, const void *, size_t) override {}
  void download(void *hostTarget, const void *, size_t bytes) override { std::memset(hostTarget, 0, bytes); }
  void synchronize() override {}
  MemoryUse memory() const override {
    MemoryUse use;
    use.held = memory_.account().held();
    use.peak = memory_.account().peak();
    return use;
  }
  std::unique_ptr<Backend> counting() const override {
    return std::make_unique<CountingBackend>(name_, path_, blockBytes_);
  }
  void reserveScratch(size_t) override {}

  void fill(const View &, float) override {}
  void convert(const View &, const View &) override {}
  void add(const View &, const View &, const View &) override {}
  void scale(const View &, float) override {}
  void dropout(const View &, const Dropout &, const View &) override {}
  void geluForward(const View &, const Dropout &, const View &) override {}
  void geluBackward(const View &, const Dropout &, const View &, const View &) override {}
  void standardizeColumns(const View &, const View &, const View &, const View &) override {}
  void columnSum(const View &, const View &) override {}
  void sumSquares(const std::vector<View> &, const View &) override {}
  void softmaxRows(const View &, const View &) override {}
  void copyRows(const View &, const RowRuns &, const View &, bool, const View &) override {}
  void maskRows(const View &, const uint8_t *, const View &) override {}
  void maskRowsBackward(const View &, const uint8_t *, const View &) override {}
  void gatherRows(const View &, const int32_t *, const View &) override {}
  void scatterRows(const View &, const int32_t *, const View &) override {}
  void gemm(const Gemm &) override {}
  void normalizeWaveforms(const Waveforms &) override {}
  void logBandPowers(const LogBandPowers &) override {}
  void windowCovariance(const Conv0 &, const View &, const View &) override {}
  void foldGroupNorm(const View &, const View &, const View &, float, const View &, const View &, const View &,
                     const View &) override {}
  void conv0Forward(const Conv0 &, const View &) override {}
  void conv0Backward(const Conv0 &, const View &, const View &, const View &) override {}
  void foldGroupNormBackward(const View &, const View &, float, const View &, const View &,
                             const std::vector<int64_t> &, const View &, const View &, const View &, const View &,
                             const View &) override {}
  void weightNormForward(const View &, const View &, int64_t, int64_t, const View &, const View &) override {}
  void weightNormBackward(const View &, const View &, int64_t, const View &, const View &, const View &) override {}
  void attentionForward(const Attention &) override {}
  void attentionBackward(const Attention &, const AttentionGradient &) override {}
  void addNormForward(const AddNorm &) override {}
  void addNormBackward(const AddNorm &, const AddNormGradient &) override {}
  void poolForward(const Pooling &) override {}
  void poolBackward(const Pooling &, const View &, const View &, const View &) override {}
  void cosineCrossEntropy(const CosineCrossEntropy &) override {}
  void softmaxCrossEntropy(const SoftmaxCrossEntropy &) override {}
  void alignForward(const IslandAlignment &) override {}
  void alignBackward(const IslandAlignment &, const View &, const View &) override {}
  void assignClusters(const ClusterAssignment &) override {}
  void adamW(const AdamW &, const std::vector<AdamWTensor> &) override {}

 private:
  std::string name_, path_;
  size_t blockBytes_;
  ImaginaryMemory memory_;
};

}  // namespace emoframe
