// Asks a device whether it does what the emulation and the manual say (docs/cuda.md, "The probe"):
//   probe_simt --write FILE                         the emulation's answers
//   probe --expected FILE [--json FILE] [--only NAME]    a line a part; exit status 0 if all are right
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "answers.h"
#include "workers.h"

#ifdef EMOFRAME_SIMT
#include "simt.h"
#endif

namespace {

using namespace probe;

constexpr const char *usage =
#ifdef EMOFRAME_SIMT
    "usage: probe_simt --write FILE\n"
    "       probe_simt --expected FILE [--json FILE] [--only NAME] [--planted]\n"
    "       probe_simt --list\n"
    "--planted adds parts that differ, fault, die and hang.\n"
#else
    "usage: probe --expected FILE [--json FILE] [--only NAME]\n"
    "       probe --list\n"
    "FILE is what 'probe_simt --write FILE' wrote, on any machine.\n"
#endif
    "--only NAME runs the parts that have NAME in their names.\n"
    "Exit status: 0 if all parts are right, 1 if not, 2 if there is no device, or for wrong options.\n";

struct Options {
  std::string write, expected, json, only;
  bool list = false, planted = false;
};

// False: they are wrong.
bool parse(int count, char **arguments, Options *options) {
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    const auto value = [&](std::string *to) {
      if (i + 1 >= count) return false;
      *to = arguments[++i];
      return !to->empty();
    };
    if (name == "--list") {
      options->list = true;
    } else if (name == "--expected" ? value(&options->expected)
               : name == "--json"   ? value(&options->json)
               : name == "--only"   ? value(&options->only)
                                    : false) {
#ifdef EMOFRAME_SIMT
    } else if (name == "--write" ? value(&options->write) : false) {
    } else if (name == "--planted") {
      options->planted = true;
#endif
    } else {
      return false;
    }
  }
  return true;
}

std::vector<Part> partsFor(const Options &options) {
  std::vector<Part> all;
  const auto add = [&](std::vector<Part> more) {
    for (Part &part : more) {
      if (part.name.find(options.only) != std::string::npos) all.push_back(std::move(part));
    }
  };
  add(conversionParts());
  add(functionParts());
  add(warpParts());
  add(atomicParts());
  add(copyParts());
  add(productParts());
  add(treeParts());
#ifdef EMOFRAME_SIMT
  if (options.planted) add(plantedParts());
#else
  add(barrierParts());
  add(tensorMapParts());
  add(warpgroupParts());
  add(pipelineParts());
  add(rateParts());
  add(warpgroupRateParts());
#endif
  return all;
}

#ifdef EMOFRAME_SIMT
Answers answersOf(const std::vector<Part> &parts) {
  Answers answers;
  for (const Part &part : parts) {
    if (!part.answer) continue;
    if (!part.byModel) {
      answers[part.name] = part.answer();
      continue;
    }
    const std::pair<const char *, simt::Numerics> models[] = {
        {"ampere", simt::Numerics::ampere}, {"hopper", simt::Numerics::hopper}, {"exact", simt::Numerics::exact}};
    const simt::Numerics usual = simt::settings().numerics;
    for (const auto &[name, model] : models) {
      simt::settings().numerics = model;
      answers[part.name + "/" + name] = part.answer();
    }
    simt::settings().numerics = usual;
  }
  return answers;
}
#endif

std::string quoted(const std::string &text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += std::string("\\") + c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      result += escape;
    } else {
      result += c;
    }
  }
  return result + "\"";
}

// All that is known, written anew with each part: whoever ends the probe loses nothing.
class Report {
 public:
  explicit Report(std::string path) : path_(std::move(path)) {}

