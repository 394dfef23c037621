// Loops over OpenMP threads whose results do not depend on how many there are.
// Work is cut into chunks of `grain` items whatever the thread count, so a reduction that keeps one partial a chunk and
// adds the partials in chunk order gives the same bits with 1 thread or 64. Which thread runs a chunk is left to
// OpenMP. An exception thrown inside (out of memory, say) is carried out of the parallel region and thrown again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>

namespace emoframe {

inline int64_t chunkCount(int64_t count, int64_t grain) { return (count + grain - 1) / grain; }

// body(chunk, begin, end) for every chunk [begin, end) of [0, count).
template <typename Body>
void parallelChunks(int threads, int64_t count, int64_t grain, Body &&body) {
  const int64_t chunks = chunkCount(count, grain);
  if (chunks <= 0) return;
  if (chunks == 1 || threads <= 1) {
    for (int64_t c = 0; c < chunks; ++c) body(c, c * grain, std::min(count, (c + 1) * grain));
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t c = 0; c < chunks; ++c) {
    try {
      body(c, c * grain, std::min(count, (c + 1) * grain));
    } catch (...) {
#pragma omp critical(emoframe_failure)
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

// body(begin, end) over chunks of [0, count), for work that keeps no partials.
template <typename Body>
void parallelFor(int threads, int64_t count, int64_t grain, Body &&body) {
  parallelChunks(threads, count, grain, [&](int64_t, int64_t begin, int64_t end) { body(begin, end); });
}

}  // namespace emoframe
