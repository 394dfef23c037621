#include "kmeans.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "../error.h"
#include "empty_clusters.h"
#include "seeding.h"

namespace emoframe {

namespace {

constexpr int64_t kMostRestarts = 1000000;

void checkSettings(const float *points, int64_t count, int64_t dimension, const KMeansSettings &settings) {
  const auto refuse = [](const std::string &message) { throw Error("ERR_CLUSTERS", message); };
  if (dimension < 1) refuse("Points need at least one dimension.");
  if (settings.clusters < 1) refuse("At least one cluster is needed.");
  if (settings.restarts < 1) refuse("At least one restart is needed.");
  // Products of it with the number of values stay far from overflow.
  if (settings.restarts > kMostRestarts) {
    refuse("At most " + std::to_string(kMostRestarts) + " restarts can be run side by side, but " +
           std::to_string(settings.restarts) + " were asked for.");
  }
  if (settings.miniBatch && settings.batchSize < 1) refuse("The batch size must be at least 1.");
  if (count < settings.clusters) {
    refuse("There are " + std::to_string(count) + " points, fewer than the " + std::to_string(settings.clusters) +
           " clusters asked for. Ask for fewer clusters or give more points.");
  }
  if (count > std::numeric_limits<int32_t>::max()) refuse("There are more points than an index can count.");
  for (int64_t i = 0; i < count * dimension; ++i) {
    if (!std::isfinite(points[i])) {
      throw Error("ERR_NOT_FINITE", "Point " + std::to_string(i / dimension) + " has a value that is not finite.");
    }
  }
}

[[noreturn]] void abort() { throw Error("ERR_ABORTED", "Clustering was stopped on request."); }

// Of all points: their mean, and Σ ‖x - mean‖².
struct Spread {
  std::vector<double> mean;
  double scatter = 0;
};

Spread spreadOf(Backend &backend, Points &points) {
  const int64_t dimension = points.dimension();
  Assignment one(backend, 1, 1, dimension, std::min(points.count(), Points::kChunkRows));
  Spread spread{std::vector<double>(static_cast<size_t>(dimension), 0.0), 0};
  std::vector<float> centre(static_cast<size_t>(dimension), 0.0f), chunk;
  one.setCentroids(centre);
  points.forEachChunk([&](int64_t, const View &x) {
    one.assign(x, Assignment::sums);
    one.downloadSums(chunk);
    for (int64_t c = 0; c < dimension; ++c) spread.mean[c] += chunk[c];
  });
  for (double &m : spread.mean) m /= static_cast<double>(points.count());
  centre.assign(spread.mean.begin(), spread.mean.end());
  one.setCentroids(centre);
  points.forEachChunk([&](int64_t, const View &x) {
    one.assign(x, Assignment::distances);
    one.downloadDistances(chunk);
    for (float d : chunk) spread.scatter += d;
  });
  return spread;
}

class Clustering {
 public:
  Clustering(Backend &backend, const float *points, int64_t count, int64_t dimension, const KMeansSettings &settings,
             const std::function<bool(int64_t, double)> &keepGoing)
      : backend_(backend),
        points_(backend, points, count, dimension),
        settings_(settings),
        keepGoing_(keepGoing),
        setSize_(settings.clusters * dimension),
        assignment_(
            backend, settings.restarts, settings.clusters, dimension,
            std::max(std::min(count, Points::kChunkRows), settings.miniBatch ? batchRows(settings, count) : 0)) {}

  KMeansResult run() {
    seed();
    if (settings_.miniBatch) {
      updateByBatches();
    } else {
      updateByPasses();
    }
    return finish();
  }

 private:
  static int64_t batchRows(const KMeansSettings &settings, int64_t count) {
    return std::min(settings.batchSize, count);
  }
  void seed();
  void updateByPasses();
  void updateByBatches();
  KMeansResult finish();
  std::vector<float> centroidsOf(const std::vector<int64_t> &restarts) const;
  double inertiaOf(int64_t restart, const double *sums, const double *counts, const Spread &spread) const;
  std::vector<float> distancesOf(int64_t restart);
  double moveCentroids(int64_t restart, const double *sums, const double *counts, bool &reseeded);

