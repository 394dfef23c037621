// One schema for every number of the method. The defaults are the paper's, so that `{}` is the paper; each stage reads its
// own section and nothing else.
import { z } from 'zod';
import { OTHERS } from '../corpus/labelScheme.js';
import { precisions } from '../model/precision.js';

const positiveInteger = z.int().positive();
const share = z.number().min(0).max(1);
const seconds = z.number().positive();

function optimizer(defaults: {
  learningRate: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  clipNorm: number;
}) {
  return z
    .strictObject({
      learningRate: z.number().positive().default(defaults.learningRate),
      beta1: z.number().min(0).lt(1).default(0.9),
      beta2: z.number().min(0).lt(1).default(defaults.beta2),
      epsilon: z.number().positive().default(defaults.epsilon),
      weightDecay: z.number().min(0).default(defaults.weightDecay),
      /** Largest gradient norm; 0: not clipped. */
      clipNorm: z.number().min(0).default(defaults.clipNorm),
    })
    .prefault({});
}

function mask(probability: number) {
  return z
    .strictObject({
      probability: share.default(probability),
      /** Frames a span. */
      length: positiveInteger.default(10),
      minimumSpans: z.int().min(0).default(2),
    })
    .prefault({});
}

function kmeans(clusters: number) {
  return z
    .strictObject({
      clusters: positiveInteger.default(clusters),
      restarts: positiveInteger.default(20),
      algorithm: z.enum(['lloyd', 'mini-batch']).default('mini-batch'),
      /** Rows an update of mini-batch k-means. */
      batchSize: positiveInteger.default(10000),
      maxIterations: positiveInteger.default(100),
      tolerance: z.number().min(0).default(1e-4),
      /** Frames to fit on at most; beyond it, as many drawn at random. All frames get a label. */
      frameLimit: positiveInteger.default(1_000_000),
    })
    .prefault({});
}

const frozenFeatureEncoder = z.boolean().default(false);

const maskedPredictionFields = (trainFeatureEncoder: boolean) => ({
  updates: positiveInteger.default(20000),
  /** Updates over which the learning rate rises to its peak; it then falls linearly to 0. */
  warmupUpdates: z.int().min(0).default(4000),
  optimizer: optimizer({ learningRate: 5e-4, beta2: 0.98, epsilon: 1e-6, weightDecay: 0.01, clipNorm: 10 }),
  /** Audio an update. */
  batchSeconds: seconds.default(350),
  /** Shorter utterances are left out, longer ones cropped at random. */
  minSeconds: seconds.default(1),
  maxSeconds: seconds.default(15.6),
  mask: mask(0.8),
  /** Width of the space in which frames and label embeddings meet. */
  dimension: positiveInteger.default(256),
  /** Divides the cosine. */
  temperature: z.number().positive().default(0.1),
  trainFeatureEncoder: z.boolean().default(trainFeatureEncoder),
  /** Multiplies the gradient that enters the feature encoder, when it is trained. */
  featureGradientScale: z.number().min(0).default(0.1),
  /** Weight of mean(feature-encoder output²), when it is trained. */
  featurePenalty: z.number().min(0).default(10),
});

type MaskedPredictionShape = { batchSeconds: number; maxSeconds: number; minSeconds: number };

// Else an utterance could not be placed in any update, or none would be long enough.
const fitsBatch = [
  (section: MaskedPredictionShape) =>
    section.minSeconds <= section.maxSeconds && section.maxSeconds <= section.batchSeconds,
  { path: ['maxSeconds'], message: 'Expected minSeconds <= maxSeconds <= batchSeconds' },
] satisfies [(section: MaskedPredictionShape) => boolean, { path: string[]; message: string }];

