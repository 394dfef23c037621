// Steps of HuBERT-base in its real size on the runtime that computes nothing (bench/null-cuda), each on a batch of
// other utterances of 2 to 14 s: what they ask of the device, and what they cost the host.
#pragma once

#include <string>

#include "../../native/model/model.h"
#include "null_cuda.h"

namespace emoframe {

struct VariedWork {
  // `masked` and `finetune` train on stored features, each step with its optimiser step; `predict` classifies
  // utterances given as samples. All in bf16, with dropout.
  std::string name;
  int64_t steps = 300, warmup = 40;
  double seconds = 350, least = 350;  // of audio in a batch, at most and at least
  double layerdrop = 0.05;
};

struct VariedResult {
  nullcuda::Counts counts;  // of all steps after the warm-up
  GraphUse graphs;
  // Medians over the steps: of the host's time in the engine; and, with what lies between two calls of it, from waits
  // of the host to the first launch after each, and to the last.
  double hostSeconds = 0, firstLaunchSeconds = 0, lastLaunchSeconds = 0;
};

VariedResult measureVaried(const VariedWork &work);

}  // namespace emoframe
