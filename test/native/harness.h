// A few words to write native tests with, and small models to write them about.
#pragma once

#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "error.h"
#include "model/model.h"
#include "philox.h"

namespace emoframe {
namespace testing {

struct Test {
  const char *name;
  void (*run)();
};
std::vector<Test> &registry();

struct Failure {
  std::string message;
};
void require(bool condition, const std::string &message);
void requireNear(double actual, double expected, double tolerance, const std::string &what);
void requireError(const char *code, const std::string &mention, const std::function<void()> &call);

#define TEST(name)                                                                  \
  static void name();                                                               \
  static const bool name##Registered = (registry().push_back({#name, name}), true); \
  static void name()

// Deterministic numbers: element i of stream `site`.
float uniform(uint32_t site, uint64_t i);  // [0, 1)
float normal(uint32_t site, uint64_t i);
std::vector<float> normals(uint32_t site, size_t count, float scale = 1);

// Where models run: "cpu", or the emulation of a GPU in the program that is built on it.
std::string &device();
std::shared_ptr<Backend> backend(const BackendOptions &options = {});
std::vector<Precision> precisions();  // of that device

// Small shapes that reach the corners: windows that do not tile, odd and even positional kernels, groups.
HubertShape baseShape();   // GroupNorm, post-LN
HubertShape largeShape();  // LayerNorm in every conv, conv bias, pre-LN
HubertShape melShape();    // GroupNorm, frames of which log-mel bands can be added
// With what other families have besides: a gated bias of buckets of distances, which reach as far as some utterances
// do; a stack of positional convolutions, tokens before the frames, and slopes.
HubertShape wavlmShape(bool preNorm);
HubertShape emotion2vecShape();
HubertShape withDropout(HubertShape shape);
std::vector<HubertShape> familyShapes();  // all that a test of every kind of encoder needs

std::unique_ptr<Model> makeModel(const HubertShape &shape, PoolingKind pooling = PoolingKind::attention,
                                 Precision precision = Precision::fp32, std::shared_ptr<Backend> on = backend());
// Pooling and a linear output; and with all that a head can have.
ClassifierHead plainHead(PoolingKind pooling);
ClassifierHead wholeHead(PoolingKind pooling);
std::unique_ptr<Model> makeHeadModel(const HubertShape &shape, const ClassifierHead &head,
                                     Precision precision = Precision::fp32, std::shared_ptr<Backend> on = backend());
// An alignment head of a few blocks, one of which sees its frame alone; and a model that has it beside a classifier.
AlignmentHead alignmentHead(AlignmentSource source = AlignmentSource::features, int64_t layer = modelOutput);
std::unique_ptr<Model> makeAlignmentModel(const HubertShape &shape, const AlignmentHead &head,
                                          Precision precision = Precision::fp32,
                                          std::shared_ptr<Backend> on = backend());
void randomize(Model &model);
std::vector<float> get(const Model &model, const TensorInfo &tensor);
std::vector<float> gradient(const Model &model, const TensorInfo &tensor);
int64_t sizeOf(const TensorInfo &tensor);

// Utterances of so many samples, packed; owns what HostBatch points at.
struct Batch {
  std::vector<float> samples;
  std::vector<int32_t> frameLabels, classLabels;
  std::vector<float> targets;  // [B, kClasses]
  std::vector<uint8_t> mask;
  std::vector<int64_t> frames;
  HostBatch host;
  int64_t totalFrames = 0;

  // Dropout off, denominator 1; of alignment without labels of frames.
  TrainStep step(Objective objective) const;
};
constexpr int64_t kClusters = 5, kClasses = 4;
Batch makeBatch(const HubertShape &shape, const std::vector<int64_t> &lengths, uint32_t stream = 7);
// One utterance of a batch as a batch of its own, with its labels and mask.
Batch alone(const HubertShape &shape, const Batch &batch, size_t utterance);

}  // namespace testing
}  // namespace emoframe
