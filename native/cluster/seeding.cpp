#include "seeding.h"

#include <limits>

#include "../philox.h"

namespace emoframe {

double clusterUniform(uint64_t seed, int64_t restart, uint32_t site, uint64_t index) {
  const Philox4 bits = philox(seed, static_cast<uint32_t>(restart), site, index);
  const uint64_t wide = (static_cast<uint64_t>(bits.x[0]) << 32 | bits.x[1]) >> 11;
  return static_cast<double>(wide) * 0x1p-53;
}

namespace {

// The first row at which the running sum of weights passes u · Σ weights, scanned in row order.
int64_t sample(const float *weights, int64_t count, double u) {
  double total = 0;
  for (int64_t n = 0; n < count; ++n) total += weights[n];
  const auto uniform = std::min(static_cast<int64_t>(u * static_cast<double>(count)), count - 1);
  if (!(total > 0)) return uniform;  // every row coincides with a centre
  const double target = u * total;
  double sum = 0;
  int64_t last = uniform;
  for (int64_t n = 0; n < count; ++n) {
    if (weights[n] <= 0) continue;
    sum += weights[n];
    last = n;
    if (sum > target) break;
  }
  return last;
}

}  // namespace

std::vector<float> seedCentroids(Backend &backend, Points &points, int64_t restarts, int64_t clusters, uint64_t seed,
                                 const std::function<bool()> &keepGoing) {
  const int64_t count = points.count(), dimension = points.dimension();
  std::vector<float> centroids(static_cast<size_t>(restarts * clusters * dimension));
  std::vector<float> newest(static_cast<size_t>(restarts * dimension)), distances;
  std::vector<float> nearest(static_cast<size_t>(restarts * count), std::numeric_limits<float>::max());
  Assignment assignment(backend, restarts, 1, dimension, std::min(count, Points::kChunkRows));
  for (int64_t k = 0; k < clusters; ++k) {
    for (int64_t r = 0; r < restarts; ++r) {
      const double u = clusterUniform(seed, r, site::seeding, static_cast<uint64_t>(k));
      const int64_t row = k == 0 ? std::min(static_cast<int64_t>(u * static_cast<double>(count)), count - 1)
                                 : sample(nearest.data() + r * count, count, u);
      std::copy_n(points.row(row), dimension, newest.data() + r * dimension);
      std::copy_n(points.row(row), dimension, centroids.data() + (r * clusters + k) * dimension);
      // Products leave a small distance of a row to itself; it must not be drawn again.
      nearest[static_cast<size_t>(r * count + row)] = 0;
    }
    if (k + 1 == clusters || !keepGoing()) break;
    assignment.setCentroids(newest);
    points.forEachChunk([&](int64_t first, const View &x) {
      assignment.assign(x, Assignment::distances);
      assignment.downloadDistances(distances);
      for (int64_t r = 0; r < restarts; ++r) {
        float *kept = nearest.data() + r * count + first;
        const float *now = distances.data() + r * x.rows;
        for (int64_t n = 0; n < x.rows; ++n) kept[n] = std::min(kept[n], now[n]);
      }
    });
  }
  return centroids;
}

}  // namespace emoframe