/** Of training on the labels of utterances. */
const utteranceTrainingFields = (defaults: {
  epochs: number;
  batchSize: number;
  maxSeconds: number;
  warmupUpdates: number;
  schedule: 'constant' | 'linear';
  selection: 'validation-ua' | 'average';
  optimizer: Parameters<typeof optimizer>[0];
}) => ({
  epochs: positiveInteger.default(defaults.epochs),
  /** Utterances an update. */
  batchSize: positiveInteger.default(defaults.batchSize),
  optimizer: optimizer(defaults.optimizer),
  /** `constant`: the peak is kept after the warm-up; `linear`: it falls to 0. */
  schedule: z.enum(['constant', 'linear']).default(defaults.schedule),
  warmupUpdates: z.int().min(0).default(defaults.warmupUpdates),
  /** Only the first so many seconds of an utterance are used in training and validation. */
  maxSeconds: seconds.default(defaults.maxSeconds),
  /**
   * Weights that are kept: `validation-ua`: those of the epoch with the best validation UA; `average`: the mean of those at
   * the ends of the last `averageEpochs` epochs, which a small validation set cannot mislead.
   */
  selection: z.enum(['validation-ua', 'average']).default(defaults.selection),
  averageEpochs: positiveInteger.default(5),
  /** Trainings from the same start with other random numbers, whose weights are averaged together. */
  members: positiveInteger.default(1),
});

// Averaging is how several become one.
const membersAverage = [
  ({ members, selection }: { members: number; selection: string }) => members === 1 || selection === 'average',
  { path: ['members'], message: "Expected 1, or selection 'average', which is how several become one" },
] satisfies [(section: { members: number; selection: string }) => boolean, { path: string[]; message: string }];

const fineTuningFields = (pooling: 'mean' | 'attention') => ({
  ...utteranceTrainingFields({
    epochs: 40,
    batchSize: 64,
    maxSeconds: 6,
    warmupUpdates: 0,
    schedule: 'constant',
    selection: 'validation-ua',
    optimizer: { learningRate: 1e-4, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-5, clipNorm: 0 },
  }),
  pooling: z.enum(['mean', 'attention', 'attention-linear', 'stats']).default(pooling),
  /** SpecAugment along time. */
  mask: mask(0.08),
  trainFeatureEncoder: frozenFeatureEncoder,
});

/** The network that hears each frame's neighbourhood alone, trained by forward-backward over islands of emotion. */
const alignmentNetwork = z
  .strictObject({
    /**
     * What it hears: the convolutional `features`, the `hidden` state at `layer` of the transformer run over chunks, or the
     * weighted sum of the states of `layers` 0 to `layer`.
     */
    source: z.enum(['features', 'hidden', 'layers']).default('features'),
    /** Log-mel bands of the sound that it hears beside that; 0: none. */
    melBands: z.int().min(0).default(40),
    /** Lowered to the model's last one where it has fewer. */
    layer: z.int().min(0).default(4),
    /** Of `hidden` and `layers`: what the transformer hears at once, counted from an utterance's start, … */
    chunkSeconds: seconds.default(1),
    /** … with so much more on either side. */
    contextSeconds: z.number().min(0).default(0.2),
    /** What its convolutions hear on either side of a frame. */
    fieldSeconds: seconds.default(0.4),
    /** Residual convolutions, among which the field is shared. */
    blocks: positiveInteger.default(4),
    /** Channels within. */
    width: positiveInteger.default(96),
    dropout: z.number().min(0).lt(1).default(0.1),
    /** κ in training: how much a frame's evidence counts, as neighbouring frames are not independent. */
    scale: z.number().positive().default(0.05),
    /** κ of the model that is kept: islands that were learned cautiously may be told with more decision. */
    decodingScale: z.number().positive().default(0.1),
    /** Nats: a frame stays inside or outside of an island with probability σ(switchingCost). */
    switchingCost: z.number().min(0).default(4),
    ...utteranceTrainingFields({
      epochs: 10,
      batchSize: 16,
      maxSeconds: 15,
      warmupUpdates: 30,
      schedule: 'linear',
      selection: 'average',
      optimizer: { learningRate: 2e-3, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-3, clipNorm: 1 },
    }),
  })
  .refine(...membersAverage)
  .prefault({});

/** What a joined utterance is made of, in the order in which it is heard. */
export const concatenationPatterns = [
  'neutral-emotional',
  'emotional-neutral',
  'neutral-emotional-neutral',
  'same',
] as const;

