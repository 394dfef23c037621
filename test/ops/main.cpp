// op_table [--device cpu] [--threads N] [--family NAME] [--limit SECONDS]: runs the table against one backend.
// op_table_simt is the same program on the emulation of a GPU, its usual device. A case may take so many seconds (600).
// Prints the failures, then `N passed, N failed`; exit code 1 on any failure, 2 on bad usage.
//
// op_table --perf [--seconds S] [--json FILE]: times the ops of the cases of real sizes instead, on so many
// seconds of audio (10 on a CPU, 350 on a GPU: there no cache holds them), and prints medians. --turns: bench/ops.py.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness.h"
#include "perf.h"
#include "runner.h"

using namespace emoframe;
using namespace emoframe::test;

int main(int count, char **words) {
  Runner runner(count, words);
  std::string device = usualDevice, family;
  int32_t threads = 0;
  bool perf = false;
  PerfOptions options;
  const std::map<std::string, std::function<void(const std::string &)>> known = {
      {"--device", [&](const std::string &value) { device = value; }},
      {"--family", [&](const std::string &value) { family = value; }},
      {"--threads", [&](const std::string &value) { threads = std::atoi(value.c_str()); }},
      {"--seconds", [&](const std::string &value) { options.seconds = std::atof(value.c_str()); }},
      {"--json", [&](const std::string &value) { options.json = value; }},
      {"--turns", [&](const std::string &value) { options.turns = value; }},
  };
  for (size_t i = 0; i < runner.words.size(); ++i) {
    if (runner.words[i] == "--perf") {
      perf = true;
      continue;
    }
    const auto option = known.find(runner.words[i]);
    if (option == known.end() || i + 1 == runner.words.size()) {
      std::fprintf(stderr,
                   "usage: op_table [--device %s] [--threads N] [--family NAME] [--limit SECONDS]\n"
                   "       op_table --perf [--seconds S] [--json FILE], and the first three\n",
                   usualDevice);
      return 2;
    }
    option->second(runner.words[++i]);
  }
  if (options.seconds <= 0) options.seconds = device == "cpu" ? 10 : 350;
  std::vector<const Case *> chosen;
  std::vector<std::string> names;
  for (const Case &one : cases()) {
    if (family.empty() ? one.family == plantedFamily : one.family != family) continue;
    if (perf ? !one.realSized : one.realSized && device == "simt") continue;  // which is some thousand times slower
    chosen.push_back(&one);
    names.push_back(one.family + "/" + one.name);
  }
  if (chosen.empty()) {
    std::fprintf(stderr, "no case%s is of family '%s'\n", perf ? " of real sizes" : "", family.c_str());
    return 2;
  }
  std::unique_ptr<Backend> backend;
  PerfBackend *clock = nullptr;
  const auto prepare = [&](bool first) {
    backend = makeBackend(device, {threads});
    if (first) std::printf("%s, %s path\n", backend->name().c_str(), backend->path().c_str());
    if (first && device == "cpu") {
      const std::vector<std::string> isa = describeCpu().isa;
      for (const char *instructions : {"avx512_bf16", "avx512", "avx2"})
        if (std::find(isa.begin(), isa.end(), instructions) == isa.end())
          std::printf("not tested: what needs %s, as this processor or oneDNN has none\n", instructions);
    }
    if (perf) backend.reset(clock = new PerfBackend(std::move(backend), options));
  };
  return runner.run(names, prepare, [&](size_t i) {
    Report report(device, threads, names[i]);
    if (perf) {
      clock->caseName = names[i];
      report.timed = true;
      report.frames = static_cast<int64_t>(50 * options.seconds);
    }
    try {
      chosen[i]->run(*backend, report);
      // A case that compares nothing proves nothing.
      if (report.checks == 0 && !perf) report.fail("case", "made no comparison");
    } catch (const std::exception &error) {
      report.fail("exception", error.what());
      return Verdict::broken;
    }
    return report.failures == 0 ? Verdict::passed : Verdict::failed;
  });
}
