// k-means over the op set: batched restarts, k-means++ seeding, Lloyd and mini-batch. Deterministic for a seed.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "../backend.h"

namespace emoframe {

struct KMeansSettings {
  int64_t clusters = 50, restarts = 20;
  bool miniBatch = false;
  int64_t batchSize = 10000, maxIterations = 100;
  double tolerance = 1e-4;  // of centroid movement², relative to the mean variance of the columns, as scikit-learn
  uint64_t seed = 0;
};

struct KMeansResult {
  std::vector<float> centroids;  // [K, C] of the best restart
  std::vector<int32_t> labels;   // [N]
  double inertia = 0;
  std::vector<double> inertias;  // [restarts]
  int64_t iterations = 0;
};

// points f32 host [N, C]. `keepGoing(iteration, inertia)` is asked after every iteration, and while seeding (iteration
// 0, inertia infinite) and in the last assignment; false stops with ERR_ABORTED.
KMeansResult kmeans(Backend &backend, const float *points, int64_t count, int64_t dimension,
                    const KMeansSettings &settings, const std::function<bool(int64_t, double)> &keepGoing);

// Nearest centroid of each host row; returns the inertia.
double assign(Backend &backend, const float *points, int64_t count, int64_t dimension, const float *centroids,
              int64_t clusters, int32_t *labels);

}  // namespace emoframe
