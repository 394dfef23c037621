// For the probe's own test, on the emulation: parts that go wrong in each way, and one after them that does not.
#include <unistd.h>

#include <csignal>

#include "device.cuh"

namespace probe {

namespace {

__global__ void wordKernel(uint32_t *out, int at) { out[at] = 7; }
Words words(int at) {
  const Buffer<uint32_t> out(1);
  launch(wordKernel, dim3(1), dim3(1), 0, out.get(), at);
  return out.words();
}

}  // namespace

std::vector<Part> plantedParts() {
  return {
      {"planted: differs", nullptr, [] { return compare({8}, words(0)); }},
      {"planted: faults", nullptr, [] { return compare({7}, words(1000)); }},
      {"planted: dies", nullptr,
       []() -> Outcome {
         std::raise(SIGKILL);
         return {};
       }},
      {"planted: hangs", nullptr,
       []() -> Outcome {
         for (;;) pause();
       }},
      {"planted: right", nullptr, [] { return compare({7}, words(0)); }},
  };
}

}  // namespace probe
