// How launches reach the device, with kernels made for it: in graphs that have to fit steps which differ, with
// arguments of every alignment, and with shared memory. On the emulation alone.
#include "harness.h"

#ifdef EMOFRAME_SIMT
#include <cuda_runtime.h>

#include <algorithm>
#include <random>

#include "cuda/launch.cuh"
#include "cuda/matching.h"

namespace emoframe {
namespace testing {
namespace {

// What comes of several depends on each of them, on its value and on their order.
template <uint32_t kernel>
void mix(uint32_t *state, uint32_t value) {
  *state = (*state ^ (value * 8 + kernel)) * 0x01000193u;
}
using Mix = void (*)(uint32_t *, uint32_t);
const Mix kMixes[] = {mix<0>, mix<1>, mix<2>, mix<3>, mix<4>, mix<5>};

struct Call {
  uint32_t kernel, value;
};

class Device {
 public:
  explicit Device(bool graphs) : stream(graphs, 227 * 1024) {
    check(cudaMalloc(&memory_, 4096));
    const uint32_t zero = 0;
    stream.upload(memory_, &zero, sizeof zero);
  }
  ~Device() {
    stream.endStep();
    cudaFree(memory_);
  }
  void step(const std::vector<Call> &calls) {
    stream.beginStep();
    for (const Call &call : calls) launch(kMixes[call.kernel], 1, 1, 0, stream, state(), call.value);
    stream.endStep();
  }
  uint32_t *state() const { return static_cast<uint32_t *>(memory_); }
  uint32_t found() {
    uint32_t value = 0;
    stream.wait();
    check(cudaMemcpyAsync(&value, memory_, sizeof value, cudaMemcpyDeviceToHost, stream.handle()));
    return value;
  }

  Stream stream;

