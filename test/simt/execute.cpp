// Launches: their limits, and the sharing out of blocks over system threads.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "block.h"

namespace simt {

Settings &settings() {
  static Settings one = [] {
    Settings made;
    made.workers = static_cast<int>(std::min(4u, std::max(1u, std::thread::hardware_concurrency())));
    if (const char *seed = std::getenv("SIMT_SEED")) made.seed = std::strtoull(seed, nullptr, 10);
    if (const char *workers = std::getenv("SIMT_WORKERS")) made.workers = std::atoi(workers);
    const auto named = [](const char *variable, const char *name) {
      const char *value = std::getenv(variable);
      return value && std::strcmp(value, name) == 0;
    };
    if (named("SIMT_LATE", "copies")) made.late = Late::copies;
    if (named("SIMT_LATE", "kernels")) made.late = Late::kernels;
    if (named("SIMT_LATE", "all")) made.late = Late::all;
    if (named("SIMT_NUMERICS", "hopper")) made.numerics = Numerics::hopper;
    if (named("SIMT_NUMERICS", "exact")) made.numerics = Numerics::exact;
    return made;
  }();
  return one;
}

namespace {

std::string outsideLimits(const Launch &launch) {
  const Triple &grid = launch.grid, &block = launch.block;
  if (block.x == 0 || block.y == 0 || block.z == 0 || uint64_t(block.x) * block.y * block.z > maximalThreads ||
      block.z > 64) {
    return "a block of " + std::to_string(block.x) + " x " + std::to_string(block.y) + " x " + std::to_string(block.z) +
           " threads";
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535) {
    return "a grid of " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " + std::to_string(grid.z) +
           " blocks";
  }
  if (launch.sharedBytes > sharedCapacity - 1024) return std::to_string(launch.sharedBytes) + " bytes of shared memory";
  return "";
}

}  // namespace

bool execute(const Call &call, Triple grid, Triple block, size_t sharedBytes, std::string *report) {
  static std::mutex one;  // launch at a time
  const std::lock_guard<std::mutex> lock(one);
  static std::vector<std::unique_ptr<Block>> blocks;
  static uint32_t nextBlock = 1;

  Launch launch;
  launch.call = &call;
  launch.grid = grid;
  launch.block = block;
  launch.sharedBytes = sharedBytes;
  const std::string limit = outsideLimits(launch);
  if (!limit.empty()) {
    *report = "Kernel " + functionAt(call.kernel) + ": launched with " + limit;
    return false;
  }
  launch.threads = block.x * block.y * block.z;
  launch.firstBlock = nextBlock;
  const uint64_t count = uint64_t(grid.x) * grid.y * grid.z;
  nextBlock += static_cast<uint32_t>(count);

  std::atomic<uint64_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex reporting;
  const bool backwards = settings().seed % 2 == 0;
  const auto work = [&](Block &its) {
    for (uint64_t i; !failed && (i = next++) < count;) {
      const uint64_t linear = backwards ? count - 1 - i : i;
      const Triple index{static_cast<uint32_t>(linear % grid.x), static_cast<uint32_t>(linear / grid.x % grid.y),
                         static_cast<uint32_t>(linear / grid.x / grid.y)};
      if (its.run(launch, index, launch.firstBlock + static_cast<uint32_t>(linear))) continue;
      const std::lock_guard<std::mutex> guard(reporting);
      if (!failed) *report = its.failure;
      failed = true;
    }
  };
  // A system thread is worth its start only for some blocks.
  const auto workers = static_cast<size_t>(
      std::max<uint64_t>(1, std::min<uint64_t>(static_cast<uint64_t>(std::max(1, settings().workers)), count / 4)));
  while (blocks.size() < workers) blocks.push_back(std::make_unique<Block>());
  std::vector<std::thread> others;
  for (size_t i = 1; i < workers; ++i) others.emplace_back([&, i] { work(*blocks[i]); });
  work(*blocks[0]);
  for (std::thread &other : others) other.join();
  return !failed;
}

}  // namespace simt
