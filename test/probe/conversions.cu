// Conversions and the rounded product: each on ordinary numbers, on ties, and on subnormals, infinities and NaN.
#include "device.cuh"
#include "ptx.cuh"

namespace probe {

using namespace emoframe;

namespace {

struct ToBf16 {
  static __device__ uint32_t of(uint32_t x, uint32_t) { return toBf16(floatOf(x)).bits; }
};
struct PairOf {
  static __device__ uint32_t of(uint32_t x, uint32_t y) { return pairOf(floatOf(x), floatOf(y)); }
};
struct ToTf32 {
  static __device__ uint32_t of(uint32_t x, uint32_t) { return toTf32(floatOf(x)); }
};
struct Widening {  // both halves, by two ways
  static __device__ uint32_t of(uint32_t x, uint32_t y) {
    const bf16 half{static_cast<uint16_t>(x)};
    return bitsOf(y & 1 ? toFloat(half) : y & 2 ? lowFloat(x) : highFloat(x));
  }
};
struct RoundedProduct {  // an fma would give other bits
  static __device__ uint32_t of(uint32_t x, uint32_t y) {
    return bitsOf(multiplyRounded(floatOf(x), floatOf(y)) + floatOf(y));
  }
};

template <typename Op>
__global__ void mapKernel(const uint32_t *in, uint32_t *out, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) out[i] = Op::of(in[i], in[(i + 1) % count]);
}
template <typename Op>
Words mapped(const Words &in) {
  const Buffer<uint32_t> given(in), result(in.size());
  const int count = static_cast<int>(in.size());
  launch(mapKernel<Op>, dim3((count + 127) / 128), dim3(128), 0, given.get(), result.get(), count);
  return result.words();
}

// Of every exponent that is neither subnormal nor infinite, and as many ties (all but the first bit of what is cut off
// are 0) in bf16 and tf32.
Words ordinary() {
  Random random(1);
  Words words;
  for (uint32_t exponent = 1; exponent < 255; ++exponent) {
    for (int i = 0; i < 4; ++i) {
      const uint32_t word = (random.word() & 0x807FFFFFu) | exponent << 23;
      words.push_back(word);
      words.push_back((word & 0xFFFF0000u) | 0x8000u);
      words.push_back((word & 0xFFFFE000u) | 0x1000u);
    }
  }
  return words;
}
Words subnormal() {
  Random random(2);
  Words words = {0, 0x80000000u, 1, 0x80000001u, 0x007FFFFFu, 0x00008000u, 0x00018000u, 0x00001000u};
  for (int i = 0; i < 256; ++i) words.push_back((random.word() & 0x807FFFFFu) >> (i % 3) * 4);
  return words;
}
// Infinities, what rounds to them, and NaN: quiet, signalling, of both signs, with few bits.
Words special() {
  return {0x7F800000u, 0xFF800000u, 0x7F7FFFFFu, 0xFF7FFFFFu, 0x7F7F8000u, 0x7F7FF000u, 0x7F7FEFFFu, 0x7FC00000u,
          0xFFC00000u, 0x7F800001u, 0xFF800001u, 0x7FFFFFFFu, 0xFFFFFFFFu, 0x7FA12345u, 0x7F801000u, 0x7F80FFFFu};
}
// Near 1, where products and sums round.
Words nearOne() {
  Random random(3);
  Words words;
  for (int i = 0; i < 2048; ++i) words.push_back((random.word() & 0x80FFFFFFu) | 0x3F000000u);
  return words;
}

}  // namespace

std::vector<Part> conversionParts() {
  return {
      {"toBf16", [] { return mapped<ToBf16>(ordinary()); }},
      {"toBf16 of subnormals", [] { return mapped<ToBf16>(subnormal()); }},
      {"toBf16 of infinities and NaN", [] { return mapped<ToBf16>(special()); }},
      {"pairOf", [] { return mapped<PairOf>(ordinary()); }},
      {"pairOf of subnormals", [] { return mapped<PairOf>(subnormal()); }},
      {"pairOf of infinities and NaN", [] { return mapped<PairOf>(special()); }},
      {"toTf32", [] { return mapped<ToTf32>(ordinary()); }},
      {"toTf32 of subnormals", [] { return mapped<ToTf32>(subnormal()); }},
      {"toTf32 of infinities and NaN", [] { return mapped<ToTf32>(special()); }},
      {"toFloat, lowFloat, highFloat", [] { return mapped<Widening>(ordinary()); }},
      {"multiplyRounded", [] { return mapped<RoundedProduct>(nearOne()); }},
      {"multiplyRounded of subnormals", [] { return mapped<RoundedProduct>(subnormal()); }},
  };
}

}  // namespace probe
