// What a step of HuBERT-base costs the host (varied_work.h):
//   build/host_cost [masked|finetune|predict ...] [--steps 300] [--warmup 40] [--seconds 350] [--least 350]
//                   [--layerdrop 0.05]
// Each prints what a step came to: kernels, graphs, copies, waits, and the host's time, medians over steps.
#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <vector>

#include "varied_work.h"

namespace emoframe {
namespace {

std::vector<VariedWork> parse(int argc, char **argv) {
  std::vector<std::string> names;
  VariedWork work;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name.compare(0, 2, "--") != 0) {
      if (name != "masked" && name != "finetune" && name != "predict")
        throw std::invalid_argument("Expected masked, finetune or predict but received " + name + ".");
      names.push_back(name);
      continue;
    }
    if (i + 1 >= argc) throw std::invalid_argument("Expected a value after " + name + ".");
    const std::string value = argv[++i];
    if (name == "--steps") {
      work.steps = std::stoll(value);
    } else if (name == "--warmup") {
      work.warmup = std::stoll(value);
    } else if (name == "--seconds") {
      work.seconds = std::stod(value);
      work.least = std::min(work.least, work.seconds);
    } else if (name == "--least") {
      work.least = std::stod(value);
    } else if (name == "--layerdrop") {
      work.layerdrop = std::stod(value);
    } else {
      throw std::invalid_argument("There is no option " + name + ".");
    }
  }
  if (names.empty()) names = {"masked", "finetune", "predict"};
  std::vector<VariedWork> works;
  for (const std::string &name : names) {
    works.push_back(work);
    works.back().name = name;
  }
  return works;
}

void print(const VariedWork &work, const VariedResult &result) {
  const nullcuda::Counts &all = result.counts;
  const auto each = [&](uint64_t n) { return static_cast<double>(n) / static_cast<double>(work.steps); };
  const GraphUse &use = result.graphs;
  std::printf("%s\n", work.name.c_str());
  std::printf("  launches   %.1f kernels alone, %.2f graphs of %.1f kernels in all\n", each(all.kernels),
              each(all.graphs), each(all.graphKernels));
  std::printf("  nodes      %.1f updated, %.1f switched on or off\n", each(all.nodeUpdates), each(all.nodeSwitches));
  std::printf("  steps      %lld replayed, %lld made, %lld launched plainly\n", static_cast<long long>(use.replayed),
              static_cast<long long>(use.made), static_cast<long long>(use.plain));
  std::printf("  copies     %.1f up (%.3f MB), %.1f down (%.0f bytes)\n", each(all.uploads),
              1e-6 * each(all.uploadedBytes), each(all.downloads), each(all.downloadedBytes));
  std::printf("  calls      %.2f waits, %.2f allocations, %.2f attributes\n", each(all.waits), each(all.allocations),
              each(all.attributes));
  std::printf("  host       %.0f us in the engine; from waits to first launches %.0f us, to last %.0f us\n",
              1e6 * result.hostSeconds, 1e6 * result.firstLaunchSeconds, 1e6 * result.lastLaunchSeconds);
}

}  // namespace
}  // namespace emoframe

int main(int argc, char **argv) {
  try {
    for (const emoframe::VariedWork &work : emoframe::parse(argc, argv)) emoframe::print(work, measureVaried(work));
  } catch (const std::exception &error) {
    std::fprintf(stderr, "host_cost: %s\n", error.what());
    return 1;
  }
  return 0;
}
