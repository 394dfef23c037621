// The numbers of the method, as a run has them. Defaults and bounds stand in schema.ts.
import type { Others } from '../corpus/labelScheme.js';
import type { Precision } from '../model/binding.js';

/** A run's settings, all of them present. */
export interface RunConfig {
  seed: number;
  /** `tf32` on GPUs alone. */
  precision: Precision;
  /** `inductive`: nothing of the test session is used before evaluation; `transductive`: its audio joins mfcc, tapt and pretrain. */
  protocol: 'inductive' | 'transductive';
  /** Classes in the order of the classifier's outputs; null: all labels of the corpus, sorted. */
  labels: string[] | null;
  /** The class of time outside all segments; `neu` is taken when only that is a label. */
  neutralLabel: string;
  /** How the command line reads the corpus; a program passes the same to `readCorpus`. */
  corpus: {
    /** The dataset that a folder is; null: it is recognised. */
    dataset: string | null;
    /** A label scheme of the dataset, `all`, or classes such as `ang,hap=hap+exc`; null: the dataset's customary one. */
    labels: string | null;
    /** Utterances of labels outside of the scheme: left out, or kept as unlabelled speech to pretrain on. */
    others: Others;
  };
  folds: {
    /**
     * What is held out: each session in turn, each speaker in turn, each of `count` groups of speakers, what the corpus gives
     * (`given`: its `split`, or the dataset's folds), or what is customary for the dataset (`customary`; else by session).
     */
    scheme: 'customary' | 'session' | 'speaker' | 'speakers' | 'given';
    /** Folds of `speakers`. */
    count: number;
    /** How validation is cut from the training sessions: whole speakers, or utterances at random. */
    validation: { by: 'speaker' | 'random'; fraction: number };
    /** Lets a speaker be heard in training and in the test session. Say so beside any figure. */
    allowSharedSpeakers: boolean;
  };
  audio: {
    /** Audio that cannot be read: `fail`: it ends the run; `skip`: all is read first, and that is left out and listed. */
    onCorrupt: 'fail' | 'skip';
  };
  /** HuBERT to train from scratch: a Hugging Face `config.json`; null: a pretrained directory is given. */
  model: Record<string, unknown> | null;
  /** First round from scratch: masked prediction of k-means labels of MFCCs. */
  mfcc: MfccSettings;
  /** Stage 1a. */
  tapt: TaptSettings;
  /** Stage 1b. */
  finetune: FineTuningSettings;
  /** Stage 2. */
  cluster: { layer: number; kmeans: KMeansSection };
  /** Stage 3. */
  pretrain: PretrainSettings;
  /** Stage 4. */
  align: AlignSettings;
  /** Stage 5. */
  evaluate: {
    /** Nats a change of emotion costs in the smoothed path (Viterbi). */
    switchingCost: number;
    bootstrapSamples: number;
  };
  /** A checkpoint is written when either has passed. */
  checkpoint: { everyUpdates: number; everySeconds: number };
  /** A row of the log every so many updates. */
  logEvery: number;
  memory: {
    /** Decoded audio that is kept. */
    audioBytes: number;
    /** Output of a frozen feature encoder that is kept; when it would need more, it is computed in every step. */
    featureBytes: number;
    /** Audio a forward and backward pass; larger updates are made of several. */
    passSeconds: number;
  };
}

/** The same with every field optional: what a JSON file holds. */
export type RunConfigInput = Partially<RunConfig>;

type Partially<T> = { [K in keyof T]?: Given<T[K]> | undefined };
type Given<T> = T extends readonly unknown[] ? T : T extends object ? Partially<T> : T;

export interface OptimizerSettings {
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** Largest gradient norm; 0: not clipped. */
  clipNorm: number;
}

export interface MaskSettings {
  probability: number;
  /** Frames a span. */
  length: number;
  minimumSpans: number;
}

export interface KMeansSection {
  clusters: number;
  restarts: number;
  algorithm: 'lloyd' | 'mini-batch';
  /** Rows an update of mini-batch k-means. */
  batchSize: number;
  maxIterations: number;
  tolerance: number;
  /** Frames to fit on at most; beyond it, as many drawn at random. All frames get a label. */
  frameLimit: number;
}

export interface MaskedPredictionSettings {
  updates: number;
  /** Updates over which the learning rate rises to its peak; it then falls linearly to 0. */
  warmupUpdates: number;
  optimizer: OptimizerSettings;
  /** Audio an update. */
  batchSeconds: number;
  /** Shorter utterances are left out, longer ones cropped at random. */
  minSeconds: number;
  maxSeconds: number;
  mask: MaskSettings;
  /** Width of the space in which frames and label embeddings meet. */
  dimension: number;
  /** Divides the cosine. */
  temperature: number;
  trainFeatureEncoder: boolean;
  /** Multiplies the gradient that enters the feature encoder, when it is trained. */
  featureGradientScale: number;
  /** Weight of mean(feature-encoder output²), when it is trained. */
  featurePenalty: number;
}

