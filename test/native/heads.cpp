// Pooled heads of every form: their gradients, passes of one update that add up, what is refused, and frames by
// windows.
#include <algorithm>
#include <set>

#include "differences.h"
#include "model/frame_windows.h"

namespace emoframe {
namespace testing {
namespace {

constexpr std::initializer_list<PoolingKind> kPoolings = {PoolingKind::mean,
                                                          PoolingKind::sum,
                                                          PoolingKind::max,
                                                          PoolingKind::attention,
                                                          PoolingKind::attentionLinear,
                                                          PoolingKind::stats,
                                                          PoolingKind::attentiveStats};

Batch threeUtterances(const HubertShape &shape) {
  const int64_t s = shape.stride();
  return makeBatch(shape, {9 * s + 3, 5 * s + 1, 13 * s + 7});
}

void check(const HubertShape &shape, const ClassifierHead &head, bool dropout) {
  auto model = makeHeadModel(dropout ? withDropout(shape) : shape, head);
  const Batch batch = threeUtterances(shape);
  TrainStep step = batch.step(head.task == HeadTask::regression ? Objective::regression : Objective::classification);
  step.dropout = dropout;
  if (head.task == HeadTask::classification) step.denominator = 2.5;
  step.featurePenalty = 3;
  checkGradients(*model, batch, step, {}, head.dense.empty() ? 4e-3 : 1e-3);  // the more layers, the more bent
}

TEST(headGradientsOfEveryPooling) {
  for (const PoolingKind pooling : kPoolings) {
    check(baseShape(), plainHead(pooling), true);
    // Of relu and of the largest no difference may go across a bend.
    const bool bent = pooling == PoolingKind::max || pooling == PoolingKind::stats;
    check(pooling == PoolingKind::max ? baseShape() : largeShape(), wholeHead(pooling), !bent);
  }
}

TEST(headGradientsOfTheSumOfStates) {
  for (HubertShape shape : familyShapes()) {
    ClassifierHead head = plainHead(PoolingKind::mean);
    head.layers = true;
    check(shape, head, true);
    // Without layers the last state and the output are one, nothing is weighed, and frames see no tokens.
    shape.layers = 0;
    auto model = makeHeadModel(shape, head);
    const Batch batch = threeUtterances(shape);
    checkGradients(*model, batch, batch.step(Objective::classification), {"layer_weights", "encoder.extra_tokens"});
  }
}

TEST(headGradientsOfARegression) {
  for (const HubertShape &shape : {baseShape(), largeShape()}) {
    ClassifierHead head = wholeHead(PoolingKind::mean);
    head.task = HeadTask::regression;
    check(shape, head, true);
    head = plainHead(PoolingKind::attentiveStats);
    head.task = HeadTask::regression;
    check(shape, head, false);
  }
}

TEST(aRegressionWithoutTargetsIsRefused) {
  ClassifierHead head = plainHead(PoolingKind::mean);
  head.task = HeadTask::regression;
  head.classes = 1;
  auto model = makeHeadModel(baseShape(), head);
  const Batch batch = makeBatch(baseShape(), {9 * baseShape().stride()});
  TrainStep step = batch.step(Objective::regression);
  step.targets = nullptr;
  step.targetCount = 1;
  requireError("ERR_BATCH", "Expected 1 targets", [&] { model->trainStep(batch.host, step); });
}

// Layerdrop leaves out the first layers, the last ones, and all of them.
TEST(headGradientsUnderLayerdrop) {
  for (HubertShape shape : {baseShape(), largeShape(), emotion2vecShape()}) {
    shape.layers = 3;
    shape.layerdrop = 0.6f;
    ClassifierHead head = plainHead(PoolingKind::mean);
    head.layers = true;
    auto model = makeHeadModel(shape, head);
    const Batch batch = threeUtterances(shape);
    std::set<std::vector<std::string>> seen;
    for (uint32_t n = 0; n < 12; ++n) {
      TrainStep step = batch.step(Objective::classification);
      step.dropout = true;
      step.step = n;
      model->clearGradients();
      model->trainStep(batch.host, step);
      std::vector<std::string> out;
      for (const TensorInfo &tensor : model->tensors()) {
        if (tensor.name.find("intermediate_dense.weight") == std::string::npos) continue;
        if (norm(gradient(*model, tensor)) == 0) out.push_back(tensor.name.substr(0, 17));  // encoder.layers.N.
      }
      if (out.empty() || !seen.insert(out).second) continue;
      if (out.size() == 3) {
        // All states are one then, but for the norm behind the last, and frames see nothing else.
        if (!shape.stableLayerNorm) out.push_back("layer_weights");
        out.insert(out.end(), {"encoder.extra_tokens", "encoder.alibi_scale"});
      }
      checkGradients(*model, batch, step, out);
    }
    const auto saw = [&](const std::function<bool(const std::vector<std::string> &)> &has) {
      return std::any_of(seen.begin(), seen.end(), has);
    };
    require(saw([](const auto &out) { return out.size() < 3 && out.front() == "encoder.layers.0."; }) &&
                saw([](const auto &out) { return out.size() < 3 && out.back() == "encoder.layers.2."; }) &&
                saw([](const auto &out) { return out.size() == 3; }),
            "no step leaves out the first, the last and all layers");
  }
}

// Whatever is frozen, what is trained gets the very gradient that it gets when everything is trained.
TEST(freezingChangesNoOtherGradientOfAHead) {
  for (const HubertShape &shape : {baseShape(), largeShape()}) {
    auto model = makeHeadModel(withDropout(shape), wholeHead(PoolingKind::attentiveStats));
    const Batch batch = threeUtterances(shape);
    TrainStep step = batch.step(Objective::classification);
    step.dropout = true;
    model->trainStep(batch.host, step);
    std::vector<std::vector<float>> whole;
    for (const TensorInfo &tensor : model->tensors()) whole.push_back(gradient(*model, tensor));
    const std::vector<std::string> encoder = {"feature_", "masked_spec_embed", "encoder."};
    const auto with = [&](std::vector<std::string> more) {
      more.insert(more.end(), encoder.begin(), encoder.end());
      return more;
    };
    for (const auto &frozen : std::vector<std::vector<std::string>>{
             encoder,
             with({"layer_weights"}),
             with({"layer_weights", "projector."}),
             with({"layer_weights", "projector.", "pooling."}),
             with({"layer_weights", "projector.", "pooling.", "dense."}),
             {"layer_weights", "dense.", "classifier."},
             {"projector.weight", "pooling.linear.", "dense.0.norm.", "dense.1.bias"},
             {"feature_", "masked_spec_embed", "encoder.pos_conv_embed.", "encoder.layer_norm", "encoder.layers.0."}}) {
      model->clearGradients();
      model->freeze(frozen);
      model->trainStep(batch.host, step);
      size_t i = 0;
      for (const TensorInfo &tensor : model->tensors()) {
        const bool isFrozen = std::any_of(frozen.begin(), frozen.end(),
                                          [&](const std::string &prefix) { return tensor.name.find(prefix) == 0; });
        const std::vector<float> g = gradient(*model, tensor);
        for (size_t j = 0; j < g.size(); ++j) {
          require(g[j] == (isFrozen ? 0 : whole[i][j]), tensor.name + " with " + frozen.front() + " frozen");
        }
        ++i;
      }
    }
  }
}

// Utterances of so many frames, and what of them is kept.
struct Layout {
  explicit Layout(const std::vector<int64_t> &frames) {
    packing.count = static_cast<int32_t>(frames.size());
    packing.frames = frames;
    packing.offsets.host = {0};
    for (const int64_t its : frames) {
      packing.offsets.host.push_back(packing.offsets.host.back() + static_cast<int32_t>(its));
    }
  }
  FrameWindows windows(int64_t window, int64_t hop, const FrameRanges *kept = nullptr, bool largest = false) {
    return layOutWindows(packing, select(packing, kept, memory), window, hop, largest, memory);
  }

