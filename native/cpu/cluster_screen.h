// The first step of k-means' search: a range for every squared distance, from one matrix product with narrow operands.
//
// ‖x - c‖² = ‖c‖² - 2 x · c + ‖x‖² is formed of x' and c', which are x and c rounded to what the CPU multiplies
// fastest. The range is sure, whatever is lost by rounding, and small because
// - the mean of all centroids is first taken off points and centroids, which changes no distance, so that points far
//   from the origin cancel little;
// - what rounding took off a point and a centroid is known:
//   |x · c - x' · c'| = |(x - x') · c' + x · (c - c')| <= ‖x - x'‖ ‖c'‖ + ‖x‖ ‖c - c'‖.
#pragma once

#include <memory>
#include <vector>

#include "../view.h"
#include "packed.h"
#include "parallel.h"
#include "thread_buffer.h"

namespace emoframe {

// Of a point from which the common shift is taken.
struct PointNorms {
  float square = 0;    // ‖x‖²
  float residual = 0;  // ‖x - x'‖²
  float scale = 1;     // x' = scale · integers
};

class ClusterScreen {
 public:
  // Neighbouring columns of a product that are centroids of one restart.
  struct Span {
    int64_t part, column, first, count;  // of which part and where in it; which centroids k
  };
  // Restarts whose products are formed together, in parts.
  struct Group {
    struct Part {
      int64_t first, count;  // centroids of all restarts
    };
    int64_t firstRestart = 0, restarts = 0;
    std::vector<Part> parts;
    std::vector<std::vector<Span>> spans;  // of each of its restarts
  };

  // Relative error of PointNorms::square, a sum in fp32, with room to spare.
  static constexpr float squareError = 2e-4f;
  // Points multiplied in one go, at most.
  static constexpr int64_t maxRows = 128;

  // Centroids [R, K, C]. Integers of 8 bits are multiplied twice as fast as bf16 and leave ranges five times as wide;
  // they are used if asked for and the CPU has them. Else it is bf16 where the CPU multiplies that, and fp32.
  ClusterScreen(const View &centroids, bool integers, int threads);

  const std::vector<Group> &groups() const { return groups_; }
  bool integers() const { return form_ == Form::integers; }

  // Points are handed over in rows of so many bytes, without gaps, in memory for so many rows.
  int64_t rowBytes() const { return C_ * static_cast<int64_t>(bytesOfElement()); }
  static int64_t paddedRows(int64_t rows) { return chunkCount(rows, kernelRows) * kernelRows; }
  // x - the common shift, rounded to what is multiplied.
  PointNorms round(const float *x, void *out) const;

  // Rounded points [rows, C] · a part's centroids → out, paddedRows(rows) x part.count, on the calling thread. What is
  // there is for bounds() to read. `index` counts the parts of all groups.
  void multiply(size_t index, const Group::Part &part, const void *points, int64_t rows, float *out) const;

  // One point's products with `count` centroids from `first` (of all restarts) on → the least that ‖x - c‖² - ‖x‖² can
  // be, in place. Returns the least that one of them is at most, infinity where NaN is about.
  float bounds(float *products, int64_t first, int64_t count, const PointNorms &norms) const;

 private:
  enum class Form { integers, bf16, f32 };
  struct Centroids {
    std::vector<float> square, norm, residual;  // ‖c‖², 2 ‖c'‖ at most, 2 ‖c - c'‖
    std::vector<float> scale;                   // of integers
    std::vector<int32_t> offset;                // what 128 · their sum adds to a product, points being 128 too large
  };

  size_t bytesOfElement() const { return form_ == Form::integers ? 1 : form_ == Form::bf16 ? 2 : 4; }
  DType dtype() const { return form_ == Form::bf16 ? DType::bf16 : DType::f32; }
  onednn::PackedLayout integerLayout(const Group::Part &part) const { return {C_, part.count, DType::f32, true}; }
  bool hasIntegerKernels() const;
  void packIntegers(int threads);
  char *row(int64_t i) { return rounded_.data() + i * rowBytes(); }
  View plain(const Group::Part &part) const;
  void roundCentroid(const float *c, int64_t index);

  int64_t C_;
  std::vector<Group> groups_;
  Form form_;
  std::vector<float> shift_;
  std::vector<char> rounded_;  // [R · K, C]
  Centroids known_;
  // Of the groups' parts, in order.
  std::vector<std::unique_ptr<PackedOperand>> packed_;
  std::vector<const void *> packedIntegers_;
  ThreadBuffer packedMemory_;
};

}  // namespace emoframe
