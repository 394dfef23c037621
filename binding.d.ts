/**
 * The typed contract with the native addon. `native/addon` implements exactly this and holds no logic; everything above
 * goes through `lib/model`, which validates first. Errors thrown or rejected here are plain `Error`s with a stable string
 * `code`; `lib/errors.ts` turns them into `EmoframeError`.
 *
 * Heavy calls return promises and run, in the order they were made, on the engine's own thread. Typed arrays passed to
 * such a call are read without a copy: they must not be written until the promise settles.
 */
export interface NativeBinding {
  /** What this build and machine can do. */
  describe(): NativeDescription;
  createEngine(options: EngineOptions): NativeEngine;
  /** Ends the threads of all engines of this environment, each after the call in hand, and waits for them: for the process's end. */
  endEngines(): void;
  /** Zeros whose memory does not hold up the event loop when it is given back; undefined where there is not so much. */
  largeFloats(count: number): Float32Array<ArrayBuffer> | undefined;
  /**
   * Takes an exclusive lock on an open file without waiting; it lasts until the file is closed or the process ends, however it
   * ends. `busy`: another open file holds it, of this process or of any other; `unsupported`: its file system has no locks.
   */
  lockFile(descriptor: number): 'taken' | 'busy' | 'unsupported';
}

export interface NativeDescription {
  /** Backends compiled in, e.g. `["cpu"]`. */
  backends: string[];
  cpu: {
    /** Instruction sets found and used, best first, e.g. `["avx512", "avx2", "baseline"]`. */
    isa: string[];
    /** Whether bf16 products are native instructions rather than emulated. */
    bf16: boolean;
    /** Threads this process may use. */
    threads: number;
    /** The maths library and its version, e.g. `"oneDNN 2.6.3"`. */
    library: string;
  };
  cuda: {
    /** What the kernels were compiled for, e.g. `sm_80`, or `compute_80` for PTX; empty when CUDA is not built in. */
    builtFor: string[];
    /** The CUDA version that they were built with, e.g. `"12.4"`: any driver of the same major version or newer runs them. */
    toolkit?: string;
    /** The CUDA version that the driver serves, e.g. `"13.0"`; absent where there is no driver. */
    driver?: string;
    devices: { index: number; name: string; memoryBytes: number; capability: string }[];
    /** Why there are no devices, when there are none. */
    reason?: string;
  };
}

export interface EngineOptions {
  /** `"cpu"` or `"cuda:N"`. */
  device: string;
  /** 0 = all threads this process may use. */
  threads: number;
  /** Bytes of the device's memory that the engine may take; 0 = all that it has. */
  memoryLimit: number;
  /** On a GPU: steps are done as CUDA graphs. */
  graphs: boolean;
}

/** How an engine on a GPU has done its steps; all zeros on a CPU. */
export interface GraphUse {
  /** As graphs that were kept from earlier steps. */
  replayed: number;
  /** As graphs that were made for them. */
  made: number;
  /** Operation by operation: a kind of step that came for the first time, or graphs are not used. */
  plain: number;
  /** Why graphs are no longer used, when the driver refused one. */
  reason?: string;
}

/** Bytes of a device's memory that an engine has taken, all of its models together. */
export interface MemoryUse {
  held: number;
  /** The most that was held at once. */
  peak: number;
  /** What can still be taken, as far as the device tells; Infinity: a CPU without a limit. */
  available: number;
}

/** One device, one native thread, any number of models. */
export interface NativeEngine {
  readonly device: string;
  /** Instruction path in use, e.g. `"avx512"`. */
  readonly path: string;
  /** That its models can be made in. */
  readonly precisions: Precision[];
  createModel(options: ModelOptions): Promise<NativeModel>;
  kmeans(options: KMeansOptions): Promise<KMeansResult>;
  /** Nearest centroid of every row: labels `[N]` and, summed over rows, the squared distances. */
  assign(points: Float32Array, centroids: Float32Array, dimension: number): Promise<AssignResult>;
  /** Forward-backward over islands of emotion in utterances whose frame logits are known, as after hearing them by windows. */
  align(frameLogits: Float32Array, offsets: Int32Array, options: AlignOptions): Promise<AlignResult>;
  memory(): Promise<MemoryUse>;
  graphs(): Promise<GraphUse>;
  /** Ends the thread after the call in hand and frees everything, models included. Later calls throw `ERR_DISPOSED`. */
  dispose(): void;
}