  void add(const Device &device) {
    device_ = "{\"name\": " + quoted(device.name) + ", \"computeCapability\": \"" + std::to_string(device.major) + "." +
              std::to_string(device.minor) + "\", \"multiprocessors\": " + std::to_string(device.multiprocessors) +
              ", \"driver\": " + std::to_string(device.driver) + ", \"runtime\": " + std::to_string(device.runtime) +
              "}";
    if (!device.problem.empty()) {
      problem_ = device.problem;
    } else {
      std::printf("%s, compute capability %d.%d, %d multiprocessors, driver for CUDA %d.%d\n", device.name.c_str(),
                  device.major, device.minor, device.multiprocessors, device.driver / 1000, device.driver % 1000 / 10);
    }
    write();
  }
  void add(const Part &part, const Outcome &outcome) {
    const bool right = outcome.status == Outcome::Status::ok, left = outcome.status == Outcome::Status::skipped;
    ++(right ? passed : left ? skipped : failed);
    std::printf("%-8s %-42s %s\n", nameOf(outcome.status), part.name.c_str(), outcome.text.c_str());
    std::fflush(stdout);
    parts_ += (parts_.empty() ? "" : ",\n") + std::string("    {\"name\": ") + quoted(part.name) +
              ", \"status\": " + quoted(nameOf(outcome.status)) + ", \"text\": " + quoted(outcome.text) +
              ", \"values\": {" + outcome.values + "}}";
    write();
  }

  const std::string &problem() const { return problem_; }
  int passed = 0, failed = 0, skipped = 0;

 private:
  void write() const {
    if (path_.empty()) return;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    {
      std::ofstream file(path_ + ".part");
      file << "{\n  \"device\": " << (device_.empty() ? "null" : device_) << ",\n  \"problem\": " << quoted(problem_)
           << ",\n  \"passed\": " << passed << ",\n  \"failed\": " << failed << ",\n  \"skipped\": " << skipped
           << ",\n  \"seconds\": " << seconds << ",\n  \"parts\": [\n"
           << parts_ << "\n  ]\n}\n";
      if (!file) throw std::runtime_error("'" + path_ + "' cannot be written.");
    }
    if (std::rename((path_ + ".part").c_str(), path_.c_str()) != 0) {
      throw std::runtime_error("'" + path_ + "' cannot be written.");
    }
  }

  std::string path_, device_, problem_, parts_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

int runAll(const Options &options) {
  const std::vector<Part> parts = partsFor(options);
  if (parts.empty()) {
    std::fprintf(stderr, "probe: no part has '%s' in its name; --list names them.\n", options.only.c_str());
    return 2;
  }
#ifdef EMOFRAME_SIMT
  if (!options.write.empty()) {
    writeAnswers(options.write, answersOf(parts));
    return 0;
  }
#endif
  bool asks = false;
  for (const Part &part : parts) asks = asks || part.answer;
  if (asks && options.expected.empty()) {
    std::fprintf(stderr, "probe: --expected FILE is missing.\n%s", usage);
    return 2;
  }
  const Answers answers = asks ? readAnswers(options.expected) : Answers();
  Report report(options.json);
  size_t done = 0;
  runParts(
      parts, [&](const Part &part) { return part.check ? part.check() : judge(part, part.answer(), answers); },
      [&](const Device &device) { report.add(device); },
      [&](size_t i, const Outcome &outcome) {
        done = i + 1;
        report.add(parts[i], outcome);
      });
  if (!report.problem().empty()) {
    std::fprintf(stderr, "probe: no device: %s.\n", report.problem().c_str());
    return 2;
  }
  for (size_t i = done; i < parts.size(); ++i) {
    report.add(parts[i], {Outcome::Status::faults, "not run: the device cannot be had again", ""});
  }
  if (report.skipped > 0) std::printf("%d skipped\n", report.skipped);
  std::printf("%d passed, %d failed\n", report.passed, report.failed);
  return report.failed == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char **arguments) {
  Options options;
  if (!parse(count, arguments, &options)) {
    std::fputs(usage, stderr);
    return 2;
  }
  if (options.list) {
    for (const Part &part : partsFor(options)) std::printf("%s\n", part.name.c_str());
    return 0;
  }
  try {
    return runAll(options);
  } catch (const std::exception &error) {
    std::fprintf(stderr, "probe: %s\n", error.what());
    return 2;
  }
}
