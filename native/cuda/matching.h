// Which nodes of a graph a step's kernels can take, in their order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace emoframe {

struct Matching {
  std::vector<int32_t> node;  // of each kernel; -1: there is none for it
  size_t missing = 0;         // kernels without a node
  size_t unused = 0;          // nodes without a kernel
};

// As many as can be take a node of the same function; those between take what nodes lie there, whose functions have to
// change. False: more than `most` nodes and kernels are left over before that.
bool match(const std::vector<const void *> &nodes, const std::vector<const void *> &kernels, size_t most,
           Matching &matching);

}  // namespace emoframe
