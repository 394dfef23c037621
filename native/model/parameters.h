// All trainable tensors in one table: their names and shapes as transformers has them, and where they lie. Values,
// gradients and moments are flat arenas with the same offsets, so an optimiser step sees a few long ranges.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "model.h"

namespace emoframe {

// conv: transformers' [Cout, Cin, k] is kept as [Cout, k, Cin], the order of a row of the convolution's window.
enum class Layout : uint8_t { plain, conv };

struct Parameter {
  std::string name;
  std::vector<int64_t> shape;
  Layout layout = Layout::plain;
  int64_t rows = 1, cols = 0;  // [shape[0], the rest], one row for a vector
  int64_t offset = 0;          // elements into each arena
  bool constant = false;       // never trained: frozen whatever is asked
  bool frozen = false;

  int64_t size() const { return rows * cols; }
};

class Parameters {
 public:
  Parameters(Backend &backend, Precision precision) : backend_(backend), precision_(precision) {}
  ~Parameters();
  Parameters(const Parameters &) = delete;
  Parameters &operator=(const Parameters &) = delete;

  // `adjacent`: begins right where the one before ends, so that both can be read as one matrix. `constant`: is kept
  // with the others but never trained.
  int32_t add(const std::string &name, std::vector<int64_t> shape, Layout layout = Layout::plain, bool adjacent = false,
              bool constant = false);
  void allocate();  // after the last add; values are zero
  const std::vector<Parameter> &table() const { return table_; }

  // Views of tensor i and, for parts > 1, of the ones adjacent to it. Compute: what
  // products read (bf16 copy or master).
  View compute(int32_t i, int32_t parts = 1) const;
  View master(int32_t i, int32_t parts = 1) const;
  View gradient(int32_t i, int32_t parts = 1) const;
  bool trainable(int32_t i, int32_t parts = 1) const;
  bool anyTrainable(const std::string &prefix) const;
  // Names the present contents of tensor i among all models of the process.
  uint64_t key(int32_t i) const { return keyBase_ + static_cast<uint64_t>(i); }
  uint64_t version() const { return keyBase_; }

  // For a model that will only be run: has the backend take over the weight that products with `key(i)` read, and gives
  // back what then nobody reads. After `packForInference` weights can no longer be changed or exported.
  void takeProductWeight(int32_t i, int32_t parts = 1);
  // ERR_DEVICE_FAULT: an update was interrupted, and some weights have had it.
  void requireWhole() const;
  void packForInference() { packedForInference_ = true; }
  bool packedForInference() const { return packedForInference_; }

  void freeze(const std::vector<std::string> &prefixes);
  void freezeLike(const Parameters &other);  // of the same model
  void importValue(const std::string &name, const float *data, int64_t size);
  void exportValue(const std::string &name, float *data) const;
  void exportGradient(const std::string &name, float *data) const;  // zeros when frozen or none yet
  bool hasMoments() const { return m_ != nullptr; }
  void importMoments(const std::string &name, const float *m, const float *v, int64_t size);
  void exportMoments(const std::string &name, float *m, float *v) const;  // null: not that one

  size_t arenaBytes() const { return static_cast<size_t>(total_) * sizeof(float); }  // of gradients, and each moment
  size_t heldBytes() const;
  void ensureGradients();
  void clearGradients();
  // The gradient norm before clipping, which is that of all groups.
  double optimizerStep(AdamW settings, const std::vector<ParameterGroup> &groups);

  // What the host reads of a pass, side by side, so that it is one download: f32 [1, 4].
  enum Sum { losses, correct, featureSquares, gradientSquares };
  View sums() const { return vector(sums_, DType::f32, 4); }
  // Has the squares of the gradients, as they are now, summed into their place; and takes what the host has read there,
  // so that the optimiser's step, when nothing has changed them since, need not wait for it.
  void sumGradientSquares();
  void takeGradientSquares(float squares) { knownSquares_ = squares; }
  void gradientsChange() { knownSquares_.reset(); }

 private:
  const Parameter &find(const std::string &name) const;
  const Parameter &findSized(const std::string &name, int64_t size) const;
  View view(void *arena, DType dtype, int32_t i, int32_t parts) const;
  float *allocateZeros() const;
  void upload(float *arena, const Parameter &p, const float *data);
  void download(const float *arena, const Parameter &p, float *data) const;
  void ensureMoments();
  void bumpVersion();
  void requireOpen() const;
  struct Range {
    int64_t begin, size;
  };
  View shadow(const Range &range) const;
  // Of the tensors that are trained, or of those of them that are in one of the groups (groups.size(): in none).
  std::vector<Range> trainableRanges(const std::vector<ParameterGroup> &groups = {}, size_t wanted = 0) const;
  std::string notFiniteGradient();

  Backend &backend_;
  Precision precision_;
  std::vector<Parameter> table_;
  std::unordered_map<std::string, int32_t> byName_;
  int64_t total_ = 0;
  float *master_ = nullptr, *gradient_ = nullptr, *m_ = nullptr, *v_ = nullptr, *sums_ = nullptr;
  std::optional<float> knownSquares_;
  void *shadow_ = nullptr;  // bf16
  bool packedForInference_ = false;
  bool halfUpdated_ = false;  // an update is being asked for, or was interrupted
  bool uncleared_ = false;    // gradients that are to be zeros are not yet
  uint64_t keyBase_ = 0;
};

}  // namespace emoframe
