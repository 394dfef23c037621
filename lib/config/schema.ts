// One schema for all settings of the method. The defaults are the paper's, so `{}` is the paper; each stage reads only its own
// section. types.ts says what each setting means.
import { z } from 'zod';
import { OTHERS } from '../corpus/labelScheme.js';
import { byName } from '../issues.js';
import { poolingName } from '../model/classifier.js';
import { precisions } from '../model/precision.js';
import type {
  MaskedPredictionSettings,
  OptimizerSettings,
  RunConfig,
  RunConfigInput,
  UtteranceTrainingSettings,
} from './types.js';

const positiveInteger = z.int().positive();
const share = z.number().min(0).max(1);
const seconds = z.number().positive();

/** A rule over several fields of a section, as `refine` takes it. */
type Rule<Section> = [(section: Section) => boolean, { path: string[]; message: string }];

function optimizer(defaults: Omit<OptimizerSettings, 'beta1'>) {
  return z
    .strictObject({
      learningRate: z.number().positive().default(defaults.learningRate),
      beta1: z.number().min(0).lt(1).default(0.9),
      beta2: z.number().min(0).lt(1).default(defaults.beta2),
      epsilon: z.number().positive().default(defaults.epsilon),
      weightDecay: z.number().min(0).default(defaults.weightDecay),
      clipNorm: z.number().min(0).default(defaults.clipNorm),
    })
    .prefault({});
}

function mask(probability: number) {
  return z
    .strictObject({
      probability: share.default(probability),
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
      batchSize: positiveInteger.default(10000),
      maxIterations: positiveInteger.default(100),
      tolerance: z.number().min(0).default(1e-4),
      frameLimit: positiveInteger.default(1_000_000),
    })
    .prefault({});
}

const maskedPredictionFields = (trainFeatureEncoder: boolean) => ({
  updates: positiveInteger.default(20000),
  warmupUpdates: z.int().min(0).default(4000),
  optimizer: optimizer({ learningRate: 5e-4, beta2: 0.98, epsilon: 1e-6, weightDecay: 0.01, clipNorm: 10 }),
  batchSeconds: seconds.default(350),
  minSeconds: seconds.default(1),
  maxSeconds: seconds.default(15.6),
  mask: mask(0.8),
  dimension: positiveInteger.default(256),
  temperature: z.number().positive().default(0.1),
  trainFeatureEncoder: z.boolean().default(trainFeatureEncoder),
  featureGradientScale: z.number().min(0).default(0.1),
  featurePenalty: z.number().min(0).default(10),
});

// Otherwise an utterance would not fit into an update, or none would be long enough.
const fitsBatch: Rule<MaskedPredictionSettings> = [
  ({ minSeconds, maxSeconds, batchSeconds }) => minSeconds <= maxSeconds && maxSeconds <= batchSeconds,
  { path: ['maxSeconds'], message: 'Expected minSeconds <= maxSeconds <= batchSeconds' },
];

const utteranceTrainingFields = (
  defaults: Omit<UtteranceTrainingSettings, 'optimizer' | 'averageEpochs' | 'members'>,
  rates: Parameters<typeof optimizer>[0],
) => ({
  epochs: positiveInteger.default(defaults.epochs),
  batchSize: positiveInteger.default(defaults.batchSize),
  optimizer: optimizer(rates),
  schedule: z.enum(['constant', 'linear']).default(defaults.schedule),
  warmupUpdates: z.int().min(0).default(defaults.warmupUpdates),
  maxSeconds: seconds.default(defaults.maxSeconds),
  selection: z.enum(['validation-ua', 'validation-ccc', 'average']).default(defaults.selection),
  averageEpochs: positiveInteger.default(5),
  members: positiveInteger.default(1),
});

// Several members become one model by averaging.
const membersAverage: Rule<UtteranceTrainingSettings> = [
  ({ members, selection }) => members === 1 || selection === 'average',
  { path: ['members'], message: "Expected 1, or selection 'average', which combines several members" },
];

