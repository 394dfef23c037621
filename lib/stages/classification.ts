// Training on the labels of utterances: the loop of stages 1b and 4, which classify pooled frames and differ in the weights that
// they start from and in the pooling, and of the alignment network. Kept is the epoch with the best validation UA, or the mean of
// the weights at the ends of the last epochs; validation then says by which weights logits become probabilities.
import { BalancedSampler, type Draw, type LabelledDraw, type LabelledItem } from '../batch/samplers.js';
import type { Head } from '../checkpoint/head.js';
import type { LoadedHubert } from '../checkpoint/load.js';
import { usePretrained } from '../checkpoint/pretrained.js';
import type { FineTuningSettings, UtteranceTrainingSettings } from '../config/types.js';
import type { SoundStatistics } from '../model/alignment.js';
import type { Geometry } from '../model/geometry.js';
import { memoryFor, readInto, type Tensor } from '../model/tensor.js';
import { PhiloxStream, sites } from '../random/philox.js';
import { finishStage } from '../run/stageResult.js';
import { framesOf, type StageContext, utteranceOf } from './context.js';
import { framesIn, framesOfDraws, type InputOptions, Inputs, maskDraws, passesOf } from './inputs.js';
import { MemberStart } from './members.js';
import { prepareMemory } from './memoryPlan.js';
import { featureEncoderPrefixes, saveModel } from './models.js';
import { runTrainingLoop } from './trainingLoop.js';
import { optimizerAt, type PassTargets, type Update, updateOf } from './update.js';
import { type Validation, validate } from './validation.js';
import { WeightAverage } from './weightAverage.js';

/** What is trained on the labels of utterances, and how. */
export interface UtteranceTask {
  settings: UtteranceTrainingSettings;
  /** The model, with the head that is trained. It is disposed of at the end. */
  stage: LoadedHubert;
  objective: 'classification' | 'alignment';
  /** Beginnings of the names of tensors that stay as they are. */
  frozen: readonly string[];
  /** SpecAugment along time; absent: none. */
  mask?: FineTuningSettings['mask'];
  /** What waveforms are normalised by, in place of each utterance's own statistics. */
  statistics?: SoundStatistics;
  /** Labels i32 `[T]` of the frames of some draws. */
  frameLabels?: (draws: readonly Draw[]) => Int32Array;
  /** How the saved model's head is described. */
  head: Pick<Head, 'pooling' | 'alignment'>;
  /** Validates the weights that are kept, in place of the validation during training. */
  validateKept?(kept: readonly Tensor[], validation: readonly LabelledItem[], maxFrames: number): Promise<Validation>;
  info?: Record<string, unknown>;
}

/** Where the weights that are kept come from: an epoch, and its validation, where there is any. */
interface Kept extends Partial<Validation> {
  epoch: number;
}

