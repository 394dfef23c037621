// Runs every test, or those whose name contains the first argument.
#include <cstring>

#include "harness.h"

int main(int argc, char **argv) {
  using namespace emoframe::testing;
  int passed = 0, failed = 0;
  for (const Test &test : registry()) {
    if (argc > 1 && !std::strstr(test.name, argv[1])) continue;
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
