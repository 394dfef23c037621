// Times: medians over repeats, by events on the device or by the host's clock.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>

#include "device.cuh"

namespace probe {

constexpr int repeats = 9;

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}
// Seconds that the device takes for what `work` asks of stream 0; once before it counts.
inline double deviceSeconds(const std::function<void()> &work) {
  cudaEvent_t start, end;
  require(cudaEventCreate(&start), "making an event");
  require(cudaEventCreate(&end), "making an event");
  work();
  require(cudaDeviceSynchronize(), "running");
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    require(cudaEventRecord(start), "recording an event");
    work();
    require(cudaEventRecord(end), "recording an event");
    require(cudaEventSynchronize(end), "running");
    float milliseconds = 0;
    require(cudaEventElapsedTime(&milliseconds, start, end), "reading a time");
    seconds.push_back(milliseconds / 1e3);
  }
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  return median(seconds);
}
// Seconds that `work` keeps the host; the device is idle when it starts, and waited for after it, uncounted.
inline double hostSeconds(const std::function<void()> &work) {
  std::vector<double> seconds;
  for (int i = 0; i <= repeats; ++i) {
    require(cudaDeviceSynchronize(), "running");
    const auto start = std::chrono::steady_clock::now();
    work();
    const auto end = std::chrono::steady_clock::now();
    if (i > 0) seconds.push_back(std::chrono::duration<double>(end - start).count());
  }
  require(cudaDeviceSynchronize(), "running");
  return median(seconds);
}

inline Outcome measurement(double value, const char *unit) {
  Outcome outcome;
  char text[100];
  std::snprintf(text, sizeof text, "%.4g %s", value, unit);
  outcome.text = text;
  std::snprintf(text, sizeof text, "\"value\": %.6g, \"unit\": \"%s\"", value, unit);
  outcome.values = text;
  return outcome;
}
inline int multiprocessors() {
  int count = 0;
  require(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0), "asking for multiprocessors");
  return count;
}

}  // namespace probe
