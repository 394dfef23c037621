// Pooled heads of every form: their gradients, passes of one update that add up, what is refused, and frames by
// windows.
#include <algorithm>
#include <set>

#include "differences.h"

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

ClassifierHead plainHead(PoolingKind pooling) {
  ClassifierHead head;
  head.classes = kClasses;
  head.pooling = pooling;
  return head;
}

// With all that a head can have.
ClassifierHead wholeHead(PoolingKind pooling) {
  ClassifierHead head = plainHead(pooling);
  head.layers = true;
  head.inputNorm = InputNorm::frame;
  head.projector = 12;
  head.dense = {{10, true, Activation::tanh}, {8, false, Activation::relu}, {6, true, Activation::none}};
  head.bias = false;
  head.frameWindow = 7;
  head.frameHop = 3;
  return head;
}

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

}  // namespace
}  // namespace testing
}  // namespace emoframe