/** Neutral and emotional utterances joined, as speech emotion diarization trains on (Wang et al., 2023). */
const concatenate = z
  .strictObject({
    /** Joined utterances of each class, as a multiple of its training utterances; 0: none. In the paper it is 3. */
    share: z.number().min(0).max(100).default(0),
    /** Drawn alike from these; `same` joins two utterances of one class, so that a seam does not give a change away. */
    patterns: z
      .array(z.enum(concatenationPatterns))
      .min(1)
      .default([...concatenationPatterns]),
    /** Silence at each seam: uniform between 0 and this. */
    pauseSeconds: z.number().min(0).default(0),
    /** Over so many seconds each part fades out and in at a seam. */
    fadeSeconds: z.number().min(0).max(1).default(0.005),
    /** Whether all parts are brought to the loudness of the first, as recordings differ in it. */
    matchLevels: z.boolean().default(true),
  })
  .prefault({});

const runSchema = z.strictObject({
  seed: z.int().min(0).default(1),
  /** `tf32` on GPUs alone. */
  precision: z.enum(precisions).default('fp32'),
  /** `inductive`: nothing of the test session is used before evaluation; `transductive`: its audio joins mfcc, tapt and pretrain. */
  protocol: z.enum(['inductive', 'transductive']).default('inductive'),
  /** Classes in the order of the classifier's outputs; null: all labels of the corpus, sorted. */
  labels: z.array(z.string().min(1)).min(2).nullable().default(null),
  /** The class of time outside all segments; `neu` is taken when only that is a label. */
  neutralLabel: z.string().min(1).default('neutral'),
  /** How the command line reads the corpus; a program passes the same to `readCorpus`. */
  corpus: z
    .strictObject({
      /** The dataset that a folder is; null: it is recognised. */
      dataset: z.string().min(1).nullable().default(null),
      /** A label scheme of the dataset, `all`, or classes such as `ang,hap=hap+exc`; null: the dataset's customary one. */
      labels: z.string().min(1).nullable().default(null),
      /** Utterances of labels outside of the scheme: left out, or kept as unlabelled speech to pretrain on. */
      others: z.enum(OTHERS).default('leave-out'),
    })
    .prefault({}),
  folds: z
    .strictObject({
      /**
       * What is held out: each session in turn, each speaker in turn, each of `count` groups of speakers, what the corpus gives
       * (`given`: its `split`, or the dataset's folds), or what is customary for the dataset (`customary`; else by session).
       */
      scheme: z.enum(['customary', 'session', 'speaker', 'speakers', 'given']).default('customary'),
      /** Folds of `speakers`. */
      count: z.int().min(2).default(5),
      /** How validation is cut from the training sessions: whole speakers, or utterances at random. */
      validation: z
        .strictObject({
          by: z.enum(['speaker', 'random']).default('random'),
          fraction: z.number().gt(0).lt(1).default(0.2),
        })
        .prefault({}),
      /** Lets a speaker be heard in training and in the test session. Say so beside any figure. */
      allowSharedSpeakers: z.boolean().default(false),
    })
    .prefault({}),
  audio: z
    .strictObject({
      /** Audio that cannot be read: `fail`: it ends the run; `skip`: all is read first, and that is left out and listed. */
      onCorrupt: z.enum(['fail', 'skip']).default('fail'),
    })
    .prefault({}),
  /** HuBERT to train from scratch: a Hugging Face `config.json`; null: a pretrained directory is given. */
  model: z.record(z.string(), z.unknown()).nullable().default(null),
  /** First round from scratch: masked prediction of k-means labels of MFCCs. */
  mfcc: z
    .strictObject({ kmeans: kmeans(100), ...maskedPredictionFields(true) })
    .refine(...fitsBatch)
    .prefault({}),
  /** Stage 1a. */
  tapt: z
    .strictObject({
      /** Hidden state that is clustered; the last one when the model has fewer layers. */
      layer: z.int().min(0).default(9),
      kmeans: kmeans(500),
      /** A file of centroids `[K, hidden]` to use instead of fitting: .npy, .safetensors, or a k-means model of scikit-learn saved by joblib; then `kmeans` is not read. */
      centroids: z.string().min(1).nullable().default(null),
      ...maskedPredictionFields(false),
    })
    .refine(...fitsBatch)
    .prefault({}),
  /** Stage 1b. */
  finetune: z
    .strictObject(fineTuningFields('mean'))
    .refine(...membersAverage)
    .prefault({}),
  /** Stage 2. */
  cluster: z.strictObject({ layer: z.int().min(0).default(9), kmeans: kmeans(50) }).prefault({}),
  /** Stage 3. */
  pretrain: z
    .strictObject({
      /** Whose weights training starts from: the pretrained model's, or stage 1a's. */
      startFrom: z.enum(['pretrained', 'tapt']).default('pretrained'),
      ...maskedPredictionFields(false),
    })
    .refine(...fitsBatch)
    .prefault({}),
  /** Stage 4. */
  align: z
    .strictObject({
      ...fineTuningFields('attention'),
      /**
       * What says which emotion, and when: `attention`, the pooled classifier as published; `forward-backward`, the alignment
       * network alone; `both`: the emotion from both, the timeline from the network.
       */
      objective: z.enum(['attention', 'forward-backward', 'both']).default('both'),
      network: alignmentNetwork,
      /** Whether `segments` that the corpus has for training utterances teach the alignment network, or are left for scores. */
      truth: z.enum(['ignore', 'use']).default('ignore'),
      concatenate,
    })
    .refine(...membersAverage)
    .prefault({}),
  /** Stage 5. */
  evaluate: z
    .strictObject({
      /** Nats a change of emotion costs in the smoothed path (Viterbi). */
      switchingCost: z.number().min(0).default(4),
      bootstrapSamples: positiveInteger.default(2000),
    })
    .prefault({}),
  checkpoint: z
    .strictObject({
      /** A checkpoint is written when either has passed. */
      everyUpdates: positiveInteger.default(1000),
      everySeconds: seconds.default(600),
    })
    .prefault({}),
  /** A row of the log every so many updates. */
  logEvery: positiveInteger.default(10),
  memory: z
    .strictObject({
      /** Decoded audio that is kept. */
      audioBytes: positiveInteger.default(2 ** 31),
      /** Output of a frozen feature encoder that is kept; when it would need more, it is computed in every step. */
      featureBytes: z
        .int()
        .min(0)
        .default(2 ** 33),
      /** Audio a forward and backward pass; larger updates are made of several. */
      passSeconds: seconds.default(64),
    })
    .prefault({}),
});

