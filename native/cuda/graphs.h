// Steps as CUDA graphs: one launch for all of their kernels.
//
// A graph is kept by the kernels that it has and their order, which the model's form, the kind of step and
// the tiles that products are cut into decide, not by sizes: batches here are packed, so the numbers of frames,
// utterances and masked frames differ from step to step. The host goes through every step as if it launched each
// kernel; the commands that come of it are compared with the graph's, and those that differ are written into it before
// it is launched (cudaGraphExecKernelNodeSetParams). So no value of an earlier step can stay behind: dropout's
// counters, learning rates, addresses and grids are arguments like any other, read from the constant bank as ever, and
// there is no list of what may change. The graph is built node by node and not by capturing a stream: nothing has to be
// legal during a capture, and no failure leaves a broken one.
#pragma once

#include <cuda_runtime.h>

#include <list>
#include <memory>
#include <vector>

#include "../ops.h"
#include "commands.h"

namespace emoframe {

class Graphs {
 public:
  Graphs();
  ~Graphs();
  Graphs(const Graphs &) = delete;
  Graphs &operator=(const Graphs &) = delete;

  // Does the commands as one graph, when there is one of their kind or they come for the second time. False: nothing
  // was done, and they are to be launched one by one.
  bool run(Commands &commands, cudaStream_t stream);
  const GraphUse &use() const { return use_; }

 private:
  static constexpr size_t most = 16;            // graphs; the device holds some kilobytes for each node of them
  static constexpr size_t mostRemembered = 64;  // kinds that came once
  struct Graph;

  bool cameBefore(uint64_t likeness);
  Graph &find(Commands &commands);
  void giveUp(cudaError_t status);

  std::list<std::unique_ptr<Graph>> graphs_;  // the latest used first
  std::list<uint64_t> remembered_;
  GraphUse use_;
};

}  // namespace emoframe
