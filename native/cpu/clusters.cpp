// k-means' two inner ops. Distances are a matrix product, ‖c‖² - 2 x · c + ‖x‖², over all restarts at once, a block of
// rows at a time. That form cancels when points lie far from the origin compared with their spread, so
// - the mean of all centroids is first taken off points and centroids, which changes no distance;
// - every centroid whose product form is within its rounding error of the best is measured again as Σ (x - c)² in
// double. The label is therefore the true nearest one (lowest index on an exact tie), whatever order a matrix product
// adds in.
#include "backend.h"
#include "blocks.h"

namespace emoframe {

namespace {

// Rounding error of the product form relative to ‖x‖² + ‖c‖², with room to spare: fp32 sums of up to some thousand
// terms.
constexpr float roundingError = 2e-6f;

EMOFRAME_SIMD void subtract(const float *x, const float *shift, float *out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] - shift[i];
}
EMOFRAME_SIMD double squaredDistance(const float *a, const float *b, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(a[i]) - b[i];
    sum += d * d;
  }
  return sum;
}
// Where nothing is compared: in fp32, whose lanes are twice as many, 256 terms at a time.
EMOFRAME_SIMD float roundedSquaredDistance(const float *a, const float *b, int64_t n) {
  double total = 0;
  for (int64_t at = 0; at < n; at += 256) {
    const int64_t end = n - at < 256 ? n : at + 256;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = at; i < end; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
    total += sum;
  }
  return static_cast<float>(total);
}
// products → ‖c‖² - 2 x · c in place; returns the least.
EMOFRAME_SIMD float partialDistances(float *products, const float *squares, int64_t n) {
  float least = products[0] * -2 + squares[0];
#pragma omp simd reduction(min : least)
  for (int64_t i = 0; i < n; ++i) {
    products[i] = squares[i] - 2 * products[i];
    least = products[i] < least ? products[i] : least;
  }
  return least;
}

// totals[label of row i] += row i, rows in order.
EMOFRAME_SIMD void addMembers(const float *x, int64_t stride, const int32_t *labels, int64_t rows, double *totals,
                              int64_t width) {
  for (int64_t r = 0; r < rows; ++r) {
    const float *row = x + r * stride;
    double *total = totals + labels[r] * width;
#pragma GCC ivdep
    for (int64_t i = 0; i < width; ++i) total[i] += row[i];
  }
}

}  // namespace

