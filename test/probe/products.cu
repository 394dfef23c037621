// mma.sync of bf16 and tf32, with operands given by register, so that layouts and sums are both asked. How a tensor
// core rounds what it sums is not documented: each part has an answer by every model of it that the emulation has, and
// a device says which is its own.
#include "device.cuh"
#include "ptx.cuh"

namespace probe {

using namespace emoframe;

namespace {

constexpr int tiles = 24, chain = 4;  // so many products are added up a tile

// a: [tile, chain, lane, 4], b: [tile, chain, lane, 2], d: [tile, lane, 4], in and out.
template <bool tf32>
__global__ void productKernel(const uint32_t *a, const uint32_t *b, float *d) {
  const int lane = static_cast<int>(threadIdx.x), tile = static_cast<int>(blockIdx.x);
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = d[(tile * 32 + lane) * 4 + i];
  for (int step = 0; step < chain; ++step) {
    const int at = (tile * chain + step) * 32 + lane;
    const uint32_t left[4] = {a[at * 4], a[at * 4 + 1], a[at * 4 + 2], a[at * 4 + 3]};
    const uint32_t right[2] = {b[at * 2], b[at * 2 + 1]};
    if constexpr (tf32) {
      mmaTf32(sums, left, right);
    } else {
      mmaBf16(sums, left, right);
    }
  }
  for (int i = 0; i < 4; ++i) d[(tile * 32 + lane) * 4 + i] = sums[i];
}

// Kinds of numbers, as fp32 bits. Integers leave nothing to round: every model gives the same.
enum class Kind { integers, random, oneSigned, wide, subnormal, cancelling };
uint32_t numberOf(Random *random, Kind kind) {
  const uint32_t word = random->word();
  const auto withExponent = [&](int exponent) { return (word & 0x807FFFFFu) | static_cast<uint32_t>(exponent) << 23; };
  switch (kind) {
    case Kind::integers:
      return wordOf(static_cast<float>(static_cast<int>(word % 17) - 8));
    case Kind::oneSigned:
      return withExponent(126) & 0x7FFFFFFFu;
    case Kind::wide:
      return withExponent(127 - 20 + random->below(40));
    case Kind::subnormal:  // subnormal factors, and others whose products are subnormal
      return random->below(2) ? withExponent(0) : withExponent(60 + random->below(8));
    case Kind::cancelling:  // large numbers of both signs, and small ones that are left
      return random->below(2) ? (withExponent(139) & 0xFF800000u) : withExponent(120);
    default:
      return withExponent(124 + random->below(4));
  }
}
template <bool tf32, Kind kind>
Words products() {
  Random random(11 + static_cast<int>(kind) + (tf32 ? 100 : 0));
  const auto operand = [&] {  // tf32: with the bits that are cut off
    const uint32_t first = numberOf(&random, kind), second = numberOf(&random, kind);
    return tf32 ? first : (first >> 16 | (second & 0xFFFF0000u));
  };
  Words a(tiles * chain * 32 * 4), b(tiles * chain * 32 * 2);
  std::vector<float> d(tiles * 32 * 4);
  for (uint32_t &word : a) word = operand();
  for (uint32_t &word : b) word = operand();
  for (float &value : d) {
    const uint32_t bits = numberOf(&random, kind);
    std::memcpy(&value, &bits, 4);
  }
  const Buffer<uint32_t> left(a), right(b);
  const Buffer<float> sums(d);
  launch(productKernel<tf32>, dim3(tiles), dim3(32), 0, left.get(), right.get(), sums.get());
  return sums.words();
}

template <bool tf32>
void addParts(const std::string &name, std::vector<Part> *parts) {
  const auto add = [&](const char *kind, Words (*answer)()) {
    Part part;
    part.name = name + " of " + kind;
    part.answer = answer;
    part.byModel = true;
    parts->push_back(part);
  };
  add("integers", products<tf32, Kind::integers>);
  add("random numbers", products<tf32, Kind::random>);
  add("numbers of one sign", products<tf32, Kind::oneSigned>);
  add("a wide range", products<tf32, Kind::wide>);
  add("subnormals", products<tf32, Kind::subnormal>);
  add("numbers that cancel", products<tf32, Kind::cancelling>);
}

}  // namespace

std::vector<Part> productParts() {
  std::vector<Part> parts;
  addParts<false>("mmaBf16", &parts);
  addParts<true>("mmaTf32", &parts);
  return parts;
}

}  // namespace probe
