// What inference does otherwise than training: blocks of frames, and weights that are held once.
#include <cstring>

#include "cpu/backend.h"
#include "harness.h"

namespace emoframe {
namespace testing {
namespace {

// As small blocks as there are, of 32 frames.
class SmallBlocks final : public CpuBackend {
 public:
  using CpuBackend::CpuBackend;
  size_t blockBytes() const override { return 1; }
};

// Makes NaN of what is given back, whatever its size.
class Discarding final : public CpuBackend {
 public:
  using CpuBackend::CpuBackend;
  void discard(void *pointer, size_t bytes) override { std::memset(pointer, 0xFF, bytes); }
};

// Ends of utterances before, at and after the ends of blocks, gaps between them, and one across three blocks.
Batch longBatch(const HubertShape &shape) {
  const int64_t s = shape.stride();
  return makeBatch(shape, {31 * s + 3, 4 * s + s - 1, 65 * s + 7, 3 * s + 5, 33 * s});
}

void requireClose(const std::vector<float> &actual, const std::vector<float> &expected, const std::string &what) {
  require(actual.size() == expected.size(), what + ": sizes differ");
  double largest = 0;
  for (float v : expected) largest = std::max(largest, std::abs(static_cast<double>(v)));
  for (size_t i = 0; i < actual.size(); ++i) {
    requireNear(actual[i], expected[i], 1e-5 * largest, what + " at " + std::to_string(i));
  }
}

TEST(blocksOfFramesGiveWhatTheWholeAxisGives) {
  for (const HubertShape &shape : {baseShape(), largeShape()}) {
    const Batch batch = longBatch(shape);
    auto whole = makeModel(shape);
    auto blocks =
        makeModel(shape, PoolingKind::attention, Precision::fp32, std::make_shared<SmallBlocks>(BackendOptions()));
    for (int64_t layer : {int64_t{0}, shape.layers}) {
      requireClose(blocks->encode(batch.host, layer).hidden, whole->encode(batch.host, layer).hidden,
                   "layer " + std::to_string(layer));
    }
  }
}

// Utterances need not lie in the order of their starts.
TEST(utterancesInAnyOrderGiveTheSame) {
  const HubertShape shape = baseShape();
  Batch batch = longBatch(shape);
  auto model =
      makeModel(shape, PoolingKind::attention, Precision::fp32, std::make_shared<SmallBlocks>(BackendOptions()));
  const Encoded ordered = model->encode(batch.host, shape.layers);
  std::swap(batch.host.starts[0], batch.host.starts[2]);
  std::swap(batch.host.lengths[0], batch.host.lengths[2]);
  const Encoded swapped = model->encode(batch.host, shape.layers);
  const auto take = [&](const Encoded &encoded, size_t b) {
    const auto begin = encoded.hidden.begin() + encoded.offsets[b] * shape.hiddenSize;
    const auto end = encoded.hidden.begin() + encoded.offsets[b + 1] * shape.hiddenSize;
    return std::vector<float>(begin, end);
  };
  requireClose(take(swapped, 0), take(ordered, 2), "the third, given first");
  requireClose(take(swapped, 2), take(ordered, 0), "the first, given third");
}

TEST(aSealedModelGivesTheSame) {
  for (Precision precision : {Precision::fp32, Precision::bf16}) {
    for (const HubertShape &shape : familyShapes()) {
      // Enough frames for packed products, and fewer than they are made for.
      for (const Batch &batch : {longBatch(shape), makeBatch(shape, {3 * shape.stride()})}) {
        auto model =
            makeModel(shape, PoolingKind::attention, precision, std::make_shared<Discarding>(BackendOptions()));
        const Classified before = model->classify(batch.host);
        model->packForInference();
        const Classified after = model->classify(batch.host);
        requireClose(after.logits, before.logits, "logits");
        requireClose(after.framePosteriors, before.framePosteriors, "posteriors");
      }
    }
  }
}

TEST(aSealedModelIsNotTrainedOrRead) {
  const HubertShape shape = baseShape();
  const Batch batch = longBatch(shape);
  auto model = makeModel(shape);
  model->packForInference();
  model->packForInference();
  const TensorInfo tensor = model->tensors().front();
  std::vector<float> values(static_cast<size_t>(sizeOf(tensor)));
  const auto refused = [](const std::function<void()> &call) {
    requireError("ERR_INTERNAL", "for inference only", call);
  };
  refused([&] { model->exportTensor(tensor.name, values.data()); });
  refused([&] { model->importTensor(tensor.name, values.data(), static_cast<int64_t>(values.size())); });
  refused([&] { model->trainStep(batch.host, batch.step(Objective::classification)); });
  refused([&] { model->optimizerStep({}); });
}

}  // namespace
}  // namespace testing
}  // namespace emoframe
