// Numbers as a GPU makes them, where the manual says less than the bits.
//
// Tensor cores. Published models, which their authors found to be the bits of the hardware (Xie et al., "MMA-Sim",
// arXiv 2511.10909; Khattak and Mikaitis, "Accurate Models of NVIDIA Tensor Cores", arXiv 2512.07004; what sums do at
// all was found by Fasi et al., "Numerical behavior of NVIDIA tensor cores", PeerJ CS 7:e330, 2021), agree for bf16 and
// tf32 with sums in fp32:
// - Products are exact. A block of them and the sum so far are added at once: each is cut off (towards zero) at F bits
//   behind the point of the largest exponent among them, what is left is added exactly, and the result is cut off to
//   fp32. A product's exponent is the sum of its factors' exponents, without a carry of their significands; a zero
//   counts as an exponent below all normal ones.
// - Ampere and Ada: F 24, an instruction is two blocks, one half of its k after the other (8 for bf16, 4 for tf32).
//   Hopper and later: F 25, an instruction is one block.
// - Subnormals are read and written; what is too large for fp32 becomes infinite; a NaN is 0x7FFFFFFF.
//
// ex2, lg2 and rcp with .approx.ftz take and give zeros for subnormals, and are as far off as the PTX manual allows: 2
// units in the last place; 2^-22, of the result outside of (0.5, 2); 1 unit. rsqrtf, without .ftz, is within 2 units.
// Where in that bound a result lies follows from the bits of its argument.
#include "numerics.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "simt.h"

namespace simt {

namespace {

template <typename To, typename From>
To bitCast(From from) {
  static_assert(sizeof(To) == sizeof(From), "of one size");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

constexpr int zeroExponent = -1000;  // of a product with a zero: below all others
constexpr uint32_t nanBits = 0x7FFFFFFFu;

// The power of two of the first place of x, as if subnormals were normal ones of the least exponent.
int exponentOf(float x) {
  const int field = static_cast<int>(bitCast<uint32_t>(x) >> 23 & 0xFF);
  return x == 0 ? zeroExponent : std::max(field, 1) - 127;
}

double powerOfTwo(int exponent) { return bitCast<double>(static_cast<uint64_t>(1023 + exponent) << 52); }

float cutOff(double x) {
  const double size = std::fabs(x);
  if (size < powerOfTwo(-126)) return static_cast<float>(std::trunc(x * powerOfTwo(149)) * powerOfTwo(-149));
  if (size >= powerOfTwo(128)) return std::copysign(INFINITY, static_cast<float>(x));
  return static_cast<float>(bitCast<double>(bitCast<uint64_t>(x) & ~uint64_t(0x1FFFFFFF)));
}

// The sum itself, rounded once. Infinities and NaN come out as the hardware has them.
template <int K>
float sumExactly(const double *a, const double (&b)[K][8], int n, float d) {
  double sum = static_cast<double>(d);
  for (int k = 0; k < K; ++k) sum += a[k] * b[k][n];
  return std::isnan(sum) ? bitCast<float>(nanBits) : static_cast<float>(sum);
}

}  // namespace

template <int K>
void sumInTensorCore(const float (&a)[16][K], const float (&b)[K][8], float (&d)[16][8]) {
  const bool hopper = settings().numerics == Numerics::hopper;
  const int fraction = hopper ? 25 : 24, block = hopper ? K : K / 2;
  double wideB[K][8];
  int exponentB[K][8], mostOfB = zeroExponent;
  for (int k = 0; k < K; ++k) {
    for (int n = 0; n < 8; ++n) {
      wideB[k][n] = static_cast<double>(b[k][n]);
      exponentB[k][n] = exponentOf(b[k][n]);
      mostOfB = std::max(mostOfB, exponentB[k][n]);
    }
  }
  for (int m = 0; m < 16; ++m) {
    double wideA[K];
    int exponentA[K], most = mostOfB;
    for (int k = 0; k < K; ++k) {
      wideA[k] = static_cast<double>(a[m][k]);
      exponentA[k] = exponentOf(a[m][k]);
      most = std::max(most, exponentA[k]);
    }
    for (int n = 0; n < 8; ++n) most = std::max(most, exponentOf(d[m][n]));
    if (settings().numerics == Numerics::exact || most > 127) {  // 128: infinite, or NaN
      for (int n = 0; n < 8; ++n) d[m][n] = sumExactly<K>(wideA, wideB, n, d[m][n]);
      continue;
    }
    for (int first = 0; first < K; first += block) {
      int top[8];
      for (int n = 0; n < 8; ++n) top[n] = std::max(exponentOf(d[m][n]), -108 - fraction);
      for (int k = first; k < first + block; ++k) {
        for (int n = 0; n < 8; ++n) top[n] = std::max(top[n], exponentA[k] + exponentB[k][n]);
      }
      double scale[8], sum[8];
      for (int n = 0; n < 8; ++n) {
        scale[n] = powerOfTwo(fraction - top[n]);
        const double before = static_cast<double>(d[m][n]) * scale[n];
        sum[n] = std::isinf(before) ? before : static_cast<int32_t>(before);  // infinite since the block before
      }
      for (int k = first; k < first + block; ++k) {
        for (int n = 0; n < 8; ++n) sum[n] += static_cast<int32_t>(wideA[k] * wideB[k][n] * scale[n]);
      }
      for (int n = 0; n < 8; ++n) d[m][n] = cutOff(sum[n] * powerOfTwo(top[n] - fraction));
    }
  }
}
template void sumInTensorCore(const float (&)[16][16], const float (&)[16][8], float (&)[16][8]);
template void sumInTensorCore(const float (&)[16][8], const float (&)[8][8], float (&)[16][8]);

namespace {

float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

// From -most to most, from the bits of x.
int noiseOf(float x, int most) {
  uint32_t hash = bitCast<uint32_t>(x) * 0x9E3779B1u;
  hash = (hash ^ hash >> 15) * 0x85EBCA77u;
  return static_cast<int>((hash >> 16) % static_cast<uint32_t>(2 * most + 1)) - most;
}

// `units` units in the last place further from zero; of what is not subnormal.
float moved(float x, int units) {
  if (x == 0 || !std::isfinite(x)) return x;
  const uint32_t bits = bitCast<uint32_t>(x), sign = bits & 0x80000000u;
  return bitCast<float>(sign | std::min((bits ^ sign) + static_cast<uint32_t>(units), 0x7F800000u));
}

bool exact() { return settings().numerics == Numerics::exact; }

}  // namespace

float exp2Fast(float x) {
  if (exact()) return std::exp2(x);
  if (flushed(x) == 0) return 1;
  return flushed(moved(flushed(std::exp2(x)), noiseOf(x, 2)));
}

float log2Fast(float x) {
  if (exact()) return std::log2(x);
  const float result = std::log2(flushed(x));
  if (x > 0.5f && x < 2) return flushed(result + static_cast<float>(noiseOf(x, 2)) * 0x1p-23f);
  return moved(result, noiseOf(x, 1));
}

float reciprocalFast(float x) {
  if (exact()) return 1 / x;
  return flushed(moved(flushed(1 / flushed(x)), noiseOf(x, 1)));
}

float reciprocalRoot(float x) {
  const auto result = static_cast<float>(1 / std::sqrt(static_cast<double>(x)));  // the nearest
  return exact() ? result : moved(result, noiseOf(x, 2));
}

}  // namespace simt
