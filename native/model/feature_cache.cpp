#include "feature_cache.h"

#include <algorithm>

namespace emoframe {

void FeatureCache::reserve(int64_t rows) {
  if (rows > rows_.rows) moveTo(rows);
}

// Behind the last entry; where there is no room left, all move to memory that has more, without the gaps that replaced
// ones have left.
void FeatureCache::store(const std::string &key, const std::vector<View> &parts) {
  const auto old = entries_.find(key);
  if (old != entries_.end()) {
    stored_ -= old->second.frames;
    entries_.erase(old);
  }
  const int64_t frames = parts[0].rows;
  if (used_ + frames > rows_.rows) moveTo(std::max(stored_ + frames, stored_ * 3 / 2));
  int64_t column = 0;
  for (const View &part : parts) {
    backend_.run(Convert{part, rows_.rowRange(used_, frames).colRange(column, part.cols)});
    column += part.cols;
  }
  entries_[key] = {used_, frames};
  used_ += frames;
  stored_ += frames;
}

StoredFeatures FeatureCache::at(const std::string &key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? StoredFeatures{} : found->second;
}

int64_t FeatureCache::bytes() const { return bytesOf(stored_); }
int64_t FeatureCache::heldBytes() const { return bytesOf(rows_.rows); }

void FeatureCache::moveTo(int64_t capacity) {
  void *memory = backend_.allocate(static_cast<size_t>(bytesOf(capacity)));
  const View larger = matrix(memory, dtype_, capacity, cols_);
  used_ = 0;
  for (auto &entry : entries_) {
    StoredFeatures &its = entry.second;
    backend_.run(Convert{rows_.rowRange(its.first, its.frames), larger.rowRange(used_, its.frames)});
    its.first = used_;
    used_ += its.frames;
  }
  if (rows_) backend_.release(rows_.data);
  rows_ = larger;
}

void FeatureCache::clear() noexcept {
  if (rows_) backend_.release(rows_.data);
  rows_ = {};
  entries_.clear();
  used_ = stored_ = 0;
}

}  // namespace emoframe
