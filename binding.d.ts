/**
 * The typed contract with the native addon. `native/addon` implements exactly this without logic of its own; all other code uses
 * it through `lib/model`, which validates first. Errors are plain `Error`s with a stable string `code`; `lib/errors.ts` turns
 * them into `EmoframeError`.
 *
 * Heavy calls return promises and run on the engine's own thread in the order in which they were made. Typed arrays passed to
 * such a call are copied before it returns: what becomes of their buffers later, written, shrunk, detached or transferred, does not
 * matter. Only memory that the addon made, `largeFloats` and results of a MiB or more, is held instead: write to that
 * only after the promise settled.
 */
export interface NativeBinding {
  /** What this build and machine can do. */
  describe(): NativeDescription;
  createEngine(options: EngineOptions): NativeEngine;
  /** Ends the threads of all engines of this environment, each after its current call, and waits for them; for process exit. */
  endEngines(): void;
  /** Zeros whose memory is freed without blocking the event loop; undefined if there is not enough memory. */
  largeFloats(count: number): Float32Array<ArrayBuffer> | undefined;
  /**
   * Takes an exclusive lock on an open file without waiting. It lasts until the file is closed or the process ends in any way.
   * `busy`: another open file of this or another process holds it; `unsupported`: the file system has no locks.
   */
  lockFile(descriptor: number): 'taken' | 'busy' | 'unsupported';
}

export interface NativeDescription {
  /** Backends compiled in, e.g. `["cpu"]`. */
  backends: string[];
  cpu: {
    /** Instruction sets in use, best first, e.g. `["avx512", "avx2", "baseline"]`. */
    isa: string[];
    /** Whether bf16 products use native instructions instead of emulation. */
    bf16: boolean;
    /** Threads this process may use. */
    threads: number;
    /** The maths library and its version, e.g. `"oneDNN 2.6.3"`. */
    library: string;
  };
  cuda: {
    /** What the kernels were compiled for, e.g. `sm_80`, or `compute_80` for PTX; empty when CUDA is not built in. */
    builtFor: string[];
    /** The CUDA version that they were built with, e.g. `"12.4"`; drivers of that major version or newer run them. */
    toolkit?: string;
    /** The CUDA version that the driver supports, e.g. `"13.0"`; absent without a driver. */
    driver?: string;
    devices: {
      index: number;
      name: string;
      memoryBytes: number;
      capability: string;
      multiprocessors: number;
      /** The highest clock of its multiprocessors, as the driver says it. */
      clockHertz: number;
    }[];
    /** Why there are no devices, if there are none. */
    reason?: string;
  };
}

export interface EngineOptions {
  /** `"cpu"` or `"cuda:N"`. */
  device: string;
  /** 0 = all threads this process may use. */
  threads: number;
  /** Bytes of the device's memory that the engine may use; 0 = all. */
  memoryLimit: number;
  /** On a GPU: whether steps run as CUDA graphs. */
  graphs: boolean;
}

/** How many steps an engine on a GPU has run in each way; all zeros on a CPU. */
export interface GraphUse {
  /** As graphs of earlier steps. */
  replayed: number;
  /** As newly built graphs. */
  made: number;
  /** Op by op: the first step of its kind, or graphs are not used. */
  plain: number;
  /** Why graphs are no longer used, if the driver refused one. */
  reason?: string;
}

/** Bytes of a device's memory held by an engine and all of its models. */
export interface MemoryUse {
  held: number;
  /** The most held at once. */
  peak: number;
  /** Still available, as far as the device reports; Infinity: a CPU without a limit. */
  available: number;
}

