#include "graphs.h"

#include <algorithm>

namespace emoframe {

namespace {

// Few commands gain nothing from being one launch.
constexpr size_t worthwhile = 8;

struct Refusal {  // by the runtime, of a graph
  cudaError_t status;
};
void require(cudaError_t status) {
  if (status != cudaSuccess) throw Refusal{status};
}

}  // namespace

struct Graphs::Graph {
  explicit Graph(const Commands &given) : commands(given) {}
  ~Graph() {
    if (executable) cudaGraphExecDestroy(executable);
    if (graph) cudaGraphDestroy(graph);
  }
  Graph(const Graph &) = delete;
  Graph &operator=(const Graph &) = delete;

  // Each node after the one before: that is the order of a stream.
  void make() {
    require(cudaGraphCreate(&graph, 0));
    for (size_t i = 0; i < commands.size(); ++i) {
      const cudaGraphNode_t *before = nodes.empty() ? nullptr : &nodes.back();
      cudaGraphNode_t node = nullptr;
      const cudaKernelNodeParams params = commands.kernel(i);
      require(cudaGraphAddKernelNode(&node, graph, before, before ? 1 : 0, &params));
      nodes.push_back(node);
    }
    require(cudaGraphInstantiate(&executable, graph, 0));
  }

  // Launches that are under way keep what they were given.
  void update(Commands &given) {
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (given.same(i, commands)) continue;
      const cudaKernelNodeParams params = given.kernel(i);
      require(cudaGraphExecKernelNodeSetParams(executable, nodes[i], &params));
    }
    commands = given;
  }

  Commands commands;            // what the nodes hold
  cudaGraph_t graph = nullptr;  // nodes are named by it
  cudaGraphExec_t executable = nullptr;
  std::vector<cudaGraphNode_t> nodes;
};

Graphs::Graphs() = default;
Graphs::~Graphs() = default;

bool Graphs::cameBefore(uint64_t likeness) {
  const auto found = std::find(remembered_.begin(), remembered_.end(), likeness);
  const bool known = found != remembered_.end();
  if (known) remembered_.erase(found);
  remembered_.push_front(likeness);
  if (remembered_.size() > mostRemembered) remembered_.pop_back();
  return known;
}

Graphs::Graph &Graphs::find(Commands &commands) {
  const auto found = std::find_if(graphs_.begin(), graphs_.end(),
                                  [&](const std::unique_ptr<Graph> &graph) { return graph->commands.alike(commands); });
  if (found != graphs_.end()) {
    std::unique_ptr<Graph> graph = std::move(*found);
    graphs_.erase(found);
    graph->update(commands);  // one that cannot be updated is gone
    graphs_.push_front(std::move(graph));
    ++use_.replayed;
  } else {
    auto graph = std::make_unique<Graph>(commands);
    graph->make();
    graphs_.push_front(std::move(graph));
    if (graphs_.size() > most) graphs_.pop_back();
    ++use_.made;
  }
  return *graphs_.front();
}

// What is wrong with the device itself the next launch says again.
void Graphs::giveUp(cudaError_t status) {
  use_.reason = std::string(cudaGetErrorName(status)) + ": " + cudaGetErrorString(status);
  cudaGetLastError();
  graphs_.clear();
}

bool Graphs::run(Commands &commands, cudaStream_t stream) {
  if (commands.size() < worthwhile) return false;
  if (!use_.reason.empty() || !cameBefore(commands.likeness())) {
    ++use_.plain;
    return false;
  }
  try {
    require(cudaGraphLaunch(find(commands).executable, stream));
    return true;
  } catch (const Refusal &refusal) {
    giveUp(refusal.status);
    ++use_.plain;
    return false;
  }
}

}  // namespace emoframe
