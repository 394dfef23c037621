// The pooled head: norm → dropout → projector on frames, pooling, dense layers, and the output, which are classes or
// values; and the same of each frame, alone or with those around it. It reads the model's output or the sum of all
// hidden states, which is made here too.
#pragma once

#include "dense_layers.h"
#include "frame_pooling.h"
#include "frame_windows.h"
#include "layer_sum.h"
#include "results.h"

namespace emoframe {

class Classifier {
 public:
  Classifier(const ClassifierHead &head, const HubertShape &shape, Parameters &parameters);

  // Absent where the head reads the model's output.
  const LayerSum *layerSum() const { return layerSum_.get(); }
  bool regression() const { return head_.task == HeadTask::regression; }

  // What passes are given beside their input.
  struct Inputs {
    // Of training, in backend memory:
    const int32_t *classes = nullptr;
    View otherOutputs, targets;  // f32 [others, outputs], and, of these and before them the batch's own, [all, outputs]
    // Of inference:
    IndexArray owners;         // [kept frames]: each one's utterance, where outputs of frames need its deviations
    IndexArray first, length;  // [B]: the values of each utterance, where they are normed together
    FrameWindows windows;
  };
  // ERR_BATCH, ERR_LABEL, ERR_NOT_FINITE where the step's targets cannot be.
  Inputs layOut(const TrainStep &step, const Packing &packing, Workspace &workspace) const;
  // `largest`: see layOutWindows.
  Inputs layOut(const Packing &packing, const Selection &selection, bool largest, Workspace &workspace) const;

  // x [T, C] → outputs f32 [B, outputs], as `step` finds them.
  void outputs(const Context &context, const Segments &segments, const View &x, const View &outputs) const;
  // Loss and correct utterances, to sums f32 [2], and dX [T, C], absent where nothing below is trained; gradients carry
  // 1 / denominator.
  void step(const Context &context, const Segments &segments, const Inputs &inputs, double denominator, const View &x,
            const View &dX, const View &sums) const;

  // Where the results of the frames selected come: all but the offsets.
  void addResults(const Selection &selection, Results &results, Classified &result) const;
  // x [T, C] f32, of all frames, is overwritten where it is normed.
  void classify(const Context &context, const Inputs &inputs, const Selection &selection, const View &x,
                const Results &results, const Classified &result) const;

 private:
  struct Saved {
    AddNorm norm;
    View input;   // what the projector reads, after norm and dropout; of f32 where anything before pooling wants that
    View frames;  // what pooling reads
    FramePooling::Saved pooled;
    DenseLayers::Saved dense;
  };
  View frames(const Context &context, const View &x, Saved &saved) const;
  void forward(const Context &context, const Segments &segments, const View &x, Saved &saved,
               const View &outputs) const;
  // The loss, to `sums`, and its gradient.
  View crossEntropy(const Context &context, const Inputs &inputs, double denominator, const View &outputs,
                    const View &sums) const;
  View concordance(const Context &context, const Inputs &inputs, const View &outputs, const View &sums) const;
  void framesBackward(const Context &context, const Saved &saved, const View &dPooled, const View &dX) const;
  void frameOutputs(const Context &context, const Inputs &inputs, const View &frames, const View &pooled,
                    const View &out) const;
  void windowOutputs(const Context &context, const FrameWindows &windows, const View &frames, const View &scores,
                     const View &out) const;
  bool projects() const { return head_.projector > 0; }

  ClassifierHead head_;
  int64_t hidden_, width_;  // of what it reads, and of frames when they are pooled
  float dropout_;
  std::unique_ptr<LayerSum> layerSum_;
  Linear projector_;
  FramePooling pooling_;
  DenseLayers dense_;
};

}  // namespace emoframe
