// Masked prediction (HuBERT, Hsu et al. 2021): spans of frames are hidden behind one embedding, and the transformer must say
// which cluster each hidden frame belongs to, from the frames around it. The training of stages 1a and 3 and of the MFCC round.
import { type Draw, PretrainingSampler } from '../batch/samplers.js';
import type { LoadedHubert } from '../checkpoint/load.js';
import type { MaskedPredictionSettings } from '../config/types.js';
import { EmoframeError } from '../errors.js';
import type { Geometry } from '../model/geometry.js';
import { PhiloxStream, sites } from '../random/philox.js';
import { finishStage } from '../run/stageResult.js';
import { framesOf, type StageContext } from './context.js';
import { framesIn, Inputs, maskDraws, passesOf } from './inputs.js';
import { prepareMemory } from './memoryPlan.js';
import { featureEncoderPrefixes, type HeadSpec, saveModel } from './models.js';
import { runTrainingLoop } from './trainingLoop.js';
import { optimizerAt, type PassTargets, type Update, updateOf } from './update.js';

export interface MaskedPredictionTask {
  settings: MaskedPredictionSettings;
  /** Clusters that labels come from. */
  clusters: number;
  /** Labels of each utterance, i32 `[T]`, by id: also says which utterances are trained on. */
  labels: ReadonlyMap<string, Int32Array>;
  /** Makes the model that training starts from. */
  start(heads: HeadSpec): Promise<LoadedHubert>;
  /** Goes into the stage's metrics. */
  info?: Record<string, unknown>;
}

/** Trains, and leaves the model with its head in the stage's folder. */
export async function trainMaskedPrediction(context: StageContext, task: MaskedPredictionTask): Promise<void> {
  const { settings, labels } = task;
  const stage = await task.start({
    maskedPrediction: {
      clusters: task.clusters,
      dimension: settings.dimension,
      temperature: settings.temperature,
    },
  });
  const { model } = stage;
  try {
    model.freeze(settings.trainFeatureEncoder ? [] : featureEncoderPrefixes);
    const items = await framesOf(context, model.geometry, [...labels.keys()]);
    for (const { id, frames } of items) checkLabels(id, labels.get(id)!.length, frames);
    const batchFrames = framesIn(settings.batchSeconds, model.geometry);
    const maxFrames = framesIn(settings.maxSeconds, model.geometry);
    const sampler = new PretrainingSampler(items, {
      seed: context.seed,
      batchFrames,
      maxFrames,
      minFrames: framesIn(settings.minSeconds, model.geometry),
    });
    const inputs = new Inputs(context, stage, items, { trainFeatureEncoder: settings.trainFeatureEncoder });
    const excluded = new Set(sampler.excluded);
    const lengths = items.filter(({ id }) => !excluded.has(id)).map(({ frames }) => Math.min(frames, maxFrames));
    await prepareMemory(context, model, {
      objective: 'masked-prediction',
      inputs,
      sets: [{ lengths, frames: batchFrames }],
    });
    const last = await runTrainingLoop({
      context,
      model,
      updates: settings.updates,
      state: {},
      prepare: (step) => prepareUpdate(context, model.geometry, task, inputs, sampler.at(step), step),
      metricsOf: ({ featurePenalty, gradientNorm, learningRate, frames, ...found }) => ({
        ...found,
        ...(settings.trainFeatureEncoder && { featurePenalty }),
        gradientNorm,
        learningRate,
        frames,
      }),
    });
    await saveModel(context.paths.stage(context.stage).model, stage, model.storedTensors(), {
      kind: 'masked-prediction',
      labels: [],
    });
    await finishStage(context, {
      ...task.info,
      updates: settings.updates,
      clusters: task.clusters,
      utterances: items.length - sampler.excluded.length,
      excluded: sampler.excluded,
      ...last,
    });
  } finally {
    model.dispose();
  }
}

function checkLabels(id: string, labels: number, frames: number): void {
  if (labels === frames) return;
  throw new EmoframeError(
    'ERR_LABEL',
    `Utterance ${id} has ${frames} frames but ${labels} labels: its audio changed since it was clustered. Use a new run folder.`,
  );
}

async function prepareUpdate(
  context: StageContext,
  geometry: Geometry,
  { settings, labels }: MaskedPredictionTask,
  inputs: Inputs,
  draws: readonly Draw[],
  step: number,
): Promise<Update> {
  const random = new PhiloxStream(context.seed, step, sites.mask);
  // Once an update, as the method draws it once a batch.
  const rounding = random.uniform();
  const passes: PassTargets[] = [];
  let masked = 0;
  for (const group of passesOf(context, geometry, draws)) {
    const drawn = maskDraws(group, settings.mask, rounding, random);
    const clusters = new Int32Array(drawn.mask.length);
    let first = 0;
    for (const { id, start, count } of group) {
      clusters.set(labels.get(id)!.subarray(start, start + count), first);
      first += count;
    }
    masked += drawn.masked;
    passes.push({ batch: await inputs.pack(group), frames: first, labels: clusters, mask: drawn.mask });
  }
  const common = {
    objective: 'masked-prediction' as const,
    denominator: Math.max(masked, 1),
    // The features of a frozen encoder do not change, so a penalty on them would have no gradient.
    featurePenalty: settings.trainFeatureEncoder ? settings.featurePenalty : 0,
    featureGradientScale: settings.featureGradientScale,
  };
  const optimizer = optimizerAt(step, settings.optimizer, { ...settings, decay: 'linear' });
  return updateOf({ seed: context.seed, step }, passes, common, optimizer);
}