const layerWidth = z.union([positiveInteger, z.literal('hidden')], "a positive integer or 'hidden'");

const head = z
  .strictObject({
    source: z.enum(['output', 'layers']).default('output'),
    projector: layerWidth.nullable().default(null),
    dense: z
      .array(z.strictObject({ width: layerWidth, norm: z.boolean(), activation: z.enum(['none', 'tanh', 'relu']) }))
      .default([]),
  })
  .prefault({});

const fineTuningFields = (pooling: 'mean' | 'attention') => ({
  ...utteranceTrainingFields(
    { epochs: 40, batchSize: 64, maxSeconds: 6, warmupUpdates: 0, schedule: 'constant', selection: 'validation-ua' },
    { learningRate: 1e-4, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-5, clipNorm: 0 },
  ),
  pooling: poolingName.default(pooling),
  head,
  mask: mask(0.08),
  trainFeatureEncoder: z.boolean().default(false),
});

const alignmentNetwork = z
  .strictObject({
    source: z.enum(['features', 'hidden', 'layers']).default('features'),
    melBands: z.int().min(0).default(40),
    layer: z.int().min(0).default(4),
    chunkSeconds: seconds.default(1),
    contextSeconds: z.number().min(0).default(0.2),
    fieldSeconds: seconds.default(0.4),
    blocks: positiveInteger.default(4),
    width: positiveInteger.default(96),
    dropout: z.number().min(0).lt(1).default(0.1),
    scale: z.number().positive().default(0.05),
    decodingScale: z.number().positive().default(0.1),
    switchingCost: z.number().min(0).default(4),
    ...utteranceTrainingFields(
      { epochs: 10, batchSize: 16, maxSeconds: 15, warmupUpdates: 30, schedule: 'linear', selection: 'average' },
      { learningRate: 2e-3, beta2: 0.999, epsilon: 1e-8, weightDecay: 1e-3, clipNorm: 1 },
    ),
  })
  .refine(...membersAverage)
  .prefault({});

const patterns = ['neutral-emotional', 'emotional-neutral', 'neutral-emotional-neutral', 'same'] as const;

const concatenate = z
  .strictObject({
    share: z.number().min(0).max(100).default(0),
    patterns: z
      .array(z.enum(patterns))
      .min(1)
      .default([...patterns]),
    pauseSeconds: z.number().min(0).default(0),
    fadeSeconds: z.number().min(0).max(1).default(0.005),
    matchLevels: z.boolean().default(true),
  })
  .prefault({});