/** One device, one native thread, any number of models. */
export interface NativeEngine {
  readonly device: string;
  /** Instruction path in use, e.g. `"avx512"`. */
  readonly path: string;
  /** The precisions that its models may have. */
  readonly precisions: Precision[];
  createModel(options: ModelOptions): Promise<NativeModel>;
  kmeans(options: KMeansOptions): Promise<KMeansResult>;
  /** Nearest centroid of every row: labels `[N]` and, summed over rows, the squared distances. */
  assign(points: Float32Array, centroids: Float32Array, dimension: number): Promise<AssignResult>;
  /** Forward-backward over islands of emotion in utterances whose frame logits are known, for example from windows. */
  align(frameLogits: Float32Array, offsets: Int32Array, options: AlignOptions): Promise<AlignResult>;
  memory(): Promise<MemoryUse>;
  graphs(): Promise<GraphUse>;
  /** Ends the thread after the current call and frees everything, including models. Later calls throw `ERR_DISPOSED`. */
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
  /**
   * Convolutions of the positional embedding. Absent: one, with weight norm; otherwise so many, one after another, each followed by
   * a LayerNorm without affine and GELU, as in data2vec.
   */
  positionalDepth?: number;
  /**
   * A bias of attention scores by distance. `buckets`: a learned value for each of T5's buckets of distances, the last of which
   * begins at `reach`, gated by the query, as in WavLM. `slopes`: the distance times a slope of each head (ALiBi) times a learned
   * factor, as in data2vec 2.0. Absent: none.
   */
  positionBias?: { kind: 'buckets'; buckets: number; reach: number } | { kind: 'slopes' };
  /** Learned rows that precede an utterance's frames in the transformer, whose outputs are dropped. Absent: none. */
  extraTokens?: number;
  /** Pre-norm transformer with a final LayerNorm (large, xlarge). */
  stableLayerNorm: boolean;
  layerNormEpsilon: number;
  /** Of the LayerNorm before the projection. Absent: `layerNormEpsilon`. */
  featureProjectionEpsilon?: number;
  hiddenDropout: number;
  attentionDropout: number;
  activationDropout: number;
  featureProjectionDropout: number;
  finalDropout: number;
  layerdrop: number;
}

/**
 * The precision of activations and products. `tf32`: activations are fp32, and products of them, except in heads and losses, round
 * their operands to 10 bits of fraction; GPUs only.
 */
export type Precision = 'fp32' | 'tf32' | 'bf16';

export interface ModelOptions {
  shape: HubertShape;
  precision: Precision;
  /** `final_proj` (hidden → dimension) and label embeddings `[clusters, dimension]`. */
  maskedPrediction?: { clusters: number; dimension: number; temperature: number };
  classifier?: ClassifierOptions;
  alignment?: AlignmentOptions;
}

/**
 * A network that computes a frame's logits from its neighbourhood only, and forward-backward over islands of emotion between
 * neutral frames, which gives the utterance's logits and says when.
 */
export interface AlignmentOptions {
  classes: number;
  /** The neutral class. */
  neutral: number;
  /**
   * The network's input: the convolutions' output; or, of the transformer run over chunks of an utterance, the hidden state at
   * `layer` or the softmax-weighted sum of hidden states 0 to `layer`. No gradient flows into these states.
   */
  source: 'features' | 'hidden' | 'layers';
  /** For `hidden` (also `output`) and `layers`. */
  layer: number | 'output';
  /** Frames of a chunk, counted from the utterance's first; for `hidden` and `layers`. */
  chunkFrames: number;
  /** Context frames of the transformer on either side of a chunk. */
  contextFrames: number;
  /**
   * Log-mel bands, 50 to 7600 Hz, appended to the network's source, of the batch's samples after normalisation; for models whose
   * frames are 400 samples every 320. 0, the default: none.
   */
  melBands?: number;
  /** Channels of the network. */
  width: number;
  /** Frames that each of its blocks sees on either side. */
  halfWidths: number[];
  dropout: number;
  /** Multiplies differences of frame logits: below 1, as neighbouring frames are not independent. */
  scale: number;
  /** Nats, between neutral and emotion: a state is left with probability σ(-cost). */
  switchingCost: number;
}

/** What alignment needs besides frame logits; see {@link AlignmentOptions}. */
export interface AlignOptions {
  neutral: number;
  scale: number;
  switchingCost: number;
  /** f32 [classes]: `alignment.utterance_bias`. */
  bias: Float32Array;
}

export interface AlignResult {
  /** f32 [B, classes]: per emotion the log of the sum over its paths, plus its bias; for neutral only the bias. */
  logits: Float32Array;
  /** f32 [T, classes]: the share of an emotion's paths that are inside an island at the frame; 0 for neutral. */
  occupancies: Float32Array;
}

/**
 * `mean`, `sum`, `max`; `attention` (tanh scores, as published); `attention-linear` (scores without tanh); `stats` (weighted mean
 * and standard deviation, relu scores); `attentive-stats` (the same with scores w · tanh(W h + b) and a clamped variance, as in
 * speaker verification).
 */
export type PoolingName = 'mean' | 'sum' | 'max' | 'attention' | 'attention-linear' | 'stats' | 'attentive-stats';

/** A layer after pooling: linear, LayerNorm (if `norm`), activation. Its tensors are `dense.I.weight`, `.bias`, `.norm.weight`, `.norm.bias`. */
export interface DenseLayer {
  width: number;
  norm?: boolean;
  activation: 'none' | 'tanh' | 'relu';
}

