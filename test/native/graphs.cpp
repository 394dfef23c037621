// Steps as graphs give the bits that the same steps give op by op, whatever changes from one to the next; and a graph
// that kept a value of an earlier step would be seen. A CPU has no graphs.
#include "../ops/device.h"
#include "harness.h"

#ifdef EMOFRAME_SIMT

namespace emoframe {
namespace testing {
namespace {

struct Found {
  std::vector<std::vector<float>> values;
  GraphUse use;
};

// Updates in which all changes that can: sizes of batches, masks, dropout's step, layers left out, learning rates.
Found runOfTraining(bool graphs, Precision precision, Objective objective, const std::vector<int> &order,
                    float layerdrop = 0, bool sameData = false, const HubertShape &plain = largeShape()) {
  HubertShape shape = withDropout(plain);
  shape.layerdrop = layerdrop;
  BackendOptions options;
  options.graphs = graphs;
  const std::shared_ptr<Backend> on = backend(options);
  auto model = objective == Objective::alignment
                   ? makeAlignmentModel(shape, alignmentHead(AlignmentSource::hidden, 2), precision, on)
                   : makeModel(shape, PoolingKind::stats, precision, on);
  const int64_t stride = shape.stride();
  const std::vector<std::vector<int64_t>> lengths = {
      {20 * stride, 9 * stride + 5}, {14 * stride, 22 * stride}, {30 * stride}, {8 * stride, 9 * stride, 7 * stride}};
  Found found;
  int64_t update = 0;
  for (const int which : order) {
    ++update;
    const Batch batch =
        makeBatch(shape, lengths[static_cast<size_t>(which)], sameData ? 50 : static_cast<uint32_t>(50 + update));
    TrainStep step = batch.step(objective);
    step.dropout = true;
    step.step = static_cast<uint32_t>(update);
    step.denominator = 10 + static_cast<double>(update);
    step.featurePenalty = objective == Objective::maskedPrediction ? 1.f : 0.f;
    const TrainResult result = model->trainStep(batch.host, step);
    OptimizerStep optimizer;
    optimizer.adamW.learningRate = 1e-3f / static_cast<float>(update);
    optimizer.adamW.clipNorm = 1;
    optimizer.adamW.step = update;
    const double norm = model->optimizerStep(optimizer);
    found.values.push_back({static_cast<float>(result.lossSum), static_cast<float>(result.correct),
                            static_cast<float>(result.featurePenalty), static_cast<float>(norm)});
    const Classified classified = model->classify(batch.host);
    found.values.push_back(classified.framePosteriors);
    found.values.push_back(classified.scoreLogSums);
    found.values.push_back(classified.aligned.occupancies);
    found.values.push_back(model->encode(batch.host, 1).hidden);
  }
  for (const TensorInfo &tensor : model->tensors()) found.values.push_back(get(*model, tensor));
  found.use = on->graphs();
  return found;
}

const std::vector<int> kOrder = {0, 0, 0, 1, 2, 3, 1, 0};

TEST(graphsGiveTheBitsOfSingleOps) {
  for (Precision precision : precisions()) {
    for (Objective objective : {Objective::maskedPrediction, Objective::classification, Objective::alignment}) {
      const float layerdrop = objective == Objective::classification ? 0.3f : 0.f;
      const Found plain = runOfTraining(false, precision, objective, kOrder, layerdrop);
      const Found graphs = runOfTraining(true, precision, objective, kOrder, layerdrop);
      require(plain.values == graphs.values, "a graph's results differ");
      require(plain.use.made == 0 && plain.use.replayed == 0, "graphs that were switched off");
      require(graphs.use.made > 0 && graphs.use.replayed > graphs.use.made,
              "few were replayed: " + std::to_string(graphs.use.replayed) + " after " +
                  std::to_string(graphs.use.made) + " made and " + std::to_string(graphs.use.plain) + " plain");
      require(graphs.use.reason.empty(), graphs.use.reason);
    }
  }
}

// Tables of slopes are as long as the longest utterance, and those of buckets are made of weights.
TEST(graphsOfOtherFamiliesGiveTheBitsOfSingleOps) {
  for (const HubertShape &shape : {wavlmShape(true), emotion2vecShape()}) {
    const auto run = [&](bool graphs) {
      return runOfTraining(graphs, Precision::fp32, Objective::classification, {0, 0, 0, 1, 0}, 0.3f, false, shape);
    };
    const Found plain = run(false), graphs = run(true);
    require(plain.values == graphs.values, "a graph's results differ");
    require(graphs.use.replayed > 0 && graphs.use.reason.empty(), "graphs are not used: " + graphs.use.reason);
  }
}

// The first test would see it: here only dropout's step, the denominator and the optimiser's numbers change.
TEST(valuesThatAGraphKeptWouldBeSeen) {
  const std::vector<int> order = {0, 0, 0, 0, 0, 0};
  const Found plain = runOfTraining(false, Precision::fp32, Objective::maskedPrediction, order, 0, true);
  bool seen = false;
  simt::machine().forgetsUpdates = true;
  try {
    seen = runOfTraining(true, Precision::fp32, Objective::maskedPrediction, order, 0, true).values != plain.values;
  } catch (const Error &) {
    simt::clearFault();  // addresses of inputs are among what was kept
    seen = true;
  }
  simt::machine().forgetsUpdates = false;
  require(seen, "a step replayed with the values of another one gives the same");
}

TEST(stepsGoOnWithoutGraphsAndSayWhy) {
  const Found plain = runOfTraining(false, Precision::fp32, Objective::classification, {0, 0, 0, 1});
  simt::machine().makesGraphs = false;
  const Found none = runOfTraining(true, Precision::fp32, Objective::classification, {0, 0, 0, 1});
  simt::machine().makesGraphs = true;
  require(none.values == plain.values, "the same results");
  require(none.use.made == 0 && none.use.reason.find("out of memory") != std::string::npos, "why: " + none.use.reason);
  simt::machine().updatesGraphs = false;
  const Found fixed = runOfTraining(true, Precision::fp32, Objective::classification, {0, 0, 0, 1});
  simt::machine().updatesGraphs = true;
  require(fixed.values == plain.values, "the same results");
  require(fixed.use.made > 0 && fixed.use.reason.find("cannot be changed") != std::string::npos,
          "why: " + fixed.use.reason);
}

TEST(aStepThatFailsLeavesGraphsUsable) {
  const HubertShape shape = baseShape();
  std::vector<float> found[2];
  for (int failing = 0; failing < 2; ++failing) {
    const std::shared_ptr<Backend> on = backend();
    auto model = makeModel(shape, PoolingKind::attention, Precision::fp32, on);
    const Batch batch = makeBatch(shape, {12 * shape.stride(), 9 * shape.stride()});
    Batch wrong = batch;
    wrong.classLabels[1] = kClasses;
    for (int i = 0; i < 4; ++i) {
      if (failing) {
        requireError("ERR_LABEL", "Utterance 1 ",
                     [&] { model->trainStep(wrong.host, wrong.step(Objective::classification)); });
        requireError("ERR_ARGUMENT", "is 4", [&] { model->encode(batch.host, 4); });
      }
      model->trainStep(batch.host, batch.step(Objective::classification));
    }
    require(on->graphs().replayed > 0, "replayed");
    found[failing] = gradient(*model, {"classifier.weight", {kClasses, 16}});
  }
  require(found[0] == found[1], "a failed step changed the next");
}

TEST(graphsOfManyLayersServeFewer) {
  HubertShape shape = baseShape();
  shape.layers = 20;
  const std::shared_ptr<Backend> on = backend();
  auto model = makeModel(shape, PoolingKind::attention, Precision::fp32, on);
  const Batch batch = makeBatch(shape, {12 * shape.stride()});
  std::vector<std::vector<float>> first;
  GraphUse before;
  for (int round = 0; round < 4; ++round) {
    for (int64_t layer = 0; layer <= shape.layers; ++layer) {
      const std::vector<float> hidden = model->encode(batch.host, layer).hidden;
      if (round == 0) first.push_back(hidden);
      require(hidden == first[static_cast<size_t>(layer)], "layer " + std::to_string(layer));
    }
    if (round == 1) before = on->graphs();
  }
  const GraphUse use = on->graphs();
  require(use.made == before.made && use.plain == before.plain && use.replayed > before.replayed,
          "all are there after two rounds: then " + std::to_string(use.made - before.made) + " made, " +
              std::to_string(use.plain - before.plain) + " plain");
}

}  // namespace
}  // namespace testing
}  // namespace emoframe

#endif
