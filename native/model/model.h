// HuBERT with its heads on one backend: the whole of what the addon calls. Forward and backward are explicit, one layer
// a file, written once over native/ops.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../backend.h"

namespace emoframe {

// What attention adds to its scores, of the distance from query to key: nothing; a learned value of T5's buckets of
// distances, gated by the query (WavLM); a slope of each head times the distance, times a learned factor
// (data2vec 2.0).
enum class PositionBias : uint8_t { none, buckets, slopes };

struct HubertShape {
  std::vector<int64_t> convDim, convKernel, convStride;
  bool convBias = false;
  bool groupNorm = true;  // GroupNorm in conv 0 only (base); else LayerNorm in every conv (large)
  bool featureProjectionLayerNorm = true;
  int64_t hiddenSize = 768, layers = 12, heads = 12, intermediateSize = 3072;
  int64_t positionalKernel = 128, positionalGroups = 16;
  // Convolutions of the positional embedding: 0: one, with weight norm; else so many, each followed by a LayerNorm
  // without affine and GELU (data2vec).
  int64_t positionalDepth = 0;
  PositionBias positionBias = PositionBias::none;
  int64_t biasBuckets = 320, biasReach = 800;  // of buckets: their number, and the distance at which the last begins
  int64_t extraTokens = 0;  // learned rows that the transformer is given before an utterance's frames
  bool stableLayerNorm = false;
  float layerNormEpsilon = 1e-5f;
  float featureProjectionEpsilon = 0;  // of its LayerNorm; 0: layerNormEpsilon
  float hiddenDropout = 0, attentionDropout = 0, activationDropout = 0, featureProjectionDropout = 0, finalDropout = 0;
  float layerdrop = 0;

  int64_t stride() const;                 // product of convStride: samples a frame (320)
  int64_t frames(int64_t samples) const;  // frames of so many samples; 0 when too short
  int64_t samples(int64_t frames) const;  // the most samples that give no more than so many frames
  void validate() const;                  // ERR_MODEL_CONFIG names the field that cannot be done
};

// fp32 and tf32 keep f32: with tf32, the products that bf16 would make in bf16 round their operands to tf32.
enum class Precision : uint8_t { fp32, tf32, bf16 };
// attentiveStats: scores are w · tanh(W h + b), the weighted mean and the standard deviation with a clamped variance.
enum class PoolingKind : uint8_t { mean, sum, max, attention, attentionLinear, stats, attentiveStats };
enum class HeadTask : uint8_t { classification, regression };
// LayerNorm without affine of what a head reads: none, of each frame, or of all values of an utterance at once.
enum class InputNorm : uint8_t { none, frame, utterance };

struct MaskedPredictionHead {
  int64_t clusters = 0, dimension = 256;  // clusters 0: no such head
  float temperature = 0.1f;
};
// linear → LayerNorm → activation.
struct DenseLayer {
  int64_t width = 0;
  bool norm = false;
  Activation activation = Activation::none;
};
struct ClassifierHead {
  int64_t classes = 0;  // outputs; 0: no such head
  HeadTask task = HeadTask::classification;
  bool layers = false;  // reads Σ softmax(layer_weights)_l · state_l, of which the last is the model's output
  InputNorm inputNorm = InputNorm::none;
  int64_t projector = 0;  // width of a linear layer before pooling; 0: none
  PoolingKind pooling = PoolingKind::attention;
  std::vector<DenseLayer> dense;  // after pooling
  bool bias = true;               // of the output
  // Frames get their outputs from the whole head applied to so many frames around them, every `frameHop` frames; 0:
  // from its linear layers applied to each frame.
  int64_t frameWindow = 0, frameHop = 1;
};

// What the alignment head's network reads: the convolutions' output, or hidden states of the transformer over chunks of
// an utterance, at one layer or, weighted, of all up to it.
enum class AlignmentSource : uint8_t { features, hidden, layers };
struct AlignmentHead {
  int64_t classes = 0;  // 0: no such head
  int32_t neutral = 0;  // the class
  AlignmentSource source = AlignmentSource::features;
  int64_t layer = -1;                           // of hidden (modelOutput too) and layers
  int64_t chunkFrames = 50, contextFrames = 0;  // of a chunk, and on either side of it: of hidden and layers
  int64_t width = 96;
  std::vector<int64_t> halfWidths;  // frames that each block sees on either side
  int64_t melBands = 0;             // read beside the source's columns (log_mel.h)
  float dropout = 0, scale = 0.1f, switchingCost = 4;
};

struct TensorInfo {
  std::string name;
  std::vector<int64_t> shape;  // transformers' layout
};

// In place of a layer: the model's output, which in the pre-norm form is the last
// hidden state after the final LayerNorm.
constexpr int64_t modelOutput = -1;

// Host-side batch; see PackedBatch in binding.d.ts.
struct HostBatch {
  // Of one axis of sampleCount samples, or each utterance's where it lies, in which case starts are those on the axis.
  const float *samples = nullptr;
  std::vector<const float *> utterances;
  int64_t sampleCount = 0;
  std::vector<int32_t> starts, lengths;
  // Whether utterances are brought to zero mean and unit variance: by their own, or by
  // means and scales that are given, [B, 2].
  bool normalize = false;
  double epsilon = 1e-7;  // added to the variance
  std::vector<double> waveform;
  std::vector<std::string> features;              // instead of samples
  std::vector<int32_t> frameStarts, frameCounts;  // empty: all frames
  // Moments of conv 0's windows that GroupNorm uses in place of each utterance's own: [B, kernel], [B, kernel, kernel].
  const float *windowMean = nullptr, *windowCovariance = nullptr;
  int64_t windowMeanSize = 0, windowCovarianceSize = 0;
  uint64_t id = 0;  // that no other batch has; 0: its inputs are not prefetched

