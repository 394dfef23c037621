import { classifierOptions } from '../checkpoint/head.js';
import { type LoadedHubert, loadHubert } from '../checkpoint/load.js';
import { splitTensors } from '../checkpoint/names.js';
import { type Head, type StoredPretrained, savePretrained, usePretrained } from '../checkpoint/pretrained.js';
import { EmoframeError } from '../errors.js';
import { given } from '../given.js';
import { type AlignmentSettings, alignmentOptions } from '../model/alignment.js';
import { Geometry } from '../model/geometry.js';
import { parseHubertConfig } from '../model/hubertConfig.js';
import type { ModelSpec } from '../model/model.js';
import type { StoredTensor, Tensor } from '../model/tensor.js';
import { verifyResult } from '../run/stageResult.js';
import type { StageContext } from './context.js';

/** Parts that are not HuBERT's own, by the beginning of their names. */
const headPrefixes = [
  'final_proj.',
  'label_embs_concat',
  'layer_weights',
  'projector.',
  'pooling.',
  'dense.',
  'classifier.',
  'alignment.',
];

/** The convolutional feature encoder. */
export const featureEncoderPrefixes = ['feature_extractor.'];

/** Heads to build on a HuBERT. */
export type HeadSpec = Pick<ModelSpec, 'maskedPrediction' | 'classifier'>;

/** Where the pretrained model of this run lies: given, or made by the MFCC round. */
export function pretrainedDir(context: StageContext): string {
  return context.modelDir ?? context.paths.stage('mfcc').model;
}

/** A stage's result is looked at before it is read; a model that the user gave lies outside the run, and is theirs. */
async function verifyGiven({ modelDir }: StageContext, dir: string): Promise<void> {
  if (dir !== modelDir) await verifyResult(dir);
}

/** A new HuBERT with random weights, from the config's `model`. */
export async function createFromScratch(context: StageContext, heads: HeadSpec): Promise<LoadedHubert> {
  const raw = context.config.model;
  if (raw === null) {
    throw new EmoframeError(
      'ERR_CONFIG',
      "Expected a Hugging Face config.json under 'model' of the config, or a model directory, to start from; both are missing.",
    );
  }
  const config = parseHubertConfig(raw, "the config's model");
  const model = await context.engine.createModel({ config, precision: context.config.precision, ...heads });
  await model.initialize(context.seed);
  return { model, normalize: true };
}

/**
 * HuBERT from a directory with new random heads: the start of a training stage.
 *
 * @param headsOn are given the width of its hidden states.
 */
export async function loadWithNewHeads(
  context: StageContext,
  dir: string,
  headsOn: (hiddenSize: number) => HeadSpec,
): Promise<LoadedHubert> {
  await verifyGiven(context, dir);
  const load = async ({ config, tensors, normalize }: StoredPretrained): Promise<LoadedHubert> => {
    const heads = headsOn(config.shape.hiddenSize);
    const model = await context.engine.createModel({ config, precision: context.config.precision, ...heads });
    await model.initialize(context.seed, (name) => !tensors.has(name));
    // A HuBERT that was never trained with masks has no mask embedding; it is then learned from a random one.
    await model.importTensors(tensors.values(), { allowMissing: [...headPrefixes, 'masked_spec_embed'], file: dir });
    return { model, normalize };
  };
  return usePretrained(dir, load, { head: 'none' });
}

/** Gives `work` the HuBERT of a directory, for its hidden states, and frees it at the end. */
export async function withEncoder<Result>(
  context: StageContext,
  dir: string,
  work: (encoder: LoadedHubert) => Promise<Result>,
): Promise<Result> {
  await verifyGiven(context, dir);
  const encoder = await loadHubert(context.engine, dir, context.config.precision);
  try {
    return await work(encoder);
  } finally {
    encoder.model.dispose();
  }
}

/** A model with a new alignment network. */
export interface AlignedModel extends LoadedHubert {
  alignment: AlignmentSettings;
  /** The pooled classifier that the model has; absent: it has none. */
  pooled?: Pick<Head, 'pooling' | 'layers'>;
}

/**
 * A model of an earlier stage, with its classifier where it has one, and with an alignment network that is new.
 *
 * @param settings are given the model's geometry and its number of layers.
 */
export async function loadWithAlignment(
  context: StageContext,
  dir: string,
  settings: (geometry: Geometry, layers: number) => AlignmentSettings,
): Promise<AlignedModel> {
  await verifyResult(dir);
  return usePretrained(dir, async ({ config, tensors, normalize, head }) => {
    const pooled = head?.kind === 'classifier' && head.pooling !== undefined ? head : undefined;
    const alignment = settings(new Geometry(config.shape), config.shape.layers);
    const classes = context.labels.length;
    const model = await context.engine.createModel({
      config,
      precision: context.config.precision,
      ...(pooled !== undefined && { classifier: classifierOptions(pooled)! }),
      alignment: alignmentOptions(alignment, classes),
    });
    await model.initialize(context.seed, (name) => name.startsWith('alignment.'));
    const stored = [...tensors.values(), ...(pooled?.tensors ?? [])];
    await model.importTensors(stored, { allowMissing: ['alignment.', 'masked_spec_embed'], file: dir });
    if (pooled === undefined) return { model, normalize, alignment };
    const { pooling, layers } = pooled;
    return { model, normalize, alignment, pooled: { pooling: pooling!, ...given({ layers }) } };
  });
}

/** Writes weights of a model as a Hugging Face directory with its head beside it. */
export async function saveModel(
  dir: string,
  { model, normalize }: LoadedHubert,
  weights: readonly (Tensor | StoredTensor)[],
  head: Omit<Head, 'tensors'>,
): Promise<void> {
  const { encoder, head: ofHead } = splitTensors(weights);
  const tensors: Tensor[] = [];
  for (const tensor of ofHead) {
    tensors.push('data' in tensor ? tensor : { name: tensor.name, shape: tensor.shape, data: await tensor.read() });
  }
  await savePretrained(dir, { config: model.config, tensors: encoder, normalize, head: { ...head, tensors } });
}
