// That steps of HuBERT-base on batches that differ go to the device as they should (bench/native/varied_work.h): as
// graphs that were kept, with no more said to the runtime than has to be.
//   build/null_tests
#include <cstdio>
#include <exception>
#include <string>

#include "../native/varied_work.h"

namespace emoframe {
namespace {

std::string wrongWith(const VariedWork &work) {
  const VariedResult result = measureVaried(work);
  const GraphUse &use = result.graphs;
  const auto steps = use.replayed + use.made + use.plain;
  if (static_cast<double>(use.replayed) < 0.95 * static_cast<double>(steps)) {
    return "of " + std::to_string(steps) + " steps " + std::to_string(use.replayed) + " were replayed, " +
           std::to_string(use.made) + " made, " + std::to_string(use.plain) + " launched plainly";
  }
  const auto most = [&](const char *what, uint64_t count, double limit) {
    const double each = static_cast<double>(count) / static_cast<double>(work.steps);
    return each <= limit ? std::string() : std::to_string(each) + " " + what + " a step";
  };
  for (const std::string &wrong :
       {most("kernels launched alone", result.counts.kernels, 10), most("uploads", result.counts.uploads, 1),
        most("waits", result.counts.waits, 1), most("downloads", result.counts.downloads, 1),
        most("allocations", result.counts.allocations, 0),
        most("cudaFuncSetAttribute calls", result.counts.attributes, 0.1)}) {
    if (!wrong.empty()) return wrong;
  }
  return "";
}

}  // namespace
}  // namespace emoframe

int main() {
  int passed = 0, failed = 0;
  for (const char *name : {"masked", "finetune", "predict"}) {
    for (const double least : {350., 60., 5.}) {
      emoframe::VariedWork work;
      work.name = name;
      work.steps = 100;
      work.seconds = least < 60 ? 60 : 350;
      work.least = least;
      std::string wrong;
      try {
        wrong = emoframe::wrongWith(work);
      } catch (const std::exception &error) {
        wrong = error.what();
      }
      ++(wrong.empty() ? passed : failed);
      if (!wrong.empty()) {
        std::printf("FAILED %s, batches of %.0f to %.0f s: %s\n", name, work.least, work.seconds, wrong.c_str());
      }
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0 ? 1 : 0;
}