 private:
  static void check(cudaError_t status) { require(status == cudaSuccess, cudaGetErrorString(status)); }
  void *memory_ = nullptr;
};

// A model of 12 layers of 20 kernels, of which some steps leave layers out, and some cut products into other tiles,
// which may take a kernel more.
std::vector<Call> aStep(std::mt19937 &random) {
  const auto chance = [&](double p) { return std::uniform_real_distribution<double>()(random) < p; };
  const bool small = chance(0.3), split = chance(0.3);
  std::vector<Call> calls;
  const auto add = [&](uint32_t kernel) { calls.push_back({kernel, static_cast<uint32_t>(random() % 1000)}); };
  for (int i = 0; i < 30; ++i) add(i % 5);
  for (int layer = 0; layer < 12; ++layer) {
    if (chance(0.05)) continue;
    for (uint32_t i = 0; i < 20; ++i) {
      add(i % 8 == 3 && small ? 5 : i * i % 5);
      if (i == 11 && split) add(4);
    }
  }
  for (int i = 0; i < 10; ++i) add(i % 3);
  return calls;
}

std::vector<uint32_t> resultsOf(bool graphs, int steps, GraphUse *use = nullptr) {
  std::mt19937 random(5);
  Device device(graphs);
  std::vector<uint32_t> results;
  for (int i = 0; i < steps; ++i) {
    device.step(aStep(random));
    results.push_back(device.found());
  }
  if (use) *use = device.stream.graphs();
  return results;
}

TEST(graphsFitStepsThatDiffer) {
  GraphUse use;
  const std::vector<uint32_t> plain = resultsOf(false, 200);
  require(resultsOf(true, 200, &use) == plain, "other results than one launch after another");
  require(use.reason.empty(), use.reason);
  const auto all = static_cast<double>(use.replayed + use.made + use.plain);
  require(static_cast<double>(use.replayed) >= 0.95 * all, std::to_string(use.replayed) + " of " + std::to_string(all));

  simt::machine().forgetsSwitching = true;
  const bool seen = resultsOf(true, 200) != plain;
  simt::machine().forgetsSwitching = false;
  require(seen, "nodes that stay on or off are not seen");
  simt::machine().forgetsUpdates = true;
  const bool updates = resultsOf(true, 200) != plain;
  simt::machine().forgetsUpdates = false;
  require(updates, "nodes that keep their values are not seen");
}

TEST(aDriverThatKeepsANodesKernelIsLeftAlone) {
  const std::vector<uint32_t> plain = resultsOf(false, 60);
  GraphUse use;
  simt::machine().updatesFunctions = false;
  const bool same = resultsOf(true, 60, &use) == plain;
  simt::machine().updatesFunctions = true;
  require(same, "the same results");
  require(use.replayed < 60 && use.reason.find("cannot be changed") != std::string::npos, "why: " + use.reason);
}

TEST(moreKindsOfStepsThanThereIsRoomForTakeTurns) {
  std::vector<std::vector<Call>> kinds;
  for (uint32_t kind = 0; kind < 40; ++kind) {
    std::mt19937 random(kind);
    kinds.emplace_back();
    for (int i = 0; i < 50; ++i)
      kinds.back().push_back({static_cast<uint32_t>(random() % 6), static_cast<uint32_t>(random() % 1000)});
  }
  std::vector<uint32_t> found[2];
  for (const bool graphs : {false, true}) {
    Device device(graphs);
    const auto step = [&](const std::vector<Call> &calls) {
      device.step(calls);
      found[graphs].push_back(device.found());
    };
    for (int round = 0; round < 4; ++round)
      for (const std::vector<Call> &kind : kinds) step(kind);
    const GraphUse use = device.stream.graphs();
    require(use.plain == (graphs ? 40 : 0) && use.made == (graphs ? 120 : 0) && use.replayed == 0,
            "each is made anew when it comes: " + std::to_string(use.made) + " made, " + std::to_string(use.plain) +
                " plain");
    for (int i = 0; i < 3; ++i) step(kinds.back());
    require(device.stream.graphs().replayed == (graphs ? 3 : 0), "the latest are kept");
  }
  require(found[0] == found[1], "the same results");
}

// The length of a longest common subsequence, by the table.
size_t longestCommon(const std::vector<const void *> &a, const std::vector<const void *> &b) {
  std::vector<size_t> before(b.size() + 1, 0), row(b.size() + 1, 0);
  for (const void *one : a) {
    for (size_t j = 0; j < b.size(); ++j) row[j + 1] = one == b[j] ? before[j] + 1 : std::max(row[j], before[j + 1]);
    before = row;
  }
  return before.back();
}

TEST(asManyKernelsAsCanBeMatchNodesOfTheirOwn) {
  std::mt19937 random(3);
  const int places[4] = {};
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<const void *> nodes, kernels;
    const auto some = [&](std::vector<const void *> &into) {
      for (size_t count = random() % 14; count > 0; --count) into.push_back(&places[random() % 4]);
    };
    some(nodes);
    some(kernels);
    const size_t common = longestCommon(nodes, kernels), differences = nodes.size() + kernels.size() - 2 * common;
    const size_t most = random() % 12;
    Matching matching;
    const bool found = match(nodes, kernels, most, matching);
    require(found == (differences <= most), "as many differences as there are");
    refused += !found;
    if (!found) continue;
    require(matching.node.size() == kernels.size(), "an answer for each");
    size_t equal = 0, missing = 0;
    int32_t last = -1;
    for (size_t i = 0; i < kernels.size(); ++i) {
      if (matching.node[i] < 0) {
        ++missing;
        continue;
      }
      require(matching.node[i] > last && matching.node[i] < static_cast<int32_t>(nodes.size()), "in their order");
      last = matching.node[i];
      equal += nodes[static_cast<size_t>(last)] == kernels[i];
    }
    require(equal == common, "as many as can be");
    require(missing == matching.missing && nodes.size() - (kernels.size() - missing) == matching.unused, "counted");
  }
  require(refused > 200 && refused < 1800, "both are tried");
}

struct alignas(64) Map {
  uint64_t words[16];
};
void readArguments(Map first, uint8_t small, Map second, double *out) {
  *out = static_cast<double>(first.words[15] + small + second.words[0]);
}

TEST(argumentsKeepTheirAlignment) {
  Map first{}, second{};
  first.words[15] = 100;
  second.words[0] = 1000;
  uint8_t small = 10;
  double *out = nullptr;
  void *arguments[] = {&first, &small, &second, &out};
  const ParameterLayout &layout = layoutOf<Map, uint8_t, Map, double *>();
  Commands commands;
  for (int i = 0; i < 7; ++i) {
    commands.add({reinterpret_cast<const void *>(readArguments), 1, 1, 0, arguments, &layout});
    commands.add({reinterpret_cast<const void *>(mix<0>), 1, 1, 0, arguments + 1, &layoutOf<uint8_t>()});
  }
  for (size_t i = 0; i < commands.size(); i += 2) {
    const cudaKernelNodeParams params = commands.kernel(i);
    for (const size_t map : {0, 2})
      require(reinterpret_cast<uintptr_t>(params.kernelParams[map]) % 64 == 0, "a tensor map's address");
    require(reinterpret_cast<uintptr_t>(params.kernelParams[3]) % 8 == 0, "a pointer's address");
    require(static_cast<Map *>(params.kernelParams[2])->words[0] == 1000, "its value");
    require(commands.same(i, commands, 0), "copies are the same");
  }
  second.words[7] = 1;
  commands.add({reinterpret_cast<const void *>(readArguments), 1, 1, 0, arguments, &layout});
  require(!commands.same(commands.size() - 1, commands, 0), "another value is seen");

  Device device(true);
  for (int round = 0; round < 3; ++round) {
    device.stream.beginStep();
    for (int i = 0; i < 10; ++i)
      launch(readArguments, 1, 1, 0, device.stream, first, small, second, reinterpret_cast<double *>(device.state()));
    device.stream.endStep();
    device.stream.wait();
    require(*reinterpret_cast<double *>(device.state()) == 1110, "what a kernel was given");
  }
  require(device.stream.graphs().replayed > 0, "by a graph too");
}

void writeShared(uint32_t *state, uint32_t at) {
  simt::sharedMemory()[at] = 1;
  *state += simt::sharedMemory()[at];
}

TEST(aLaunchThatNeedsLessSharedMemoryLeavesOthersTheirs) {
  for (const bool graphs : {false, true}) {
    Device device(graphs);
    for (int round = 0; round < 3; ++round) {
      device.stream.beginStep();
      for (int i = 0; i < 10; ++i) {
        const uint32_t bytes = i % 2 ? 60 * 1024 : 200 * 1024;
        launch(writeShared, 1, 1, bytes, device.stream, device.state(), bytes - 1);
      }
      device.stream.endStep();
    }
    Device other(graphs);  // of another engine on the same device
    launch(writeShared, 1, 1, 60 * 1024, other.stream, other.state(), 7u);
    launch(writeShared, 1, 1, 200 * 1024, device.stream, device.state(), 7u);
    require(device.found() == 31 && other.found() == 1, "launches that were done");
  }
}

}  // namespace
}  // namespace testing
}  // namespace emoframe

#endif
