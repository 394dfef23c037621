// A backend that times each op that it is given: after calls that are not counted, in runs of as many calls as take
// 10 ms, from one synchronisation to the next. A line of JSON says what an op was: case, name, work, tensors (shapes,
// strides, dtypes) and settings.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "../../bench/native/op_description.h"
#include "../../bench/native/wrapped_backend.h"
#include "error.h"

namespace emoframe {
namespace test {

struct PerfOptions {
  std::string json;    // a file that the lines are added to; none if empty
  std::string turns;   // a folder for an op's tensors; then bench/ops.py asks for each run
  double seconds = 0;  // of audio
};

class PerfBackend final : public WrappedBackend {
 public:
  PerfBackend(std::unique_ptr<Backend> inner, PerfOptions options)
      : WrappedBackend(std::move(inner)), options_(std::move(options)) {}

  static constexpr size_t runs = 9;
  std::string caseName;

  void run(const Op &op) override {
    milliseconds(op, 2);
    const double alone = milliseconds(op, 1);
    const auto calls = static_cast<int64_t>(std::min(std::max(10 / alone, 1.0), 1000.0));
    const std::string line = describeFields(op);
    if (!options_.turns.empty()) {
      std::printf("%s}\n", line.c_str());
      for (std::string word; std::getline(std::cin, word) && word == "run";) {
        std::printf("%.6f\n", milliseconds(op, calls));
      }
      return;
    }
    std::vector<double> times;
    while (times.size() < runs) times.push_back(milliseconds(op, calls));
    std::sort(times.begin(), times.end());
    const double median = times[times.size() / 2];
    std::printf("%-50s %-52s %10.4f ms %9.0f GFLOP/s %8.1f GB/s\n", caseName.c_str(), describe(op).c_str(), median,
                1e-6 * flopsOf(op) / median, 1e-6 * bytes_ / median);
    if (options_.json.empty()) return;
    std::ofstream file(options_.json, std::ios::app);
    file << line << ", \"milliseconds\": " << median << "}\n";
    if (!file.flush()) throw Error("ERR_WRITE", "Cannot write " + options_.json + ".");
  }

 private:
  // A call.
  double milliseconds(const Op &op, int64_t calls) {
    using Clock = std::chrono::steady_clock;
    inner_->synchronize();
    const Clock::time_point started = Clock::now();
    for (int64_t i = 0; i < calls; ++i) inner_->run(op);
    inner_->synchronize();
    return std::chrono::duration<double, std::milli>(Clock::now() - started).count() / static_cast<double>(calls);
  }

  // The line, but for its end. Counts the bytes of all tensors, and writes them where bench/ops.py is to read them.
  std::string describeFields(const Op &op) {
    std::ostringstream line;
    bytes_ = 0;
    line << "{\"case\": \"" << caseName << "\", \"op\": \"" << describe(op) << "\", \"device\": \"" << inner_->name()
         << "\", \"flops\": " << flopsOf(op);
    op.visit([&](const auto &its) {
      line << ", \"kind\": \"" << description::nameOf<std::decay_t<decltype(its)>>() << '"';
      for (const auto &[name, field] : description::fieldsOf(its)) {
        line << ", \"" << name << "\": ";
        std::visit([&, name = name](const auto &what) { add(line, name, what); }, field);
      }
    });
    line << ", \"bytes\": " << bytes_;
    return line.str();
  }
  static void add(std::ostream &line, const char *, bool field) { line << (field ? "true" : "false"); }
  static void add(std::ostream &line, const char *, int64_t field) { line << field; }
  static void add(std::ostream &line, const char *, const Segments &field) {
    for (int32_t b = 0; b <= field.count; ++b) line << (b == 0 ? '[' : ',') << field.offsets[b];
    line << ']';
  }
  void add(std::ostream &line, const char *name, const View &v) {
    line << "{\"dtype\": \"" << (v.dtype == DType::f32 ? "f32" : "bf16") << "\", \"shape\": [" << v.batch << ','
         << v.rows << ',' << v.cols << "], \"strides\": [" << v.batchStride << ',' << v.rowStride << ',' << v.colStride
         << "]}";
    bytes_ += static_cast<double>(sizeOf(v.dtype)) * static_cast<double>(v.size());
    if (options_.turns.empty()) return;
    // From its first element to its last, with what lies between.
    const int64_t last = (v.batch - 1) * v.batchStride + (v.rows - 1) * v.rowStride + (v.cols - 1) * v.colStride;
    std::vector<char> memory(sizeOf(v.dtype) * static_cast<size_t>(last + 1));
    inner_->download(memory.data(), v.data, memory.size());
    const std::string path = options_.turns + "/" + name;
    std::ofstream file(path, std::ios::binary);
    if (!file.write(memory.data(), static_cast<std::streamsize>(memory.size())).flush()) {
      throw Error("ERR_WRITE", "Cannot write " + path + ".");
    }
  }

  const PerfOptions options_;
  double bytes_ = 0;
};

}  // namespace test
}  // namespace emoframe
