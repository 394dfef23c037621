// The op table: cases that build inputs, run ops through a Backend, and compare with a float64 reference in plain
// loops. A case never touches backend memory itself (only upload and download), so the table holds any backend to the
// same contract. Every tensor lies in a buffer of NaN bytes, with guard rows before and after it and, where asked, gaps
// between its rows: an op that reads outside its views gets NaN, and one that writes outside them is caught.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "backend.h"
#include "device.h"
#include "philox.h"

namespace emoframe {
namespace test {

using Doubles = std::vector<double>;

// ‖out - ref‖ / ‖ref‖ allowed when a result is stored in a dtype. bf16 keeps 8 bits: rounding alone is about 2e-3.
inline double toleranceOf(DType dtype) { return dtype == DType::f32 ? 1e-5 : 1e-2; }
// Of products of f32 in tf32, whose operands keep 11 bits: two roundings of at most 2⁻¹¹ and, for normal numbers, half
// of that by root mean square; cutting bits off instead is three times as far.
constexpr double tf32Tolerance = 5e-4;
inline const char *nameOf(DType dtype) { return dtype == DType::f32 ? "f32" : "bf16"; }

// gelu(x) = x Φ(x) and its derivative Φ(x) + x φ(x).
inline double geluOf(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
inline double geluSlope(double x) {
  return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * 3.141592653589793);
}

inline float fromBits16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}
inline uint16_t toBits16(float value) {  // round to nearest, ties to even; NaN stays NaN
  uint32_t wide;
  std::memcpy(&wide, &value, 4);
  if (value != value) return static_cast<uint16_t>((wide >> 16) | 0x40);
  return static_cast<uint16_t>((wide + 0x7FFFu + ((wide >> 16) & 1)) >> 16);
}
// The value that a dtype keeps of x.
inline double rounded(double x, DType dtype) {
  const float f = static_cast<float>(x);
  return dtype == DType::f32 ? f : fromBits16(toBits16(f));
}

// The nearest tf32, ties away from zero.
inline double toTf32(double x) {
  const float f = static_cast<float>(x);
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  bits = (bits + 0x1000u) & 0xFFFFE000u;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// Numbers that are a function of (seed, i) alone.
inline double uniformAt(uint64_t seed, uint64_t i) { return philoxUniformAt(seed, 0, 0x7E57, i); }
inline double normalAt(uint64_t seed, uint64_t i) {
  const double u = 1 - uniformAt(seed, 2 * i), v = uniformAt(seed, 2 * i + 1);
  return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v);
}
inline std::vector<int32_t> integers(uint64_t seed, int64_t count, int64_t below) {
  std::vector<int32_t> result(count);
  for (int64_t i = 0; i < count; ++i) result[i] = static_cast<int32_t>(uniformAt(seed, i) * static_cast<double>(below));
  return result;
}

// How a tensor lies in its buffer.
struct Layout {
  int64_t gap = 0;          // elements between the end of a row and the next row
  int64_t batchGap = 0;     // elements between batch items, on top of that
  bool transposed = false;  // columns instead of rows are contiguous
};

// A tensor in backend memory, and the values put into it (already rounded to its dtype), row-major [batch, rows, cols].
class Tensor {
 public:
  // A template, so that the {3} of Tensor(backend, dtype, rows, cols, {3}) is a layout and not a number of columns.
  template <typename Integer, typename = std::enable_if_t<std::is_integral<Integer>::value>>
  Tensor(Backend &backend, DType dtype, int64_t batch, int64_t rows, Integer cols, Layout layout = {})
      : backend_(&backend) {
    view_.dtype = dtype;
    view_.batch = batch;
    view_.rows = rows;
    view_.cols = cols;
    const int64_t runs = layout.transposed ? cols : rows, run = (layout.transposed ? rows : cols) + layout.gap;
    (layout.transposed ? view_.colStride : view_.rowStride) = run;
    (layout.transposed ? view_.rowStride : view_.colStride) = 1;
    view_.batchStride = runs * run + layout.batchGap;
    guard_ = std::max<int64_t>(run, 16);
    guard_ += (16 - guard_ % 16) % 16;  // keeps the tensor's first element 32-byte aligned
    bytes_ = sizeOf(dtype) * static_cast<size_t>(2 * guard_ + view_.batchStride * batch);
    memory_ = backend.allocate(bytes_);
    view_.data = static_cast<char *>(memory_) + sizeOf(dtype) * static_cast<size_t>(guard_);
    image_.assign(bytes_, 0xFF);
    backend.upload(memory_, image_.data(), bytes_);
  }
  Tensor(Backend &backend, DType dtype, int64_t rows, int64_t cols, Layout layout = {})
      : Tensor(backend, dtype, 1, rows, cols, layout) {}
  Tensor(Tensor &&other) noexcept
      : values(std::move(other.values)),
        backend_(other.backend_),
        memory_(other.memory_),
        view_(other.view_),
        guard_(other.guard_),
        bytes_(other.bytes_),
        image_(std::move(other.image_)) {
    other.memory_ = nullptr;
  }
  Tensor &operator=(Tensor &&) = delete;
  ~Tensor() {
    if (memory_) backend_->release(memory_);
  }

