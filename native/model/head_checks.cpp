#include "head_checks.h"

#include <cmath>
#include <string>
#include <utility>

#include "../error.h"

namespace emoframe {

namespace {

// As of the encoder's sizes (shape.cpp): beyond it are mistakes, and products of sizes would overflow.
constexpr int64_t kLargest = 1 << 20;

template <typename Require>
void requireAtMost(const Require &require, std::initializer_list<std::pair<const char *, int64_t>> sizes) {
  for (const auto &[name, size] : sizes) {
    require(size <= kLargest, std::string(name) + " must be at most " + std::to_string(kLargest));
  }
}

void checkAlignment(const HubertShape &shape, const AlignmentHead &head) {
  const auto require = [](bool holds, const std::string &what) {
    if (!holds) throw Error("ERR_MODEL_CONFIG", "The alignment head's " + what + ".");
  };
  require(head.classes >= 2, "classes must be at least 2: neutral and an emotion");
  require(head.neutral >= 0 && head.neutral < head.classes,
          "neutral must be one of its " + std::to_string(head.classes) + " classes");
  require(head.width >= 1, "width must be at least 1");
  requireAtMost(require, {{"classes", head.classes},
                          {"width", head.width},
                          {"melBands", head.melBands},
                          {"chunkFrames", head.chunkFrames},
                          {"contextFrames", head.contextFrames}});
  for (const int64_t half : head.halfWidths) {
    require(half >= 0, "halfWidths must not be negative");
    requireAtMost(require, {{"halfWidths", half}});
  }
  require(head.melBands >= 0, "melBands must not be negative");
  require(head.dropout >= 0 && head.dropout < 1, "dropout must be at least 0 and below 1");
  require(head.scale > 0 && std::isfinite(head.scale), "scale must be above 0");
  require(head.switchingCost >= 0 && std::isfinite(head.switchingCost), "switchingCost must not be negative");
  if (head.source == AlignmentSource::features) return;
  const bool output = head.layer == modelOutput && head.source == AlignmentSource::hidden;
  require(output || (head.layer >= 0 && head.layer <= shape.layers),
          "layer must be from 0 to " + std::to_string(shape.layers) + ", or, with source hidden, the output");
  require(head.chunkFrames >= 1, "chunkFrames must be at least 1");
  require(head.contextFrames >= 0, "contextFrames must not be negative");
}

void checkClassifier(const ClassifierHead &head) {
  const auto require = [](bool holds, const std::string &what) {
    if (!holds) throw Error("ERR_MODEL_CONFIG", "The classifier's " + what + ".");
  };
  require(head.classes >= 1, "classes must be at least 1");
  require(head.projector >= 0, "projector must be a width of at least 1, or absent");
  requireAtMost(require, {{"classes", head.classes},
                          {"projector", head.projector},
                          {"window of frames", head.frameWindow},
                          {"hop of frames", head.frameHop}});
  for (const DenseLayer &layer : head.dense) {
    require(layer.width >= 1, "dense layers must have a width of at least 1");
    requireAtMost(require, {{"width of dense layers", layer.width}});
  }
  require(head.frameWindow >= 0 && head.frameHop >= 1, "frames must have a window and a hop of at least 1");
  require(head.dense.empty() || head.frameWindow > 0,
          "dense layers say nothing of a frame alone: frames must be given, a window and a hop");
}

}  // namespace

void checkHeads(const HubertShape &shape, const MaskedPredictionHead &masked, const ClassifierHead &classifier,
                const AlignmentHead &alignment) {
  shape.validate();
  if (masked.clusters < 0 || (masked.clusters > 0 && masked.dimension < 1)) {
    throw Error("ERR_MODEL_CONFIG", "The masked-prediction head needs at least one cluster and one dimension.");
  }
  if (masked.clusters > kLargest || masked.dimension > kLargest) {
    throw Error("ERR_MODEL_CONFIG", "The masked-prediction head's clusters and dimension must be at most " +
                                        std::to_string(kLargest) + ".");
  }
  if (masked.clusters > 0 && !(masked.temperature > 0)) {
    throw Error("ERR_MODEL_CONFIG", "The masked-prediction temperature must be above 0.");
  }
  if (classifier.classes != 0) checkClassifier(classifier);
  if (alignment.classes != 0) checkAlignment(shape, alignment);
}

}  // namespace emoframe
