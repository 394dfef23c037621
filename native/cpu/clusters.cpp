// k-means' inner op: the nearest centroid of every row, and the sums of the members. Rows are taken a block at a time:
// while a block lies in cache, it is screened, the few centroids that are left are measured, and its rows are added up.
//
// The screen (cluster_screen.h) gives for every centroid a range that its distance surely lies in, and leaves those
// that can be the nearest. When that is more than one, they are measured as Σ (x - c)², in fp32 and those still too
// close to call in double. The label is therefore the true nearest centroid (lowest index on an exact tie), whatever
// the screen multiplies. It begins with integers; where their ranges leave so many centroids that measuring costs more
// than the quicker product gained, the rest of the points is screened in bf16 or fp32.
#include <atomic>
#include <cmath>
#include <limits>

#include "backend.h"
#include "blocks.h"
#include "cluster_screen.h"
#include "thread_buffer.h"

namespace emoframe {

namespace {

constexpr int64_t taskRows = ClusterScreen::maxRows;  // what a thread screens at a time
constexpr int64_t slice = 384;                        // columns that are added up together
// Centroids of which one may be measured beside the nearest before a wider product costs less: half of a bf16 product
// and three quarters of one in fp32 is what integers gain.
constexpr int64_t measuredPerBf16 = 8, measuredPerFloat = 4;

// Rows of a block: they are added up while they lie in cache (L2 and L3), and the more of them a cluster has the less
// often its sums come and go.
int64_t blockRows(int64_t clusters) { return std::clamp<int64_t>(16 * clusters, 1024, 8192); }

// Several sums at once, so that one addition need not wait for the one before it. The compiler cuts these vectors to
// what a CPU has.
typedef float Floats __attribute__((vector_size(64)));
typedef float HalfFloats __attribute__((vector_size(32)));
typedef double Doubles __attribute__((vector_size(64)));

template <typename Vector>
EMOFRAME_INLINE void read(const float *from, Vector *to) {
  std::memcpy(to, from, sizeof(Vector));
}

EMOFRAME_SIMD double squaredDistance(const float *a, const float *b, int64_t n) {
  Doubles sums[4] = {};
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    for (int64_t j = 0; j < 4; ++j) {
      HalfFloats x, y;
      read(a + i + 8 * j, &x);
      read(b + i + 8 * j, &y);
      const Doubles d = __builtin_convertvector(x, Doubles) - __builtin_convertvector(y, Doubles);
      sums[j] += d * d;
    }
  }
  const Doubles lanes = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double sum = 0;
  for (int64_t j = 0; j < 8; ++j) sum += lanes[j];
  for (; i < n; ++i) {
    const double d = static_cast<double>(a[i]) - b[i];
    sum += d * d;
  }
  return sum;
}
// In fp32, whose lanes are twice as many.
EMOFRAME_SIMD float roundedSquaredDistance(const float *a, const float *b, int64_t n) {
  Floats sums[4] = {};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (int64_t j = 0; j < 4; ++j) {
      Floats x, y;
      read(a + i + 16 * j, &x);
      read(b + i + 16 * j, &y);
      const Floats d = x - y;
      sums[j] += d * d;
    }
  }
  const Floats lanes = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float sum = 0;
  for (int64_t j = 0; j < 16; ++j) sum += lanes[j];
  for (; i < n; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}
// Its error relative to the distance: all terms are positive, and a lane adds n / 64 of them.
float roundedDistanceError(int64_t n) { return static_cast<float>(n / 64 + 16) * 1.2e-7f; }

EMOFRAME_SIMD bool anyAtMost(const float *values, float bound, int64_t n) {
  int32_t any = 0;
#pragma omp simd reduction(| : any)
  for (int64_t i = 0; i < n; ++i) any |= values[i] <= bound;
  return any != 0;
}

// totals[i] += the rows' columns, rows in the order given. A strip of columns stays in registers meanwhile.
EMOFRAME_SIMD void addRows(const float *x, int64_t stride, const int32_t *rows, int64_t count, double *totals,
                           int64_t width) {
  constexpr int64_t vectors = 12, strip = 8 * vectors;
  int64_t at = 0;
  for (; at + strip <= width; at += strip) {
    Doubles sums[vectors];
    std::memcpy(sums, totals + at, sizeof(sums));
    for (int64_t r = 0; r < count; ++r) {
      const float *row = x + rows[r] * stride + at;
#pragma GCC unroll 16
      for (int64_t j = 0; j < vectors; ++j) {
        HalfFloats values;
        read(row + 8 * j, &values);
        sums[j] += __builtin_convertvector(values, Doubles);
      }
    }
    std::memcpy(totals + at, sums, sizeof(sums));
  }
  for (int64_t r = 0; r < count; ++r) {
    const float *row = x + rows[r] * stride;
#pragma GCC ivdep
    for (int64_t i = at; i < width; ++i) totals[i] += row[i];
  }
}

// Of one restart, given the products of a point with its centroids: the label, and how many distances that took.
struct Nearest {
  int64_t k, measured;
};
template <typename SpanProducts, typename CentroidAt>
Nearest nearestOf(const std::vector<ClusterScreen::Span> &spans, const SpanProducts &productsOf,
                  const ClusterScreen &screen, int64_t first, const PointNorms &norms, const float *point,
                  const CentroidAt &centroid, int64_t C) {
  float bound = std::numeric_limits<float>::infinity();
  for (const ClusterScreen::Span &span : spans)
    bound = std::min(bound, screen.bounds(productsOf(span), first + span.first, span.count, norms));
  struct Candidate {
    int64_t k;
    float least, distance;
  };
  static thread_local std::vector<Candidate> candidates;
  candidates.clear();
  for (const ClusterScreen::Span &span : spans) {
    const float *values = productsOf(span);
    for (int64_t at = 0; at < span.count; at += 64) {
      const int64_t n = std::min<int64_t>(64, span.count - at);
      if (!anyAtMost(values + at, bound, n)) continue;
      for (int64_t i = at; i < at + n; ++i) {
        if (values[i] <= bound) candidates.push_back({span.first + i, values[i], 0});
      }
    }
  }
  // No candidate at all means NaN somewhere; cluster 0 is as good as any.
  if (candidates.empty()) return {0, 0};
  if (candidates.size() == 1) return {candidates[0].k, 0};

  // The likeliest is measured first: that rules most of the others out.
  const float error = roundedDistanceError(C), xSquare = norms.square;
  Candidate &likeliest = *std::min_element(candidates.begin(), candidates.end(),
                                           [](const Candidate &a, const Candidate &b) { return a.least < b.least; });
  likeliest.distance = roundedSquaredDistance(point, centroid(likeliest.k), C);
  const float reached = likeliest.distance * (1 + error) - xSquare * (1 - ClusterScreen::squareError);
  float least = likeliest.distance;
  int64_t measured = 1;
  for (Candidate &candidate : candidates) {
    if (&candidate == &likeliest) continue;
    candidate.distance = std::numeric_limits<float>::infinity();
    if (candidate.least > reached) continue;
    candidate.distance = roundedSquaredDistance(point, centroid(candidate.k), C);
    least = std::min(least, candidate.distance);
    ++measured;
  }
  least *= 1 + 2 * error;
  int64_t best = 0, close = 0;
  for (const Candidate &candidate : candidates) {
    if (candidate.distance > least) continue;
    if (close++ == 0) best = candidate.k;
  }
  if (close < 2) return {best, measured};
  double nearest = std::numeric_limits<double>::infinity();
  for (const Candidate &candidate : candidates) {
    if (candidate.distance > least) continue;
    const double d = squaredDistance(point, centroid(candidate.k), C);
    if (d < nearest) nearest = d, best = candidate.k;
  }
  return {best, measured};
}

// Sums of members in double, over blocks of rows. Each task keeps a slice of columns and adds rows in their order, so
// no partials are needed. Within a block rows go cluster by cluster, whose sums then stay in registers or at least in
// L1, and a block is long enough for every cluster to have some.
class MemberSums {
 public:
  MemberSums(int64_t restarts, int64_t clusters, int64_t C, int threads)
      : R_(restarts),
        K_(clusters),
        C_(C),
        threads_(threads),
        totals_(static_cast<size_t>(restarts * clusters * C), 0.0),
        members_(static_cast<size_t>(restarts * clusters), 0),
        starts_(static_cast<size_t>(restarts * (clusters + 1))),
        order_(static_cast<size_t>(restarts * blockRows(clusters))) {}

