// fuzz_native --target=NAME [libFuzzer's arguments]: one target under Clang's libFuzzer, which leaves alone what begins
// with two dashes.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "targets.h"

namespace {

const emoframe::fuzz::Target *chosen = nullptr;

}  // namespace

extern "C" int LLVMFuzzerInitialize(int *argc, char ***argv) {
  const char *option = "--target=";
  for (int i = 1; i < *argc; ++i) {
    if (std::strncmp((*argv)[i], option, std::strlen(option)) != 0) continue;
    for (const emoframe::fuzz::Target &target : emoframe::fuzz::targets()) {
      if (std::strcmp((*argv)[i] + std::strlen(option), target.name) == 0) chosen = &target;
    }
  }
  if (chosen) return 0;
  std::fprintf(stderr, "fuzz_native: expected --target= and one of:");
  for (const emoframe::fuzz::Target &target : emoframe::fuzz::targets()) std::fprintf(stderr, " %s", target.name);
  std::fprintf(stderr, "\n");
  std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  emoframe::fuzz::Input input(data, size);
  chosen->run(input);
  return 0;
}
