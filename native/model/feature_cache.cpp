#include "feature_cache.h"

namespace emoframe {

namespace {
int64_t bytesOf(const View &v) { return v.size() * static_cast<int64_t>(sizeOf(v.dtype)); }
}  // namespace

void FeatureCache::store(const std::string &key, const View &features) {
  remove(key);
  View &entry = entries_[key];
  try {
    void *memory = backend_.allocate(static_cast<size_t>(features.size()) * sizeOf(dtype_));
    entry = matrix(memory, dtype_, features.rows, features.cols);
  } catch (...) {
    entries_.erase(key);
    throw;
  }
  bytes_ += bytesOf(entry);
  backend_.convert(features, entry);
}

int64_t FeatureCache::frames(const std::string &key) const {
  const auto at = entries_.find(key);
  return at == entries_.end() ? -1 : at->second.rows;
}

void FeatureCache::remove(const std::string &key) noexcept {
  const auto at = entries_.find(key);
  if (at == entries_.end()) return;
  bytes_ -= bytesOf(at->second);
  backend_.release(at->second.data);
  entries_.erase(at);
}

void FeatureCache::clear() noexcept {
  for (const auto &entry : entries_) backend_.release(entry.second.data);
  entries_.clear();
  bytes_ = 0;
}

}  // namespace emoframe
