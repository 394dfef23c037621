// Small promises that much else relies on without a look.
#include <cmath>
#include <limits>
#include <new>
#include <stdexcept>

#include "cpu/parallel.h"
#include "cpu/threads.h"
#include "harness.h"
#include "model/finite.h"

namespace emoframe {
namespace testing {
namespace {

TEST(anExceptionInOneOfManyChunksReachesTheCaller) {
  for (const int threads : {1, 2, 5}) {
    for (const int64_t bad : {0, 37, 99}) {
      int64_t reached = 0;
      requireError("ERR_OUT_OF_MEMORY", "chunk " + std::to_string(bad), [&] {
        parallelFor(threads, 100, 1, [&](int64_t begin, int64_t) {
          if (begin == bad) throw Error("ERR_OUT_OF_MEMORY", "chunk " + std::to_string(begin));
        });
      });
      // Of any type, and what comes later works.
      try {
        parallelFor(threads, 100, 1, [&](int64_t begin, int64_t) {
          if (begin == bad) throw std::bad_alloc();
        });
        require(false, "an exception was swallowed");
      } catch (const std::bad_alloc &) {
        ++reached;
      }
      std::vector<int> done(100);
      parallelFor(threads, 100, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) done[static_cast<size_t>(i)] = 1;
      });
      for (const int one : done) reached += one;
      require(reached == 101, "all is done afterwards");
    }
  }
}

TEST(allFiniteSeesInfinityAndNanAnywhere) {
  for (const int64_t count : {1, 3, 8, 15, 16, 17, 64, 100}) {
    for (int64_t at = 0; at < count; ++at) {
      std::vector<float> values(static_cast<size_t>(count), 1.f);
      for (const float fine : {std::numeric_limits<float>::max(), -std::numeric_limits<float>::max(), -0.f, 1e-45f}) {
        values[static_cast<size_t>(at)] = fine;
        require(allFinite(values.data(), count), "the largest and the smallest numbers are finite");
      }
      for (const float other : {INFINITY, -INFINITY, NAN, -NAN}) {
        values[static_cast<size_t>(at)] = other;
        require(!allFinite(values.data(), count), "value " + std::to_string(at) + " of " + std::to_string(count));
      }
    }
  }
  require(allFinite(nullptr, 0), "nothing is finite");
}

TEST(moreThreadsThanAnyMachineHasAreRefused) {
  requireError("ERR_ARGUMENT", "1025", [] { createBackend("cpu", {1025}); });
  requireError("ERR_ARGUMENT", "-1", [] { createBackend("cpu", {-1}); });
  require(availableThreads() >= 1 && availableThreads() <= mostThreads, "threads of this machine");
}

}  // namespace
}  // namespace testing
}  // namespace emoframe