const runSchema = z.strictObject({
  seed: z.int().min(0).default(1),
  precision: z.enum(precisions).default('fp32'),
  protocol: z.enum(['inductive', 'transductive']).default('inductive'),
  labels: z.array(z.string().min(1)).min(2).nullable().default(null),
  dimensions: z
    .array(z.string().min(1))
    .min(1)
    .refine((names) => new Set(names).size === names.length, 'Expected names that differ from each other')
    .nullable()
    .default(null),
  neutralLabel: z.string().min(1).default('neutral'),
  corpus: z
    .strictObject({
      dataset: z.string().min(1).nullable().default(null),
      labels: z.string().min(1).nullable().default(null),
      others: z.enum(OTHERS).default('leave-out'),
    })
    .prefault({}),
  folds: z
    .strictObject({
      scheme: z.enum(['customary', 'session', 'speaker', 'speakers', 'given']).default('customary'),
      count: z.int().min(2).default(5),
      validation: z
        .strictObject({
          by: z.enum(['speaker', 'random']).default('random'),
          fraction: z.number().gt(0).lt(1).default(0.2),
        })
        .prefault({}),
      allowSharedSpeakers: z.boolean().default(false),
    })
    .prefault({}),
  audio: z
    .strictObject({
      onCorrupt: z.enum(['fail', 'skip']).default('fail'),
    })
    .prefault({}),
  model: byName(z.unknown()).nullable().default(null),
  mfcc: z
    .strictObject({ kmeans: kmeans(100), ...maskedPredictionFields(true) })
    .refine(...fitsBatch)
    .prefault({}),
  tapt: z
    .strictObject({
      layer: z.int().min(0).default(9),
      kmeans: kmeans(500),
      centroids: z.string().min(1).nullable().default(null),
      ...maskedPredictionFields(false),
    })
    .refine(...fitsBatch)
    .prefault({}),
  finetune: z
    .strictObject(fineTuningFields('mean'))
    .refine(...membersAverage)
    .prefault({}),
  cluster: z.strictObject({ layer: z.int().min(0).default(9), kmeans: kmeans(50) }).prefault({}),
  pretrain: z
    .strictObject({
      startFrom: z.enum(['pretrained', 'tapt']).default('pretrained'),
      ...maskedPredictionFields(false),
    })
    .refine(...fitsBatch)
    .prefault({}),
  align: z
    .strictObject({
      ...fineTuningFields('attention'),
      objective: z.enum(['attention', 'forward-backward', 'both']).default('both'),
      network: alignmentNetwork,
      truth: z.enum(['ignore', 'use']).default('ignore'),
      concatenate,
    })
    .refine(...membersAverage)
    .prefault({}),
  evaluate: z
    .strictObject({
      switchingCost: z.number().min(0).default(4),
      bootstrapSamples: positiveInteger.default(2000),
    })
    .prefault({}),
  checkpoint: z
    .strictObject({
      everyUpdates: positiveInteger.default(1000),
      everySeconds: seconds.default(600),
    })
    .prefault({}),
  logEvery: positiveInteger.default(10),
  memory: z
    .strictObject({
      audioBytes: positiveInteger.default(2 ** 31),
      featureBytes: z
        .int()
        .min(0)
        .default(2 ** 33),
      passSeconds: seconds.default(64),
    })
    .prefault({}),
});

z.util.assertEqual<z.output<typeof runSchema>, RunConfig>(true);

/** What a run that learns values, or one that learns classes, cannot do. */
function refuseMixed(config: RunConfig, refuse: (path: string[], message: string) => void): void {
  const { dimensions, labels, finetune, align } = config;
  const trained = { finetune, align };
  if (dimensions === null) {
    for (const [name, { selection }] of Object.entries({ ...trained, 'align.network': align.network })) {
      if (selection !== 'validation-ccc') continue;
      refuse([...name.split('.'), 'selection'], "Expected 'validation-ua' or 'average' without dimensions");
    }
    return;
  }
  if (labels !== null) refuse(['labels'], 'Expected null with dimensions, which take the place of classes,');
  if (align.objective !== 'attention') {
    refuse(
      ['align', 'objective'],
      "Expected 'attention' with dimensions, as the alignment network separates classes from neutral speech,",
    );
  }
  if (align.concatenate.share > 0) {
    refuse(['align', 'concatenate', 'share'], 'Expected 0 with dimensions, as parts are joined by their classes,');
  }
  for (const [name, { selection, batchSize }] of Object.entries(trained)) {
    if (selection === 'validation-ua')
      refuse([name, 'selection'], "Expected 'validation-ccc' or 'average' with dimensions");
    if (batchSize < 2)
      refuse([name, 'batchSize'], 'Expected at least 2 with dimensions, since CCC is of several values,');
  }
}

/** @internal */
export const configSchema: z.ZodType<RunConfig, RunConfigInput> = runSchema.superRefine((config, context) => {
  refuseMixed(config, (path, message) => context.addIssue({ code: 'custom', path, message }));
  const { mfcc, tapt, finetune, pretrain, align } = config;
  const sections = { mfcc, tapt, finetune, pretrain, align, 'align.network': align.network };
  for (const [name, { maxSeconds }] of Object.entries(sections)) {
    if (maxSeconds <= config.memory.passSeconds) continue;
    context.addIssue({
      code: 'custom',
      path: ['memory', 'passSeconds'],
      message: `Expected at least ${name}.maxSeconds (${maxSeconds}), the longest utterance of a pass, but received ${config.memory.passSeconds}`,
    });
  }
});
