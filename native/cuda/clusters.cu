// k-means' inner op: the nearest centroid of every point for R restarts at once. A screen on tensor cores leaves the
// few centroids that can be the nearest, which are then measured; the label is the true nearest one (lowest index on an
// exact tie) whatever the screen rounds. The screen is in cluster_screen.cuh, the sums of members in cluster_sums.cu.
//
// Points are taken in blocks of some thousand rows, so that what is known of a block stays in the second-level cache:
// 1. points and centroids, less the mean of all centroids (which changes no distance, and lets points far from the
//    origin cancel little), are rounded to bf16; norms, and the norms of what rounding took off, are kept.
// 2. The screen: m = ‖c‖² - 2 x · c for a tile of 128 points and 128 centroids of all restarts (clusters of a restart
//    are padded to a multiple of 32). The product never leaves the registers: for each 8 centroids that a thread has of
//    a point it stores the least m, with the centroid's number in its lowest bits, and the second least.
// 3. A thread a point and restart: with e the most that m can be wrong by, centroids with m > least + 2 e are out. If
//    more than one is left, the warp measures them as Σ (x - c)² in fp32, and those still too close to call in double.
// What m can be wrong by: |x · c - x' · c'| <= ‖x - x'‖ ‖c‖ + ‖x'‖ ‖c - c'‖, and the rounding of fp32 sums.
//
// 2 N R K C flops in bf16; bytes: 8 N C for the points (read in fp32, written and read in bf16), and 2 N R K for what
// is kept of products. At K = 50 (64 with padding), R = 20, C = 768 that is 2 TFLOP and 9 GB for a million points:
// tensor cores bound it.
#include <algorithm>

#include "backend.h"
#include "cluster_screen.cuh"
#include "cluster_sums.cuh"
#include "elements.cuh"
#include "launch.cuh"
#include "reduce.cuh"

namespace emoframe {

namespace {

constexpr int64_t blockRows = 8192;  // points taken together
constexpr int rowWarps = 8;
constexpr float normSlack = 1.0001f;  // norms are sums in fp32 themselves

int64_t roundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

struct Norms {
  float square, norm, residual;  // ‖x‖², ‖x‖, ‖x - x'‖; of centroids 2 ‖c‖, 2 ‖c - c'‖
};

// --- 1. what the screen multiplies ---------------------------------------------------------------
// The mean of all centroids. Block (32, 32): 32 columns, centroids in 32 strips, added in order.
__global__ void __launch_bounds__(1024)
    meanKernel(Strided<const float> centroids, int64_t restarts, int64_t clusters, int64_t cols, float *mean) {
  auto *strips = reinterpret_cast<double *>(sharedMemory());  // [32, 32]
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int64_t column = static_cast<int64_t>(blockIdx.x) * 32 + x;
  double total = 0;
  if (column < cols) {
    for (int64_t r = 0; r < restarts; ++r) {
#pragma unroll 4
      for (int64_t k = y; k < clusters; k += 32) total += static_cast<double>(*centroids.at(r, k, column));
    }
  }
  strips[y * 32 + x] = total;
  __syncthreads();
  if (y != 0 || column >= cols) return;
  for (int strip = 1; strip < 32; ++strip) total += strips[strip * 32 + x];
  mean[column] = static_cast<float>(total / static_cast<double>(restarts * clusters));
}

// x - mean → bf16 with zeros up to `padded` columns, and its norms, by a warp. x null: zeros.
__device__ Norms shiftRow(const float *x, int64_t stride, bool aligned, const float *mean, int64_t cols, bf16 *out,
                          int64_t padded) {
  constexpr int width = 8;
  float square = 0, residual = 0;
  for (int64_t column = threadIdx.x % 32 * width; column < padded; column += 32 * width) {
    float values[width] = {}, shift[width] = {};
    const int64_t n = cols - column;
    if (x && n > 0) {
      loadSome(x + column * stride, stride, n, aligned, values);
      loadSome(mean + column, 1, n, true, shift);
    }
    for (int j = 0; j < width; ++j) {
      values[j] -= shift[j];
      const float lost = values[j] - toFloat(toBf16(values[j]));
      square += values[j] * values[j];
      residual += lost * lost;
    }
    storeVector(out + column, values);
  }
  square = warpSum(square);
  residual = warpSum(residual);
  return {square, normSlack * sqrtf(square), normSlack * sqrtf(residual)};
}

// A warp a centroid of the screen's axis [restarts, padded clusters], rounded up to tiles; those that are none of the
// caller's are infinitely far.
__global__ void __launch_bounds__(rowWarps * 32)
    centroidKernel(Strided<const float> centroids, bool aligned, int64_t restarts, int64_t clusters,
                   int64_t paddedClusters, int64_t all, const float *mean, int64_t cols, bf16 *out, int64_t padded,
                   float *squares, Norms *norms) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * rowWarps + threadIdx.x / 32;
  if (i >= all) return;
  const int64_t r = i / paddedClusters, k = i % paddedClusters;
  const bool is = r < restarts && k < clusters;
  Norms its = shiftRow(is ? centroids.at(r, k, 0) : nullptr, centroids.colStride, aligned, mean, cols, out + i * padded,
                       padded);
  if (threadIdx.x % 32 != 0) return;
  squares[i] = is ? its.square : INFINITY;
  norms[i] = {its.square, 2 * its.norm, 2 * its.residual};
}

// The largest norms of each restart: a warp a restart.
__global__ void __launch_bounds__(32) limitKernel(const Norms *norms, int64_t paddedClusters, Norms *limits) {
  Norms most = {0, 0, 0};
  for (int64_t k = threadIdx.x; k < paddedClusters; k += 32) {
    const Norms its = norms[blockIdx.x * paddedClusters + k];
    most = {fmaxf(most.square, its.square), fmaxf(most.norm, its.norm), fmaxf(most.residual, its.residual)};
  }
  most = {warpMax(most.square), warpMax(most.norm), warpMax(most.residual)};
  if (threadIdx.x == 0) limits[blockIdx.x] = most;
}

// A warp a point, up to whole tiles of them.
__global__ void __launch_bounds__(rowWarps * 32)
    pointKernel(Strided<const float> x, bool aligned, int64_t rows, const float *mean, int64_t cols, bf16 *out,
                int64_t padded, Norms *norms) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * rowWarps + threadIdx.x / 32;
  const Norms its = shiftRow(i < rows ? x.row(i) : nullptr, x.colStride, aligned, mean, cols, out + i * padded, padded);
  if (threadIdx.x % 32 == 0) norms[i] = its;
}

