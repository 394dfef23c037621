#include "cluster/kmeans.h"

#include <algorithm>
#include <set>

#include "cluster/empty_clusters.h"
#include "cluster/seeding.h"
#include "harness.h"

namespace emoframe {
namespace testing {
namespace {

const std::function<bool(int64_t, double)> always = [](int64_t, double) { return true; };

// `perBlob` points around each of `blobs` far corners, in an order that mixes them.
std::vector<float> blobs(int64_t blobs, int64_t perBlob, int64_t dimension) {
  std::vector<float> points = normals(40, static_cast<size_t>(blobs * perBlob * dimension), 0.1f);
  for (int64_t n = 0; n < blobs * perBlob; ++n) {
    const int64_t blob = n % blobs;
    for (int64_t c = 0; c < dimension; ++c)
      points[n * dimension + c] += 5 * normal(41 + static_cast<uint32_t>(blob), c);
  }
  return points;
}

KMeansSettings settings(int64_t clusters, int64_t restarts) {
  KMeansSettings s;
  s.clusters = clusters;
  s.restarts = restarts;
  s.seed = 5;
  return s;
}

void requireBlobs(const KMeansResult &result, int64_t count, int64_t blobs) {
  std::set<int32_t> used;
  for (int64_t n = 0; n < count; ++n) {
    require(result.labels[n] == result.labels[n % blobs], "point " + std::to_string(n) + " is with its blob");
    used.insert(result.labels[n]);
  }
  require(static_cast<int64_t>(used.size()) == blobs, "every blob has its own cluster");
}

TEST(kmeansFindsSeparateBlobs) {
  auto on = backend();
  const std::vector<float> points = blobs(7, 300, 9);
  for (bool miniBatch : {false, true}) {
    KMeansSettings s = settings(7, 6);
    s.miniBatch = miniBatch;
    s.batchSize = 256;
    const KMeansResult result = kmeans(*on, points.data(), 2100, 9, s, always);
    requireBlobs(result, 2100, 7);
    std::vector<double> means(7 * 9);
    for (int64_t n = 0; n < 2100; ++n) {
      for (int64_t c = 0; c < 9; ++c) means[result.labels[n] * 9 + c] += points[n * 9 + c] / 300.0;
    }
    for (size_t i = 0; i < means.size(); ++i) requireNear(result.centroids[i], means[i], 0.04, "a centroid");
    require(result.inertias.size() == 6 &&
                result.inertia == *std::min_element(result.inertias.begin(), result.inertias.end()),
            "the best restart is kept");
    // Σ over 2100 points and 9 dimensions of a variance of 0.01.
    requireNear(result.inertia, 2100 * 9 * 0.01, 0.1 * 189, "the inertia");
    std::vector<int32_t> labels(2100);
    requireNear(assign(*on, points.data(), 2100, 9, result.centroids.data(), 7, labels.data()), result.inertia,
                1e-6 * result.inertia, "the inertia of assign");
    require(labels == result.labels, "assign gives the same labels");
  }
}

TEST(lloydCentroidsAreTheMeansOfTheirMembers) {
  auto on = backend();
  const int64_t count = 20000, dimension = 5, clusters = 8;  // more than a chunk
  const std::vector<float> points = normals(60, static_cast<size_t>(count * dimension));
  KMeansSettings s = settings(clusters, 2);
  s.tolerance = 0;
  s.maxIterations = 500;
  const KMeansResult result = kmeans(*on, points.data(), count, dimension, s, always);
  require(result.iterations < 500, "it converges");
  std::vector<double> sums(clusters * dimension), counts(clusters);
  double inertia = 0;
  for (int64_t n = 0; n < count; ++n) {
    const int32_t label = result.labels[n];
    counts[label] += 1;
    std::vector<double> distance(clusters);
    for (int64_t k = 0; k < clusters; ++k) {
      for (int64_t c = 0; c < dimension; ++c) {
        const double d = points[n * dimension + c] - result.centroids[k * dimension + c];
        distance[k] += d * d;
      }
    }
    for (int64_t c = 0; c < dimension; ++c) sums[label * dimension + c] += points[n * dimension + c];
    requireNear(distance[label], *std::min_element(distance.begin(), distance.end()), 1e-4, "the nearest centroid");
    inertia += distance[label];
  }
  for (int64_t k = 0; k < clusters; ++k) {
    for (int64_t c = 0; c < dimension; ++c) {
      requireNear(result.centroids[k * dimension + c], sums[k * dimension + c] / counts[k], 1e-4, "a centroid");
    }
  }
  requireNear(result.inertia, inertia, 1e-4 * inertia, "the inertia");
}

// Also of restarts that are not the best: two blobs of unlike sizes end the same from whatever points they begin.
TEST(everyRestartIsAKMeansOfItsOwn) {
  auto on = backend();
  std::vector<float> points = normals(64, 400 * 3, 0.1f);
  for (int64_t n = 300; n < 400; ++n) points[static_cast<size_t>(n * 3)] += 50;
  const KMeansResult result = kmeans(*on, points.data(), 400, 3, settings(2, 8), always);
  require(result.inertias.size() == 8, "restarts");
  for (const double inertia : result.inertias) requireNear(inertia, result.inertia, 1e-4 * inertia, "a restart");
}

TEST(seedsAreDrawnFromAllPointsThatAreNoSeeds) {
  auto on = backend();
  const std::vector<float> points = {0, 0, 3, 4};
  Points two(*on, points.data(), 2, 2);
  const std::vector<float> seeds = seedCentroids(*on, two, 40, 2, 7, [] { return true; });
  int first = 0;
  for (size_t r = 0; r < 40; ++r) {
    require(seeds[4 * r] != seeds[4 * r + 2], "a point is drawn twice in restart " + std::to_string(r));
    first += seeds[4 * r] == 0;
  }
  require(first > 5 && first < 35, "and either may be the first");
}

TEST(kmeansGivesTheSameBitsTwiceAndWithAnyThreads) {
  const std::vector<float> points = normals(61, 6000 * 6);
  for (bool miniBatch : {false, true}) {
    KMeansSettings s = settings(12, 3);
    s.miniBatch = miniBatch;
    s.batchSize = 500;
    std::vector<KMeansResult> results;
    for (int32_t threads : {2, 2, 1}) results.push_back(kmeans(*backend({threads}), points.data(), 6000, 6, s, always));
    for (const KMeansResult &r : results) {
      require(r.centroids == results[0].centroids && r.labels == results[0].labels && r.inertias == results[0].inertias,
              "the results differ");
    }
    s.seed = 6;
    require(kmeans(*backend({2}), points.data(), 6000, 6, s, always).centroids != results[0].centroids,
            "another seed gives other centroids");
  }
}

TEST(kmeansStopsWhenAsked) {
  auto on = backend();
  const std::vector<float> points = normals(62, 3000 * 4);
  for (bool miniBatch : {false, true}) {
    KMeansSettings s = settings(10, 2);
    s.miniBatch = miniBatch;
    s.tolerance = 0;
    int64_t asked = 0;
    requireError("ERR_ABORTED", "stopped", [&] {
      kmeans(*on, points.data(), 3000, 4, s, [&](int64_t iteration, double) { return ++asked, iteration < 2; });
    });
    require(asked > 1, "it was asked before");
  }
}

TEST(emptyClustersMoveToTheFarthestPoints) {
  const std::vector<float> points = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4};
  const std::vector<float> distances = {0, 5, 9, 5, 0};
  std::vector<float> centroids = {-1, -1, -2, -2, -3, -3, -4, -4, -5, -5};
  require(moveEmptyClusters({1, 3}, points.data(), distances.data(), 5, 2, centroids.data()), "two moved");
  require(centroids == std::vector<float>({-1, -1, 2, 2, -3, -3, 1, 1, -5, -5}), "farthest first, then the lower row");
  require(moveEmptyClusters({0, 1, 2, 3}, points.data(), distances.data(), 5, 2, centroids.data()), "three moved");
  require(centroids == std::vector<float>({2, 2, 1, 1, 3, 3, 1, 1, -5, -5}), "a point on its centroid is not taken");
  require(!moveEmptyClusters({}, points.data(), distances.data(), 5, 2, centroids.data()), "nothing to move");
}

TEST(moreClustersThanPlacesDoNoHarm) {
  auto on = backend();
  // Ninety-nine points in one place and five far away: with as many clusters as places, none may stay empty.
  std::vector<float> points(104 * 2, 1.f);
  for (int64_t i = 0; i < 5; ++i) points[(99 + i) * 2] = 10.f + 10 * static_cast<float>(i);
  const KMeansResult result = kmeans(*on, points.data(), 104, 2, settings(6, 1), always);
  requireNear(result.inertia, 0, 1e-3, "every place has its cluster");
  // More clusters than places is no reason to fail.
  const KMeansResult spare = kmeans(*on, points.data(), 104, 2, settings(9, 2), always);
  requireNear(spare.inertia, 0, 1e-3, "spare clusters do no harm");
}

TEST(kmeansRefusesWhatItCannotDo) {
  auto on = backend();
  std::vector<float> points = normals(63, 10 * 3);
  requireError("ERR_CLUSTERS", "10 points", [&] { kmeans(*on, points.data(), 10, 3, settings(11, 1), always); });
  requireError("ERR_CLUSTERS", "cluster", [&] { kmeans(*on, points.data(), 10, 3, settings(0, 1), always); });
  points[14] = NAN;
  requireError("ERR_NOT_FINITE", "Point 4 ", [&] { kmeans(*on, points.data(), 10, 3, settings(2, 1), always); });
}

}  // namespace
}  // namespace testing
}  // namespace emoframe