void CpuBackend::assignClusters(const View &x, const View &centroids, int32_t *labels, const View &distance) {
  const int64_t N = x.rows, C = x.cols, R = centroids.batch, K = centroids.rows;
  if (N == 0 || R * K == 0) return;
  const auto centroid = [&](int64_t i) { return static_cast<const float *>(centroids.at(i / K, i % K, 0)); };
  const auto point = [&](int64_t i) { return static_cast<const float *>(x.at(0, i, 0)); };

  // With nothing to choose from there is only a distance to measure: seeding asks for one new centre a restart.
  if (K == 1) {
    parallelFor(threads_, N, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t r = 0; r < R; ++r) {
          labels[r * N + i] = 0;
          if (!distance) continue;
          *static_cast<float *>(distance.at(0, r, i)) = roundedSquaredDistance(point(i), centroid(r), C);
        }
      }
    });
    return;
  }

  std::vector<double> sums(static_cast<size_t>(C), 0.0);
  for (int64_t i = 0; i < R * K; ++i) addTo(sums.data(), centroid(i), C);
  std::vector<float> shift(static_cast<size_t>(C));
  for (int64_t c = 0; c < C; ++c) shift[c] = static_cast<float>(sums[c] / static_cast<double>(R * K));

  std::vector<float> shifted(static_cast<size_t>(R * K * C)), squares(static_cast<size_t>(R * K));
  parallelFor(threads_, R * K, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      subtract(centroid(i), shift.data(), &shifted[i * C], C);
      squares[i] = static_cast<float>(sumOfSquares(&shifted[i * C], C));
    }
  });
  std::vector<float> largest(static_cast<size_t>(R));
  for (int64_t r = 0; r < R; ++r) largest[r] = *std::max_element(&squares[r * K], &squares[r * K] + K);

  // A block of products is at most 4 MB, so that it is still in cache when it is searched.
  const int64_t block = std::min(N, std::max<int64_t>(32, std::min<int64_t>(1024, (int64_t{1} << 20) / (R * K))));
  std::vector<float> points(static_cast<size_t>(block * C)), norms(static_cast<size_t>(block));
  std::vector<float> products(static_cast<size_t>(block * R * K));
  for (int64_t at = 0; at < N; at += block) {
    const int64_t n = std::min(block, N - at);
    parallelFor(threads_, n, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        subtract(point(at + i), shift.data(), &points[i * C], C);
        norms[i] = static_cast<float>(sumOfSquares(&points[i * C], C));
      }
    });
    Gemm product;
    product.a = matrix(points.data(), DType::f32, n, C);
    product.b = matrix(shifted.data(), DType::f32, R * K, C).transposed();
    product.out = matrix(products.data(), DType::f32, n, R * K);
    gemm(product);
    parallelFor(threads_, n, 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t r = 0; r < R; ++r) {
          float *row = &products[i * R * K + r * K];
          const float bound = partialDistances(row, &squares[r * K], K) + 2 * roundingError * (norms[i] + largest[r]);
          int64_t best = -1, candidates = 0;
          for (int64_t k = 0; k < K; ++k) {
            if (row[k] > bound) continue;
            if (candidates++ == 0) best = k;
          }
          // No candidate at all means NaN somewhere; cluster 0 is as good as any.
          if (best < 0) best = 0;
          double nearest = -1;
          if (candidates > 1 || distance) nearest = squaredDistance(point(at + i), centroid(r * K + best), C);
          for (int64_t k = best + 1; candidates > 1 && k < K; ++k) {
            if (row[k] > bound) continue;
            const double d = squaredDistance(point(at + i), centroid(r * K + k), C);
            if (d < nearest) nearest = d, best = k;
          }
          labels[r * N + at + i] = static_cast<int32_t>(best);
          if (distance) *static_cast<float *>(distance.at(0, r, at + i)) = static_cast<float>(nearest);
        }
      }
    });
  }
}

// Each task keeps the sums of a few restarts for a slice of columns and reads the rows in order, so no partials are
// needed: a block of rows is added to one restart after another while it lies in cache, as do the sums of a slice.
void CpuBackend::sumClusters(const View &x, const int32_t *labels, const View &sums, const View &counts) {
  constexpr int64_t slice = 64, together = 5, block = 128;
  const int64_t N = x.rows, C = x.cols, R = sums.batch, K = sums.rows, slices = chunkCount(C, slice);
  parallelFor(threads_, chunkCount(R, together) * slices, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task / slices * together, restarts = std::min(together, R - first);
      const int64_t c = task % slices * slice, width = std::min(slice, C - c);
      std::vector<double> totals(static_cast<size_t>(restarts * K * width), 0.0);
      for (int64_t at = 0; at < N; at += block) {
        for (int64_t r = 0; r < restarts; ++r) {
          addMembers(static_cast<const float *>(x.at(0, at, c)), x.rowStride, labels + (first + r) * N + at,
                     std::min(block, N - at), totals.data() + r * K * width, width);
        }
      }
      for (int64_t i = 0; i < restarts * K; ++i) {
        float *target = static_cast<float *>(sums.at(first + i / K, i % K, c));
        for (int64_t w = 0; w < width; ++w) target[w] = static_cast<float>(totals[i * width + w]);
      }
    }
  });
  for (int64_t r = 0; r < R; ++r) {
    std::vector<int64_t> members(static_cast<size_t>(K), 0);
    for (int64_t i = 0; i < N; ++i) ++members[labels[r * N + i]];
    for (int64_t k = 0; k < K; ++k) *static_cast<float *>(counts.at(r, 0, k)) = static_cast<float>(members[k]);
  }
}

}  // namespace emoframe
