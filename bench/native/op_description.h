// What is said of an op beside its time: its name with the shape of what it makes or works on; of those ops that are
// bound by them, the floating-point operations; and, of those that op_table --perf times, all tensors and settings.
#pragma once

#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "ops.h"

namespace emoframe {
namespace description {

// "Gemm", from what the compiler calls this function: "... [with T = emoframe::Gemm; ...]".
template <typename T>
std::string nameOf() {
  const std::string function = __PRETTY_FUNCTION__, before = "T = emoframe::";
  const size_t begin = function.find(before) + before.size();
  return function.substr(begin, function.find_first_of(";]", begin) - begin);
}

inline std::string shapeOf(const View &v) {
  if (!v) return "";
  std::string text = " [";
  if (v.batch > 1) text += std::to_string(v.batch) + ", ";
  return text + std::to_string(v.rows) + ", " + std::to_string(v.cols) + "]";
}

// The field that gives an op its shape: `out`, or else `x`, or else that of the forward op inside; none for the rest.
template <int n>
struct Preference : Preference<n - 1> {};
template <>
struct Preference<0> {};
template <typename T>
auto shapeOf(const T &op, Preference<3>) -> decltype(shapeOf(op.out)) {
  return shapeOf(op.out);
}
template <typename T>
auto shapeOf(const T &op, Preference<2>) -> decltype(shapeOf(op.x)) {
  return shapeOf(op.x);
}
template <typename T>
auto shapeOf(const T &op, Preference<1>) -> decltype(op.forward, std::string()) {
  return shapeOf(op.forward, Preference<3>());
}
template <typename T>
std::string shapeOf(const T &, Preference<0>) {
  return "";
}
inline std::string shapeOf(const Gemm &op, Preference<3>) {
  const char *form = op.a.colStride != 1 ? " (aT b)" : op.b.colStride != 1 ? " (a bT)" : " (a b)";
  return shapeOf(op.out ? op.out : op.gelu) + " x " + std::to_string(op.a.cols) + form;
}

template <typename T>
double flopsOf(const T &) {
  return 0;
}
inline double flopsOf(const Gemm &op) {
  return 2.0 * static_cast<double>((op.out ? op.out : op.gelu).size()) * static_cast<double>(op.a.cols);
}
inline double attentionFlops(const Attention &attention, double products) {
  double flops = 0;
  for (int32_t b = 0; b < attention.segments.count; ++b) {
    const double length = static_cast<double>(attention.segments.length(b));
    flops += products * length * length * static_cast<double>(attention.q.cols);
  }
  return flops;
}
inline double flopsOf(const Attention &op) { return attentionFlops(op, 4); }
inline double flopsOf(const AttentionBackward &op) { return attentionFlops(op.forward, 10); }
inline double flopsOf(const Conv0Forward &op) {
  return 2.0 * static_cast<double>(op.out.size()) * static_cast<double>(op.conv.kernel);
}
inline double flopsOf(const CosineCrossEntropy &op) {
  return 6.0 * static_cast<double>(op.z.size()) * static_cast<double>(op.embeddings.rows);
}
inline double flopsOf(const AssignClusters &op) {
  return 2.0 * static_cast<double>(op.x.size()) * static_cast<double>(op.centroids.batch * op.centroids.rows);
}

// What an op has: tensors, utterance bounds and what else changes its results.
using Field = std::variant<View, Segments, int64_t, bool>;
using Fields = std::vector<std::pair<const char *, Field>>;
template <typename T>
Fields fieldsOf(const T &) {
  return {};
}
inline Fields fieldsOf(const Gemm &op) { return {{"a", op.a}, {"b", op.b}, {"out", op.out}, {"tf32", op.tf32}}; }
inline Fields fieldsOf(const Attention &op) {
  return {{"q", op.q}, {"k", op.k}, {"v", op.v}, {"out", op.out}, {"offsets", op.segments}, {"heads", op.heads}};
}
inline Fields fieldsOf(const AttentionBackward &op) {
  Fields all = fieldsOf(op.forward);
  all.insert(all.end(), {{"dOut", op.dOut}, {"dq", op.dq}, {"dk", op.dk}, {"dv", op.dv}});
  return all;
}
inline Fields fieldsOf(const AssignClusters &op) {
  return {
      {"x", op.x}, {"centroids", op.centroids}, {"distance", op.distance}, {"sums", op.sums}, {"counts", op.counts}};
}

}  // namespace description

// "Gemm [499, 768] x 3072 (a bT)"
inline std::string describe(const Op &op) {
  return op.visit([](const auto &its) {
    return description::nameOf<std::decay_t<decltype(its)>>() + description::shapeOf(its, description::Preference<3>());
  });
}
inline double flopsOf(const Op &op) {
  return op.visit([](const auto &its) { return description::flopsOf(its); });
}

}  // namespace emoframe