export interface HubertShape {
  convDim: number[];
  convKernel: number[];
  convStride: number[];
  convBias: boolean;
  /** `feat_extract_norm == "group"`: GroupNorm in conv 0 only; otherwise LayerNorm in every conv. */
  groupNorm: boolean;
  featureProjectionLayerNorm: boolean;
  hiddenSize: number;
  layers: number;
  heads: number;
  intermediateSize: number;
  positionalKernel: number;
  positionalGroups: number;
  /** Pre-norm transformer with a final LayerNorm (large, xlarge). */
  stableLayerNorm: boolean;
  layerNormEpsilon: number;
  hiddenDropout: number;
  attentionDropout: number;
  activationDropout: number;
  featureProjectionDropout: number;
  finalDropout: number;
  layerdrop: number;
}

/**
 * Of activations and products. `tf32`: activations are fp32, and products of them, but for those of heads and losses, round their
 * operands to 10 bits of fraction; on GPUs alone.
 */
export type Precision = 'fp32' | 'tf32' | 'bf16';

export interface ModelOptions {
  shape: HubertShape;
  precision: Precision;
  /** `final_proj` (hidden → dimension) and label embeddings `[clusters, dimension]`. */
  maskedPrediction?: { clusters: number; dimension: number; temperature: number };
  classifier?: { classes: number; pooling: PoolingName };
  alignment?: AlignmentOptions;
}

/**
 * A network that gives each frame its logits from its neighbourhood alone, and forward-backward over islands of emotion
 * between neutral frames, which gives the utterance's logits and says when.
 */
export interface AlignmentOptions {
  classes: number;
  /** The class that is no emotion. */
  neutral: number;
  /**
   * What the network hears: the convolutions' output; or, of the transformer run over chunks of an utterance, the hidden state
   * at `layer`, or the softmax-weighted sum of hidden states 0 to `layer`, into which no gradient goes.
   */
  source: 'features' | 'hidden' | 'layers';
  /** Of `hidden` (`output` too) and `layers`. */
  layer: number | 'output';
  /** Frames of a chunk, counted from the utterance's first; of `hidden` and `layers`. */
  chunkFrames: number;
  /** Frames on either side of a chunk that the transformer hears with it. */
  contextFrames: number;
  /**
   * Log-mel bands of the sound, 50 to 7600 Hz, that the network hears beside its source, at the level that the batch's samples
   * are brought to; of models whose frames are 400 samples every 320. 0, which is the default: none.
   */
  melBands?: number;
  /** Columns of the network. */
  width: number;
  /** Frames that each of its blocks hears on either side. */
  halfWidths: number[];
  dropout: number;
  /** Of differences of frame logits: below 1, as neighbouring frames are not independent. */
  scale: number;
  /** Nats, between neutral and emotion: a state is left with probability σ(-cost). */
  switchingCost: number;
}

/** What frame logits alone do not say; see {@link AlignmentOptions}. */
export interface AlignOptions {
  neutral: number;
  scale: number;
  switchingCost: number;
  /** f32 [classes]: `alignment.utterance_bias`. */
  bias: Float32Array;
}

export interface AlignResult {
  /** f32 [B, classes] of utterances: the log of the sum over all paths of each emotion, plus its bias; of neutral its bias. */
  logits: Float32Array;
  /** f32 [T, classes]: the share of an emotion's paths that are in its islands at a frame; 0 for neutral. */
  occupancies: Float32Array;
}

/**
 * `mean`; `attention` (tanh scores, as published); `attention-linear` (scores without tanh); `stats` (weighted mean and
 * standard deviation, relu scores).
 */
export type PoolingName = 'mean' | 'attention' | 'attention-linear' | 'stats';