/**
 * The pooled head: sum over layers → norm → projector → pooling → dense layers → output. What is absent is left out, so that
 * `{ classes, pooling }` is a linear layer on pooled frames.
 */
export interface ClassifierOptions {
  /** Outputs: classes, or dimensions of a regression. */
  classes: number;
  /** Default: classification. */
  task?: 'classification' | 'regression';
  /**
   * What it reads: the model's `output` (default), or the sum of all hidden states, of which the last is the output, weighted by the
   * softmax of `layer_weights`.
   */
  source?: 'output' | 'layers';
  /** LayerNorm without affine (ε 1e-5) of what it reads: of each `frame`, or over all values of an `utterance`, which cannot be trained. */
  inputNorm?: 'frame' | 'utterance';
  /** Width of a linear layer before pooling (`projector.weight`, `projector.bias`). */
  projector?: number;
  pooling: PoolingName;
  dense?: readonly DenseLayer[];
  /** Whether the output has a bias. Default: yes. */
  bias?: boolean;
  /**
   * Where a frame's outputs come from. Absent: the head's linear layers applied to the frame alone. Otherwise: the whole head applied
   * to the `window` frames around it, every `hop` frames of the utterance; frames between have the outputs of the nearest.
   */
  frames?: { window: number; hop: number };
}

export interface TensorInfo {
  /** transformers' name for the HuBERT part; heads: `final_proj.weight`, `final_proj.bias`, `label_embs_concat`; `layer_weights`, `projector.*`, `pooling.weight`, `pooling.linear.weight`, `pooling.linear.bias`, `dense.I.*`, `classifier.weight`, `classifier.bias`; and `alignment.*`. */
  name: string;
  /** Shape in transformers' layout, which imported and exported tensors have. */
  shape: number[];
}

/**
 * Utterances on one packed axis. Either raw audio (`samples`) or keys of stored features.
 * A frame range (`frameStarts`, `frameCounts`) crops after the feature encoder; absent: all frames.
 */
export interface PackedBatch {
  /** [B]: samples of each utterance, f32 at 16 kHz. A call that is given the batch copies them before it returns. */
  samples?: readonly Float32Array[];
  /** [B] start of each on the batch's axis of samples: multiples of the model's stride (320). */
  starts?: Int32Array;
  /** [B] in samples; each gives at least one frame. */
  lengths?: Int32Array;
  /** Whether samples are normalised to zero mean and unit variance on the device, as by the feature extractor of transformers. */
  normalize?: boolean;
  /** With `normalize`: added to the variance; default 1e-7. */
  epsilon?: number;
  /** f64 [B, 2], with `normalize`: means and scales to use instead of each utterance's own, for a window of longer audio. */
  waveform?: Float64Array;
  /** [B] keys given to `storeFeatures`. */
  features?: string[];
  /** [B] */
  frameStarts?: Int32Array;
  /** [B] */
  frameCounts?: Int32Array;
  /**
   * f32 [B, kernel of conv 0] and [B, kernel, kernel]: moments of conv 0's windows, from `windowMoments`, that GroupNorm uses
   * instead of each utterance's own. Both or neither; GroupNorm form only.
   */
  windowMean?: Float32Array;
  windowCovariance?: Float32Array;
  /** [B] names of the utterances for error messages; not read by the addon. Defaults to the keys of `features`. */
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
  objective: 'masked-prediction' | 'classification' | 'regression' | 'alignment';
  /** masked-prediction: a cluster per frame, `[T]` (read at masked frames only); regression: empty; else a class per utterance, `[B]`. */
  labels: Int32Array;
  /**
   * regression: f32 `[B, outputs]`. The loss is 1 − CCC, the mean over outputs, over this pass and, if `others` has any, the other
   * utterances of the update, whose outputs count as constants: passes whose outputs were computed beforehand (`trainOutputs`) add up
   * to the gradient of the whole update. `denominator` is 1; `lossSum` is the pass's share of the loss.
   */
  targets?: Float32Array;
  others?: { outputs: Float32Array; targets: Float32Array };
  /**
   * alignment: classes of frames, `[T]`, -1 where unknown. The mean cross-entropy of an utterance's known frames is added to its
   * loss.
   */
  frameLabels?: Int32Array;
  /** `[T]`, non-zero where the mask embedding replaces the frame. Absent: no masking; alignment never masks. */
  mask?: Uint8Array;
  /** The loss is Σ / denominator: masked frames (or utterances) of the whole update, over all its micro-batches. */
  denominator: number;
  /** Weight of mean(feature-encoder output²) of this micro-batch, scaled by its share; 0 = off. */
  featurePenalty: number;
  /** Multiplies gradients that enter the feature encoder if it is trained (0.1 in the method). */
  featureGradientScale: number;
  /** Dropout and layerdrop draw from Philox(seed, step, …). `step` must differ between micro-batches. */
  seed: number;
  step: number;
  dropout: boolean;
}

