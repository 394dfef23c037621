// The settings of a run. Defaults and bounds are in schema.ts.
import type { SpanMask } from '../batch/masks.js';
import type { Others } from '../corpus/labelScheme.js';
import type { OptimizerOptions, PoolingName, Precision } from '../model/binding.js';
import type { KMeansSettings } from '../model/engine.js';

/** A run's settings, with every field present. */
export interface RunConfig {
  seed: number;
  /** `tf32` on GPUs only. */
  precision: Precision;
  /** `inductive`: nothing of the test session is used before evaluation; `transductive`: its audio joins mfcc, tapt and pretrain. */
  protocol: 'inductive' | 'transductive';
  /** Classes in the order of the classifier's outputs; null: all labels of the corpus, sorted. */
  labels: string[] | null;
  /**
   * Dimensions to learn in place of classes, by regression on the `values` of utterances, in the order of the outputs, such as
   * `["arousal", "dominance", "valence"]`; null: classes.
   */
  dimensions: string[] | null;
  /** The class of time outside all segments; `neu` is used if it is a label and this is not. */
  neutralLabel: string;
  /** How the command line reads the corpus; a program passes the same to `readCorpus`. */
  corpus: {
    /** The dataset of a folder; null: recognised by its layout. */
    dataset: string | null;
    /** A label scheme of the dataset, `all`, or classes such as `ang,hap=hap+exc`; null: the dataset's default. */
    labels: string | null;
    /** Utterances of labels outside of the scheme: left out, or kept as unlabelled speech to pretrain on. */
    others: Others;
  };
  folds: {
    /**
     * What is held out in turn: each session, each speaker, each of `count` groups of speakers, the corpus's own folds (`given`:
     * its `split`, or the dataset's folds), or what is customary for the dataset (`customary`; otherwise by session).
     */
    scheme: 'customary' | 'session' | 'speaker' | 'speakers' | 'given';
    /** Number of folds with `speakers`. */
    count: number;
    /** How the validation set is taken from the training sessions: by whole speakers, or utterances at random. */
    validation: { by: 'speaker' | 'random'; fraction: number };
    /** Permits speakers in both training and test. State this beside any figure. */
    allowSharedSpeakers: boolean;
  };
  audio: {
    /** Unreadable audio: `fail` ends the run; `skip` decodes everything first, then leaves out and lists what failed. */
    onCorrupt: 'fail' | 'skip';
  };
  /** HuBERT to train from scratch, as a Hugging Face `config.json`; null: a pretrained model is given. */
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
    /** Cost in nats of a change of emotion in the smoothed path (Viterbi). */
    switchingCost: number;
    bootstrapSamples: number;
  };
  /** A checkpoint is written when either limit is reached. */
  checkpoint: { everyUpdates: number; everySeconds: number };
  /** Updates between rows of the log. */
  logEvery: number;
  memory: {
    /** Decoded audio to keep. */
    audioBytes: number;
    /** Output of a frozen feature encoder to keep; if it needs more, it is recomputed in every step. */
    featureBytes: number;
    /** Audio per forward and backward pass; a larger update uses several passes. */
    passSeconds: number;
  };
}

/** The same with every field optional, as in a JSON file. */
export type RunConfigInput = Partially<RunConfig>;

type Partially<T> = { [K in keyof T]?: Given<T[K]> | undefined };
type Given<T> = T extends readonly unknown[] ? T : T extends object ? Partially<T> : T;

export type OptimizerSettings = Omit<OptimizerOptions, 'step' | 'groups'>;

export interface KMeansSection extends Omit<KMeansSettings, 'seed'> {
  /** Most frames to fit on, drawn at random if there are more. All frames get a label. */
  frameLimit: number;
}

export interface MaskedPredictionSettings {
  updates: number;
  /** Updates of warm-up to the peak learning rate, which then falls linearly to 0. */
  warmupUpdates: number;
  optimizer: OptimizerSettings;
  /** Audio per update. */
  batchSeconds: number;
  /** Shorter utterances are skipped, longer ones cropped at random. */
  minSeconds: number;
  maxSeconds: number;
  mask: SpanMask;
  /** Width of the space in which frames and label embeddings are compared. */
  dimension: number;
  /** Divides the cosine similarity. */
  temperature: number;
  trainFeatureEncoder: boolean;
  /** Multiplies the gradient that enters the feature encoder, if it is trained. */
  featureGradientScale: number;
  /** Weight of mean(feature-encoder output²), if it is trained. */
  featurePenalty: number;
}

export interface MfccSettings extends MaskedPredictionSettings {
  kmeans: KMeansSection;
}

export interface TaptSettings extends MaskedPredictionSettings {
  /** Hidden state to cluster; the last one if the model has fewer layers. */
  layer: number;
  kmeans: KMeansSection;
  /**
   * A file of centroids `[K, hidden]` to use instead of fitting: .npy, .safetensors, or a scikit-learn k-means model saved by
   * joblib; `kmeans` is then ignored.
   */
  centroids: string | null;
}

