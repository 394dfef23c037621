// op_table [--device cpu] [--threads N] [--family NAME] [--limit SECONDS]: runs the table against one backend.
// op_table_simt is the same program on the emulation of a GPU, its usual device. A case may take so many seconds (600).
// Prints the failures, then `N passed, N failed`; exit code 1 on any failure, 2 on bad usage.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>

#include "harness.h"
#include "runner.h"

using namespace emoframe;
using namespace emoframe::test;

int main(int count, char **words) {
  Runner runner(count, words);
  std::string device = usualDevice, family;
  int32_t threads = 0;
  for (size_t i = 0; i < runner.words.size(); ++i) {
    const std::string word = runner.words[i];
    const bool known = word == "--device" || word == "--threads" || word == "--family";
    if (!known || i + 1 == runner.words.size()) {
      std::fprintf(stderr, "usage: op_table [--device %s] [--threads N] [--family NAME] [--limit SECONDS]\n",
                   usualDevice);
      return 2;
    }
    const std::string value = runner.words[++i];
    if (word == "--device") device = value;
    if (word == "--family") family = value;
    if (word == "--threads") threads = static_cast<int32_t>(std::strtol(value.c_str(), nullptr, 10));
  }
  std::vector<const Case *> chosen;
  std::vector<std::string> names;
  for (const Case &one : cases()) {
    if (family.empty() ? one.family == plantedFamily : one.family != family) continue;
    chosen.push_back(&one);
    names.push_back(one.family + "/" + one.name);
  }
  if (chosen.empty()) {
    std::fprintf(stderr, "no case is of family '%s'\n", family.c_str());
    return 2;
  }
  std::unique_ptr<Backend> backend;
  const auto prepare = [&](bool first) {
    backend = makeBackend(device, {threads});
    if (first) std::printf("%s, %s path\n", backend->name().c_str(), backend->path().c_str());
  };
  return runner.run(names, prepare, [&](size_t i) {
    Report report(device, threads, names[i]);
    try {
      chosen[i]->run(*backend, report);
      // A case that compares nothing proves nothing.
      if (report.checks == 0) report.fail("case", "made no comparison");
    } catch (const std::exception &error) {
      report.fail("exception", error.what());
      return Verdict::broken;
    }
    return report.failures == 0 ? Verdict::passed : Verdict::failed;
  });
}
