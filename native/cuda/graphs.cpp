#include "graphs.h"

#include <algorithm>
#include <numeric>

#include "status.h"

namespace emoframe {

namespace {

// Few commands gain nothing from being one launch.
constexpr size_t worthwhile = 8;

struct Refusal {  // by the runtime, of a graph
  std::string why;
};
void require(cudaError_t status, const char *call) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw Refusal{describe(status, call)};
}

// Equal where the same kernels come in the same order.
uint64_t likeness(const Commands &commands) {
  uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a, a word at a time
  for (const void *function : commands.functions())
    hash = (hash ^ reinterpret_cast<uintptr_t>(function)) * 0x100000001B3u;
  return hash;
}

// Nodes that are left out cost the device a little each time: so many, and functions to change, are too many.
size_t mostDifferences(size_t nodes, size_t commands) { return (nodes + commands) / 4; }

}  // namespace

struct Graphs::Graph {
  Graph() = default;
  ~Graph() {
    if (executable) cudaGraphExecDestroy(executable);
    if (graph) cudaGraphDestroy(graph);
  }
  Graph(const Graph &) = delete;
  Graph &operator=(const Graph &) = delete;

  // Each node after the one before: that is the order of a stream.
  void make(Commands &given) {
    require(cudaGraphCreate(&graph, 0), "cudaGraphCreate");
    for (size_t i = 0; i < given.size(); ++i) {
      const cudaGraphNode_t *before = nodes.empty() ? nullptr : &nodes.back();
      cudaGraphNode_t node = nullptr;
      const cudaKernelNodeParams params = given.kernel(i);
      require(cudaGraphAddKernelNode(&node, graph, before, before ? 1 : 0, &params), "cudaGraphAddKernelNode");
      nodes.push_back(node);
    }
    require(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    functions = given.functions();
    command.resize(nodes.size());
    std::iota(command.begin(), command.end(), 0);
  }

  // Launches that are under way keep what they were given.
  void update(Commands &given, const Matching &matching) {
    std::vector<int32_t> next(nodes.size(), -1);
    for (size_t i = 0; i < given.size(); ++i) next[static_cast<size_t>(matching.node[i])] = static_cast<int32_t>(i);
    for (size_t n = 0; n < nodes.size(); ++n) {
      const bool was = command[n] >= 0, is = next[n] >= 0;
      if (was != is) require(cudaGraphNodeSetEnabled(executable, nodes[n], is), "cudaGraphNodeSetEnabled");
      if (!is) continue;
      const auto i = static_cast<size_t>(next[n]);
      if (was && given.same(i, last, static_cast<size_t>(command[n]))) continue;
      const cudaKernelNodeParams params = given.kernel(i);
      require(cudaGraphExecKernelNodeSetParams(executable, nodes[n], &params), "cudaGraphExecKernelNodeSetParams");
      functions[n] = given.functions()[i];
    }
    command = std::move(next);
  }

  cudaGraph_t graph = nullptr;  // nodes are named by it
  cudaGraphExec_t executable = nullptr;
  std::vector<cudaGraphNode_t> nodes;
  // Of each node: what it runs when it is on, and which of the last commands that was; -1: it is off.
  std::vector<const void *> functions;
  std::vector<int32_t> command;
  Commands last;
};

Graphs::Graphs() = default;
Graphs::~Graphs() = default;

bool Graphs::cameBefore(const Commands &commands) {
  const uint64_t its = likeness(commands);
  const auto found = std::find(remembered_.begin(), remembered_.end(), its);
  const bool known = found != remembered_.end();
  if (known) remembered_.erase(found);
  remembered_.push_front(its);
  if (remembered_.size() > mostRemembered) remembered_.pop_back();
  return known;
}

Graphs::List::iterator Graphs::find(const Commands &commands, Matching &matching, bool &near) {
  const auto equal = std::find_if(graphs_.begin(), graphs_.end(), [&](const std::unique_ptr<Graph> &graph) {
    return graph->functions == commands.functions();
  });
  if (equal != graphs_.end()) {
    matching.node.resize(commands.size());
    std::iota(matching.node.begin(), matching.node.end(), 0);
    return equal;
  }
  for (auto graph = graphs_.begin(); graph != graphs_.end(); ++graph) {
    const std::vector<const void *> &functions = (*graph)->functions;
    if (!match(functions, commands.functions(), mostDifferences(functions.size(), commands.size()), matching)) continue;
    if (matching.missing == 0) return graph;
    near = true;
  }
  return graphs_.end();
}

// What is wrong with the device itself the next launch says again.
void Graphs::giveUp(const std::string &why) {
  reason_ = why;
  graphs_.clear();
}

Graphs::Way Graphs::run(Commands &commands, cudaStream_t stream) {
  if (commands.size() < worthwhile) return Way::tooFew;
  if (!reason_.empty()) return Way::plain;
  Matching matching;
  bool near = false;
  const auto found = find(commands, matching, near);
  const bool replays = found != graphs_.end();
  if (!replays && !cameBefore(commands) && !near) return Way::plain;
  try {
    if (replays) {
      (*found)->update(commands, matching);
      graphs_.splice(graphs_.begin(), graphs_, found);
    } else {
      auto made = std::make_unique<Graph>();
      made->make(commands);
      graphs_.push_front(std::move(made));
      if (graphs_.size() > most) graphs_.pop_back();
    }
    Graph &graph = *graphs_.front();
    require(cudaGraphLaunch(graph.executable, stream), "cudaGraphLaunch");
    std::swap(graph.last, commands);
    return replays ? Way::replayed : Way::made;
  } catch (const Refusal &refusal) {
    giveUp(refusal.why);
    return Way::plain;
  }
}

}  // namespace emoframe
