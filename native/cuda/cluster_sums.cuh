// Sums of clusters' members and their number, for k-means (clusters.cu). Rows come a block at a time, while they lie in
// the second-level cache; totals are in double and every one is added up by one thread, in the order of the rows.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../ops.h"
#include "stream.h"

namespace emoframe {

class ClusterSums {
 public:
  // totals [restarts, clusters, cols] and members [restarts, clusters], in device memory.
  ClusterSums(int64_t restarts, int64_t clusters, int64_t cols, double *totals, int32_t *members)
      : restarts_(restarts), clusters_(clusters), cols_(cols), totals_(totals), members_(members) {}

  // Rows of x [n, cols], of which row i is in cluster labels[r · stride + i] of restart r. `first`: totals begin here.
  void add(const View &x, const int32_t *labels, int64_t stride, bool first, Stream &stream) const;
  // `empty`: there were no rows, and totals are not to be read.
  void store(const View &sums, const View &counts, bool empty, Stream &stream) const;

 private:
  int64_t restarts_, clusters_, cols_;
  double *totals_;
  int32_t *members_;
};

}  // namespace emoframe
