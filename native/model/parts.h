// What a Model is made of.
#pragma once

#include <type_traits>

#include "../error.h"
#include "alignment.h"
#include "classifier.h"
#include "feature_cache.h"
#include "feature_encoder.h"
#include "feature_projection.h"
#include "input_buffers.h"
#include "log_mel.h"
#include "masked_prediction.h"
#include "model.h"
#include "step.h"
#include "transformer.h"

namespace emoframe {

struct Model::Parts {
  Parts(std::shared_ptr<Backend> on, const HubertShape &hubert, Precision precision, const MaskedPredictionHead &masked,
        const ClassifierHead &classified, const AlignmentHead &aligned);

  Context context(const TrainStep *step);
  // What a pass is given, checked and uploaded. `step`: of training.
  InputBuffers::Fill packed(const HostBatch &batch, const TrainStep *step, const FrameRanges *kept = nullptr);
  // Feature-encoder output of the frames asked for, [T, F].
  View features(const Context &context, const HostBatch &batch, const Packing &packing, FeatureEncoder::Saved *saved);
  // Mel bands of the same frames, [T, bands], after their features; absent where the model has none.
  View mel(const Context &context, const HostBatch &batch, const Packing &packing);
  // Without training: what enters the transformer, [T, C]; and the hidden state at a layer, f32 [T, C].
  View embedded(const View &features);
  View hidden(const Packing &packing, const View &embedded, int64_t layer);
  // What the classifier reads, f32 [T, C], without training.
  View classifierSource(const Packing &packing, const View &embedded);
  // What the alignment head's network reads of its source, [T, source], without training.
  // `embedded`: for chunks of hidden states.
  View alignmentSource(const Context &context, const PassInputs &inputs, const View &features, const View &embedded);
  // What a head reads of frames of whole utterances, [T, C], in training: the model's output, or the sum of all states.
  struct TrainedSource {
    FeatureProjection::Saved projected;
    Transformer::Saved transformed;  // where there is no sum
    LayerSum::Saved summed;
  };
  View trainedSource(const Context &context, const PassInputs &inputs, const View &features, const LayerSum *sum,
                     TrainedSource &saved);
  void sumOfSquares(const View &x, const View &sum);  // f32 [1]
  double meanSquare(const View &x);
  // The first utterance with values that are not finite, in a view over the packed frames; -1: none.
  int32_t firstNotFinite(const View &values, const Packing &packing);
  void requireFinite(const View &values, const Packing &packing, const std::string &what);
  TrainResult train(const HostBatch &batch, const TrainStep &step, const PassInputs &inputs);
  std::vector<float> trainOutputs(const HostBatch &batch, const TrainStep &step, const PassInputs &inputs);
  void checkTargets(const TrainStep &step, const Packing &packing) const;
  // Runs a pass: work on inputs, whose memory is the arena. Where there is not enough, all of it is given back, so that
  // smaller work, other models' too, finds room.
  template <typename Work>
  auto pass(uint64_t id, const InputBuffers::Fill &fill, Work work) {
    parameters.requireWhole();
    try {
      workspace.reset();
      Given given(inputBuffers);
      Step step(*backend);
      const PassInputs &inputs = inputBuffers.take(id, fill);
      if constexpr (std::is_void_v<decltype(work(inputs))>) {
        work(inputs);
        step.end();
      } else {
        auto result = work(inputs);
        step.end();
        return result;
      }
    } catch (const Error &error) {
      if (error.code == "ERR_OUT_OF_MEMORY") giveBack();
      throw;
    } catch (const std::bad_alloc &) {
      giveBack();
      throw;
    }
  }
  void giveBack() {
    workspace.release();
    inputBuffers.release();
  }

  std::shared_ptr<Backend> backend;
  HubertShape shape;
  Precision precision;
  MaskedPredictionHead maskedHead;
  ClassifierHead classifierHead;
  AlignmentHead alignmentHead;
  DType dtype;
  Parameters parameters;
  Workspace workspace;
  InputBuffers inputBuffers;
  FeatureCache cache;
  FeatureProjection projection;  // before the encoder: transformers names the mask embedding first
  FeatureEncoder encoder;
  Transformer transformer;
  std::unique_ptr<MaskedPrediction> maskedPrediction;
  std::unique_ptr<Classifier> classifier;
  std::unique_ptr<Alignment> alignment;
  std::unique_ptr<LogMel> logMel;
  // Ends the use of a pass's inputs, after the step that reads them.
  struct Given {
    explicit Given(InputBuffers &from) : inputBuffers(from) {}
    ~Given() { inputBuffers.done(); }
    Given(const Given &) = delete;
    Given &operator=(const Given &) = delete;
    InputBuffers &inputBuffers;
  };

  bool planning = false;       // inputs are as large as those of any pass that the work may have
  int64_t longestPlanned = 0;  // frames of the longest utterance that it may have, where it is planned
  bool accumulating = false;   // a training step is past its checks and may have added to gradients
  // Passes since the last update, and in it: the one that is likely the last sums the squares of the gradients as well.
  int64_t passes = 0, passesOfUpdate = 1;
};

}  // namespace emoframe
