#include "empty_clusters.h"

#include <algorithm>

namespace emoframe {

bool moveEmptyClusters(const std::vector<int64_t> &empty, const float *points, const float *distances, int64_t count,
                       int64_t dimension, float *centroids) {
  if (empty.empty()) return false;
  std::vector<int64_t> rows;
  for (int64_t n = 0; n < count; ++n) {
    if (distances[n] > 0) rows.push_back(n);
  }
  const size_t moved = std::min(empty.size(), rows.size());
  std::partial_sort(rows.begin(), rows.begin() + static_cast<int64_t>(moved), rows.end(), [&](int64_t a, int64_t b) {
    return distances[a] != distances[b] ? distances[a] > distances[b] : a < b;
  });
  for (size_t i = 0; i < moved; ++i) {
    std::copy_n(points + rows[i] * dimension, dimension, centroids + empty[i] * dimension);
  }
  return moved > 0;
}

}  // namespace emoframe