  // Rows [0, n) of x [n, C]; label of restart r and row i is labels[r · stride + i].
  void add(const View &x, const int32_t *labels, int64_t stride) {
    const int64_t n = x.rows;
    for (int64_t r = 0; r < R_; ++r) {
      int32_t *starts = starts_.data() + r * (K_ + 1), *order = order_.data() + r * n;
      std::fill(starts, starts + K_ + 1, 0);
      for (int64_t i = 0; i < n; ++i) ++starts[labels[r * stride + i] + 1];
      for (int64_t k = 0; k < K_; ++k) {
        members_[r * K_ + k] += starts[k + 1];
        starts[k + 1] += starts[k];
      }
      for (int64_t i = 0; i < n; ++i) order[starts[labels[r * stride + i]]++] = static_cast<int32_t>(i);
      // Every start has moved to its cluster's end.
    }
    const int64_t slices = chunkCount(C_, slice);
    parallelFor(threads_, slices, 1, [&](int64_t index, int64_t) {
      const int64_t c = index * slice, width = std::min(slice, C_ - c);
      const auto *columns = static_cast<const float *>(x.at(0, 0, c));
      for (int64_t r = 0; r < R_; ++r) {
        int32_t begin = 0;
        for (int64_t k = 0; k < K_; ++k) {
          const int32_t end = starts_[r * (K_ + 1) + k];
          addRows(columns, x.rowStride, order_.data() + r * n + begin, end - begin,
                  totals_.data() + (r * K_ + k) * C_ + c, width);
          begin = end;
        }
      }
    });
  }

