// A backend that times each op that it is given: after calls that are not counted, in runs of as many calls as take
// 10 ms, from one synchronisation to the next. A line of JSON says what an op was: case, name, work, tensors (shapes,
// strides, dtypes) and settings.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
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
  size_t runs = 9;
};

class PerfBackend final : public WrappedBackend {
 public:
  PerfBackend(std::unique_ptr<Backend> inner, PerfOptions options)
      : WrappedBackend(std::move(inner)), options_(std::move(options)) {}

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
    while (times.size() < options_.runs) times.push_back(milliseconds(op, calls));
    std::sort(times.begin(), times.end());
    const double median = times[times.size() / 2];
    std::printf("%-50s %-52s %10.4f ms %9.0f GFLOP/s %8.1f GB/s\n", caseName.c_str(), describe(op).c_str(), median,
                1e-6 * flopsOf(op) / median, 1e-6 * bytes_ / median);
    if (options_.json.empty()) return;
    std::FILE *file = std::fopen(options_.json.c_str(), "a");
    if (!file) throw Error("ERR_WRITE", "Cannot write " + options_.json + ".");
    std::fprintf(file, "%s, \"milliseconds\": %.6f}\n", line.c_str(), median);
    std::fclose(file);
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

  // The line, but for what ends it. Counts the bytes of all tensors, and writes them where bench/ops.py is to read
  // them.
  std::string describeFields(const Op &op) {
    bytes_ = 0;
    line_ = "{\"case\": \"" + caseName + "\", \"op\": \"" + describe(op) + "\", \"device\": \"" + inner_->name() +
            "\", \"flops\": " + std::to_string(flopsOf(op));
    op.visit([&](const auto &its) {
      line_ += std::string(", \"kind\": \"") + its.name + '"';
      description::fieldsOf(its, [&](const char *name, const auto &field) {
        line_ += std::string(", \"") + name + "\": ";
        add(name, field);
      });
    });
    return line_ + ", \"bytes\": " + std::to_string(bytes_);
  }
  void add(const char *, bool field) { line_ += field ? "true" : "false"; }
  void add(const char *, int64_t field) { line_ += std::to_string(field); }
  void add(const char *, const Segments &field) {
    for (int32_t b = 0; b <= field.count; ++b) line_ += (b == 0 ? "[" : ", ") + std::to_string(field.offsets[b]);
    line_ += "]";
  }
  void add(const char *name, const View &v) {
    const auto three = [](int64_t a, int64_t b, int64_t c) {
      return "[" + std::to_string(a) + ", " + std::to_string(b) + ", " + std::to_string(c) + "]";
    };
    line_ += std::string("{\"dtype\": \"") + (v.dtype == DType::f32 ? "f32" : "bf16") +
             "\", \"shape\": " + three(v.batch, v.rows, v.cols) +
             ", \"strides\": " + three(v.batchStride, v.rowStride, v.colStride) + "}";
    bytes_ += static_cast<double>(sizeOf(v.dtype)) * static_cast<double>(v.size());
    if (options_.turns.empty()) return;
    // From its first element to its last, with what lies between.
    const int64_t last = (v.batch - 1) * v.batchStride + (v.rows - 1) * v.rowStride + (v.cols - 1) * v.colStride;
    std::vector<char> memory(sizeOf(v.dtype) * static_cast<size_t>(last + 1));
    inner_->download(memory.data(), v.data, memory.size());
    const std::string path = options_.turns + "/" + name;
    std::FILE *file = std::fopen(path.c_str(), "wb");
    const bool written = file && std::fwrite(memory.data(), 1, memory.size(), file) == memory.size();
    if (!file || std::fclose(file) != 0 || !written) throw Error("ERR_WRITE", "Cannot write " + path + ".");
  }

  const PerfOptions options_;
  double bytes_ = 0;
  std::string line_;
};

}  // namespace test
}  // namespace emoframe