  bool hasSamples() const { return samples || !utterances.empty(); }
  const float *samplesOf(size_t b) const { return utterances.empty() ? samples + starts[b] : utterances[b]; }
};

// A range of each utterance's frames.
struct FrameRanges {
  std::vector<int32_t> starts, counts;
};

enum class Objective : uint8_t { maskedPrediction, classification, regression, alignment };

struct TrainStep {
  Objective objective = Objective::classification;
  const int32_t *labels = nullptr;
  int64_t labelCount = 0;
  const int32_t *frameLabels = nullptr;  // of alignment: [T], -1 where a frame's class is not known; or nullptr
  int64_t frameLabelCount = 0;
  // Of regression: targets [B, outputs], and outputs and targets of the batch's other passes, [others, outputs].
  const float *targets = nullptr, *otherOutputs = nullptr, *otherTargets = nullptr;
  int64_t targetCount = 0, otherCount = 0;  // elements
  bool outputsOnly = false;                 // of regression: only outputs are asked for, without targets
  const uint8_t *mask = nullptr;            // [T] or nullptr
  int64_t maskCount = 0;
  double denominator = 1;
  float featurePenalty = 0, featureGradientScale = 1;
  uint64_t seed = 0;
  uint32_t step = 0;
  bool dropout = true;
};
struct TrainResult {
  double lossSum = 0;
  int64_t count = 0, correct = 0;
  double featurePenalty = 0;
};

// Tensors whose names start with a prefix, and the learning rate that they have of their own.
struct ParameterGroup {
  std::string prefix;
  float learningRate = 0;
};
struct OptimizerStep {
  AdamW adamW;                         // gradientSquares and tensors are filled in by the model
  std::vector<ParameterGroup> groups;  // a tensor is of the first that fits
};

struct Encoded {
  std::vector<float> hidden;     // [T, C]
  std::vector<int32_t> offsets;  // [B + 1]
};
struct Aligned {
  std::vector<float> logits;                    // [B, C]
  std::vector<float> frameLogits, occupancies;  // [T, C]
};
// Which heads a pass that classifies asks: what the others would give is left empty.
enum class Heads : uint8_t { all, classifier, alignment };
struct Classified {
  std::vector<float> logits, framePosteriors, attention;
  std::vector<float> pooled;        // [B, C], or [B, 2 C] with standard deviations
  std::vector<float> scoreLogSums;  // [B]: log Σ exp(score) over the utterance's frames
  std::vector<int32_t> offsets;
  Aligned aligned;
};
struct WindowMoments {
  std::vector<float> mean, covariance;  // [B, kernel], [B, kernel, kernel]
  std::vector<int32_t> counts;          // [B]: windows
};

// Work whose memory is planned: passes of at most so many frames of at most so many utterances.
struct PlannedWork {
  int64_t frames = 0, utterances = 0;
  bool training = false;  // else only run: encoded, or classified where there is a head for it
  Objective objective = Objective::classification;
  int64_t storedFrames = 0;         // frames whose features will be kept; 0: every pass is given samples
  int64_t longestStoredFrames = 0;  // of the longest utterance among them: they are stored one by one
  bool ranges = false;              // without training: classified are ranges of frames, as of windows
};

// Bytes of the device's memory that work takes, by kind.
struct MemoryPlan {
  size_t weights = 0;  // and what is made of them
  size_t gradients = 0;
  size_t moments = 0;      // of the optimiser
  size_t features = 0;     // that are stored
  size_t activations = 0;  // and all else that lives within a pass: one arena, and inputs
  size_t scratch = 0;      // temporaries of single ops
  size_t staging = 0;      // not of the device: memory of the host through which uploads pass
  size_t inputs = 0;       // of the activations, what lies in one set of inputs (input_buffers.h)
  size_t held = 0;         // what this model has of all that already
  size_t available = 0;    // what the device can still give; SIZE_MAX: not known