  Packing packing;
  std::shared_ptr<Backend> on = backend();
  Workspace memory{*on};
};

// First frame and number of frames of the window whose outputs each kept frame has.
std::vector<std::pair<int64_t, int64_t>> windowsOfFrames(const FrameWindows &windows) {
  std::vector<std::pair<int64_t, int64_t>> all, found;
  for (const FrameWindows::Block &block : windows.blocks) {
    for (size_t i = 0; i < block.frames.source.host.size(); ++i) {
      require(block.frames.target.host[i] == block.offsets.host[i], "windows lie side by side");
      all.emplace_back(block.frames.source.host[i], block.frames.length.host[i]);
    }
  }
  require(static_cast<int64_t>(all.size()) == windows.count, "as many windows as are counted");
  for (const int32_t i : windows.nearest.host) found.push_back(all[static_cast<size_t>(i)]);
  return found;
}

TEST(windowsOfFramesLieAroundTheNearestHopAndEndWithTheUtterance) {
  Layout layout({8, 3});
  const std::vector<std::pair<int64_t, int64_t>> expected = {{0, 2}, {0, 2}, {1, 4}, {1, 4}, {1, 4}, {4, 4},
                                                             {4, 4}, {4, 4}, {8, 2}, {8, 2}, {8, 2}};
  require(windowsOfFrames(layout.windows(4, 3)) == expected, "windows of 4 frames, every 3");
  // As many as the frames whose outputs are wanted need.
  const FrameRanges kept{{3, 2}, {3, 1}};
  const FrameWindows some = layout.windows(4, 3, &kept);
  require(some.count == 3 &&
              windowsOfFrames(some) == std::vector<std::pair<int64_t, int64_t>>({{1, 4}, {1, 4}, {4, 4}, {8, 2}}),
          "windows of kept frames");
}

// Windows of long audio go through the model in parts, each with context.
TEST(windowsOfAPartAreThoseOfTheWhole) {
  const int64_t frames = 97, window = 10;
  for (const int64_t hop : {1, 3, 4}) {
    Layout whole({frames});
    const auto expected = windowsOfFrames(whole.windows(window, hop));
    const int64_t context = window / 2 + hop / 2 + 1;
    for (int64_t first = 0; first < frames; first += 7) {
      const int64_t count = std::min<int64_t>(7, frames - first);
      const int64_t start = std::max<int64_t>(first - context, 0) / hop * hop;
      const int64_t end = std::min(first + count + context, frames);
      Layout part({end - start});
      const FrameRanges kept{{static_cast<int32_t>(first - start)}, {static_cast<int32_t>(count)}};
      const auto found = windowsOfFrames(part.windows(window, hop, &kept));
      for (int64_t i = 0; i < count; ++i) {
        const auto its = found[static_cast<size_t>(i)];
        require(std::make_pair(its.first + start, its.second) == expected[static_cast<size_t>(first + i)],
                "the window of frame " + std::to_string(first + i) + ", every " + std::to_string(hop));
      }
    }
  }
}

// Many blocks of windows say what one says: a frame's outputs do not depend on which it is in.
TEST(framesOfManyBlocksOfWindows) {
  const HubertShape shape = baseShape();
  ClassifierHead head = plainHead(PoolingKind::attentiveStats);
  head.frameWindow = 4096;  // a block each
  head.frameHop = 4;
  auto model = makeHeadModel(shape, head);
  const Batch batch = threeUtterances(shape);
  const Classified found = model->classify(batch.host);
  for (int64_t t = 0; t < batch.totalFrames; ++t) {
    // Each window is its whole utterance, whose logits are known.
    const int64_t b = t < found.offsets[1] ? 0 : t < found.offsets[2] ? 1 : 2;
    double total = 0;
    for (int64_t c = 0; c < kClasses; ++c) total += std::exp(found.logits[static_cast<size_t>(b * kClasses + c)]);
    for (int64_t c = 0; c < kClasses; ++c) {
      requireNear(found.framePosteriors[static_cast<size_t>(t * kClasses + c)],
                  std::exp(found.logits[static_cast<size_t>(b * kClasses + c)]) / total, 1e-5,
                  "frame " + std::to_string(t));
    }
  }
}

}  // namespace
}  // namespace testing
}  // namespace emoframe