// --- 3. the nearest of what is left --------------------------------------------------------------
struct Search {
  Strided<const float> x, centroids;
  bool aligned;
  int64_t rows, cols, clusters, groups;  // groups of a restart
  const Least *least;                    // [restarts · groups, rows]
  const Norms *points, *limits;
  float rounding;  // of m, relative to ‖x‖² + ‖c‖²
};

// Σ (x - c)², by a warp; T: what is added up in.
template <typename T>
__device__ T squaredDistance(const Search &search, int64_t row, int64_t restart, int64_t k) {
  constexpr int width = 4;
  const float *x = search.x.row(row), *c = search.centroids.at(restart, k, 0);
  T sum = 0;
  for (int64_t column = threadIdx.x % 32 * width; column < search.cols; column += 32 * width) {
    float xs[width], cs[width];
    const int64_t n = search.cols - column;
    loadSome(x + column * search.x.colStride, search.x.colStride, n, search.aligned, xs);
    loadSome(c + column * search.centroids.colStride, search.centroids.colStride, n, search.aligned, cs);
    for (int j = 0; j < width; ++j) {
      const T d = static_cast<T>(xs[j]) - static_cast<T>(cs[j]);
      sum += d * d;
    }
  }
  return warpSum(sum);
}

// body(k) for every centroid whose m is at most `bound`, by a warp, in groups' order. Where the second of a group is
// among them, so may be all of its 8.
template <typename Body>
__device__ void forCandidates(const Search &search, int64_t row, int64_t restart, float bound, Body body) {
  for (int64_t first = 0; first < search.groups; first += 32) {
    const int64_t group = first + threadIdx.x % 32;
    Least its = {INFINITY, INFINITY};
    if (group < search.groups) its = search.least[(restart * search.groups + group) * search.rows + row];
    uint32_t left = ballot(its.least <= bound && group < search.groups);
    const uint32_t all = ballot(its.second <= bound && group < search.groups);
    while (left != 0) {
      const int source = lowestBit(left);
      left &= left - 1;
      const uint32_t mark = shuffleIndex(bitsOf(its.least), source) & ~7u;
      const bool one = (all >> source & 1) == 0;
      const uint32_t only = shuffleIndex(bitsOf(its.least), source) & 7u;
      for (uint32_t i = one ? only : 0; i < (one ? only + 1 : 8); ++i) {
        const int64_t k = centroidOf(first + source, floatOf(mark | i));
        if (k < search.clusters) body(k);
      }
    }
  }
}

