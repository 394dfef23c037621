// op_table [--device cpu] [--threads N] [--family NAME]: runs the table against one backend. op_table_simt is the same
// program on the emulation of a GPU, its usual device.
// Prints the failures, then `N passed, N failed`; exit code 1 on any failure, 2 on bad usage.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "error.h"
#include "harness.h"

using namespace emoframe;
using namespace emoframe::test;

int main(int count, char **words) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what was found before a crash is seen
  std::string device = usualDevice, family;
  int32_t threads = 0;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const bool known = word == "--device" || word == "--threads" || word == "--family";
    if (!known || i + 1 == count) {
      std::fprintf(stderr, "usage: op_table [--device %s] [--threads N] [--family NAME]\n", usualDevice);
      return 2;
    }
    const std::string value = words[++i];
    if (word == "--device") device = value;
    if (word == "--family") family = value;
    if (word == "--threads") threads = static_cast<int32_t>(std::strtol(value.c_str(), nullptr, 10));
  }
  int passed = 0, failed = 0;
  try {
    auto backend = makeBackend(device, {threads});
    std::printf("%s, %s path\n", backend->name().c_str(), backend->path().c_str());
    for (const Case &one : cases()) {
      if (!family.empty() && one.family != family) continue;
      Report report(device, threads, one.family + "/" + one.name);
      try {
        one.run(*backend, report);
        // A case that compares nothing proves nothing.
        if (report.checks == 0) report.fail("case", "made no comparison");
      } catch (const std::exception &error) {
        report.fail("exception", error.what());
        backend.reset();
        recoverDevice();
        backend = makeBackend(device, {threads});
      }
      ++(report.failures == 0 ? passed : failed);
    }
  } catch (const Error &error) {
    std::fprintf(stderr, "%s: %s\n", error.code.c_str(), error.what());
    return 1;
  }
  if (passed + failed == 0) {
    std::fprintf(stderr, "no case is of family '%s'\n", family.c_str());
    return 2;
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
