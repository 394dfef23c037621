// fuzz_replay FOLDER: the inputs kept of each target, FOLDER/NAME.corpus, once more; any compiler builds it. A corpus
// is a file of inputs one after another, each behind its length, four bytes, the lowest first. A finding ends the
// program, and the last line that it wrote names the input.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "targets.h"

namespace {

std::vector<std::vector<uint8_t>> readCorpus(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::vector<std::vector<uint8_t>> inputs;
  for (size_t at = 0; at + 4 <= bytes.size();) {
    const size_t length =
        bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | static_cast<size_t>(bytes[at + 3]) << 24;
    at += 4;
    if (length > bytes.size() - at) break;
    // Of a size of its own, so that a sanitizer sees what reads past its end.
    inputs.emplace_back(bytes.begin() + static_cast<int64_t>(at), bytes.begin() + static_cast<int64_t>(at + length));
    at += length;
  }
  return inputs;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_replay FOLDER\n");
    return 2;
  }
  int passed = 0, failed = 0;
  for (const emoframe::fuzz::Target &target : emoframe::fuzz::targets()) {
    const std::vector<std::vector<uint8_t>> inputs = readCorpus(std::string(argv[1]) + "/" + target.name + ".corpus");
    for (size_t i = 0; i < inputs.size(); ++i) {
      std::printf("%s %zu\r", target.name, i);
      std::fflush(stdout);
      emoframe::fuzz::Input input(inputs[i].data(), inputs[i].size());
      target.run(input);
    }
    std::printf("%s: %zu inputs\n", target.name, inputs.size());
    // Without its corpus a target says nothing.
    inputs.empty() ? ++failed : ++passed;
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