// Block: 4 warps of 32 points; the grid goes over points and restarts.
__global__ void __launch_bounds__(128) nearestKernel(Search search, int32_t *labels, int64_t stride) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * 128 + threadIdx.x, restart = blockIdx.y;
  const Norms limit = search.limits[restart];
  Least best = {INFINITY, INFINITY};
  int64_t label = 0;
  float bound = 0;
  bool unsure = false;
  if (row < search.rows) {
    for (int64_t group = 0; group < search.groups; ++group) {
      const Least its = search.least[(restart * search.groups + group) * search.rows + row];
      if (its.least < best.least) {
        best = {its.least, fminf(best.least, its.second)};
        label = centroidOf(group, its.least);
      } else {
        best.second = fminf(best.second, its.least);
      }
    }
    const Norms point = search.points[row];
    const float error =
        point.residual * limit.norm + point.norm * limit.residual + search.rounding * (point.square + limit.square);
    bound = best.least + 2 * normSlack * error;
    unsure = best.second <= bound;
  }
  uint32_t left = ballot(unsure);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float error = static_cast<float>(search.cols / 32 + 16) * 1.2e-7f;  // of squaredDistance<float>, relative
  while (left != 0) {
    const int source = lowestBit(left);
    left &= left - 1;
    const int64_t its = row - lane + source;
    const float itsBound = shuffleIndex(bound, source);
    float least = INFINITY, second = INFINITY;
    int64_t nearest = 0;
    forCandidates(search, its, restart, itsBound, [&](int64_t k) {
      const float d = squaredDistance<float>(search, its, restart, k);
      second = d < least ? least : fminf(second, d);
      if (d < least) least = d, nearest = k;
    });
    if (second <= least * (1 + 2 * error)) {
      double exact = INFINITY;
      forCandidates(search, its, restart, itsBound, [&](int64_t k) {
        const double d = squaredDistance<double>(search, its, restart, k);
        if (d < exact || (d == exact && k < nearest)) exact = d, nearest = k;
      });
    }
    if (lane == source) label = nearest;
  }
  if (row < search.rows) labels[restart * stride + row] = static_cast<int32_t>(label);
}

// A warp a point: its distance to the centroid of its label for every restart.
__global__ void __launch_bounds__(rowWarps * 32)
    distanceKernel(Search search, int64_t restarts, const int32_t *labels, Strided<float> distance) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * rowWarps + threadIdx.x / 32;
  if (row >= search.rows) return;
  for (int64_t r = 0; r < restarts; ++r) {
    const double d = squaredDistance<double>(search, row, r, labels[r * search.rows + row]);
    if (threadIdx.x % 32 == 0) *distance.at(0, r, row) = static_cast<float>(d);
  }
}

__global__ void __launch_bounds__(256) zeroLabelKernel(int32_t *labels, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i < count) labels[i] = 0;
}

// One allocation, cut into arrays.
class Cutter {
 public:
  template <typename T>
  int64_t take(int64_t count) {
    const int64_t at = bytes_;
    bytes_ = roundUp(bytes_ + count * static_cast<int64_t>(sizeof(T)), 256);
    return at;
  }
  size_t bytes() const { return static_cast<size_t>(bytes_); }

 private:
  int64_t bytes_ = 0;
};

}  // namespace