export interface TensorInfo {
  /** transformers' name for the HuBERT part; heads: `final_proj.weight`, `final_proj.bias`, `label_embs_concat`, `pooling.weight`, `classifier.weight`, `classifier.bias`, and `alignment.*`. */
  name: string;
  /** Shape in transformers' layout, in which tensors are imported and exported. */
  shape: number[];
}

/**
 * Utterances on one packed axis. Either raw audio (`samples`) or keys of stored features.
 * A frame range (`frameStarts`, `frameCounts`) crops after the feature encoder; absent: all frames.
 */
export interface PackedBatch {
  /** [B]: each utterance's, f32 at 16 kHz. They are read where they lie, until the call that was given them settles. */
  samples?: readonly Float32Array[];
  /** [B] where each starts on the batch's axis of samples: multiples of the model's stride (320). */
  starts?: Int32Array;
  /** [B] in samples; each gives at least one frame. */
  lengths?: Int32Array;
  /** Whether samples are brought to zero mean and unit variance on the device, as the feature extractor of transformers does. */
  normalize?: boolean;
  /** f64 [B, 2], with `normalize`: means and scales that are used in place of each utterance's own, where it is a stretch of a longer one. */
  waveform?: Float64Array;
  /** [B] keys given to `storeFeatures`. */
  features?: string[];
  /** [B] */
  frameStarts?: Int32Array;
  /** [B] */
  frameCounts?: Int32Array;
  /**
   * f32 [B, kernel of conv 0] and [B, kernel, kernel]: moments of conv 0's windows that GroupNorm uses in place of each
   * utterance's own, as `windowMoments` gives them. Both or neither; GroupNorm form only.
   */
  windowMean?: Float32Array;
  windowCovariance?: Float32Array;
  /** [B] what messages call the utterances; not read by the addon. Keys of `features` serve where there are none. */
  names?: readonly string[];
}

/** A range of frames of each utterance of a batch. */
export interface FrameRanges {
  /** [B] */
  starts: Int32Array;
  /** [B] */
  counts: Int32Array;
}

export interface TrainStepOptions {
  objective: 'masked-prediction' | 'classification' | 'alignment';
  /** masked-prediction: a cluster per frame, `[T]` (read at masked frames only); else a class per utterance, `[B]`. */
  labels: Int32Array;
  /**
   * alignment: classes of frames, `[T]`, -1 where one is not known. To the utterance's loss is added the mean cross-entropy of
   * its known frames.
   */
  frameLabels?: Int32Array;
  /** `[T]`, non-zero where the mask embedding replaces the frame. Absent: no masking (which alignment has none of). */
  mask?: Uint8Array;
  /** The loss is Σ / denominator: masked frames (or utterances) of the whole update, over all its micro-batches. */
  denominator: number;
  /** Weight of mean(feature-encoder output²), of this micro-batch scaled by its share; 0 = off. */
  featurePenalty: number;
  /** Multiplies gradients that enter the feature encoder when it is trained (0.1 in the method). */
  featureGradientScale: number;
  /** Dropout and layerdrop draw from Philox(seed, step, …). `step` must differ between micro-batches. Dropout off: `dropout: false`. */
  seed: number;
  step: number;
  dropout: boolean;
}

export interface TrainStepResult {
  /** Σ of the loss over masked frames or utterances, not divided. */
  lossSum: number;
  /** Frames or utterances that entered the loss. */
  count: number;
  correct: number;
  /** mean(feature-encoder output²) of this micro-batch (0 when features were cached and the penalty is off). */
  featurePenalty: number;
}

export interface OptimizerOptions {
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** 0 = no clipping. */
  clipNorm: number;
  /** Counts from 1; used in bias correction. */
  step: number;
  /** Learning rates of tensors whose names start with a prefix, the first that fits; the others have `learningRate`. */
  groups?: readonly ParameterGroup[];
}

export interface ParameterGroup {
  prefix: string;
  learningRate: number;
}

