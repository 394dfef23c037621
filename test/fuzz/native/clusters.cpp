// k-means and nearest centroids, with points, sizes and settings of any kind.
#include "cluster/kmeans.h"
#include "targets.h"

namespace emoframe {
namespace fuzz {

FUZZ(clusters) {
  const auto count = static_cast<int64_t>(input.below(40)), dimension = static_cast<int64_t>(1 + input.below(9));
  std::vector<float> points = input.floats(static_cast<size_t>(count * dimension));
  if (input.flag()) points.assign(points.size(), input.single());  // all of them one
  KMeansSettings settings;
  settings.clusters = input.integerOr(3);
  settings.restarts = input.integerOr(2);
  // So many take long, which is no fault.
  if (settings.restarts > 100 && settings.restarts <= 1000000) settings.restarts %= 100;
  settings.miniBatch = input.flag();
  settings.batchSize = input.integerOr(8);
  settings.maxIterations = input.integerOr(5);
  settings.tolerance = input.realOr(1e-4);
  settings.seed = static_cast<uint64_t>(input.integer());
  const auto asked = static_cast<int64_t>(1 + input.below(60));
  attempt([&] {
    int64_t answers = 0;
    const KMeansResult result = kmeans(*smallBackend(), points.data(), count, dimension, settings,
                                       [&](int64_t, double) { return ++answers < asked; });
    for (const int32_t label : result.labels) {
      if (label < 0 || label >= settings.clusters) __builtin_trap();
    }
  });
  const auto clusters = static_cast<int64_t>(input.below(5));
  const std::vector<float> centroids = input.floats(static_cast<size_t>(clusters * dimension));
  std::vector<int32_t> labels(static_cast<size_t>(count));
  attempt([&] {
    assign(*smallBackend(), points.data(), count, dimension, centroids.data(), clusters, labels.data());
    for (const int32_t label : labels) {
      if (label < 0 || label >= clusters) __builtin_trap();
    }
  });
}

}  // namespace fuzz
}  // namespace emoframe