  Backend &backend_;
  Points points_;
  const KMeansSettings &settings_;
  const std::function<bool(int64_t, double)> &keepGoing_;
  int64_t setSize_;  // K · C
  Assignment assignment_;
  std::vector<float> centroids_;  // [R, K, C]
  int64_t iterations_ = 0;
  double inertia_ = std::numeric_limits<double>::infinity();  // of the last iteration
};

void Clustering::seed() {
  const auto keepGoing = [&] { return keepGoing_(0, inertia_) || (abort(), false); };
  // Mini-batches never see all points at once; as in scikit-learn three batches are enough to seed from.
  const int64_t wanted = std::max(3 * settings_.batchSize, 3 * settings_.clusters);
  if (!settings_.miniBatch || wanted >= points_.count()) {
    centroids_ = seedCentroids(backend_, points_, settings_.restarts, settings_.clusters, settings_.seed, keepGoing);
    return;
  }
  // Without replacement, in row order (selection sampling, Knuth's algorithm S).
  const int64_t dimension = points_.dimension();
  std::vector<float> subset;
  subset.reserve(static_cast<size_t>(wanted * dimension));
  int64_t left = wanted;
  for (int64_t n = 0; n < points_.count() && left > 0; ++n) {
    const double u = clusterUniform(settings_.seed, 0, site::subset, static_cast<uint64_t>(n));
    if (u * static_cast<double>(points_.count() - n) >= static_cast<double>(left)) continue;
    subset.insert(subset.end(), points_.row(n), points_.row(n) + dimension);
    --left;
  }
  Points some(backend_, subset.data(), wanted, dimension);
  centroids_ = seedCentroids(backend_, some, settings_.restarts, settings_.clusters, settings_.seed, keepGoing);
}

std::vector<float> Clustering::centroidsOf(const std::vector<int64_t> &restarts) const {
  std::vector<float> set;
  for (int64_t r : restarts) {
    set.insert(set.end(), centroids_.begin() + r * setSize_, centroids_.begin() + (r + 1) * setSize_);
  }
  return set;
}

// Σ ‖x - c‖² of a restart's points to the centroids that they are members of, from the sums of members.
double Clustering::inertiaOf(int64_t restart, const double *sums, const double *counts, const Spread &spread) const {
  const int64_t dimension = points_.dimension();
  const float *centroids = centroids_.data() + restart * setSize_;
  double gained = 0;  // by having more centres than the mean
  for (int64_t k = 0; k < settings_.clusters; ++k) {
    for (int64_t c = 0; c < dimension; ++c) {
      const int64_t i = k * dimension + c;
      const double offset = centroids[i] - spread.mean[c];
      gained += offset * (2 * (sums[i] - counts[k] * spread.mean[c]) - counts[k] * offset);
    }
  }
  return std::max(0.0, spread.scatter - gained);
}

// Squared distance of every point to its nearest of a restart's centroids.
std::vector<float> Clustering::distancesOf(int64_t restart) {
  std::vector<float> chunk, all(static_cast<size_t>(points_.count()));
  assignment_.setCentroids(centroidsOf({restart}));
  points_.forEachChunk([&](int64_t first, const View &x) {
    assignment_.assign(x, Assignment::distances);
    assignment_.downloadDistances(chunk);
    std::copy(chunk.begin(), chunk.end(), all.begin() + first);
  });
  return all;
}

// Means of the members; a cluster without any moves to one of the points farthest
// from its centroid. Returns Σ movement².
double Clustering::moveCentroids(int64_t restart, const double *sums, const double *counts, bool &reseeded) {
  const int64_t dimension = points_.dimension();
  float *centroids = centroids_.data() + restart * setSize_;
  double movement = 0;
  std::vector<int64_t> empty;
  for (int64_t k = 0; k < settings_.clusters; ++k) {
    if (counts[k] == 0) empty.push_back(k);
  }
  std::vector<float> distances;
  if (!empty.empty()) distances = distancesOf(restart);
  for (int64_t k = 0; k < settings_.clusters; ++k) {
    if (counts[k] == 0) continue;
    for (int64_t c = 0; c < dimension; ++c) {
      const auto moved = static_cast<float>(sums[k * dimension + c] / counts[k]);
      const double d = static_cast<double>(moved) - centroids[k * dimension + c];
      movement += d * d;
      centroids[k * dimension + c] = moved;
    }
  }
  reseeded = moveEmptyClusters(empty, points_.row(0), distances.data(), points_.count(), dimension, centroids);
  return movement;
}

// Lloyd: every pass assigns all points, then moves the centroids. Restarts that have converged drop out.
void Clustering::updateByPasses() {
  const int64_t count = points_.count(), clusters = settings_.clusters;
  const Spread spread = spreadOf(backend_, points_);
  // Movement is compared with the mean over the columns of their variance.
  const double tolerance = settings_.tolerance * spread.scatter / static_cast<double>(count * points_.dimension());
  std::vector<int64_t> active(static_cast<size_t>(settings_.restarts));
  std::iota(active.begin(), active.end(), 0);
  std::vector<double> inertias(active.size());
  std::vector<float> chunkSums, chunkCounts;
  for (int64_t pass = 1; pass <= settings_.maxIterations && !active.empty(); ++pass) {
    const auto sets = static_cast<int64_t>(active.size());
    std::vector<double> sums(static_cast<size_t>(sets * setSize_)), counts(static_cast<size_t>(sets * clusters));
    assignment_.setCentroids(centroidsOf(active));
    points_.forEachChunk([&](int64_t, const View &x) {
      assignment_.assign(x, Assignment::sums);
      assignment_.downloadSums(chunkSums);
      assignment_.downloadCounts(chunkCounts);
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += chunkSums[i];
      for (size_t i = 0; i < counts.size(); ++i) counts[i] += chunkCounts[i];
    });
    std::vector<int64_t> moving;
    for (int64_t s = 0; s < sets; ++s) {
      const double *ofSums = sums.data() + s * setSize_, *ofCounts = counts.data() + s * clusters;
      inertias[active[s]] = inertiaOf(active[s], ofSums, ofCounts, spread);
      bool reseeded;
      const double movement = moveCentroids(active[s], ofSums, ofCounts, reseeded);
      if (reseeded || movement > tolerance) moving.push_back(active[s]);
    }
    active = std::move(moving);
    iterations_ = pass;
    inertia_ = *std::min_element(inertias.begin(), inertias.end());
    if (!keepGoing_(pass, inertia_)) abort();
  }
}

// Sculley (2010): each centroid is the running mean of all batch rows that it has won. One
// iteration is one pass: as many batches as cover the points once. A restart ends when its smoothed
// batch inertia has not improved for ten batches.
void Clustering::updateByBatches() {
  constexpr int64_t kPatience = 10;
  const int64_t count = points_.count(), dimension = points_.dimension(), clusters = settings_.clusters;
  const int64_t rows = batchRows(settings_, count), perPass = (count + rows - 1) / rows;
  const double smoothing = std::min(1.0, 2.0 * static_cast<double>(rows) / static_cast<double>(count + 1));
  struct Progress {
    double smoothed = 0, best = std::numeric_limits<double>::max();
    int64_t waited = 0;
  };
  std::vector<Progress> progress(static_cast<size_t>(settings_.restarts));
  std::vector<double> won(static_cast<size_t>(settings_.restarts * clusters));  // rows so far, per centroid
  std::vector<int64_t> active(static_cast<size_t>(settings_.restarts));
  std::iota(active.begin(), active.end(), 0);
  DeviceMemory memory(backend_, static_cast<size_t>(rows * dimension) * 4);
  std::vector<float> batch(static_cast<size_t>(rows * dimension)), distances, sums, counts;

  for (int64_t update = 0; update < settings_.maxIterations * perPass && !active.empty(); ++update) {
    for (int64_t i = 0; i < rows; ++i) {
      const double u = clusterUniform(settings_.seed, 0, site::miniBatch, static_cast<uint64_t>(update * rows + i));
      const auto row = std::min(static_cast<int64_t>(u * static_cast<double>(count)), count - 1);
      std::copy_n(points_.row(row), dimension, batch.data() + i * dimension);
    }
    backend_.upload(memory.get(), batch.data(), batch.size() * sizeof(float));
    const View x = matrix(memory.get(), DType::f32, rows, dimension);
    assignment_.setCentroids(centroidsOf(active));
    assignment_.assign(x, Assignment::distances | Assignment::sums);
    assignment_.downloadDistances(distances);
    assignment_.downloadSums(sums);
    assignment_.downloadCounts(counts);

    std::vector<int64_t> moving;
    double least = std::numeric_limits<double>::max();
    for (size_t s = 0; s < active.size(); ++s) {
      const int64_t r = active[s];
      float *centroids = centroids_.data() + r * setSize_;
      std::vector<int64_t> empty;
      for (int64_t k = 0; k < clusters; ++k) {
        const double members = counts[s * clusters + k];
        double &total = won[r * clusters + k];
        total += members;
        if (total == 0) empty.push_back(k);
        if (members == 0) continue;
        for (int64_t c = 0; c < dimension; ++c) {
          float &at = centroids[k * dimension + c];
          at = static_cast<float>(at + (sums[s * setSize_ + k * dimension + c] - members * at) / total);
        }
      }
      const float *of = distances.data() + s * rows;
      if ((update + 1) % kPatience == 0) moveEmptyClusters(empty, batch.data(), of, rows, dimension, centroids);
      double inertia = 0;
      for (int64_t n = 0; n < rows; ++n) inertia += of[n];
      inertia /= static_cast<double>(rows);
      Progress &p = progress[r];
      p.smoothed = update == 0 ? inertia : p.smoothed + (inertia - p.smoothed) * smoothing;
      p.waited = p.smoothed < p.best ? 0 : p.waited + 1;
      p.best = std::min(p.best, p.smoothed);
      least = std::min(least, p.smoothed * static_cast<double>(count));
      if (p.waited < kPatience) moving.push_back(r);
    }
    active = std::move(moving);
    iterations_ = update / perPass + 1;
    inertia_ = least;
    if (!keepGoing_(iterations_, inertia_)) abort();
  }
}

// Every point is assigned for every restart; the least inertia wins, the earlier restart on a tie.
KMeansResult Clustering::finish() {
  KMeansResult result;
  result.iterations = iterations_;
  result.inertias.resize(static_cast<size_t>(settings_.restarts));
  std::vector<float> distances;
  assignment_.setCentroids(centroids_);
  points_.forEachChunk([&](int64_t, const View &x) {
    assignment_.assign(x, Assignment::distances);
    assignment_.downloadDistances(distances);
    for (int64_t r = 0; r < settings_.restarts; ++r) {
      for (int64_t n = 0; n < x.rows; ++n) result.inertias[r] += distances[r * x.rows + n];
    }
    if (!keepGoing_(iterations_, inertia_)) abort();
  });
  const auto best = std::min_element(result.inertias.begin(), result.inertias.end()) - result.inertias.begin();
  result.inertia = result.inertias[best];
  result.centroids = centroidsOf({best});
  result.labels.resize(static_cast<size_t>(points_.count()));
  assignment_.setCentroids(result.centroids);
  points_.forEachChunk([&](int64_t first, const View &x) {
    assignment_.assign(x, Assignment::labelsOnly);
    assignment_.downloadLabels(result.labels.data() + first);
  });
  return result;
}

}  // namespace

KMeansResult kmeans(Backend &backend, const float *points, int64_t count, int64_t dimension,
                    const KMeansSettings &settings, const std::function<bool(int64_t, double)> &keepGoing) {
  checkSettings(points, count, dimension, settings);
  return Clustering(backend, points, count, dimension, settings, keepGoing).run();
}

double assign(Backend &backend, const float *points, int64_t count, int64_t dimension, const float *centroids,
              int64_t clusters, int32_t *labels) {
  if (dimension < 1 || clusters < 1)
    throw Error("ERR_CLUSTERS", "Assignment needs at least one centroid and dimension.");
  if (count == 0) return 0;
  KMeansSettings settings;
  settings.clusters = 1;
  settings.restarts = 1;
  checkSettings(points, count, dimension, settings);
  Points all(backend, points, count, dimension);
  Assignment assignment(backend, 1, clusters, dimension, std::min(count, Points::kChunkRows));
  assignment.setCentroids(std::vector<float>(centroids, centroids + clusters * dimension));
  double inertia = 0;
  std::vector<float> distances;
  all.forEachChunk([&](int64_t first, const View &x) {
    assignment.assign(x, Assignment::distances);
    assignment.downloadLabels(labels + first);
    assignment.downloadDistances(distances);
    for (float d : distances) inertia += d;
  });
  return inertia;
}

}  // namespace emoframe