export interface MfccSettings extends MaskedPredictionSettings {
  kmeans: KMeansSection;
}

export interface TaptSettings extends MaskedPredictionSettings {
  /** Hidden state that is clustered; the last one when the model has fewer layers. */
  layer: number;
  kmeans: KMeansSection;
  /**
   * A file of centroids `[K, hidden]` to use instead of fitting: .npy, .safetensors, or a k-means model of scikit-learn saved
   * by joblib; then `kmeans` is not read.
   */
  centroids: string | null;
}

export interface PretrainSettings extends MaskedPredictionSettings {
  /** Whose weights training starts from: the pretrained model's, or stage 1a's. */
  startFrom: 'pretrained' | 'tapt';
}

/** Training on the labels of utterances: what fine-tuning and the alignment network have in common. */
export interface UtteranceTrainingSettings {
  epochs: number;
  /** Utterances an update. */
  batchSize: number;
  optimizer: OptimizerSettings;
  /** `constant`: the peak is kept after the warm-up; `linear`: it falls to 0. */
  schedule: 'constant' | 'linear';
  warmupUpdates: number;
  /** Only the first so many seconds of an utterance are used in training and validation. */
  maxSeconds: number;
  /**
   * Weights that are kept: `validation-ua`: those of the epoch with the best validation UA; `average`: the mean of those at
   * the ends of the last `averageEpochs` epochs, which a small validation set cannot mislead.
   */
  selection: 'validation-ua' | 'average';
  averageEpochs: number;
  /** Trainings from the same start with other random numbers, whose weights are averaged together. */
  members: number;
}

export interface FineTuningSettings extends UtteranceTrainingSettings {
  pooling: 'mean' | 'attention' | 'attention-linear' | 'stats';
  /** SpecAugment along time. */
  mask: MaskSettings;
  trainFeatureEncoder: boolean;
}

export interface AlignSettings extends FineTuningSettings {
  /**
   * What says which emotion, and when: `attention`, the pooled classifier as published; `forward-backward`, the alignment
   * network alone; `both`: the emotion from both, the timeline from the network.
   */
  objective: 'attention' | 'forward-backward' | 'both';
  network: AlignmentNetworkSettings;
  /** Whether `segments` that the corpus has for training utterances teach the alignment network, or are left for scores. */
  truth: 'ignore' | 'use';
  concatenate: ConcatenationSettings;
}

/** The network that reads each frame's neighbourhood alone, trained by forward-backward over islands of emotion. */
export interface AlignmentNetworkSettings extends UtteranceTrainingSettings {
  /**
   * What it takes as input: the convolutional `features`, the `hidden` state at `layer` of the transformer run over chunks, or
   * the weighted sum of the states of `layers` 0 to `layer`.
   */
  source: 'features' | 'hidden' | 'layers';
  /** Log-mel bands of the sound that it takes beside that; 0: none. */
  melBands: number;
  /** Lowered to the model's last one where it has fewer. */
  layer: number;
  /** Of `hidden` and `layers`: the length of a chunk, counted from an utterance's start, … */
  chunkSeconds: number;
  /** … with so much more on either side. */
  contextSeconds: number;
  /** What its convolutions read on either side of a frame. */
  fieldSeconds: number;
  /** Residual convolutions, among which the field is shared. */
  blocks: number;
  /** Channels within. */
  width: number;
  dropout: number;
  /** κ in training: how much a frame's evidence counts, as neighbouring frames are not independent. */
  scale: number;
  /** κ of the model that is kept: what was learned cautiously may be decoded with more decision. */
  decodingScale: number;
  /** Nats: a frame stays inside or outside of an island with probability σ(switchingCost). */
  switchingCost: number;
}

/** What a joined utterance is made of, in order. */
export type ConcatenationPattern = 'neutral-emotional' | 'emotional-neutral' | 'neutral-emotional-neutral' | 'same';

/** Neutral and emotional utterances joined, as speech emotion diarization trains on (Wang et al., 2023). */
export interface ConcatenationSettings {
  /** Joined utterances of each class, as a multiple of its training utterances; 0: none. In the paper it is 3. */
  share: number;
  /** Drawn alike from these; `same` joins two utterances of one class, so that a seam does not give a change away. */
  patterns: ConcatenationPattern[];
  /** Silence at each seam: uniform between 0 and this. */
  pauseSeconds: number;
  /** Over so many seconds each part fades out and in at a seam. */
  fadeSeconds: number;
  /** Whether all parts are brought to the loudness of the first, as recordings differ in it. */
  matchLevels: boolean;
}
