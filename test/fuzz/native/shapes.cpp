// Which models can be made, and what work is planned: configurations and sizes of any kind. On a backend that only
// counts, so that what is too large for this machine is still gone through; and on the CPU within a limit.
#include "../../native/harness.h"
#include "targets.h"

namespace emoframe {
namespace fuzz {

namespace {

HubertShape anyShape(Input &input) {
  HubertShape shape = testing::baseShape();
  if (input.flag()) shape.convDim = input.integers(8);
  if (input.flag()) shape.convKernel = input.integers(8);
  if (input.flag()) shape.convStride = input.integers(8);
  const uint8_t kinds = input.byte();
  shape.convBias = kinds & 1;
  shape.groupNorm = kinds & 2;
  shape.featureProjectionLayerNorm = kinds & 4;
  shape.stableLayerNorm = kinds & 8;
  shape.positionBias = static_cast<PositionBias>(kinds / 16 % 3);
  for (int64_t *size :
       {&shape.hiddenSize, &shape.layers, &shape.heads, &shape.intermediateSize, &shape.positionalKernel,
        &shape.positionalGroups, &shape.positionalDepth, &shape.biasBuckets, &shape.biasReach, &shape.extraTokens}) {
    *size = input.integerOr(*size);
  }
  for (float *number :
       {&shape.layerNormEpsilon, &shape.featureProjectionEpsilon, &shape.hiddenDropout, &shape.attentionDropout,
        &shape.activationDropout, &shape.featureProjectionDropout, &shape.finalDropout, &shape.layerdrop}) {
    *number = input.singleOr(*number);
  }
  return shape;
}

MaskedPredictionHead anyMaskedHead(Input &input) {
  MaskedPredictionHead head;
  head.clusters = input.integerOr(0);
  head.dimension = input.integerOr(8);
  head.temperature = input.singleOr(0.1f);
  return head;
}

ClassifierHead anyClassifier(Input &input) {
  ClassifierHead head;
  head.classes = input.integerOr(4);
  const uint8_t kinds = input.byte();
  head.task = static_cast<HeadTask>(kinds & 1);
  head.layers = kinds & 2;
  head.bias = kinds & 4;
  head.inputNorm = static_cast<InputNorm>(kinds / 8 % 3);
  head.pooling = static_cast<PoolingKind>(input.below(7));
  head.projector = input.integerOr(0);
  for (size_t layers = input.below(4); layers > 0; --layers) {
    head.dense.push_back({input.integerOr(8), input.flag(), static_cast<Activation>(input.below(3))});
  }
  head.frameWindow = input.integerOr(0);
  head.frameHop = input.integerOr(1);
  return head;
}

AlignmentHead anyAlignment(Input &input) {
  AlignmentHead head;
  head.classes = input.integerOr(0);
  head.neutral = static_cast<int32_t>(input.integerOr(1));
  head.source = static_cast<AlignmentSource>(input.below(3));
  head.layer = input.integerOr(1);
  head.chunkFrames = input.integerOr(5);
  head.contextFrames = input.integerOr(3);
  head.width = input.integerOr(12);
  head.halfWidths = input.integers(4);
  head.melBands = input.integerOr(0);
  head.dropout = input.singleOr(0.1f);
  head.scale = input.singleOr(0.4f);
  head.switchingCost = input.singleOr(1.5f);
  return head;
}

// Samples of planned work lie in this machine's memory, as those of a pass do: hours of them would show nothing else.
int64_t anyFrames(Input &input, int64_t usual) {
  const int64_t frames = input.integerOr(usual);
  return frames > 50000 && frames <= INT32_MAX ? frames % 50000 : frames;
}

PlannedWork anyWork(Input &input) {
  PlannedWork work;
  work.frames = anyFrames(input, 100);
  work.utterances = input.integerOr(3);
  work.training = input.flag();
  work.objective = static_cast<Objective>(input.below(4));
  work.storedFrames = input.integerOr(0);
  work.longestStoredFrames = anyFrames(input, 0);
  work.ranges = input.flag();
  return work;
}

}  // namespace

FUZZ(shapes) {
  const HubertShape shape = anyShape(input);
  const MaskedPredictionHead masked = anyMaskedHead(input);
  const ClassifierHead classifier = anyClassifier(input);
  const AlignmentHead alignment = anyAlignment(input);
  const auto precision = static_cast<Precision>(input.below(3));
  attempt([&] {
    Model model(smallBackend()->counting(), shape, precision, masked, classifier, alignment);
    model.tensors();
    shape.frames(input.index());
    while (!input.over()) attempt([&] { model.plan(anyWork(input)); });
  });
  attempt([&] { Model(smallBackend(), shape, precision, masked, classifier, alignment); });
}

}  // namespace fuzz
}  // namespace emoframe
