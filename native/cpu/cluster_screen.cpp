#include "cluster_screen.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "blocks.h"
#include "onednn.h"

namespace emoframe {

namespace {

constexpr int64_t packedCols = 384;  // centroids in one product

// Rounding error of an fp32 product form relative to ‖x‖² + ‖c‖², with room to
// spare: sums of up to some thousand terms.
constexpr float roundingError = 2e-6f;
// Norms are sums in fp32 themselves.
constexpr float normSlack = 1.0001f;
// A sum of 255 · 127 in 32 bits.
constexpr int64_t longestIntegers = 65536;

EMOFRAME_SIMD PointNorms subtract(const float *x, const float *shift, float *out, int64_t n) {
  float square = 0;
#pragma omp simd reduction(+ : square)
  for (int64_t i = 0; i < n; ++i) {
    const float d = x[i] - shift[i];
    out[i] = d;
    square += d * d;
  }
  return {square, 0, 1};
}
EMOFRAME_SIMD PointNorms subtract(const float *x, const float *shift, Bf16 *out, int64_t n) {
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
  return {square, residual, 1};
}
// To integers in [-127, 127], whose top bit is flipped where `flip` is 0x80: that adds 128, for unsigned ones.
EMOFRAME_SIMD PointNorms subtract(const float *x, const float *shift, uint8_t *out, uint8_t flip, int64_t n) {
  constexpr float smallest = 1e-30f;  // what is less than that is no more than a residual
  float square = 0, most = 0;
#pragma omp simd reduction(+ : square) reduction(max : most)
  for (int64_t i = 0; i < n; ++i) {
    const float d = x[i] - shift[i], size = d < 0 ? -d : d;
    square += d * d;
    most = size > most ? size : most;
  }
  const float scale = most < smallest ? 0 : most / 127, inverse = most < smallest ? 0 : 127 / most;
  float residual = 0;
#pragma omp simd reduction(+ : residual)
  for (int64_t i = 0; i < n; ++i) {
    const float d = x[i] - shift[i];
    const float shifted = d * inverse + 12582912.0f;  // 1.5 · 2^23: the integer lands in the low mantissa bits
    out[i] = static_cast<uint8_t>(floatToBits(shifted)) ^ flip;
    const float lost = d - scale * (shifted - 12582912.0f);
    residual += lost * lost;
  }
  return {square, residual, scale};
}

int32_t sumOf(const int8_t *values, int64_t n) {
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += values[i];
  return sum;
}

EMOFRAME_SIMD float boundsOfFloats(float *products, const float *square, const float *norm, const float *residual,
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
// `scale` of the point, doubled.
EMOFRAME_SIMD float boundsOfIntegers(float *products, const float *square, const float *norm, const float *residual,
                                     const float *scales, const int32_t *offsets, float scale, float xSquare,
                                     float xNorm, float xResidual, int64_t n) {
  float least = std::numeric_limits<float>::infinity();
#pragma omp simd reduction(min : least)
  for (int64_t i = 0; i < n; ++i) {
    const auto product = static_cast<int32_t>(floatToBits(products[i]));
    const float error = xResidual * norm[i] + xNorm * residual[i] + roundingError * (xSquare + square[i]);
    const float middle = square[i] - scale * scales[i] * static_cast<float>(product - offsets[i]);
    products[i] = middle - error;
    least = middle + error < least ? middle + error : least;
  }
  return least;
}

std::vector<ClusterScreen::Group> groupsOf(int64_t restarts, int64_t clusters) {
  using Group = ClusterScreen::Group;
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

}  // namespace

ClusterScreen::ClusterScreen(const View &centroids, bool integers, int threads)
    : C_(centroids.cols),
      groups_(groupsOf(centroids.batch, centroids.rows)),
      form_(integers && hasIntegerKernels() ? Form::integers
            : onednn::packs(DType::bf16)    ? Form::bf16
                                            : Form::f32),
      shift_(static_cast<size_t>(C_)) {
  const int64_t all = centroids.batch * centroids.rows;
  const auto centroid = [&](int64_t i) {
    return static_cast<const float *>(centroids.at(i / centroids.rows, i % centroids.rows, 0));
  };
  std::vector<double> sums(static_cast<size_t>(C_), 0.0);
  for (int64_t i = 0; i < all; ++i) addTo(sums.data(), centroid(i), C_);
  for (int64_t c = 0; c < C_; ++c) shift_[c] = static_cast<float>(sums[c] / static_cast<double>(all));

  for (std::vector<float> *of : {&known_.square, &known_.norm, &known_.residual, &known_.scale})
    of->resize(static_cast<size_t>(all));
  known_.offset.resize(static_cast<size_t>(all));
  rounded_.resize(static_cast<size_t>(all * rowBytes()));
  parallelFor(threads, all, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) roundCentroid(centroid(i), i);
  });
  if (form_ == Form::integers) {
    packIntegers(threads);
  } else if (onednn::packs(dtype())) {
    for (const Group &group : groups_) {
      for (const Group::Part &part : group.parts) {
        packed_.push_back(std::make_unique<PackedOperand>(plain(part).transposed(), C_, part.count, dtype(), threads));
      }
    }
  }
}

void ClusterScreen::packIntegers(int threads) {
  std::vector<Group::Part> parts;
  std::vector<int64_t> starts{0};
  for (const Group &group : groups_) {
    for (const Group::Part &part : group.parts) {
      const auto bytes = static_cast<int64_t>(onednn::packedBytes(integerLayout(part)));
      parts.push_back(part);
      starts.push_back(starts.back() + chunkCount(bytes, 64) * 64 / static_cast<int64_t>(sizeof(float)));
    }
  }
  float *memory = packedMemory_.floats(starts.back());
  for (size_t i = 0; i < parts.size(); ++i) packedIntegers_.push_back(memory + starts[i]);
  parallelFor(threads, static_cast<int64_t>(parts.size()), 1, [&](int64_t i, int64_t) {
    onednn::packIntegers(integerLayout(parts[i]), reinterpret_cast<const int8_t *>(row(parts[i].first)),
                         memory + starts[i]);
  });
}

bool ClusterScreen::hasIntegerKernels() const {
  if (!onednn::multipliesIntegers() || C_ > longestIntegers) return false;
  for (const Group &group : groups_) {
    for (const Group::Part &part : group.parts) {
      for (int64_t rows = kernelRows; rows <= maxRows; rows += kernelRows) {
        if (!onednn::hasIntegerKernel(integerLayout(part), rows)) return false;
      }
    }
  }
  return true;
}

View ClusterScreen::plain(const Group::Part &part) const {
  return matrix(const_cast<char *>(rounded_.data()) + part.first * rowBytes(), dtype(), part.count, C_);
}

void ClusterScreen::roundCentroid(const float *c, int64_t index) {
  PointNorms norms;
  if (form_ == Form::integers) {
    norms = subtract(c, shift_.data(), reinterpret_cast<uint8_t *>(row(index)), 0, C_);
    known_.offset[index] = 128 * sumOf(reinterpret_cast<const int8_t *>(row(index)), C_);
  } else {
    norms = round(c, row(index));
  }
  known_.square[index] = norms.square;
  known_.norm[index] = 2 * normSlack * (std::sqrt(norms.square) + std::sqrt(norms.residual));
  known_.residual[index] = 2 * normSlack * std::sqrt(norms.residual);
  known_.scale[index] = norms.scale;
}

PointNorms ClusterScreen::round(const float *x, void *out) const {
  switch (form_) {
    case Form::integers:
      return subtract(x, shift_.data(), static_cast<uint8_t *>(out), 0x80, C_);
    case Form::bf16:
      return subtract(x, shift_.data(), static_cast<Bf16 *>(out), C_);
    default:
      return subtract(x, shift_.data(), static_cast<float *>(out), C_);
  }
}

void ClusterScreen::multiply(size_t index, const Group::Part &part, const void *points, int64_t rows,
                             float *out) const {
  if (form_ == Form::integers) {
    onednn::integerProduct(integerLayout(part), paddedRows(rows), static_cast<const uint8_t *>(points),
                           packedIntegers_[index], reinterpret_cast<int32_t *>(out));
    return;
  }
  const auto pointsFrom = [&](int64_t r) { return static_cast<const char *>(points) + r * rowBytes(); };
  int64_t done = 0;
  if (!packed_.empty()) {
    const auto rowsFrom = [&](int64_t first, int64_t) { return pointsFrom(first); };
    done = multiplyPacked(*packed_[index], 0, 0, 0, rows, rowsFrom, false, out);
  }
  if (done == rows) return;
  onednn::product(dtype(), rows - done, part.count, C_, {pointsFrom(done), C_, false}, {plain(part).data, C_, true},
                  false, out + done * part.count, part.count);
}

float ClusterScreen::bounds(float *products, int64_t first, int64_t count, const PointNorms &norms) const {
  const float *square = known_.square.data() + first, *norm = known_.norm.data() + first;
  const float *residual = known_.residual.data() + first;
  const float xNorm = normSlack * std::sqrt(norms.square), xResidual = normSlack * std::sqrt(norms.residual);
  if (form_ != Form::integers)
    return boundsOfFloats(products, square, norm, residual, norms.square, xNorm, xResidual, count);
  return boundsOfIntegers(products, square, norm, residual, known_.scale.data() + first, known_.offset.data() + first,
                          2 * norms.scale, norms.square, xNorm, xResidual, count);
}

}  // namespace emoframe
