// native_tests [--device cpu] [--limit SECONDS] [NAME] [-NAME ...]: runs every test, or those whose name contains NAME,
// but none whose name contains one of the -NAMEs; one may take so many seconds (600). native_tests_simt is the same
// program on the emulation of a GPU, its usual device.
#include <cstring>

#include "../ops/runner.h"
#include "harness.h"

namespace {

bool wanted(const char *name, const std::vector<std::string> &words) {
  for (const std::string &word : words) {
    const bool leftOut = word[0] == '-';
    if ((std::strstr(name, word.c_str() + leftOut) != nullptr) == leftOut) return false;
  }
  return true;
}

}  // namespace

int main(int argc, char **argv) {
  using namespace emoframe::testing;
  using emoframe::test::Verdict;
  emoframe::test::Runner runner(argc, argv);
  if (runner.words.size() > 1 && runner.words[0] == "--device") {
    device() = runner.words[1];
    runner.words.erase(runner.words.begin(), runner.words.begin() + 2);
  }
  std::vector<const Test *> tests;
  std::vector<std::string> names;
  for (const Test &test : registry()) {
    if (!wanted(test.name, runner.words)) continue;
    tests.push_back(&test);
    names.push_back(test.name);
  }
  const auto prepare = [](bool) { backend(); };  // a device that is not there is reported once
  return runner.run(names, prepare, [&](size_t i) {
    std::string message;
    try {
      tests[i]->run();
    } catch (const Failure &failure) {
      message = failure.message;
    } catch (const emoframe::Error &error) {
      message = error.code + ": " + error.what();
    } catch (const std::exception &error) {
      message = error.what();
    }
    if (message.empty()) return Verdict::passed;
    std::printf("FAIL %s: %s\n", names[i].c_str(), message.c_str());
    return Verdict::broken;
  });
}
