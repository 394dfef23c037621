// The shortest edit script by Myers' greedy algorithm (An O(ND) difference
// algorithm, 1986): quick where little differs.
#include "matching.h"

#include <algorithm>
#include <cstdlib>

namespace emoframe {

namespace {

using Functions = std::vector<const void *>;

// Kernels [begin, end) to nodes [nodesBegin, nodesEnd), in turn.
void pairUp(size_t nodesBegin, size_t nodesEnd, size_t begin, size_t end, Matching &matching) {
  const size_t count = std::min(nodesEnd - nodesBegin, end - begin);
  for (size_t i = 0; i < count; ++i) matching.node[begin + i] = static_cast<int32_t>(nodesBegin + i);
  matching.missing += end - begin - count;
  matching.unused += nodesEnd - nodesBegin - count;
}

}  // namespace

bool match(const Functions &nodes, const Functions &kernels, size_t most, Matching &matching) {
  const auto n = static_cast<int64_t>(nodes.size()), m = static_cast<int64_t>(kernels.size());
  const int64_t limit = std::min<int64_t>(static_cast<int64_t>(most), n + m);
  if (std::abs(n - m) > limit) return false;
  // reached[k]: how many nodes are behind it where the path on diagonal k = nodes - kernels is furthest; of each number
  // of differences, the diagonals from -that to that, for the way back.
  std::vector<int32_t> reached(static_cast<size_t>(2 * limit + 3)), history;
  const auto at = [&](int64_t k) -> int32_t & { return reached[static_cast<size_t>(k + limit + 1)]; };
  const auto fromAbove = [&](int64_t k, int64_t d) { return k == -d || (k != d && at(k - 1) < at(k + 1)); };
  int64_t differences = -1;
  for (int64_t d = 0; d <= limit && differences < 0; ++d) {
    for (int64_t k = -d; k <= d; k += 2) {
      int64_t x = d == 0 ? 0 : fromAbove(k, d) ? at(k + 1) : at(k - 1) + 1;
      while (x < n && x - k < m && nodes[static_cast<size_t>(x)] == kernels[static_cast<size_t>(x - k)]) ++x;
      at(k) = static_cast<int32_t>(x);
      if (k == n - m && x >= n) differences = d;
    }
    for (int64_t k = -d; k <= d; ++k) history.push_back(at(k));
  }
  if (differences < 0) return false;

  matching.node.assign(kernels.size(), -1);
  matching.missing = matching.unused = 0;
  int64_t x = n, y = m;                  // the way back, and
  int64_t endNodes = n, endKernels = m;  // where what is left over up to the match before began
  const auto matched = [&] {
    pairUp(static_cast<size_t>(x), static_cast<size_t>(endNodes), static_cast<size_t>(y),
           static_cast<size_t>(endKernels), matching);
    matching.node[static_cast<size_t>(--y)] = static_cast<int32_t>(--x);
    endNodes = x;
    endKernels = y;
  };
  for (int64_t d = differences; d > 0; --d) {
    for (int64_t k = -(d - 1); k < d; ++k) at(k) = history[static_cast<size_t>((d - 1) * (d - 1) + k + d - 1)];
    const int64_t k = x - y, before = fromAbove(k, d) ? k + 1 : k - 1;
    while (x > at(before) && y > at(before) - before) matched();
    x = at(before);
    y = x - before;
  }
  while (x > 0) matched();
  pairUp(0, static_cast<size_t>(endNodes), 0, static_cast<size_t>(endKernels), matching);
  return true;
}

}  // namespace emoframe