/** Trains, and leaves the model that is kept, with its head, in the stage's folder. */
export async function trainOnUtterances(context: StageContext, task: UtteranceTask): Promise<void> {
  const { settings, stage, objective } = task;
  const { model } = stage;
  try {
    const frozen = [...task.frozen];
    model.freeze(frozen);
    const training = await labelledItems(context, model.geometry, context.fold.train);
    const validation = await labelledItems(context, model.geometry, context.fold.validation);
    const maxFrames = framesIn(settings.maxSeconds, model.geometry);
    const sampler = new BalancedSampler(training.items, {
      seed: context.seed,
      batchSize: settings.batchSize,
      maxFrames,
    });
    const memberUpdates = settings.epochs * sampler.updatesPerEpoch;
    const updates = settings.members * memberUpdates;
    const start = settings.members > 1 ? await MemberStart.of(model, frozen) : undefined;
    const options: InputOptions = {
      trainFeatureEncoder: !featureEncoderPrefixes.every((prefix) => frozen.includes(prefix)),
      firstFrames: maxFrames,
      ...(task.statistics !== undefined && { statistics: task.statistics }),
    };
    const items = [...training.items, ...validation.items];
    const inputs = new Inputs(context, stage, items, options);
    // An update and its validation belong together: a stop waits for both, or a resumed run would lack the validation.
    const { signal: _signal, ...unstoppable } = context;
    const validationInputs = new Inputs(unstoppable, stage, items, options);
    const lengthsOf = (set: readonly LabelledItem[]) => set.map(({ frames }) => Math.min(frames, maxFrames));
    await prepareMemory(context, model, {
      objective,
      inputs,
      sets: [
        { lengths: lengthsOf(training.items), draws: settings.batchSize },
        { lengths: lengthsOf(validation.items) },
      ],
    });
    const validated = () =>
      validation.items.length === 0
        ? undefined
        : validate(context, model.geometry, validation.items, maxFrames, async (draws) => {
            const batch = await validationInputs.pack(draws);
            if (objective === 'classification')
              return { classifier: (await model.classify(batch, undefined, 'classifier')).logits };
            return { alignment: (await model.classify(batch, undefined, 'alignment')).alignment!.logits };
          });
    const state: { best: Kept | null } = { best: null };
    const average = settings.selection === 'average' ? new WeightAverage() : undefined;
    // Weights of the best epoch, which may not be on disk yet: writing them at every better epoch would take longer than
    // training a small model.
    let best: readonly Tensor[] = [];
    let bestMemory: Float32Array | undefined;
    let unsaved = false;
    const saveBest = async () => {
      if (!unsaved) return;
      const { epoch, calibration } = state.best!;
      await saveModel(context.paths.stage(context.stage).model, stage, best, {
        kind: 'classifier',
        labels: [...context.labels],
        ...task.head,
        ...(calibration !== undefined && { calibration: calibration.weights }),
        info: {
          stage: context.stage,
          fold: context.fold.name,
          epoch,
          neutral: context.neutral,
          switchingCost: context.config.evaluate.switchingCost,
        },
      });
      unsaved = false;
    };
    await runTrainingLoop({
      context,
      model,
      updates,
      state,
      ...(average !== undefined && { average }),
      prepare: (step) => prepareUpdate(context, task, inputs, memberUpdates, sampler.at(step), step),
      metricsOf: ({ featurePenalty: _, frames: __, ...metrics }) => metrics,
      epoch: {
        updates: sampler.updatesPerEpoch,
        end: async (step) => {
          const epoch = step / sampler.updatesPerEpoch;
          const found = await validated();
          if (found !== undefined) {
            const metrics = { epoch, validationLoss: found.loss, validationWa: found.wa, validationUa: found.ua };
            context.report.log(step, updates, metrics);
            context.report.progress(step, updates, `epoch ${epoch} of ${settings.members * settings.epochs}`, metrics);
          }
          if (average !== undefined) {
            const left = (settings.members * settings.epochs - epoch) % settings.epochs;
            if (left < settings.averageEpochs) await average.add(model.storedTensors());
            if (left === 0 && step < updates) await start?.restore();
            return;
          }
          if (found === undefined ? step < updates : state.best !== null && !isBetter(found, state.best)) return;
          state.best = { epoch, ...found };
          const tensors = model.storedTensors();
          bestMemory ??= memoryFor(tensors);
          best = await readInto(bestMemory, tensors);
          unsaved = true;
        },
      },
      beforeSave: saveBest,
    });
    if (average !== undefined) {
      best = average.tensors;
      await model.importTensors(best);
      state.best = { epoch: settings.members * settings.epochs, ...(await validated()) };
      unsaved = true;
    }
    if (task.validateKept !== undefined && validation.items.length > 0) {
      // Another model is loaded for it, which needs the memory.
      model.dispose();
      // The best epoch may lie before a stop.
      if (best.length === 0) best = await savedWeights(context.paths.stage(context.stage).model);
      Object.assign(state.best!, await task.validateKept(best, validation.items, maxFrames));
      unsaved = true;
    }
    await saveBest();
    await finishStage(context, {
      ...task.info,
      updates,
      ...(settings.members > 1 && { members: settings.members }),
      ...(task.head.pooling !== undefined && { pooling: task.head.pooling }),
      utterances: training.items.length,
      validationUtterances: validation.items.length,
      excluded: [...training.excluded, ...validation.excluded],
      ...(validation.items.length > 0 && { validation: state.best }),
    });
  } finally {
    model.dispose();
  }
}

/** All tensors of a model that was saved. */
async function savedWeights(dir: string): Promise<readonly Tensor[]> {
  return usePretrained(dir, async ({ tensors, head }) => {
    const stored = [...tensors.values()];
    return [...(await readInto(memoryFor(stored), stored)), ...(head?.tensors ?? [])];
  });
}

/** UA decides; where a small validation set has two epochs equal, its loss does. */
function isBetter(found: Validation, { ua, loss }: Kept): boolean {
  if (ua === undefined || loss === undefined) return true;
  return found.ua > ua || (found.ua === ua && found.loss < loss);
}

async function labelledItems(
  context: StageContext,
  geometry: Geometry,
  ids: readonly string[],
): Promise<{ items: LabelledItem[]; excluded: string[] }> {
  const labelled = ids.flatMap((id) => {
    const { label } = utteranceOf(context, id);
    const index = label === undefined ? -1 : context.labels.indexOf(label);
    return index < 0 ? [] : [{ id, label: index }];
  });
  const frames = await framesOf(
    context,
    geometry,
    labelled.map(({ id }) => id),
  );
  const items = frames.map((item, index) => ({ ...item, label: labelled[index]!.label }));
  return {
    items: items.filter((item) => item.frames > 0),
    excluded: items.filter((item) => item.frames === 0).map(({ id }) => id),
  };
}

async function prepareUpdate(
  context: StageContext,
  { settings, objective, stage: { model }, mask, frameLabels }: UtteranceTask,
  inputs: Inputs,
  memberUpdates: number,
  draws: readonly LabelledDraw[],
  step: number,
): Promise<Update> {
  const random = new PhiloxStream(context.seed, step, sites.mask);
  const rounding = random.uniform();
  const passes: PassTargets[] = [];
  for (const group of passesOf(context, model.geometry, draws)) {
    passes.push({
      frames: framesOfDraws(group),
      labels: Int32Array.from(group, ({ label }) => label),
      ...(mask !== undefined && { mask: maskDraws(group, mask, rounding, random).mask }),
      ...(frameLabels !== undefined && { frameLabels: frameLabels(group) }),
      batch: await inputs.pack(group),
    });
  }
  const common = { objective, denominator: settings.batchSize, featurePenalty: 0, featureGradientScale: 1 };
  // Draws, masks and dropout follow from the update's number over all members; the schedule and AdamW begin anew with each.
  const { schedule: decay, warmupUpdates } = settings;
  const schedule = { decay, warmupUpdates, updates: memberUpdates };
  const optimizer = optimizerAt(step % memberUpdates, settings.optimizer, schedule);
  return updateOf({ seed: context.seed, step }, passes, common, optimizer);
}