/** Where no classifier is asked, all but `offsets` and `alignment` is empty. */
export interface ClassifyResult {
  /** f32 [B, classes] */
  logits: Float32Array;
  /** f32 [T, classes]: softmax of the classifier applied to each frame. */
  framePosteriors: Float32Array;
  /** f32 [T]: pooling weight, sums to 1 over each utterance. */
  attention: Float32Array;
  /** f32 [B, C]: what the classifier reads; [B, 2 C] with `stats` pooling, means before standard deviations. */
  pooled: Float32Array;
  /** f32 [B]: log Σ exp(score) over the utterance's frames, by which pooled stretches of one utterance can be put together. */
  scoreLogSums: Float32Array;
  /** i32 [B + 1]: frame bounds of each utterance. */
  offsets: Int32Array;
  /** Of a model whose alignment head is asked; frame logits f32 [T, classes]. */
  alignment?: AlignResult & { frameLogits: Float32Array };
}

/** Moments of conv 0's input windows. */
export interface WindowMoments {
  /** f32 [B, kernel] */
  mean: Float32Array;
  /** f32 [B, kernel, kernel], population form. */
  covariance: Float32Array;
  /** i32 [B]: windows. */
  counts: Int32Array;
}

export interface EncodeResult {
  /** f32 [T, C] hidden states. */
  hidden: Float32Array;
  /** i32 [B + 1]: frame bounds of each utterance. */
  offsets: Int32Array;
}

/** Work whose memory is planned: passes of at most so many frames of at most so many utterances. */
export interface PlannedWork {
  /** Frames of a pass. */
  frames: number;
  /** Utterances of a pass. */
  utterances: number;
  /** What is trained; absent: the model is only run. */
  objective?: TrainStepOptions['objective'];
  /** Frames whose features will be stored in all; 0: every pass is given samples. */
  storedFrames: number;
  /** Frames of the longest utterance among them, as they are stored one by one. */
  longestStoredFrames: number;
  /** Of a classifier that is only run: whether only ranges of frames will be classified, as of windows. Default: no. */
  ranges?: boolean;
}

/** Bytes of the device's memory that work takes at its most, by kind. */
export interface MemoryPlan {
  weights: number;
  gradients: number;
  /** AdamW's. */
  moments: number;
  /** Stored features. */
  features: number;
  /** Activations, and all else that lives within a pass: one arena; on a GPU inputs too, twice, as the next ones travel meanwhile. */
  activations: number;
  /** Temporaries of single operations. On the CPU each thread has its own, of some megabytes, which are not counted. */
  scratch: number;
  /** All of the above. */
  total: number;
  /** What the model has of `total` already. */
  held: number;
  /** What the device can still give; Infinity: a CPU without a limit. */
  available: number;
  /** Not of the device: memory of the host through which uploads pass. */
  staging: number;
}

export interface NativeModel {
  tensors(): TensorInfo[];
  /** Unknown names and wrong sizes are refused by name (`ERR_TENSOR`). */
  importTensors(tensors: { name: string; data: Float32Array }[]): Promise<void>;
  /**
   * A tensor's weights, or its first (m) or second (v) moments in the same layout, to the front of `into`, which must not be
   * used meanwhile. `ERR_TENSOR` without such a tensor, room for it, or moments.
   */
  readTensor(name: string, part: 'weights' | 'm' | 'v', into: Float32Array): Promise<void>;
  /** Moments are there from the first optimiser step on. */
  hasMoments(): Promise<boolean>;
  /** Gradients accumulated since the last optimiser step or `clearGradients`. */
  exportGradients(): Promise<{ name: string; shape: number[]; data: Float32Array }[]>;
  importMoments(moments: { name: string; m: Float32Array; v: Float32Array }[]): Promise<void>;
  /**
   * For a model that will only be run: weights that only products read are kept once, in the form that these read. They can
   * then no longer be changed, exported or trained.
   */
  packForInference(): Promise<void>;
  /** Tensors whose names start with one of these get no gradient and no update. Replaces the earlier list. */
  freeze(prefixes: string[]): void;