template <>
void CudaBackend::perform(const AssignClusters &assignment) {
  const View &x = assignment.x, &centroids = assignment.centroids, &distance = assignment.distance;
  const int64_t N = x.rows, C = x.cols, R = centroids.batch, K = centroids.rows;
  if (R * K == 0) return;
  // With nothing to choose from there is only a distance to measure: seeding asks for one new centre a restart.
  const bool screens = K > 1 && N > 0;
  const int64_t paddedCols = roundUp(std::max<int64_t>(C, 1), slice), paddedClusters = roundUp(K, warpCentroids);
  const int64_t all = roundUp(R * paddedClusters, tile), groups = all / warpCentroids * groupsOfWarp;
  const int64_t mostRows = std::min(N, blockRows), tileRows = roundUp(mostRows, tile);

  Cutter cutter;
  const int64_t meanAt = cutter.take<float>(screens ? C : 0);
  const int64_t centroidsAt = cutter.take<bf16>(screens ? all * paddedCols : 0);
  const int64_t squaresAt = cutter.take<float>(screens ? all : 0), normsAt = cutter.take<Norms>(screens ? all : 0);
  const int64_t limitsAt = cutter.take<Norms>(screens ? R : 0);
  const int64_t pointsAt = cutter.take<bf16>(screens ? tileRows * paddedCols : 0);
  const int64_t pointNormsAt = cutter.take<Norms>(screens ? tileRows : 0);
  const int64_t leastAt = cutter.take<Least>(screens ? groups * mostRows : 0);
  const int64_t totalsAt = cutter.take<double>(assignment.sums ? R * K * C : 0);
  const int64_t membersAt = cutter.take<int32_t>(assignment.sums ? R * K : 0);
  auto *memory = static_cast<char *>(scratch(cutter.bytes()));

  auto *mean = reinterpret_cast<float *>(memory + meanAt), *squares = reinterpret_cast<float *>(memory + squaresAt);
  auto *shifted = reinterpret_cast<bf16 *>(memory + centroidsAt), *points = reinterpret_cast<bf16 *>(memory + pointsAt);
  auto *norms = reinterpret_cast<Norms *>(memory + normsAt), *limits = reinterpret_cast<Norms *>(memory + limitsAt);
  auto *pointNorms = reinterpret_cast<Norms *>(memory + pointNormsAt);
  auto *least = reinterpret_cast<Least *>(memory + leastAt);
  const auto centroidView = strided<const float>(centroids);
  const bool aligned = rowsAligned(x) && rowsAligned(centroids);

  if (screens) {
    launch(meanKernel, blocksFor(C, 32), dim3(32, 32), sizeof(double) * 32 * 32, stream(), centroidView, R, K, C, mean);
    launch(centroidKernel, blocksFor(all, rowWarps), rowWarps * 32, 0, stream(), centroidView, rowsAligned(centroids),
           R, K, paddedClusters, all, mean, C, shifted, paddedCols, squares, norms);
    launch(limitKernel, static_cast<uint32_t>(R), 32, 0, stream(), norms, paddedClusters, limits);
  } else {
    launch(zeroLabelKernel, blocksFor(R * N, 256), 256, 0, stream(), assignment.labels, R * N);
  }
  const ClusterSums sums(R, K, C, reinterpret_cast<double *>(memory + totalsAt),
                         reinterpret_cast<int32_t *>(memory + membersAt));
  // Tensor cores cut 8 products and the sum so far off at 2^-24 of the largest, and the result at 2^-23: in 16 columns
  // 1.3e-6 of ‖x‖ ‖c‖ at most.
  Search search = {strided<const float>(x),
                   centroidView,
                   aligned,
                   N,
                   C,
                   K,
                   paddedClusters / warpCentroids * groupsOfWarp,
                   least,
                   pointNorms,
                   limits,
                   4e-6f + static_cast<float>(paddedCols / 16) * 1.4e-6f};
  for (int64_t at = 0; at < N; at += blockRows) {
    const View rows = x.rowRange(at, std::min(blockRows, N - at));
    if (screens) {
      search.x = strided<const float>(rows);
      search.rows = rows.rows;
      const uint32_t tiles = blocksFor(rows.rows, tile);
      launch(pointKernel, tiles * (tile / rowWarps), rowWarps * 32, 0, stream(), search.x, rowsAligned(x), rows.rows,
             mean, C, points, paddedCols, pointNorms);
      launch(screenKernel, dim3(static_cast<uint32_t>(all / tile), tiles), screenThreads,
             stages * 2 * tile * slice * sizeof(bf16), stream(), points, shifted, paddedCols, squares, least,
             rows.rows);
      launch(nearestKernel, dim3(blocksFor(rows.rows, 128), static_cast<uint32_t>(R)), 128, 0, stream(), search,
             assignment.labels + at, N);
    }
    if (assignment.sums) sums.add(rows, assignment.labels + at, N, at == 0, stream());
  }
  if (assignment.sums) sums.store(assignment.sums, assignment.counts, N == 0, stream());
  if (!distance) return;
  search.x = strided<const float>(x);
  search.rows = N;
  launch(distanceKernel, blocksFor(N, rowWarps), rowWarps * 32, 0, stream(), search, R, assignment.labels,
         strided<float>(distance));
}

}  // namespace emoframe