  size_t total() const { return weights + gradients + moments + features + activations + scratch; }
};

// Not thread-safe: one thread at a time, and one at a time for all models of a backend.
class Model {
 public:
  Model(std::shared_ptr<Backend> backend, const HubertShape &shape, Precision precision,
        const MaskedPredictionHead &maskedPrediction, const ClassifierHead &classifier,
        const AlignmentHead &alignment = {});
  ~Model();
  Model(const Model &) = delete;
  Model &operator=(const Model &) = delete;

  const HubertShape &shape() const;
  std::vector<TensorInfo> tensors() const;
  void importTensor(const std::string &name, const float *data, int64_t size);
  void exportTensor(const std::string &name, float *data) const;
  void exportGradient(const std::string &name, float *data) const;
  bool hasMoments() const;
  void exportMoments(const std::string &name, float *m, float *v) const;  // null: not that one
  void importMoments(const std::string &name, const float *m, const float *v, int64_t size);
  // For a model that will only be run: nothing that products alone read is held twice from now on. Weights can then no
  // longer be changed, exported or trained (ERR_INTERNAL).
  void packForInference();
  void freeze(const std::vector<std::string> &prefixes);

  void storeFeatures(const std::vector<std::string> &keys, const HostBatch &batch);
  int64_t featureBytes() const;
  int64_t storedFrames(const std::string &key) const;  // -1: not stored
  void clearFeatures();

  // What the work will take, found by going through it on a backend that only counts.
  MemoryPlan plan(const PlannedWork &work) const;
  // Plans, and takes the memory that passes need at once. ERR_OUT_OF_MEMORY where the device has less than is needed.
  MemoryPlan prepare(const PlannedWork &work);

  // Uploads what a pass over the batch will be given before its turn, beside the ops that still run; the pass finds it
  // by the batch's id. Does nothing where there is nothing to gain. May be called while a pass, this model's too, waits
  // for the device (Backend::whileWaiting). Throws what the pass would.
  void prefetch(const HostBatch &batch, const TrainStep &step);
  void prefetch(const HostBatch &batch, const FrameRanges *kept = nullptr);

  Encoded encode(const HostBatch &batch, int64_t layer);
  // Of `kept` only, when given: the other frames are context.
  Classified classify(const HostBatch &batch, const FrameRanges *kept = nullptr, Heads heads = Heads::all);
  // What the alignment head's network reads, f32 [T, in], not standardized yet: means and factors follow from it.
  Encoded alignmentInput(const HostBatch &batch);
  WindowMoments windowMoments(const HostBatch &batch);
  TrainResult trainStep(const HostBatch &batch, const TrainStep &step);
  // Of a regression, [B, outputs]: as the same step of training finds them, with its dropout. The step is outputsOnly.
  std::vector<float> trainOutputs(const HostBatch &batch, const TrainStep &step);
  double optimizerStep(const OptimizerStep &step);  // gradient norm before clipping
  void clearGradients();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace emoframe