  /** Counts what work will take by going through it without computing or taking anything. */
  plan(work: PlannedWork): Promise<MemoryPlan>;
  /** Plans, and takes the memory of a pass at once. `ERR_OUT_OF_MEMORY` where the device has less than is needed; then nothing was taken. */
  prepare(work: PlannedWork): Promise<MemoryPlan>;

  /** Runs the feature encoder and keeps its output `[T, convDim.at(-1)]` under each key. */
  storeFeatures(keys: string[], batch: PackedBatch): Promise<void>;
  /** Bytes held by stored features. */
  featureBytes(): number;
  /** Frames stored under a key, or -1. */
  storedFrames(key: string): number;
  /** Forgets all stored features; importing a tensor of the feature encoder does so too. */
  clearFeatures(): void;

  /**
   * Hidden states at `layer` (0 = the transformer's input, L = the output of layer L, as in transformers 5's
   * `hidden_states`), or the model's `output` (`last_hidden_state`: that of the last layer, after the final LayerNorm of
   * pre-norm models).
   */
  encode(batch: PackedBatch, layer: number | 'output'): Promise<EncodeResult>;
  /**
   * Pooled classification and frame posteriors, and what the alignment head says, dropout off. Needs one of the two. With
   * `kept`, pooling and results are of those frames only: the others are context that is heard. With `head`, that one alone.
   */
  classify(batch: PackedBatch, kept?: FrameRanges, head?: 'classifier' | 'alignment'): Promise<ClassifyResult>;
  /** What the alignment head's network hears, f32 [T, in], before it is standardized by `alignment.input_mean` and `alignment.input_factor`. */
  alignmentInput(batch: PackedBatch): Promise<EncodeResult>;
  /** Moments of conv 0's windows over each utterance: what its GroupNorm follows from. */
  windowMoments(batch: PackedBatch): Promise<WindowMoments>;
  /** Whether there is anything to gain by `prefetch`: on a GPU, whose inputs travel while it computes. */
  prefetches(): boolean;
  /**
   * Sends a later `trainStep`'s inputs while work that was asked for before is still under way, and gives the ticket under which
   * that step finds them. What is wrong with the batch, that step says.
   */
  prefetch(batch: PackedBatch, options: TrainStepOptions): number;
  /**
   * Forward and backward; gradients add up until `optimizerStep` or `clearGradients`. NaN or Inf loss: `ERR_NOT_FINITE`.
   * `ticket`: of the same batch with the same objective, labels, frame labels and mask.
   */
  trainStep(batch: PackedBatch, options: TrainStepOptions & { ticket?: number }): Promise<TrainStepResult>;
  /** Clips, updates, clears gradients. Gives the gradient norm before clipping. NaN or Inf norm: `ERR_NOT_FINITE`, nothing is updated. */
  optimizerStep(options: OptimizerOptions): Promise<{ gradientNorm: number }>;
  clearGradients(): Promise<void>;
  dispose(): void;
}

export interface KMeansOptions {
  /** f32 [N, dimension] */
  points: Float32Array;
  dimension: number;
  clusters: number;
  /** Runs side by side; the one with the least inertia is kept. */
  restarts: number;
  /** `lloyd`: full passes until the centroids move less than `tolerance` (relative to the mean variance) or `maxIterations`; `mini-batch`: Sculley's updates on `batchSize` rows. */
  algorithm: 'lloyd' | 'mini-batch';
  batchSize: number;
  maxIterations: number;
  tolerance: number;
  seed: number;
  /** One element; non-zero asks the call to stop: it rejects with `ERR_ABORTED`. */
  cancel: Int32Array;
  /** Two elements, written while the call runs: iterations done, and the inertia of the best restart so far. */
  progress: Float64Array;
}

export interface KMeansResult {
  /** f32 [clusters, dimension] */
  centroids: Float32Array;
  /** i32 [N] of the kept restart. */
  labels: Int32Array;
  /** Σ squared distance to the nearest centroid, all points. */
  inertia: number;
  /** Inertia of every restart. */
  inertias: number[];
  iterations: number;
}

export interface AssignResult {
  labels: Int32Array;
  inertia: number;
}
