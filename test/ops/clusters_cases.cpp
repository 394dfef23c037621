// k-means' inner op: nearest centroids and sums of members.
#include "harness.h"

namespace emoframe {
namespace test {
namespace {

struct Shape {
  int64_t N, C, R, K;
};
const std::vector<Shape> shapes = {{0, 4, 2, 3},       {1, 1, 1, 1},      {5, 3, 1, 2},     {333, 39, 3, 17},
                                   {1500, 128, 9, 50}, {700, 24, 2, 801}, {8500, 20, 2, 5}, {40, 1100, 2, 33}};

// Labels and distances in float64 of what the tensors hold.
void nearest(const Tensor &x, const Tensor &centroids, const Shape &s, std::vector<int32_t> &labels,
             Doubles &distances) {
  labels.assign(s.R * s.N, 0);
  distances.assign(s.R * s.N, 0);
  for (int64_t r = 0; r < s.R; ++r) {
    for (int64_t n = 0; n < s.N; ++n) {
      double best = INFINITY;
      for (int64_t k = 0; k < s.K; ++k) {
        double d = 0;
        for (int64_t c = 0; c < s.C; ++c) d += std::pow(x(n, c) - centroids(r, k, c), 2);
        if (d < best) best = d, labels[r * s.N + n] = static_cast<int32_t>(k);
      }
      distances[r * s.N + n] = best;
    }
  }
}

void assign(Backend &backend, const Tensor &x, const Tensor &centroids, const Array<int32_t> &labels,
            const View &distance, const View &sums = {}, const View &counts = {}) {
  AssignClusters assignment;
  assignment.x = x;
  assignment.centroids = centroids;
  assignment.labels = labels.data();
  assignment.distance = distance;
  assignment.sums = sums;
  assignment.counts = counts;
  backend.run(assignment);
}

// Labels are compared one by one: the contract is the true nearest centroid.
void assignment(Backend &backend, Report &report, double offset) {
  for (const Shape &s : shapes) {
    const std::string what = std::to_string(s.N) + "x" + std::to_string(s.C) + ", " + std::to_string(s.R) + " restarts";
    const Tensor x = Tensor(backend, DType::f32, s.N, s.C, {3}).normal(1, 1, offset);
    const Tensor centroids = Tensor(backend, DType::f32, s.R, s.K, s.C, {1, 2}).normal(2, 1, offset);
    const Array<int32_t> labels(backend, std::vector<int32_t>(s.R * s.N, -1));
    const Tensor distance = Tensor(backend, DType::f32, s.R, s.N).normal(3);
    std::vector<int32_t> expected;
    Doubles distances;
    nearest(x, centroids, s, expected, distances);
    assign(backend, x, centroids, labels, distance);
    report.same(labels, expected, what + " labels");
    report.close(distance, distances, what + " distances");
    const Array<int32_t> alone(backend, std::vector<int32_t>(s.R * s.N, -1));
    assign(backend, x, centroids, alone, {});
    report.same(alone, expected, what + " labels without distances");
    report.untouched(x, what + " x");
    report.untouched(centroids, what + " centroids");
  }
}

// Pairs of centroids so near each other that a product form in fp32 does not show which is nearer.
void nearTies(Backend &backend, Report &report) {
  const Shape s{500, 256, 1, 16};
  Doubles centres(s.K * s.C);
  for (int64_t i = 0; i < s.K * s.C; ++i) {
    centres[i] = normalAt(1, i % (s.K / 2 * s.C)) + (i < s.K / 2 * s.C ? 0 : 1e-6 * normalAt(2, i));
  }
  const Tensor x = Tensor(backend, DType::f32, s.N, s.C).normal(3);
  const Tensor centroids = Tensor(backend, DType::f32, 1, s.K, s.C).set(centres);
  const Array<int32_t> labels(backend, std::vector<int32_t>(s.N, -1));
  std::vector<int32_t> expected;
  Doubles distances;
  nearest(x, centroids, s, expected, distances);
  assign(backend, x, centroids, labels, {});
  report.same(labels, expected, "the truly nearest");
}

// What a product in a narrow type shows least of: columns a thousand times larger than the rest, in points, in
// centroids or in both, small values, and points that all lie on the centroids' mean.
void ranges(Backend &backend, Report &report) {
  const Shape s{2600, 300, 2, 70};
  const auto check = [&](const std::string &what, const Doubles &points, const Doubles &centres) {
    const Tensor x = Tensor(backend, DType::f32, s.N, s.C).set(points);
    const Tensor centroids = Tensor(backend, DType::f32, s.R, s.K, s.C).set(centres);
    const Array<int32_t> labels(backend, std::vector<int32_t>(s.R * s.N, -1));
    std::vector<int32_t> expected;
    Doubles distances;
    nearest(x, centroids, s, expected, distances);
    assign(backend, x, centroids, labels, {});
    report.same(labels, expected, what);
  };
  Doubles points(s.N * s.C), centres(s.R * s.K * s.C);
  const auto fill = [&](double pointScale, double centreScale, int64_t every) {
    for (int64_t i = 0; i < s.N * s.C; ++i) points[i] = normalAt(1, i) * (i % s.C % every == 7 ? pointScale : 1);
    for (int64_t i = 0; i < s.R * s.K * s.C; ++i)
      centres[i] = normalAt(2, i) * (i % s.C % every == 7 ? centreScale : 1);
  };
  fill(1000, 1, 100);
  check("large columns of points", points, centres);
  fill(1, 1000, 100);
  check("large columns of centroids", points, centres);
  fill(1000, 1000, 100);
  check("large columns of both", points, centres);
  fill(1, 1, 100);
  for (Doubles *values : {&points, &centres}) {
    for (double &value : *values) value *= 1e-15;
  }
  check("small values", points, centres);
  fill(1, 1, 100);
  for (int64_t i = 0; i < s.R * s.K * s.C / 2; ++i) centres[s.R * s.K * s.C / 2 + i] = -centres[i];
  for (double &value : points) value = 0;
  check("points on the mean", points, centres);
}

// All that rounding to integers takes off a point points to its nearest centroid: the range of that must be as wide as
// it is, for by the product alone another one is nearer.
void worstRounding(Backend &backend, Report &report) {
  const Shape s{40, 300, 1, 4};
  Doubles points(s.N * s.C), centres(s.K * s.C);
  for (int64_t i = 0; i < s.N * s.C; ++i) points[i] = i % s.C == 0 ? 127 : 0.49;
  for (int64_t c = 0; c < s.C; ++c) {
    centres[c] = c == 0 ? 0.197 : 0;
    centres[s.C + c] = c == 0 ? 0 : 0.49;
    for (int64_t k = 2; k < s.K; ++k) centres[k * s.C + c] = -centres[(k - 2) * s.C + c];
  }
  const Tensor x = Tensor(backend, DType::f32, s.N, s.C).set(points);
  const Tensor centroids = Tensor(backend, DType::f32, 1, s.K, s.C).set(centres);
  const Array<int32_t> labels(backend, std::vector<int32_t>(s.N, -1));
  assign(backend, x, centroids, labels, {});
  report.same(labels, std::vector<int32_t>(s.N, 1), "the nearest, not what the product takes for it");
}

void ties(Backend &backend, Report &report) {
  // Centroids 1, 4 and 6 are the same point, on which half of the points lie; 2 and 5 are equally far from the others.
  const Shape s{64, 24, 1, 7};
  Doubles points(s.N * s.C), centres(s.K * s.C);
  for (int64_t i = 0; i < s.K * s.C; ++i) centres[i] = 100 + normalAt(1, i);
  for (int64_t c = 0; c < s.C; ++c) {
    centres[4 * s.C + c] = centres[6 * s.C + c] = centres[s.C + c] = std::round(centres[s.C + c]);
    centres[2 * s.C + c] = c == 0 ? 51 : 50;
    centres[5 * s.C + c] = c == 0 ? 49 : 50;
    for (int64_t n = 0; n < s.N; ++n) points[n * s.C + c] = n % 2 ? centres[s.C + c] : 50;
  }
  const Tensor x = Tensor(backend, DType::f32, s.N, s.C).set(points);
  const Tensor centroids = Tensor(backend, DType::f32, 1, s.K, s.C).set(centres);
  const Array<int32_t> labels(backend, std::vector<int32_t>(s.N, -1));
  const Tensor distance = Tensor(backend, DType::f32, 1, s.N).constant(9);
  std::vector<int32_t> expected(s.N);
  Doubles distances(s.N);
  for (int64_t n = 0; n < s.N; ++n) expected[n] = n % 2 ? 1 : 2, distances[n] = n % 2 ? 0 : 1;
  assign(backend, x, centroids, labels, distance);
  report.same(labels, expected, "the lowest index wins");
  report.close(distance, distances, "distances");
}

// `real`: as k-means asks for them; else without distances, with gaps between rows, and the last cluster has no members
// unless it is the only one.
void summation(Backend &backend, Report &report, const std::vector<Shape> &shapes, bool real) {
  const Layout rows{real ? 0 : 3}, items{real ? 0 : 1, real ? 0 : 2};
  for (const Shape &s : shapes) {
    const std::string what = std::to_string(s.N) + "x" + std::to_string(s.C) + ", " + std::to_string(s.R) + " restarts";
    const Tensor x = Tensor(backend, DType::f32, s.N, s.C, rows).normal(1, 1, 2);
    Doubles centres(s.R * s.K * s.C);
    for (int64_t i = 0; i < s.R * s.K * s.C; ++i) {
      centres[i] = !real && s.K > 1 && i / s.C % s.K == s.K - 1 ? 1000 : 2 + normalAt(2, i);
    }
    const Tensor centroids = Tensor(backend, DType::f32, s.R, s.K, s.C, items).set(centres);
    const Array<int32_t> labels(backend, std::vector<int32_t>(s.R * s.N, -1));
    const Tensor sums = Tensor(backend, DType::f32, s.R, s.K, s.C, items).normal(3);
    const Tensor counts = Tensor(backend, DType::f32, s.R, 1, s.K).normal(4);
    const Tensor distance(backend, DType::f32, s.R, s.N);
    assign(backend, x, centroids, labels, real ? distance.view() : View{}, sums, counts);
    if (report.timed) return;
    std::vector<int32_t> expected;
    Doubles distances;
    nearest(x, centroids, s, expected, distances);
    report.same(labels, expected, what + " labels");
    if (real) report.close(distance, distances, what + " distances beside sums");
    Doubles expectedSums(s.R * s.K * s.C, 0.0), expectedCounts(s.R * s.K, 0.0);
    for (int64_t r = 0; r < s.R; ++r) {
      for (int64_t n = 0; n < s.N; ++n) {
        const int64_t cluster = r * s.K + expected[r * s.N + n];
        expectedCounts[cluster] += 1;
        for (int64_t c = 0; c < s.C; ++c) expectedSums[cluster * s.C + c] += x(n, c);
      }
    }
    report.close(sums, expectedSums, 2e-7, what + " sums, in double");
    report.same(counts, expectedCounts, what + " counts");
  }
}

void sameBits(Backend &, Report &report) {
  report.deterministic(
      [](Backend &backend) {
        const Shape s{2000, 70, 3, 21};
        const Tensor x = Tensor(backend, DType::f32, s.N, s.C).normal(1);
        const Tensor centroids = Tensor(backend, DType::f32, s.R, s.K, s.C).normal(2);
        const Array<int32_t> labels(backend, std::vector<int32_t>(s.R * s.N, -1));
        const Tensor distance = Tensor(backend, DType::f32, s.R, s.N).constant(0);
        const Tensor sums = Tensor(backend, DType::f32, s.R, s.K, s.C).constant(0);
        const Tensor counts = Tensor(backend, DType::f32, s.R, 1, s.K).constant(0);
        assign(backend, x, centroids, labels, distance, sums, counts);
        Doubles all = distance.read();
        for (double value : sums.read()) all.push_back(value);
        for (double value : counts.read()) all.push_back(value);
        return all;
      },
      "assignClusters");
}

const Cases table("clusters",
                  {{"assignClusters", [](Backend &b, Report &r) { assignment(b, r, 0); }},
                   {"assignClusters far from the origin", [](Backend &b, Report &r) { assignment(b, r, 1000); }},
                   {"ties", ties},
                   {"near ties", nearTies},
                   {"narrow products", ranges},
                   {"worst rounding", worstRounding},
                   {"sums of members", [](Backend &b, Report &r) { summation(b, r, shapes, false); }},
                   {"same bits with any thread count", sameBits}});

// Hidden states of twelve times as many frames as a batch has, in four restarts.
void realClusters(Backend &backend, Report &report, int64_t K) {
  summation(backend, report, {{12 * report.frames, 768, 4, K}}, true);
}
const Cases realSized("clusters",
                      {{"K 50", [](Backend &b, Report &r) { realClusters(b, r, 50); }},
                       {"K 500", [](Backend &b, Report &r) { realClusters(b, r, 500); }}},
                      true);

}  // namespace
}  // namespace test
}  // namespace emoframe