export interface TrainStepResult {
  /** Σ of the loss over masked frames or utterances, not divided. */
  lossSum: number;
  /** Frames or utterances in the loss. */
  count: number;
  correct: number;
  /** mean(feature-encoder output²) of this micro-batch (0 if features were stored and the penalty is off). */
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
  /** Learning rates of tensors by name prefix; the first match counts. All others have `learningRate`. */
  groups?: readonly ParameterGroup[];
}

export interface ParameterGroup {
  prefix: string;
  learningRate: number;
}

/** If no classifier is run, everything but `offsets` and `alignment` is empty. */
export interface ClassifyResult {
  /** f32 [B, classes]: of a regression, its values. */
  logits: Float32Array;
  /** f32 [T, classes]: softmax of the head's outputs for each frame; of a regression, the outputs. See {@link ClassifierOptions.frames}. */
  framePosteriors: Float32Array;
  /** f32 [T]: pooling weight, sums to 1 over each utterance; with `max` the share of channels whose maximum is there. */
  attention: Float32Array;
  /** f32 [B, P]: what pooling gives; [B, 2 P] with `stats` and `attentive-stats`, means before standard deviations. P is the projector's width, or C. */
  pooled: Float32Array;
  /** f32 [B]: log Σ exp(score) over the utterance's frames, for combining pooled windows of one utterance. */
  scoreLogSums: Float32Array;
  /** i32 [B + 1]: frame bounds of each utterance. */
  offsets: Int32Array;
  /** If the alignment head is run; frame logits are f32 [T, classes]. */
  alignment?: AlignResult & { frameLogits: Float32Array };
}

/** Moments of conv 0's input windows. */
export interface WindowMoments {
  /** f32 [B, kernel] */
  mean: Float32Array;
  /** f32 [B, kernel, kernel], population form. */
  covariance: Float32Array;
  /** i32 [B]: number of windows. */
  counts: Int32Array;
}

export interface EncodeResult {
  /** f32 [T, C] hidden states. */
  hidden: Float32Array;
  /** i32 [B + 1]: frame bounds of each utterance. */
  offsets: Int32Array;
}

/** Work whose memory is planned, by its largest pass. */
export interface PlannedWork {
  /** Most frames of a pass. */
  frames: number;
  /** Most utterances of a pass. */
  utterances: number;
  /** The training objective; absent: inference. */
  objective?: TrainStepOptions['objective'];
  /** Total frames whose features will be stored; 0: every pass has samples. */
  storedFrames: number;
  /** Frames of the longest utterance among them, as they are stored one by one. */
  longestStoredFrames: number;
  /** In inference with a classifier: whether only ranges of frames are classified, as for windows. Default: no. */
  ranges?: boolean;
}

/** Most bytes of the device's memory that work takes, by kind. */
export interface MemoryPlan {
  weights: number;
  gradients: number;
  /** AdamW's. */
  moments: number;
  /** Stored features. */
  features: number;
  /** Activations and everything else that lives within a pass: one arena; on a GPU also two buffers of inputs, for prefetching. */
  activations: number;
  /** Temporaries of single ops. On the CPU each thread has its own, of a few megabytes, which are not counted. */
  scratch: number;
  /** All of the above. */
  total: number;
  /** The part of `total` that the model already holds. */
  held: number;
  /** Still available on the device; Infinity: a CPU without a limit. */
  available: number;
  /** Host memory for uploads; not part of `total`. */
  staging: number;
}

export interface NativeModel {
  tensors(): TensorInfo[];
  /** Unknown names and wrong sizes are refused (`ERR_TENSOR`, naming the tensor). */
  importTensors(tensors: { name: string; data: Float32Array }[]): Promise<void>;
  /**
   * Copies a tensor's weights, or its first (m) or second (v) moments in the same layout, to the front of `into` where that is memory
   * of the addon, which must not be used until then; else the copy is a new array. `ERR_TENSOR` if there is no such tensor, not enough
   * room, or no moments.
   */
  readTensor(name: string, part: 'weights' | 'm' | 'v', into: Float32Array): Promise<Float32Array | undefined>;
  /** Moments exist from the first optimiser step on. */
  hasMoments(): Promise<boolean>;
  /** Gradients accumulated since the last optimiser step or `clearGradients`. */
  exportGradients(): Promise<{ name: string; shape: number[]; data: Float32Array }[]>;
  importMoments(moments: { name: string; m: Float32Array; v: Float32Array }[]): Promise<void>;
  /**
   * For inference only: weights that only products read are kept once, in the packed form that these read. They can then no
   * longer be changed, exported or trained.
   */
  packForInference(): Promise<void>;
  /** Tensors whose names start with one of these get no gradient and no update. Replaces the earlier list. */
  freeze(prefixes: string[]): void;

