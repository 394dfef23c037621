// Feature-encoder output kept by key in backend memory, so that a frozen encoder runs once for each utterance.
#pragma once

#include <string>
#include <unordered_map>

#include "../ops.h"

namespace emoframe {

class FeatureCache {
 public:
  FeatureCache(Backend &backend, DType dtype) : backend_(backend), dtype_(dtype) {}
  ~FeatureCache() { clear(); }
  FeatureCache(const FeatureCache &) = delete;
  FeatureCache &operator=(const FeatureCache &) = delete;

  void store(const std::string &key, const View &features);  // [T, F]; replaces what the key held
  int64_t frames(const std::string &key) const;              // -1: not stored
  View get(const std::string &key) const { return entries_.at(key); }
  int64_t bytes() const { return bytes_; }
  void clear() noexcept;

 private:
  void remove(const std::string &key) noexcept;

  Backend &backend_;
  DType dtype_;
  std::unordered_map<std::string, View> entries_;
  int64_t bytes_ = 0;
};

}  // namespace emoframe
