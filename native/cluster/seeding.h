// k-means++ (Arthur & Vassilvitskii, 2007): the first centre uniformly, every next with probability proportional to the
// squared distance from the centres so far. All restarts draw at the same time, each from its own Philox stream.
#pragma once

#include <functional>

#include "assignment.h"

namespace emoframe {

// Uniform double in [0, 1) with 53 bits: element `index` of the clustering stream `site` of a restart.
double clusterUniform(uint64_t seed, int64_t restart, uint32_t site, uint64_t index);

namespace site {
constexpr uint32_t seeding = 0x4B000000, miniBatch = 0x4B000001, subset = 0x4B000002;
}

// [R, K, C]. `keepGoing` is asked after every centre; false stops with what there is.
std::vector<float> seedCentroids(Backend &backend, Points &points, int64_t restarts, int64_t clusters, uint64_t seed,
                                 const std::function<bool()> &keepGoing);

}  // namespace emoframe
