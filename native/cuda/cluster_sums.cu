// A block adds up one cluster of one restart: its threads look through the labels of 2048 rows, list the members in
// shared memory in the order of the rows, and add them, 4 columns a thread. Labels are 4 bytes beside a row's 4 C, and
// a row is read once a restart, so with R restarts this is bound by 4 N R C bytes from the second-level cache.
#include "cluster_sums.cuh"
#include "elements.cuh"
#include "launch.cuh"

namespace emoframe {

namespace {

constexpr int threads = 256, warps = threads / 32, width = 4;
constexpr int labelsOfThread = 8, listRows = threads * labelsOfThread;
constexpr int64_t columns = threads * width;  // of a block

struct ClusterSumsArguments {
  Strided<const float> x;
  bool aligned, first;
  int64_t rows, cols, clusters;
  const int32_t *labels;
  int64_t stride;
  double *totals;
  int32_t *members;
};

// Shared memory: the list, then a place for each warp's part of it, and its length.
__global__ void __launch_bounds__(threads) sumMembersKernel(ClusterSumsArguments its) {
  auto *list = reinterpret_cast<int32_t *>(sharedMemory());
  int32_t *places = list + listRows;  // [labelsOfThread, warps], in the order of the rows
  constexpr int parts = labelsOfThread * warps;
  static_assert(parts == 64, "a warp adds up two a lane");
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int64_t cluster = blockIdx.y * its.clusters + blockIdx.x;
  const int32_t *labels = its.labels + blockIdx.y * its.stride;
  const int64_t column = blockIdx.z * columns + thread * width, n = its.cols - column;
  const float *x = its.x.at(0, 0, column);
  double *target = its.totals + cluster * its.cols + column;
  double totals[width] = {};
  if (!its.first) {
    for (int j = 0; j < width; ++j) {
      if (j < n) totals[j] = target[j];
    }
  }
  int32_t members = 0;
  for (int64_t begin = 0; begin < its.rows; begin += listRows) {
    uint32_t votes[labelsOfThread];
#pragma unroll
    for (int i = 0; i < labelsOfThread; ++i) {
      const int64_t row = begin + i * threads + thread;
      votes[i] = ballot(row < its.rows && labels[row] == static_cast<int32_t>(blockIdx.x));
      if (lane == 0) places[i * warps + warp] = countBits(votes[i]);
    }
    __syncthreads();
    if (warp == 0) {
      const int32_t one = places[2 * lane], two = places[2 * lane + 1];
      int32_t sum = one + two;
      for (int step = 1; step < 32; step *= 2) {
        const int32_t before = shuffleUp(sum, step);
        if (lane >= step) sum += before;
      }
      places[2 * lane] = sum - two - one;
      places[2 * lane + 1] = sum - two;
      if (lane == 31) places[parts] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < labelsOfThread; ++i) {
      if ((votes[i] >> lane & 1) == 0) continue;
      const int32_t before = countBits(votes[i] & ((1u << lane) - 1));
      list[places[i * warps + warp] + before] = static_cast<int32_t>(begin) + i * threads + thread;
    }
    __syncthreads();
    const int32_t count = places[parts];
    members += count;
    if (n <= 0) continue;
#pragma unroll 4
    for (int32_t i = 0; i < count; ++i) {
      float values[width];
      loadSome(x + list[i] * its.x.rowStride, its.x.colStride, n, its.aligned, values);
      for (int j = 0; j < width; ++j) totals[j] += static_cast<double>(values[j]);
    }
  }
  if (!its.first && members == 0) return;
  for (int j = 0; j < width; ++j) {
    if (j < n) target[j] = totals[j];
  }
  if (thread == 0 && blockIdx.z == 0) its.members[cluster] = members + (its.first ? 0 : its.members[cluster]);
}

__global__ void __launch_bounds__(threads)
    storeSumsKernel(const double *totals, const int32_t *members, int64_t clusters, int64_t cols, bool empty,
                    Strided<float> sums, Strided<float> counts) {
  const int64_t r = blockIdx.y, k = blockIdx.x, cluster = r * clusters + k;
  for (int64_t c = threadIdx.x; c < cols; c += threads) {
    *sums.at(r, k, c) = empty ? 0.0f : static_cast<float>(totals[cluster * cols + c]);
  }
  if (threadIdx.x == 0) *counts.at(r, 0, k) = empty ? 0.0f : static_cast<float>(members[cluster]);
}

}  // namespace

void ClusterSums::add(const View &x, const int32_t *labels, int64_t stride, bool first, Stream &stream) const {
  const ClusterSumsArguments arguments = {
      strided<const float>(x), rowsAligned(x), first, x.rows, cols_, clusters_, labels, stride, totals_, members_};
  launch(sumMembersKernel,
         dim3(static_cast<uint32_t>(clusters_), static_cast<uint32_t>(restarts_), blocksFor(cols_, columns)), threads,
         sizeof(int32_t) * (listRows + labelsOfThread * warps + 1), stream, arguments);
}

void ClusterSums::store(const View &sums, const View &counts, bool empty, Stream &stream) const {
  launch(storeSumsKernel, dim3(static_cast<uint32_t>(clusters_), static_cast<uint32_t>(restarts_)), threads, 0, stream,
         totals_, members_, clusters_, cols_, empty, strided<float>(sums), strided<float>(counts));
}

}  // namespace emoframe