export const configSchema = runSchema.superRefine((config, context) => {
  const { mfcc, tapt, finetune, pretrain, align } = config;
  const sections = { mfcc, tapt, finetune, pretrain, align, 'align.network': align.network };
  for (const [name, { maxSeconds }] of Object.entries(sections)) {
    if (maxSeconds <= config.memory.passSeconds) continue;
    context.addIssue({
      code: 'custom',
      path: ['memory', 'passSeconds'],
      message: `Expected at least ${name}.maxSeconds (${maxSeconds}), so that an utterance fits into a pass, but received ${config.memory.passSeconds}`,
    });
  }
});

/** A run's settings, all of them present. */
export type RunConfig = z.infer<typeof configSchema>;
/** The same with every field optional: what a JSON file holds. */
export type RunConfigInput = z.input<typeof configSchema>;

export type MaskedPredictionSettings = Omit<RunConfig['pretrain'], 'startFrom'>;
export type FineTuningSettings = RunConfig['finetune'];
export type AlignmentNetworkSettings = RunConfig['align']['network'];
/** What fine-tuning and the alignment network have in common. */
export type UtteranceTrainingSettings = Pick<FineTuningSettings, keyof ReturnType<typeof utteranceTrainingFields>>;
export type ConcatenationSettings = RunConfig['align']['concatenate'];
export type KMeansSection = RunConfig['cluster']['kmeans'];