  const View &view() const { return view_; }
  operator const View &() const { return view_; }
  DType dtype() const { return view_.dtype; }
  int64_t size() const { return view_.size(); }

  Tensor &&set(const Doubles &source) {
    return fill([&](int64_t i) { return source[i]; });
  }
  Tensor &&normal(uint64_t seed, double scale = 1, double shift = 0) {
    return fill([&](int64_t i) { return shift + scale * normalAt(seed, i); });
  }
  template <typename Element>
  Tensor &&fill(const Element &element) {
    values.resize(static_cast<size_t>(size()));
#pragma omp parallel for if (size() > 100000)
    for (int64_t i = 0; i < size(); ++i) {
      values[i] = rounded(element(i), dtype());
      const size_t at = offset(i);
      const float f = static_cast<float>(values[i]);
      const uint16_t h = toBits16(f);
      if (dtype() == DType::f32)
        std::memcpy(&image_[at], &f, 4);
      else
        std::memcpy(&image_[at], &h, 2);
    }
    backend_->upload(memory_, image_.data(), bytes_);
    return std::move(*this);
  }
  Tensor &&constant(double value) {
    return fill([&](int64_t) { return value; });
  }

  // Element (r, c) or (b, r, c) of what was put in.
  double operator()(int64_t r, int64_t c) const { return values[r * view_.cols + c]; }
  double operator()(int64_t b, int64_t r, int64_t c) const { return values[(b * view_.rows + r) * view_.cols + c]; }

  // What the tensor holds now, row-major. `intact` says whether everything around it is untouched.
  Doubles read(bool *intact = nullptr) const {
    std::vector<uint8_t> now(bytes_);
    backend_->download(now.data(), memory_, bytes_);
    Doubles result(static_cast<size_t>(size()));
    for (int64_t i = 0; i < size(); ++i) {
      const size_t at = offset(i);
      float f;
      uint16_t h;
      if (dtype() == DType::f32)
        std::memcpy(&f, &now[at], 4);
      else
        std::memcpy(&h, &now[at], 2), f = fromBits16(h);
      result[i] = f;
      std::memset(&now[at], 0xFF, sizeOf(dtype()));
    }
    if (intact) {
      *intact = true;
      for (uint8_t byte : now) *intact = *intact && byte == 0xFF;
    }
    return result;
  }

  Doubles values;

 private:
  size_t offset(int64_t i) const {
    const int64_t c = i % view_.cols, r = i / view_.cols % view_.rows, b = i / view_.cols / view_.rows;
    return sizeOf(dtype()) *
           static_cast<size_t>(guard_ + b * view_.batchStride + r * view_.rowStride + c * view_.colStride);
  }

