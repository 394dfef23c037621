// A cluster that has lost all its members moves to a point that its own centroid serves badly.
#pragma once

#include <cstdint>
#include <vector>

namespace emoframe {

// Moves centroids[k] ([K, C]) for each k of `empty` to the rows of points [N, C] with the largest distances [N] from
// their centroids: farthest first, the lower row on a tie; a row at distance 0 is not taken. Returns whether any moved.
bool moveEmptyClusters(const std::vector<int64_t> &empty, const float *points, const float *distances, int64_t count,
                       int64_t dimension, float *centroids);

}  // namespace emoframe
