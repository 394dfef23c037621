// The convolutional feature encoder: samples to one feature vector a stride (320 samples, 20 ms).
//
// Channels last, a convolution is a matrix product whose A rows are kernel · Cin long and start stride · Cin apart: a
// view of its input that overlaps itself. In training the layers run over the whole axis, and as the last rows read
// past the input's end every layer's output carries max(kernel - stride) zeroed rows of slack. In inference a block of
// frames at a time goes through all layers, so that memory does not grow with the axis and stays in cache; rows that
// two blocks need are computed for both. GroupNorm of conv 0 is folded into a filter bank an utterance, from the
// covariance of its windows, and is never applied to the activation itself.
#pragma once

#include "linear.h"
#include "packing.h"

namespace emoframe {

class FeatureEncoder {
 public:
  FeatureEncoder(const HubertShape &shape, Parameters &parameters);

  int64_t features() const { return layers_.back().out; }
  bool trainable(const Parameters &parameters) const { return lowestTrainable(parameters) < layers_.size(); }

  struct SavedLayer {
    View input;       // [rows in + slack, Cin]
    View activation;  // what GELU reads [rows, Cout]; absent for conv 0 with GroupNorm, which recomputes it
    AddNorm norm;     // LayerNorm form
  };
  struct Saved {
    Conv0 conv0;
    View windowMean, windowCovariance;
    std::vector<SavedLayer> layers;
  };
  // Adds to the packing of a batch of samples what forward reads: samples, moments that are given, and, where nothing
  // is kept for a backward pass, its blocks. `blockBytes`: Backend's.
  void layOut(const HostBatch &batch, bool kept, DType dtype, size_t blockBytes, Packing &packing,
              Workspace &workspace) const;
  // out [T, F]: the valid frames. `saved` absent: nothing is kept.
  void forward(const Context &context, const Packing &packing, Saved *saved, const View &out) const;
  // Moments of conv 0's windows over each utterance, from which its GroupNorm follows.
  WindowMoments windowMoments(const Context &context, const Packing &packing) const;
  // dOut [T, F]
  void backward(const Context &context, const Packing &packing, const Saved &saved, const View &dOut) const;

 private:
  struct Layer {
    int64_t in, out, kernel, stride;
    int64_t product;  // of the strides so far: samples a row of this layer's output
    int32_t weight = -1, bias = -1;
    LayerNorm norm;  // of every layer in the LayerNorm form, of layer 0 in the GroupNorm form
  };
  size_t lowestTrainable(const Parameters &parameters) const;
  View overlappingRows(const Layer &layer, const View &input, int64_t rows) const;
  void layerForward(const Context &context, size_t i, const Conv0 &conv0, const View &input, const View &product,
                    const View &activation, const View &y, AddNorm &norm) const;
  void forwardAll(const Context &context, const Packing &packing, Saved &saved, const View &out) const;
  void forwardBlocks(const Context &context, const Packing &packing, const Conv0 &conv0, const View &out) const;
  int64_t framesOfBlock(DType dtype, size_t blockBytes, const Packing &packing) const;
  std::vector<FrameBlock> blocksOf(const Packing &packing, int64_t frames) const;
  Conv0 conv0Input(const Packing &packing) const;
  void normalize(const Context &context, const Packing &packing) const;
  void conv0Setup(const Context &context, const Packing &packing, Saved &saved) const;
  void convBackward(const Context &context, const Layer &layer, const View &input, const View &dPre,
                    const View &dInput) const;
  void conv0Backward(const Context &context, const Packing &packing, const Saved &saved, const View &dOut) const;

  std::vector<Layer> layers_;
  bool groupNorm_;
  int64_t slack_ = 0;  // rows
  int64_t reach_ = 0;  // samples past the axis that the last block of frames may touch
};

}  // namespace emoframe