  Backend *backend_;
  void *memory_ = nullptr;
  View view_;
  int64_t guard_ = 0;
  size_t bytes_ = 0;
  std::vector<uint8_t> image_;
};

// A plain array in backend memory (labels, indices, masks), with guards after and before it.
template <typename T>
class Array {
 public:
  Array(Backend &backend, std::vector<T> source) : values(std::move(source)), backend_(&backend) {
    std::vector<T> image(values.size() + 2 * guard);
    std::memset(static_cast<void *>(image.data()), 0x5A, image.size() * sizeof(T));
    std::copy(values.begin(), values.end(), image.begin() + guard);
    memory_ = static_cast<T *>(backend.allocate(image.size() * sizeof(T)));
    backend.upload(memory_, image.data(), image.size() * sizeof(T));
  }
  Array(const Array &) = delete;
  Array &operator=(const Array &) = delete;
  ~Array() { backend_->release(memory_); }

  T *data() const { return memory_ + guard; }
  std::vector<T> read(bool *intact = nullptr) const {
    std::vector<T> image(values.size() + 2 * guard);
    backend_->download(image.data(), memory_, image.size() * sizeof(T));
    std::vector<T> result(image.begin() + guard, image.end() - guard);
    T expected;
    std::memset(static_cast<void *>(&expected), 0x5A, sizeof(T));
    if (intact) {
      *intact = true;
      for (size_t i = 0; i < guard; ++i) {
        *intact = *intact && image[i] == expected && image[image.size() - 1 - i] == expected;
      }
    }
    return result;
  }

  std::vector<T> values;

 private:
  static constexpr size_t guard = 64;
  Backend *backend_;
  T *memory_ = nullptr;
};

// Utterance bounds on both sides, from lengths.
class Bounds {
 public:
  Bounds(Backend &backend, const std::vector<int32_t> &lengths) : offsets_(backend, prefix(lengths)) {}
  Segments segments() const {
    return {static_cast<int32_t>(offsets_.values.size() - 1), offsets_.values.data(), offsets_.data()};
  }
  int64_t total() const { return offsets_.values.back(); }

 private:
  static std::vector<int32_t> prefix(const std::vector<int32_t> &lengths) {
    std::vector<int32_t> offsets(1, 0);
    for (int32_t length : lengths) offsets.push_back(offsets.back() + length);
    return offsets;
  }
  Array<int32_t> offsets_;
};

// The dropout factor of element i: 0, or the inverse of the share that is kept, which is 1 - p to 16 bits.
inline double dropoutFactor(const Dropout &dropout, uint64_t i) {
  if (dropout.p <= 0) return 1;
  const Philox4 block = philox(dropout.seed, dropout.step, dropout.site, i / 8);
  const uint32_t bits = block.x[i % 8 / 2] >> 16 * (i % 2) & 0xFFFF;
  const double dropped = std::min(std::floor(65536 * static_cast<double>(dropout.p) + 0.5), 65535.0);
  return bits >= dropped ? 65536 / (65536 - dropped) : 0;
}

// What one case has to say: comparisons made, and those that failed.
class Report {
 public:
  Report(std::string device, int32_t threads, std::string caseName)
      : device(std::move(device)), threads(threads), caseName_(std::move(caseName)) {}

  const std::string device;
  const int32_t threads;
  int32_t failures = 0, checks = 0;
  // Of a case of real sizes: how many frames it takes, few where it is checked, and whether only its ops' times matter,
  // so that it should compare nothing.
  int64_t frames = 10;
  bool timed = false;

  // Another backend of the device under test.
  std::unique_ptr<Backend> another(int32_t itsThreads) const { return makeBackend(device, {itsThreads}); }

