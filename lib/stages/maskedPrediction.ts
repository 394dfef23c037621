// Masked prediction (HuBERT, Hsu et al. 2021): spans of frames are hidden behind one embedding, and the transformer must say
// which cluster each hidden frame belongs to, from what it hears around it. The loop of stages 1a and 3 and of the MFCC round.
import { maskSpans } from '../batch/masks.js';
import { type Draw, PretrainingSampler } from '../batch/samplers.js';
import type { MaskedPredictionSettings } from '../config/types.js';
import { EmoframeError } from '../errors.js';
import type { PackedBatch, TrainStepOptions } from '../model/binding.js';
import type { Geometry } from '../model/geometry.js';
import { PhiloxStream, sites } from '../random/philox.js';
import { finishStage } from '../run/stageResult.js';
import { framesOf, type Metrics, type StageContext } from './context.js';
import { framesIn, Inputs, passesOf } from './inputs.js';
import { prepareMemory } from './memory.js';
import { featureEncoderPrefixes, type HeadSpec, type StageModel, saveModel } from './models.js';
import { learningRateShare } from './schedule.js';
import { passStep, runTrainingLoop, stepBefore } from './trainingLoop.js';

export interface MaskedPredictionTask {
  settings: MaskedPredictionSettings;
  /** Clusters that labels come from. */
  clusters: number;
  /** Labels of each utterance, i32 `[T]`, by id: also says which utterances are trained on. */
  labels: ReadonlyMap<string, Int32Array>;
  /** Makes the model that training starts from. */
  start(heads: HeadSpec): Promise<StageModel>;
  /** Goes into the stage's metrics. */
  info?: Record<string, unknown>;
}

/** One pass of forward and backward: a part of an update. */
interface Pass {
  batch: PackedBatch;
  /** i32 `[T]` */
  labels: Int32Array;
  /** u8 `[T]` */
  mask: Uint8Array;
  masked: number;
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
    let last: Metrics = {};
    await runTrainingLoop({
      context,
      model,
      updates: settings.updates,
      state: {},
      prepare: (step) => preparePasses(context, model.geometry, task, inputs, sampler.at(step), step),
      update: async (step, passes, following) => {
        last = await update(context, stage, settings, step, passes, following?.[0]);
        return last;
      },
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

async function preparePasses(
  context: StageContext,
  geometry: Geometry,
  { settings, labels }: MaskedPredictionTask,
  inputs: Inputs,
  draws: readonly Draw[],
  step: number,
): Promise<Pass[]> {
  const random = new PhiloxStream(context.seed, step, sites.mask);
  // Once an update, as the method draws it once a batch.
  const rounding = random.uniform();
  const passes: Pass[] = [];
  for (const group of passesOf(context, geometry, draws)) {
    const frames = group.reduce((sum, { count }) => sum + count, 0);
    const pass = { labels: new Int32Array(frames), mask: new Uint8Array(frames), masked: 0 };
    let first = 0;
    for (const { id, start, count } of group) {
      pass.labels.set(labels.get(id)!.subarray(start, start + count), first);
      pass.masked += maskSpans(pass.mask.subarray(first, first + count), settings.mask, rounding, random);
      first += count;
    }
    passes.push({ ...pass, batch: await inputs.pack(group) });
  }
  return passes;
}

async function update(
  context: StageContext,
  { model }: StageModel,
  settings: MaskedPredictionSettings,
  step: number,
  passes: readonly Pass[],
  following: Pass | undefined,
): Promise<Metrics> {
  const masked = passes.reduce((sum, pass) => sum + pass.masked, 0);
  const frames = passes.reduce((sum, { mask }) => sum + mask.length, 0);
  let lossSum = 0;
  let correct = 0;
  let featurePenalty = 0;
  const optionsOf = ({ labels, mask }: Pass, index: number): TrainStepOptions => ({
    objective: 'masked-prediction',
    labels,
    mask,
    denominator: Math.max(masked, 1),
    // The features of a frozen encoder do not change, so a penalty on them would have no gradient.
    featurePenalty: settings.trainFeatureEncoder ? settings.featurePenalty : 0,
    featureGradientScale: settings.featureGradientScale,
    seed: context.seed,
    step: passStep(step, index),
    dropout: true,
  });
  for (const [index, pass] of passes.entries()) {
    const part = pass.mask.length / frames;
    const result = await stepBefore(model, pass, passes[index + 1] ?? following, (its) => optionsOf(its, index));
    lossSum += result.lossSum;
    correct += result.correct;
    featurePenalty += result.featurePenalty * part;
  }
  const learningRate = settings.optimizer.learningRate * learningRateShare(step, { ...settings, decay: 'linear' });
  const { gradientNorm } = await model.optimizerStep({ ...settings.optimizer, learningRate, step: step + 1 });
  return {
    loss: lossSum / Math.max(masked, 1),
    accuracy: correct / Math.max(masked, 1),
    ...(settings.trainFeatureEncoder && { featurePenalty }),
    gradientNorm,
    learningRate,
    frames,
  };
}