export interface PretrainSettings extends MaskedPredictionSettings {
  /** The weights to start from: the pretrained model's, or stage 1a's. */
  startFrom: 'pretrained' | 'tapt';
}

/** Settings of training on utterance labels, which fine-tuning and the alignment network share. */
export interface UtteranceTrainingSettings {
  epochs: number;
  /** Utterances per update. */
  batchSize: number;
  optimizer: OptimizerSettings;
  /** After warm-up, `constant` keeps the peak and `linear` falls to 0. */
  schedule: 'constant' | 'linear';
  warmupUpdates: number;
  /** Training and validation use only the first seconds of an utterance, up to this. */
  maxSeconds: number;
  /**
   * The weights to keep. `validation-ua`: those of the epoch with the best validation UA; `validation-ccc`, with `dimensions`: the
   * best mean CCC; `average`: the mean of the weights after each of the last `averageEpochs` epochs, which does not depend on a
   * small validation set.
   */
  selection: 'validation-ua' | 'validation-ccc' | 'average';
  averageEpochs: number;
  /** Number of trainings from the same start with different random numbers; their weights are averaged. */
  members: number;
}

export interface FineTuningSettings extends UtteranceTrainingSettings {
  /** How frames become an utterance; of the published method `mean`, then `attention`. */
  pooling: PoolingName;
  head: HeadSettings;
  /** SpecAugment along time. */
  mask: SpanMask;
  trainFeatureEncoder: boolean;
}

/** The layers of a pooled head beside pooling and output; by default there are none, as published. */
export interface HeadSettings {
  /** What it reads: the model's last state, or the sum of all hidden states with learned weights. */
  source: 'output' | 'layers';
  /** Width of a linear layer before pooling, `hidden` for the model's own; null: none. */
  projector: number | 'hidden' | null;
  /** Layers between pooling and output: linear, LayerNorm (if `norm`), activation. */
  dense: HeadLayer[];
}

/** A layer of a head. */
export interface HeadLayer {
  /** `hidden`: the model's own. */
  width: number | 'hidden';
  norm: boolean;
  activation: 'none' | 'tanh' | 'relu';
}

export interface AlignSettings extends FineTuningSettings {
  /**
   * What decides which emotion, and when. `attention`: the pooled classifier, as published; `forward-backward`: the alignment
   * network alone; `both`: the emotion from both, the timeline from the network.
   */
  objective: 'attention' | 'forward-backward' | 'both';
  network: AlignmentNetworkSettings;
  /** Whether the `segments` of training utterances are used to train the alignment network, or only for scores. */
  truth: 'ignore' | 'use';
  concatenate: ConcatenationSettings;
}

/** The network that sees only each frame's neighbourhood, trained by forward-backward over islands of emotion. */
export interface AlignmentNetworkSettings extends UtteranceTrainingSettings {
  /**
   * Its input: the convolutional `features`, the `hidden` state at `layer` of the transformer run over chunks, or
   * the weighted sum of the states of `layers` 0 to `layer`.
   */
  source: 'features' | 'hidden' | 'layers';
  /** Log-mel bands appended to the input; 0: none. */
  melBands: number;
  /** The last layer if the model has fewer. */
  layer: number;
  /** For `hidden` and `layers`: length of the transformer's chunks, counted from an utterance's start. */
  chunkSeconds: number;
  /** Context on either side of a chunk. */
  contextSeconds: number;
  /** Receptive field of the convolutions on either side of a frame. */
  fieldSeconds: number;
  /** Residual convolutions, which together have that field. */
  blocks: number;
  /** Channels of the convolutions. */
  width: number;
  dropout: number;
  /** κ in training: the weight of a frame's evidence, small because neighbouring frames are not independent. */
  scale: number;
  /** κ of the saved model: islands learned with a small κ may be decoded with a larger one. */
  decodingScale: number;
  /** Nats: a frame stays inside or outside an island with probability σ(switchingCost). */
  switchingCost: number;
}

/** The parts of a joined utterance, in order. */
export type ConcatenationPattern = 'neutral-emotional' | 'emotional-neutral' | 'neutral-emotional-neutral' | 'same';

/** Neutral and emotional utterances joined, as speech emotion diarization trains on (Wang et al., 2023). */
export interface ConcatenationSettings {
  /** Joined utterances of each class, as a multiple of its training utterances; 0: none. In the paper it is 3. */
  share: number;
  /** Drawn uniformly from these; `same` joins two utterances of one class, so that a seam does not imply a change. */
  patterns: ConcatenationPattern[];
  /** Silence at each seam: uniform between 0 and this. */
  pauseSeconds: number;
  /** Length of the fades at each seam. */
  fadeSeconds: number;
  /** Whether all parts are scaled to the loudness of the first, as recordings differ in level. */
  matchLevels: boolean;
}
