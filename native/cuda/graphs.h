// Steps as CUDA graphs: one launch for many kernels.
//
// What a graph is kept by is the functions of its kernels in their order, not sizes: batches here are packed, so the
// numbers of frames, utterances and masked frames differ from step to step. The host goes through every step as if it
// launched each kernel; the commands that come of it are compared with what the graph's nodes hold, and those that
// differ are written into it before it is launched (cudaGraphExecKernelNodeSetParams). So no value of an earlier step
// can stay behind: dropout's counters, learning rates, addresses and grids are arguments like any other, read from the
// constant bank as ever, and there is no list of what may change. The graph is built node by node and not by capturing
// a stream: nothing has to be legal during a capture, and no failure leaves a broken one.
//
// A graph also serves steps that are a little different: where a layer is left out its nodes are switched off
// (cudaGraphNodeSetEnabled), and where a product is cut into other tiles its node is given the other function.
#pragma once

#include <cuda_runtime.h>

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "matching.h"

namespace emoframe {

class Graphs {
 public:
  Graphs();
  ~Graphs();
  Graphs(const Graphs &) = delete;
  Graphs &operator=(const Graphs &) = delete;

  enum class Way { tooFew, replayed, made, plain };
  // Does the commands as one graph, when there is one that they fit into or nearly do, or they come for the second
  // time: one that was kept, or was made; what is in `commands` afterwards is of no use. Else nothing was done, and
  // they are to be launched one by one.
  Way run(Commands &commands, cudaStream_t stream);
  const std::string &reason() const { return reason_; }  // why there are no more graphs; empty: there are

 private:
  static constexpr size_t most = 32;            // graphs; the device holds some kilobytes for each node of them
  static constexpr size_t mostRemembered = 64;  // kinds that came once
  struct Graph;
  using List = std::list<std::unique_ptr<Graph>>;

  bool cameBefore(const Commands &commands);
  // The graph that the commands fit into, and how. None: `near` says whether they would
  // into one that had a few nodes more.
  List::iterator find(const Commands &commands, Matching &matching, bool &near);
  void giveUp(const std::string &why);

  List graphs_;                     // the latest used first
  std::list<uint64_t> remembered_;  // by their likeness
  std::string reason_;
};

}  // namespace emoframe
