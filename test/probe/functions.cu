// The fast functions against float64. They have no one right answer: the error is bounded, and reported in units in the
// last place. What they do with subnormal numbers is reported too.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "device.cuh"
#include "ptx.cuh"

namespace probe {

using namespace emoframe;

namespace {

// How far from the nearest float, by the CUDA programming guide: 2 units in the last place, and for the logarithm,
// which goes through 0 there, 2^-22 in (0.5, 2).
constexpr double mostUlps = 2, mostNearOne = 0x1p-22;

struct Exp2 {
  static __device__ float of(float x) { return exp2Fast(x); }
  static double exact(double x) { return std::exp2(x); }
};
struct Log2 {
  static __device__ float of(float x) { return log2Fast(x); }
  static double exact(double x) { return std::log2(x); }
};
struct Reciprocal {
  static __device__ float of(float x) { return reciprocalFast(x); }
  static double exact(double x) { return 1 / x; }
};
struct Root {
  static __device__ float of(float x) { return reciprocalRoot(x); }
  static double exact(double x) { return 1 / std::sqrt(x); }
};

template <typename Function>
__global__ void functionKernel(uint32_t first, uint32_t step, float *out, uint32_t count) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) out[i] = Function::of(floatOf(first + i * step));
}

double unitOf(double x) { return std::ldexp(1.0, std::max(-126, std::ilogb(x)) - 23); }
// In units in the last place of the larger one.
double distance(float got, double exact) {
  const float nearest = static_cast<float>(exact);
  return std::fabs(static_cast<double>(got) - nearest) / unitOf(std::max(std::fabs(got), std::fabs(nearest)));
}

std::string described(const char *form, double value) {
  char text[200];
  std::snprintf(text, sizeof text, form, value);
  return text;
}

// Bit patterns `step` apart, over all 2^32.
template <typename Function, bool logarithm>
Outcome measured() {
#ifdef EMOFRAME_SIMT
  constexpr uint32_t count = 1 << 14;
#else
  constexpr uint32_t count = 1 << 22;
#endif
  constexpr uint32_t first = 12345, step = static_cast<uint32_t>((1ull << 32) / count) | 1;
  const Buffer<float> result(count);
  launch(functionKernel<Function>, dim3((count + 127) / 128), dim3(128), 0, first, step, result.get(), count);
  const std::vector<float> got = result.read();

  double worst = 0, worstNear = 0;
  uint32_t wrong = 0, wrongInput = 0, zeroResults = 0, keptResults = 0, asZero = 0, asTheyAre = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t bits = first + i * step;
    float x;
    std::memcpy(&x, &bits, 4);
    const double exact = Function::exact(x);
    const float y = got[i];
    if (std::fpclassify(x) == FP_SUBNORMAL) {  // as a zero of its sign, or as it is
      const double ofZero = Function::exact(std::copysign(0.0, static_cast<double>(x)));
      const bool zero = std::isnan(ofZero) ? std::isnan(y) : y == static_cast<float>(ofZero);
      const bool self =
          std::isnan(exact) ? std::isnan(y) : y == static_cast<float>(exact) || distance(y, exact) <= mostUlps;
      if (zero != self) ++(zero ? asZero : asTheyAre);
      if (!zero && !self && wrong++ == 0) wrongInput = bits;
      continue;
    }
    if (std::isnan(exact) || std::isinf(exact) || exact == 0) {
      const bool same = std::isnan(exact) ? std::isnan(y) : y == static_cast<float>(exact);
      if (!same && wrong++ == 0) wrongInput = bits;
    } else if (std::fabs(exact) < 0x1p-126) {
      if (std::fabs(exact) >= 0x1p-149) ++(y == 0 ? zeroResults : keptResults);
      if (y != 0 && std::fabs(y - exact) > mostUlps * 0x1p-149 && wrong++ == 0) wrongInput = bits;
    } else if (std::fabs(exact) >= 0x1.ffffffp127) {
      if (!(std::fabs(y) >= 0x1.fffff0p127f) && wrong++ == 0) wrongInput = bits;
    } else if (logarithm && x > 0.5f && x < 2.0f) {
      const double error = std::fabs(static_cast<double>(y) - static_cast<float>(exact));
      worstNear = std::max(worstNear, error);
      if (!(error <= mostNearOne) && wrong++ == 0) wrongInput = bits;
    } else {
      const double error = distance(y, exact);
      worst = std::max(worst, error);
      if (!(error <= mostUlps) && wrong++ == 0) wrongInput = bits;
    }
  }
  Outcome outcome;
  outcome.text = described("%.0f ulp off at most", worst);
  outcome.values = described("\"ulp\": %.2f", worst);
  if (logarithm) {
    outcome.text += described("; %.2e in (0.5, 2)", worstNear);
    outcome.values += described(", \"nearOne\": %.4e", worstNear);
  }
  if (asZero + asTheyAre > 0) {
    outcome.text += std::string("; subnormal numbers are taken ") + (asTheyAre == 0 ? "as 0"
                                                                     : asZero == 0  ? "as they are"
                                                                                    : "one way and the other");
    outcome.values +=
        ", \"subnormalAsZero\": " + std::to_string(asZero) + ", \"subnormalAsIs\": " + std::to_string(asTheyAre);
  }
  if (zeroResults + keptResults > 0) {
    outcome.text += std::string("; subnormal results are ") + (keptResults == 0   ? "0"
                                                               : zeroResults == 0 ? "kept"
                                                                                  : "kept in part");
    outcome.values +=
        ", \"resultsZero\": " + std::to_string(zeroResults) + ", \"resultsKept\": " + std::to_string(keptResults);
  }
  if (wrong > 0) {
    outcome.status = Outcome::Status::differs;
    char text[100];
    std::snprintf(text, sizeof text, "; %u of %u beyond the bound, first at input 0x%08x", wrong, count, wrongInput);
    outcome.text += text;
  }
  return outcome;
}

}  // namespace

std::vector<Part> functionParts() {
  return {
      {"exp2Fast", nullptr, [] { return measured<Exp2, false>(); }},
      {"log2Fast", nullptr, [] { return measured<Log2, true>(); }},
      {"reciprocalFast", nullptr, [] { return measured<Reciprocal, false>(); }},
      {"reciprocalRoot", nullptr, [] { return measured<Root, false>(); }},
  };
}

}  // namespace probe
