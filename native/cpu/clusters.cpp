// k-means' inner op: the nearest centroid of every row, and the sums of the members. Rows are taken a block at a time:
// while a block lies in cache, it is screened, the few centroids that are left are measured, and its rows are added up.
//
// The screen is a matrix product, ‖c‖² - 2 x · c + ‖x‖², in bf16 where the CPU multiplies that itself, else in fp32. It
// gives for every centroid a range that its distance surely lies in, and leaves those that can be the nearest; when
// that is more than one, they are measured as Σ (x - c)², in fp32 and those still too close to tell in double. The
// label is therefore the true nearest centroid (lowest index on an exact tie), whatever the product is rounded to. The
// range is small because
// - the mean of all centroids is first taken off points and centroids, which changes no distance, so that points far
//   from the origin cancel little;
// - what rounding to bf16 took off a point and a centroid is known: |x · c - x' · c'| <= ‖x - x'‖ ‖c‖ + ‖x'‖ ‖c - c'‖.
#include <cmath>
#include <limits>

#include "backend.h"
#include "blocks.h"
#include "onednn.h"
#include "packed.h"
#include "thread_buffer.h"

namespace emoframe {

namespace {

constexpr int64_t taskRows = 128;    // what a thread screens at a time
constexpr int64_t packedCols = 384;  // centroids in one product
constexpr int64_t slice = 384;       // columns that are added up together

// Rows of a block: they are added up while they lie in cache (L2 and L3), and the more of them a cluster has the less
// often its sums come and go.
int64_t blockRows(int64_t clusters) { return std::clamp<int64_t>(16 * clusters, 1024, 8192); }

// Rounding error of an fp32 product form relative to ‖x‖² + ‖c‖², with room to spare: sums of up to some thousand
// terms.
constexpr float roundingError = 2e-6f;
// Norms are sums in fp32 themselves.
constexpr float normSlack = 1.0001f;

struct Norms {
  float square = 0;    // ‖x‖²
  float residual = 0;  // ‖x - x'‖²
};

EMOFRAME_SIMD Norms subtract(const float *x, const float *shift, float *out, int64_t n) {
  float square = 0;
#pragma omp simd reduction(+ : square)
  for (int64_t i = 0; i < n; ++i) {
    const float d = x[i] - shift[i];
    out[i] = d;
    square += d * d;
  }
  return {square, 0};
}
EMOFRAME_SIMD Norms subtract(const float *x, const float *shift, Bf16 *out, int64_t n) {
  float square = 0, residual = 0;
#pragma omp simd reduction(+ : square, residual)
  for (int64_t i = 0; i < n; ++i) {
    const float d = x[i] - shift[i];
    // Finite values only need the rounding itself; a NaN or an infinity ends in a norm that says so.
    const uint32_t bits = floatToBits(d);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    out[i].bits = static_cast<uint16_t>(rounded);
    const float lost = d - bitsToFloat(rounded << 16);
    square += d * d;
    residual += lost * lost;
  }
  return {square, residual};
}

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

// What the screen knows of a centroid beside its product with a point.
struct Centroids {
  std::vector<float> square, norm, residual;  // ‖c‖², 2 ‖c‖, 2 ‖c - c'‖
};

// products → the least that ‖x - c‖² - ‖x‖² can be, in place; returns the least that it is at most.
EMOFRAME_SIMD float bounds(float *products, const float *square, const float *norm, const float *residual,
                           float xSquare, float xNorm, float xResidual, int64_t n) {
  float least = std::numeric_limits<float>::infinity();
#pragma omp simd reduction(min : least)
  for (int64_t i = 0; i < n; ++i) {
    const float error = xResidual * norm[i] + xNorm * residual[i] + roundingError * (xSquare + square[i]);
    const float middle = square[i] - 2 * products[i];
    products[i] = middle - error;
    least = middle + error < least ? middle + error : least;
  }
  return least;
}

EMOFRAME_SIMD bool anyAtMost(const float *values, float bound, int64_t n) {
  int32_t any = 0;
#pragma omp simd reduction(| : any)
  for (int64_t i = 0; i < n; ++i) any |= values[i] <= bound;
  return any != 0;
}

// totals[i] += the rows' columns, rows in the order given. A stretch of columns stays in registers meanwhile.
EMOFRAME_SIMD void addRows(const float *x, int64_t stride, const int32_t *rows, int64_t count, double *totals,
                           int64_t width) {
  constexpr int64_t vectors = 12, stretch = 8 * vectors;
  int64_t at = 0;
  for (; at + stretch <= width; at += stretch) {
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

// Neighbouring columns of a product that are centroids of one restart.
struct Span {
  int64_t part, column, first, count;  // of which part and where in it; which centroids k
};
// Restarts whose products are formed together, in parts of at most packedCols centroids.
struct Group {
  struct Part {
    int64_t first, count;  // centroids of all restarts
  };
  int64_t firstRestart = 0, restarts = 0;
  std::vector<Part> parts;
  std::vector<std::vector<Span>> spans;  // of each of its restarts
};

std::vector<Group> groupsOf(int64_t restarts, int64_t clusters) {
  std::vector<Group> groups;
  if (clusters > packedCols) {
    const int64_t parts = chunkCount(clusters, packedCols), width = chunkCount(chunkCount(clusters, parts), 16) * 16;
    for (int64_t r = 0; r < restarts; ++r) {
      Group group{r, 1, {}, {{}}};
      for (int64_t k = 0; k < clusters; k += width) {
        const int64_t count = std::min(width, clusters - k);
        group.spans[0].push_back({static_cast<int64_t>(group.parts.size()), 0, k, count});
        group.parts.push_back({r * clusters + k, count});
      }
      groups.push_back(std::move(group));
    }
    return groups;
  }
  const int64_t together = packedCols / clusters;
  for (int64_t r = 0; r < restarts; r += together) {
    Group group{r, std::min(together, restarts - r), {}, {}};
    group.parts.push_back({r * clusters, group.restarts * clusters});
    for (int64_t i = 0; i < group.restarts; ++i) group.spans.push_back({{0, i * clusters, 0, clusters}});
    groups.push_back(std::move(group));
  }
  return groups;
}

// The centroids as the screen multiplies them.
class Screen {
 public:
  Screen(const View &centroids, int threads)
      : C_(centroids.cols),
        dtype_(onednn::packs(DType::bf16) ? DType::bf16 : DType::f32),
        groups_(groupsOf(centroids.batch, centroids.rows)),
        shift_(static_cast<size_t>(C_)) {
    const int64_t all = centroids.batch * centroids.rows;
    const auto centroid = [&](int64_t i) {
      return static_cast<const float *>(centroids.at(i / centroids.rows, i % centroids.rows, 0));
    };
    std::vector<double> sums(static_cast<size_t>(C_), 0.0);
    for (int64_t i = 0; i < all; ++i) addTo(sums.data(), centroid(i), C_);
    for (int64_t c = 0; c < C_; ++c) shift_[c] = static_cast<float>(sums[c] / static_cast<double>(all));

    for (std::vector<float> *of : {&known_.square, &known_.norm, &known_.residual})
      of->resize(static_cast<size_t>(all));
    shifted_.resize(static_cast<size_t>(all * C_) * sizeOf(dtype_) / sizeof(uint16_t));
    parallelFor(threads, all, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Norms norms = shift(centroid(i), row(i));
        known_.square[i] = norms.square;
        known_.norm[i] = 2 * normSlack * std::sqrt(norms.square);
        known_.residual[i] = 2 * normSlack * std::sqrt(norms.residual);
      }
    });
    if (!onednn::packs(dtype_)) return;
    for (const Group &group : groups_) {
      for (const Group::Part &part : group.parts) {
        packed_.push_back(std::make_unique<PackedOperand>(plain(part).transposed(), C_, part.count, dtype_, threads));
      }
    }
  }

  const std::vector<Group> &groups() const { return groups_; }
  const Centroids &known() const { return known_; }
  DType dtype() const { return dtype_; }

  // x - the common shift, rounded to what is multiplied.
  Norms shift(const float *x, void *out) const {
    return dtype_ == DType::bf16 ? subtract(x, shift_.data(), static_cast<Bf16 *>(out), C_)
                                 : subtract(x, shift_.data(), static_cast<float *>(out), C_);
  }

  // points [rows, C] · a part's centroids → out [rows, part.count], on the calling thread.
  void multiply(size_t packedIndex, const Group::Part &part, const void *points, int64_t rows, float *out) const {
    const auto pointsFrom = [&](int64_t r) {
      return static_cast<const char *>(points) + static_cast<size_t>(r * C_) * sizeOf(dtype_);
    };
    int64_t done = 0;
    if (!packed_.empty()) {
      const auto rowsFrom = [&](int64_t first, int64_t) { return pointsFrom(first); };
      done = multiplyPacked(*packed_[packedIndex], 0, 0, 0, rows, rowsFrom, false, out);
    }
    if (done == rows) return;
    onednn::product(dtype_, rows - done, part.count, C_, {pointsFrom(done), C_, false}, {plain(part).data, C_, true},
                    false, out + done * part.count, part.count);
  }

 private:
  void *row(int64_t i) const {
    return const_cast<uint16_t *>(shifted_.data()) + static_cast<size_t>(i * C_) * sizeOf(dtype_) / sizeof(uint16_t);
  }
  View plain(const Group::Part &part) const { return matrix(row(part.first), dtype_, part.count, C_); }

  int64_t C_;
  DType dtype_;
  std::vector<Group> groups_;
  std::vector<float> shift_;
  std::vector<uint16_t> shifted_;  // [R · K, C]
  Centroids known_;
  std::vector<std::unique_ptr<PackedOperand>> packed_;  // of the groups' parts, in order
};

// Of one restart, given the products of a point with its centroids.
template <typename SpanProducts, typename CentroidAt>
int64_t nearestOf(const std::vector<Span> &spans, const SpanProducts &productsOf, const Centroids &known, int64_t first,
                  const Norms &norms, const float *point, const CentroidAt &centroid, int64_t C) {
  const float xNorm = normSlack * std::sqrt(norms.square), xResidual = normSlack * std::sqrt(norms.residual);
  float bound = std::numeric_limits<float>::infinity();
  for (const Span &span : spans) {
    const int64_t at = first + span.first;
    bound = std::min(bound, bounds(productsOf(span), known.square.data() + at, known.norm.data() + at,
                                   known.residual.data() + at, norms.square, xNorm, xResidual, span.count));
  }
  struct Candidate {
    int64_t k;
    float distance;
  };
  static thread_local std::vector<Candidate> candidates;
  candidates.clear();
  for (const Span &span : spans) {
    const float *values = productsOf(span);
    for (int64_t at = 0; at < span.count; at += 64) {
      const int64_t n = std::min<int64_t>(64, span.count - at);
      if (!anyAtMost(values + at, bound, n)) continue;
      for (int64_t i = at; i < at + n; ++i) {
        if (values[i] <= bound) candidates.push_back({span.first + i, 0});
      }
    }
  }
  // No candidate at all means NaN somewhere; cluster 0 is as good as any.
  if (candidates.empty()) return 0;
  if (candidates.size() == 1) return candidates[0].k;
  float least = std::numeric_limits<float>::infinity();
  for (Candidate &candidate : candidates) {
    candidate.distance = roundedSquaredDistance(point, centroid(candidate.k), C);
    least = std::min(least, candidate.distance);
  }
  least *= 1 + 2 * roundedDistanceError(C);
  int64_t best = 0, close = 0;
  for (const Candidate &candidate : candidates) {
    if (candidate.distance > least) continue;
    if (close++ == 0) best = candidate.k;
  }
  if (close < 2) return best;
  double nearest = std::numeric_limits<double>::infinity();
  for (const Candidate &candidate : candidates) {
    if (candidate.distance > least) continue;
    const double d = squaredDistance(point, centroid(candidate.k), C);
    if (d < nearest) nearest = d, best = candidate.k;
  }
  return best;
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

void CpuBackend::assignClusters(const ClusterAssignment &assignment) {
  const View &x = assignment.x, &centroids = assignment.centroids, &distance = assignment.distance;
  const int64_t N = x.rows, C = x.cols, R = centroids.batch, K = centroids.rows;
  if (R * K == 0) return;
  int32_t *labels = assignment.labels;
  const auto point = [&](int64_t i) { return static_cast<const float *>(x.at(0, i, 0)); };
  const auto centroid = [&](int64_t r, int64_t k) { return static_cast<const float *>(centroids.at(r, k, 0)); };

  std::unique_ptr<MemberSums> sums;
  if (assignment.sums) sums = std::make_unique<MemberSums>(R, K, C, threads_);
  // With nothing to choose from there is only a distance to measure: seeding asks for one new centre a restart.
  std::unique_ptr<const Screen> screen;
  if (K > 1 && N > 0) screen = std::make_unique<const Screen>(centroids, threads_);

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
    const int64_t rows = end - begin;
    float *points = pointBuffer.floats(rows * C);
    Norms norms[taskRows];
    for (int64_t i = 0; i < rows; ++i) {
      norms[i] = screen->shift(point(begin + i),
                               reinterpret_cast<char *>(points) + static_cast<size_t>(i * C) * sizeOf(screen->dtype()));
    }
    size_t packedIndex = 0;
    for (const Group &group : screen->groups()) {
      int64_t cols = 0;
      for (const Group::Part &part : group.parts) cols += part.count;
      float *products = productBuffer.floats(rows * cols);
      std::vector<float *> of;
      for (const Group::Part &part : group.parts) {
        of.push_back(products);
        screen->multiply(packedIndex++, part, points, rows, products);
        products += rows * part.count;
      }
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t g = 0; g < group.restarts; ++g) {
          const int64_t r = group.firstRestart + g;
          const auto productsOf = [&](const Span &span) {
            return of[span.part] + i * group.parts[span.part].count + span.column;
          };
          const auto centroidOf = [&](int64_t k) { return centroid(r, k); };
          const int64_t k =
              nearestOf(group.spans[g], productsOf, screen->known(), r * K, norms[i], point(begin + i), centroidOf, C);
          labels[r * N + begin + i] = static_cast<int32_t>(k);
          if (!distance) continue;
          const double d = squaredDistance(point(begin + i), centroidOf(k), C);
          *static_cast<float *>(distance.at(0, r, begin + i)) = static_cast<float>(d);
        }
      }
    }
  };
  const int64_t block = blockRows(K);
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
  }
  if (sums) sums->store(assignment.sums, assignment.counts);
}

}  // namespace emoframe
