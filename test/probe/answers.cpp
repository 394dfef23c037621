// The file: 8 bytes of magic, then for each answer the length of its name, its name, the number of words, the words.
#include "answers.h"

#include <cstdio>
#include <fstream>
#include <sstream>

namespace probe {

namespace {
const std::string magic = "emoprob1";
}

const char *nameOf(Outcome::Status status) {
  static const char *const names[] = {"ok", "DIFFERS", "skipped", "FAULTS", "HANGS", "DIES"};
  return names[static_cast<int>(status)];
}

Outcome compare(const Words &expected, const Words &got) {
  Outcome outcome;
  char text[200];
  if (expected.size() != got.size()) {
    outcome.status = Outcome::Status::differs;
    std::snprintf(text, sizeof text, "%zu words where %zu are expected: another build's data", got.size(),
                  expected.size());
    outcome.text = text;
    return outcome;
  }
  size_t first = 0, count = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] != expected[i] && count++ == 0) first = i;
  }
  outcome.values = "\"words\": " + std::to_string(got.size()) + ", \"different\": " + std::to_string(count);
  std::snprintf(text, sizeof text, "%zu words", got.size());
  if (count > 0) {
    outcome.status = Outcome::Status::differs;
    std::snprintf(text, sizeof text, "%zu of %zu words, first [%zu]: expected 0x%08x, got 0x%08x", count, got.size(),
                  first, expected[first], got[first]);
    char json[100];
    std::snprintf(json, sizeof json, ", \"first\": %zu, \"expected\": %u, \"got\": %u", first, expected[first],
                  got[first]);
    outcome.values += json;
  }
  outcome.text = text;
  return outcome;
}

Outcome judge(const Part &part, const Words &got, const Answers &answers) {
  if (!part.byModel) {
    const auto found = answers.find(part.name);
    if (found != answers.end()) return compare(found->second, got);
  }
  Outcome best, result;
  std::string matching, nearest, counts;
  size_t least = SIZE_MAX;
  for (auto i = answers.lower_bound(part.name + "/"); i != answers.end(); ++i) {
    if (i->first.compare(0, part.name.size() + 1, part.name + "/") != 0) break;
    const std::string model = i->first.substr(part.name.size() + 1);
    const Outcome one = compare(i->second, got);
    size_t different = i->second.size() == got.size() ? 0 : got.size();
    for (size_t k = 0; k < got.size() && i->second.size() == got.size(); ++k) different += i->second[k] != got[k];
    counts += (counts.empty() ? "\"" : ", \"") + model + "\": " + std::to_string(different);
    if (one.status == Outcome::Status::ok) matching += (matching.empty() ? "" : ", ") + model;
    if (different < least) least = different, best = one, nearest = model;
  }
  if (counts.empty()) {
    result.status = Outcome::Status::differs;
    result.text = "the file of answers has none for it: write it anew";
    return result;
  }
  result = best;
  result.text += matching.empty() ? " (nearest: " + nearest + ")" : " (as " + matching + ")";
  result.values += ", \"differentByModel\": {" + counts + "}";
  return result;
}

void writeAnswers(const std::string &path, const Answers &answers) {
  std::ofstream file(path, std::ios::binary);
  const auto number = [&](uint32_t value) { file.write(reinterpret_cast<const char *>(&value), 4); };
  file << magic;
  for (const auto &[name, words] : answers) {
    number(static_cast<uint32_t>(name.size()));
    file << name;
    number(static_cast<uint32_t>(words.size()));
    file.write(reinterpret_cast<const char *>(words.data()), static_cast<std::streamsize>(words.size() * 4));
  }
  file.flush();
  if (!file) throw std::runtime_error("'" + path + "' cannot be written.");
}

Answers readAnswers(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("'" + path + "' cannot be read. 'probe_simt --write FILE' makes it.");
  std::stringstream all;
  all << file.rdbuf();
  const std::string bytes = all.str();
  const auto damaged = [&] { return std::runtime_error("'" + path + "' is no file of answers, or damaged."); };
  if (bytes.compare(0, magic.size(), magic) != 0) throw damaged();
  size_t at = magic.size();
  const auto take = [&](void *to, size_t count) {
    if (count > bytes.size() - at) throw damaged();
    bytes.copy(static_cast<char *>(to), count, at);
    at += count;
  };
  Answers answers;
  while (at < bytes.size()) {
    uint32_t count = 0;
    take(&count, 4);
    if (count > bytes.size() - at) throw damaged();
    std::string name(count, ' ');
    take(name.data(), count);
    take(&count, 4);
    if (count > (bytes.size() - at) / 4) throw damaged();
    Words words(count);
    take(words.data(), size_t(count) * 4);
    answers[name] = std::move(words);
  }
  return answers;
}

}  // namespace probe