  void fail(const std::string &what, const std::string &why) {
    ++failures;
    std::printf("FAIL %s: %s: %s\n", caseName_.c_str(), what.c_str(), why.c_str());
  }
  void check(bool good, const std::string &what, const std::string &why = "does not hold") {
    ++checks;
    if (!good) fail(what, why);
  }
  // ‖out - ref‖ / ‖ref‖ <= tolerance (‖out‖ <= tolerance when ref is zero), everything finite.
  void close(const Doubles &out, const Doubles &ref, double tolerance, const std::string &what) {
    ++checks;
    if (out.size() != ref.size()) return fail(what, "the reference has another size");
    double difference = 0, norm = 0;
    size_t worst = 0;
    double worstBy = -1;
    for (size_t i = 0; i < out.size(); ++i) {
      const double d = out[i] - ref[i];
      if (!(std::abs(d) <= worstBy)) worst = i, worstBy = std::abs(d);
      difference += d * d;
      norm += ref[i] * ref[i];
    }
    const double error = norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
    if (error <= tolerance) return;
    char text[200];
    std::snprintf(text, sizeof text, "error %.3g, tolerance %.3g (worst at %zu of %zu: %.9g, expected %.9g)", error,
                  tolerance, worst, out.size(), out[worst], ref[worst]);
    fail(what, text);
  }
  void close(const Tensor &out, const Doubles &ref, double tolerance, const std::string &what) {
    bool intact = false;
    const Doubles values = out.read(&intact);
    close(values, ref, tolerance, what);
    check(intact, what, "memory around it was written");
  }
  void close(const Tensor &out, const Doubles &ref, const std::string &what) {
    close(out, ref, toleranceOf(out.dtype()), what);
  }
  // The same bits: an exact copy, zeros, indices.
  void same(const Tensor &out, const Doubles &ref, const std::string &what) { close(out, ref, 0, what); }
  // An input is still what was put in.
  void untouched(const Tensor &in, const std::string &what) { same(in, in.values, what + " (an input)"); }
  template <typename T>
  void same(const Array<T> &out, const std::vector<T> &ref, const std::string &what) {
    bool intact = false;
    const std::vector<T> values = out.read(&intact);
    size_t wrong = 0, first = 0;
    for (size_t i = 0; i < ref.size(); ++i) {
      if (values[i] != ref[i] && wrong++ == 0) first = i;
    }
    check(wrong == 0, what,
          std::to_string(wrong) + " of " + std::to_string(ref.size()) + " differ, first at " + std::to_string(first));
    check(intact, what, "memory around it was written");
  }
  void identical(const Doubles &a, const Doubles &b, const std::string &what) {
    check(a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0), what,
          "the bits differ");
  }
  // Runs `body` on backends of 1, 2 and 3 threads; what it returns must be the same bits.
  void deterministic(const std::function<Doubles(Backend &)> &body, const std::string &what) {
    const auto one = another(1), two = another(2), three = another(3);
    const Doubles expected = body(*one);
    identical(expected, body(*two), what + " with 1 and 2 threads");
    identical(expected, body(*three), what + " with 1 and 3 threads");
  }

 private:
  std::string caseName_;
};

// d f / d x[i] by central differences in float64, for checking a reference gradient itself.
inline Doubles finiteDifferences(Doubles x, const std::function<double(const Doubles &)> &f, double step = 1e-5) {
  Doubles gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + step;
    const double above = f(x);
    x[i] = at - step;
    const double below = f(x);
    x[i] = at;
    gradient[i] = (above - below) / (2 * step);
  }
  return gradient;
}

// Of cases that go wrong on purpose: run by name alone.
constexpr const char *plantedFamily = "planted";

struct Case {
  std::string family, name;
  std::function<void(Backend &, Report &)> run;
  bool realSized;
};
inline std::vector<Case> &cases() {
  static std::vector<Case> all;
  return all;
}
// A static object of this type in a *_cases.cpp puts cases into the table:
//   static const Cases gelu("elementwise", {{"gelu f32", [](Backend &backend, Report &report) { ... }}, ...});
// Those of real sizes have the model's widths and report.frames frames, and are what --perf times.
struct Cases {
  using Body = std::function<void(Backend &, Report &)>;
  Cases(const std::string &family, std::vector<std::pair<std::string, Body>> bodies, bool realSized = false) {
    for (auto &body : bodies) cases().push_back({family, body.first, std::move(body.second), realSized});
  }
};

}  // namespace test
}  // namespace emoframe