  void store(const View &sums, const View &counts) const {
    parallelFor(threads_, R_ * K_, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float *target = static_cast<float *>(sums.at(i / K_, i % K_, 0));
        for (int64_t c = 0; c < C_; ++c) target[c] = static_cast<float>(totals_[i * C_ + c]);
        *static_cast<float *>(counts.at(i / K_, 0, i % K_)) = static_cast<float>(members_[i]);
      }
    });
  }

 private:
  int64_t R_, K_, C_;
  int threads_;
  std::vector<double> totals_;    // [R, K, C]
  std::vector<int64_t> members_;  // [R, K]
  std::vector<int32_t> starts_;   // [R, K + 1]
  std::vector<int32_t> order_;    // [R, rows of a block]
};

}  // namespace

template <>
void CpuBackend::perform(const AssignClusters &assignment) {
  const View &x = assignment.x, &centroids = assignment.centroids, &distance = assignment.distance;
  const int64_t N = x.rows, C = x.cols, R = centroids.batch, K = centroids.rows;
  if (R * K == 0) return;
  int32_t *labels = assignment.labels;
  const auto point = [&](int64_t i) { return static_cast<const float *>(x.at(0, i, 0)); };
  const auto centroid = [&](int64_t r, int64_t k) { return static_cast<const float *>(centroids.at(r, k, 0)); };

  std::unique_ptr<MemberSums> sums;
  if (assignment.sums) sums = std::make_unique<MemberSums>(R, K, C, threads_);
  // With nothing to choose from there is only a distance to measure: seeding asks for one new centre a restart.
  std::unique_ptr<const ClusterScreen> screen;
  if (K > 1 && N > 0) screen = std::make_unique<const ClusterScreen>(centroids, true, threads_);
  std::atomic<int64_t> measured{0};

  const auto measure = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t r = 0; r < R; ++r) {
        labels[r * N + i] = 0;
        if (distance) *static_cast<float *>(distance.at(0, r, i)) = roundedSquaredDistance(point(i), centroid(r, 0), C);
      }
    }
  };
  const auto search = [&](int64_t begin, int64_t end) {
    static thread_local ThreadBuffer pointBuffer, productBuffer;
    const int64_t rows = end - begin, paddedRows = ClusterScreen::paddedRows(rows);
    auto *points = reinterpret_cast<char *>(
        pointBuffer.floats(chunkCount(paddedRows * screen->rowBytes(), static_cast<int64_t>(sizeof(float)))));
    PointNorms norms[taskRows];
    for (int64_t i = 0; i < rows; ++i) norms[i] = screen->round(point(begin + i), points + i * screen->rowBytes());
    size_t index = 0;
    int64_t measuredHere = 0;
    for (const ClusterScreen::Group &group : screen->groups()) {
      int64_t cols = 0;
      for (const ClusterScreen::Group::Part &part : group.parts) cols += part.count;
      float *products = productBuffer.floats(paddedRows * cols);
      std::vector<float *> of;
      for (const ClusterScreen::Group::Part &part : group.parts) {
        of.push_back(products);
        screen->multiply(index++, part, points, rows, products);
        products += paddedRows * part.count;
      }
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t g = 0; g < group.restarts; ++g) {
          const int64_t r = group.firstRestart + g;
          const auto productsOf = [&](const ClusterScreen::Span &span) {
            return of[span.part] + i * group.parts[span.part].count + span.column;
          };
          const auto centroidOf = [&](int64_t k) { return centroid(r, k); };
          const Nearest nearest =
              nearestOf(group.spans[g], productsOf, *screen, r * K, norms[i], point(begin + i), centroidOf, C);
          measuredHere += nearest.measured;
          labels[r * N + begin + i] = static_cast<int32_t>(nearest.k);
          if (!distance) continue;
          const double d = squaredDistance(point(begin + i), centroidOf(nearest.k), C);
          *static_cast<float *>(distance.at(0, r, begin + i)) = static_cast<float>(d);
        }
      }
    }
    measured += measuredHere;
  };
  const int64_t block = blockRows(K);
  const int64_t measuredPer = onednn::nativeBf16() ? measuredPerBf16 : measuredPerFloat;
  for (int64_t at = 0; at < N; at += block) {
    const int64_t n = std::min(block, N - at);
    parallelFor(threads_, n, taskRows, [&](int64_t begin, int64_t end) {
      if (screen) {
        search(at + begin, at + end);
      } else {
        measure(at + begin, at + end);
      }
    });
    if (sums) sums->add(x.rowRange(at, n), labels + at, N);
    if (screen && screen->integers() && measured > n * R * K / measuredPer)
      screen = std::make_unique<const ClusterScreen>(centroids, false, threads_);
    measured = 0;
  }
  if (sums) sums->store(assignment.sums, assignment.counts);
}

}  // namespace emoframe
