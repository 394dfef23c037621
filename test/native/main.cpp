// native_tests [--device cpu] [NAME] [-NAME ...]: runs every test, or those whose name contains NAME, but none whose
// name contains one of the -NAMEs. native_tests_simt is the same program on the emulation of a GPU, its usual device.
#include <cstring>

#include "../ops/device.h"
#include "harness.h"

namespace {

bool wanted(const char *name, int words, char **word) {
  for (int i = 0; i < words; ++i) {
    const bool leftOut = word[i][0] == '-';
    if ((std::strstr(name, word[i] + leftOut) != nullptr) == leftOut) return false;
  }
  return true;
}

}  // namespace

int main(int argc, char **argv) {
  using namespace emoframe::testing;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what was found before a crash is seen
  if (argc > 2 && std::strcmp(argv[1], "--device") == 0) {
    device() = argv[2];
    argc -= 2;
    argv += 2;
  }
  int passed = 0, failed = 0;
  for (const Test &test : registry()) {
    if (!wanted(test.name, argc - 1, argv + 1)) continue;
    std::string message;
    try {
      test.run();
    } catch (const Failure &failure) {
      message = failure.message;
    } catch (const emoframe::Error &error) {
      message = error.code + ": " + error.what();
    } catch (const std::exception &error) {
      message = error.what();
    }
    emoframe::test::recoverDevice();
    if (message.empty()) {
      ++passed;
    } else {
      ++failed;
      std::printf("FAILED %s: %s\n", test.name, message.c_str());
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0 ? 1 : 0;
}
