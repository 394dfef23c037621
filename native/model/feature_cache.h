// Feature-encoder output, and mel bands behind it where a model reads those, kept by key in backend memory, so that a
// frozen encoder runs once for each utterance. All lies in one allocation, rows behind rows, so that a batch of
// utterances is one copy of row runs, however many there are.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "../backend.h"
#include "packing.h"

namespace emoframe {

class FeatureCache {
 public:
  FeatureCache(Backend &backend, DType dtype, int64_t cols) : backend_(backend), dtype_(dtype), cols_(cols) {}
  ~FeatureCache() { clear(); }
  FeatureCache(const FeatureCache &) = delete;
  FeatureCache &operator=(const FeatureCache &) = delete;

  void reserve(int64_t rows);  // memory for so many in all
  // Parts of rows, side by side; replaces what the key held, may move the others.
  void store(const std::string &key, const std::vector<View> &parts);
  void store(const std::string &key, const View &rows) { store(key, std::vector<View>{rows}); }
  int64_t cols() const { return cols_; }
  StoredFeatures at(const std::string &key) const;
  View rows() const { return rows_; }
  int64_t bytes() const;      // of the features that are stored
  int64_t heldBytes() const;  // of their memory
  void clear() noexcept;

 private:
  void moveTo(int64_t capacity);
  int64_t bytesOf(int64_t rows) const { return rows * cols_ * static_cast<int64_t>(sizeOf(dtype_)); }

  Backend &backend_;
  DType dtype_;
  int64_t cols_;
  std::unordered_map<std::string, StoredFeatures> entries_;
  View rows_;           // all memory
  int64_t used_ = 0;    // rows up to the end of the last entry
  int64_t stored_ = 0;  // of them, rows of entries
};

}  // namespace emoframe
