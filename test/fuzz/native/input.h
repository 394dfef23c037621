// The bytes of a fuzzer as numbers, sizes and lists: a few bytes a value, most of them small or of note, so that a
// mutation of one byte changes one thing. When the bytes are used up, all that follows is 0.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace emoframe {
namespace fuzz {

class Input {
 public:
  Input(const uint8_t *data, size_t size) : at_(data), end_(data + size) {}

  bool over() const { return at_ == end_; }
  uint8_t byte() { return over() ? 0 : *at_++; }
  bool flag() { return byte() & 1; }
  size_t below(size_t limit) { return byte() % limit; }
  template <typename T>
  T pick(std::initializer_list<T> choices) {
    return choices.begin()[below(choices.size())];
  }

  // Any 64 bits.
  uint64_t bits() {
    uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | byte();
    return value;
  }

  // As the addon takes integers: any within ±2^53. The first byte says the kind.
  int64_t integer() {
    static const int64_t notable[] = {-1,
                                      0,
                                      1,
                                      255,
                                      256,
                                      32767,
                                      65536,
                                      (1 << 20) - 1,
                                      1 << 20,
                                      (1 << 20) + 1,
                                      (1 << 24),
                                      INT32_MAX - 1,
                                      INT32_MAX,
                                      int64_t{1} << 31,
                                      int64_t{1} << 32,
                                      int64_t{1} << 40,
                                      int64_t{1} << 48,
                                      int64_t{1} << 53,
                                      -(int64_t{1} << 53),
                                      INT32_MIN};
    const uint8_t kind = byte();
    if (kind < 200) return kind % 50;
    if (kind < 240) return notable[(kind - 200) % (sizeof(notable) / sizeof(notable[0]))];
    if (kind < 250) return static_cast<int64_t>(byte()) << below(32);
    return static_cast<int64_t>(bits()) / 1024;
  }
  // The same, or what is given, which is right: so that one wrong value is found behind others that are not.
  int64_t integerOr(int64_t usual) { return flag() ? usual : integer(); }
  int32_t index() { return static_cast<int32_t>(integer()); }

  double real() {
    static const double notable[] = {0,
                                     -0.0,
                                     1,
                                     -1,
                                     0.1,
                                     0.5,
                                     0.999,
                                     1e-5,
                                     1e-45,
                                     3.4e38,
                                     1e300,
                                     -1e300,
                                     std::numeric_limits<double>::infinity(),
                                     -std::numeric_limits<double>::infinity(),
                                     std::numeric_limits<double>::quiet_NaN(),
                                     4};
    const uint8_t kind = byte();
    if (kind < 240) return notable[kind % 16];
    const uint64_t raw = bits();
    double value;
    std::memcpy(&value, &raw, sizeof(value));
    return value;
  }
  double realOr(double usual) { return flag() ? usual : real(); }
  // A double as the addon makes a float of it.
  float single() { return static_cast<float>(real()); }
  float singleOr(float usual) { return flag() ? usual : single(); }

  std::vector<int64_t> integers(size_t most) {
    std::vector<int64_t> values(below(most + 1));
    for (int64_t &value : values) value = integer();
    return values;
  }
  std::vector<int32_t> indices(size_t most) {
    std::vector<int32_t> values(below(most + 1));
    for (int32_t &value : values) value = index();
    return values;
  }

  // Numbers between -1 and 1; sometimes one of them is not.
  std::vector<float> floats(size_t count) {
    std::vector<float> values(count);
    uint32_t state = byte() + 1u;
    for (float &value : values) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<float>(static_cast<int32_t>(state)) / 2147483648.0f;
    }
    if (count > 0 && byte() > 220) values[bits() % count] = single();
    return values;
  }

 private:
  const uint8_t *at_, *end_;
};

}  // namespace fuzz
}  // namespace emoframe