  /** Counts the memory of work by running through it without computing or allocating anything. */
  plan(work: PlannedWork): Promise<MemoryPlan>;
  /** Plans, and allocates the memory of a pass at once. `ERR_OUT_OF_MEMORY` if the device has too little; then nothing is allocated. */
  prepare(work: PlannedWork): Promise<MemoryPlan>;

  /** Runs the feature encoder and keeps its output `[T, convDim.at(-1)]` under each key. */
  storeFeatures(keys: string[], batch: PackedBatch): Promise<void>;
  /** Bytes held by stored features. */
  featureBytes(): number;
  /** Frames stored under a key, or -1. */
  storedFrames(key: string): number;
  /** Drops all stored features; importing a tensor of the feature encoder does so too. */
  clearFeatures(): void;

  /**
   * Hidden states at `layer` (0 = the transformer's input, L = the output of layer L, as in transformers 5's `hidden_states`), or
   * the model's `output` (`last_hidden_state`: the output of the last layer, in pre-norm models after the final LayerNorm).
   */
  encode(batch: PackedBatch, layer: number | 'output'): Promise<EncodeResult>;
  /**
   * The outputs of the pooled classifier and of the alignment head, without dropout; the model needs at least one of them. With
   * `kept`, pooling and results are of those frames only, and the others are context. With `head`, only that head is run.
   */
  classify(batch: PackedBatch, kept?: FrameRanges, head?: 'classifier' | 'alignment'): Promise<ClassifyResult>;
  /** The input of the alignment network, f32 [T, in], before it is standardized by `alignment.input_mean` and `alignment.input_factor`. */
  alignmentInput(batch: PackedBatch): Promise<EncodeResult>;
  /** Moments of conv 0's windows over each utterance, which determine its GroupNorm. */
  windowMoments(batch: PackedBatch): Promise<WindowMoments>;
  /**
   * Forward and backward; gradients add up until `optimizerStep` or `clearGradients`. NaN or Inf loss: `ERR_NOT_FINITE`.
   *
   * This and `optimizerStep` may be queued without waiting for the calls before. When one fails, those that were queued before its
   * promise rejected are cancelled: they change nothing, and reject with an error whose property `cancelled` is true.
   */
  trainStep(batch: PackedBatch, options: TrainStepOptions): Promise<TrainStepResult>;
  /** f32 [B, outputs] of a regression in training: with the dropout that `trainStep` has with the same seed and step. */
  trainOutputs(batch: PackedBatch, options: TrainStepOptions): Promise<Float32Array>;
  /** Clips, updates, clears gradients. Returns the gradient norm before clipping. NaN or Inf norm: `ERR_NOT_FINITE`, nothing is updated. */
  optimizerStep(options: OptimizerOptions): Promise<{ gradientNorm: number }>;
  clearGradients(): Promise<void>;
  dispose(): void;
}

export interface KMeansOptions {
  /** f32 [N, dimension] */
  points: Float32Array;
  dimension: number;
  clusters: number;
  /** Restarts side by side; the one with the least inertia is kept. */
  restarts: number;
  /** `lloyd`: full passes until the centroids move less than `tolerance` (relative to the mean variance) or `maxIterations`; `mini-batch`: Sculley's updates on `batchSize` rows. */
  algorithm: 'lloyd' | 'mini-batch';
  batchSize: number;
  maxIterations: number;
  tolerance: number;
  seed: number;
  /** One element, in a SharedArrayBuffer; non-zero asks the call to stop: it rejects with `ERR_ABORTED`. */
  cancel: Int32Array;
  /** Two elements, in a SharedArrayBuffer, written while the call runs: iterations done, and the inertia of the best restart so far. */
  progress: Float64Array;
}

export interface KMeansResult {
  /** f32 [clusters, dimension] */
  centroids: Float32Array;
  /** i32 [N] of the kept restart. */
  labels: Int32Array;
  /** Σ squared distance to the nearest centroid over all points. */
  inertia: number;
  /** Inertia of every restart. */
  inertias: number[];
  iterations: number;
}

export interface AssignResult {
  labels: Int32Array;
  inertia: number;
}
