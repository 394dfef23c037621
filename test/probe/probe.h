// What the probe's files share: a part is one thing that is asked of a device, with a name, and an outcome.
//
// Two kinds. An answered part is the same source on the emulation and on a device: it runs kernels on made-up data and
// returns their results as words, which are compared with the emulation's, bit by bit (answers.h). A checked part knows
// by itself what is right, or measures.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace probe {

using Words = std::vector<uint32_t>;

struct Outcome {
  enum class Status : uint8_t { ok, differs, skipped, faults, hangs, dies };
  Status status = Status::ok;
  std::string text;    // for people
  std::string values;  // for JSON: the inside of an object, such as "\"ulp\": 1.5"
};
const char *nameOf(Outcome::Status status);

struct Part {
  std::string name;
  Words (*answer)() = nullptr;   // of an answered part
  Outcome (*check)() = nullptr;  // of a checked one
  bool byModel = false;          // the answer depends on how tensor cores sum: one for each model
  int major = 0;                 // only on devices of this compute capability
};

// A call of the CUDA runtime failed: what it says. Whatever comes later on the device would fail too.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// ok, or where the first difference is: index, both words, and how many there are.
Outcome compare(const Words &expected, const Words &got);

// Numbers that are the same everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {}
  uint32_t word() {  // splitmix64
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return static_cast<uint32_t>((z ^ z >> 31) >> 32);
  }
  int below(int limit) { return static_cast<int>(word() % static_cast<uint32_t>(limit)); }
  float unit() { return static_cast<float>(word() >> 8) * 0x1p-24f; }  // [0, 1)

 private:
  uint64_t state_;
};

// One function a file of parts.
std::vector<Part> conversionParts();
std::vector<Part> functionParts();
std::vector<Part> warpParts();
std::vector<Part> copyParts();
std::vector<Part> atomicParts();
std::vector<Part> productParts();
std::vector<Part> treeParts();
std::vector<Part> barrierParts();
std::vector<Part> tensorMapParts();
std::vector<Part> warpgroupParts();
std::vector<Part> pipelineParts();
std::vector<Part> rateParts();
std::vector<Part> warpgroupRateParts();
std::vector<Part> plantedParts();

}  // namespace probe
