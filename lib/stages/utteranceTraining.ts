// Training on the labels or values of utterances: the loop of stages 1b and 4, which pool frames and differ in the weights that
// they start from and in the pooling, and of the alignment network. Kept is the epoch with the best validation, or the mean of
// the weights at the ends of the last epochs; validation then says by which weights logits become probabilities.
import { BalancedSampler, type TargetItem } from '../batch/samplers.js';
import { finishStage } from '../run/stageResult.js';
import type { Metrics, StageContext } from './context.js';
import { framesIn, type InputOptions, Inputs } from './inputs.js';
import { KeptWeights } from './keptWeights.js';
import { MemberStart } from './members.js';
import { prepareMemory } from './memoryPlan.js';
import { featureEncoderPrefixes } from './models.js';
import { runTrainingLoop } from './trainingLoop.js';
import type { UpdateResult } from './update.js';
import { itemsWithTargets, type UtteranceTask } from './utteranceTask.js';
import { prepareUtteranceUpdate } from './utteranceUpdate.js';
import { loggedOf, type Validation, validate } from './validation.js';
import { validateValues } from './valueValidation.js';
import { WeightAverage } from './weightAverage.js';

/** Trains, and leaves the model that is kept, with its head, in the stage's folder. */
export async function trainOnUtterances(context: StageContext, task: UtteranceTask): Promise<void> {
  const { settings, stage, objective } = task;
  const { model } = stage;
  try {
    const frozen = [...task.frozen];
    model.freeze(frozen);
    const training = await itemsWithTargets(context, model.geometry, context.fold.train);
    const validation = await itemsWithTargets(context, model.geometry, context.fold.validation);
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
    const lengthsOf = (set: readonly TargetItem[]) => set.map(({ frames }) => Math.min(frames, maxFrames));
    await prepareMemory(context, model, {
      objective,
      inputs,
      sets: [
        { lengths: lengthsOf(training.items), draws: settings.batchSize },
        { lengths: lengthsOf(validation.items) },
      ],
    });
    // An update and its validation belong together: a stop waits for both, or a resumed run would lack the validation.
    const { signal: _signal, ...unstoppable } = context;
    const validationInputs = new Inputs(unstoppable, stage, items, options);
    const validated = async () =>
      validation.items.length === 0
        ? undefined
        : validateModel(context, task, validationInputs, validation.items, maxFrames);
    const average = settings.selection === 'average' ? new WeightAverage() : undefined;
    const kept = new KeptWeights(context, task);
    await runTrainingLoop({
      context,
      model,
      updates,
      state: kept.state,
      ...(average !== undefined && { average }),
      prepare: (step) => prepareUtteranceUpdate(context, task, inputs, memberUpdates, sampler.at(step), step),
      metricsOf: (result) => updateMetrics(result, objective),
      epoch: {
        updates: sampler.updatesPerEpoch,
        end: async (step) => {
          const epoch = step / sampler.updatesPerEpoch;
          const found = await validated();
          if (found !== undefined) {
            const metrics = { epoch, ...loggedOf(found) };
            context.report.log(step, updates, metrics);
            context.report.progress(step, updates, `epoch ${epoch} of ${settings.members * settings.epochs}`, metrics);
          }
          if (average === undefined) {
            if (found !== undefined || step === updates) await kept.offer(epoch, found);
            return;
          }
          const left = (settings.members * settings.epochs - epoch) % settings.epochs;
          if (left < settings.averageEpochs) await average.add(model.storedTensors());
          if (left === 0 && step < updates) await start?.restore();
        },
      },
      beforeSave: () => kept.save(),
    });
    if (average !== undefined) {
      await model.importTensors(average.tensors);
      kept.replace(average.tensors, { epoch: settings.members * settings.epochs, ...(await validated()) });
    }
    if (task.validateKept !== undefined && validation.items.length > 0) {
      // Another model is loaded for it, which needs the memory.
      model.dispose();
      kept.describe(await task.validateKept(await kept.read(), validation.items, maxFrames));
    }
    await kept.save();
    const { pooling, layers } = task.head;
    await finishStage(context, {
      ...task.info,
      updates,
      ...(settings.members > 1 && { members: settings.members }),
      ...(pooling !== undefined && { pooling }),
      ...(layers !== undefined && { layers }),
      utterances: training.items.length,
      validationUtterances: validation.items.length,
      excluded: [...training.excluded, ...validation.excluded],
      ...(validation.items.length > 0 && { validation: kept.state.best }),
    });
  } finally {
    model.dispose();
  }
}

/** What is logged of an update. */
function updateMetrics(result: UpdateResult, objective: UtteranceTask['objective']): Metrics {
  const { featurePenalty: _, frames: __, ...metrics } = result;
  if (objective !== 'regression') return metrics;
  const { accuracy: ___, ...ofValues } = metrics;
  return ofValues;
}

async function validateModel(
  context: StageContext,
  { stage: { model }, objective }: UtteranceTask,
  inputs: Inputs,
  items: readonly TargetItem[],
  maxFrames: number,
): Promise<Validation> {
  if (objective === 'regression') {
    return validateValues(
      context,
      model.geometry,
      items,
      maxFrames,
      async (draws) => (await model.classify(await inputs.pack(draws), undefined, 'classifier')).logits,
    );
  }
  return validate(context, model.geometry, items, maxFrames, async (draws) => {
    const batch = await inputs.pack(draws);
    if (objective === 'classification')
      return { classifier: (await model.classify(batch, undefined, 'classifier')).logits };
    return { alignment: (await model.classify(batch, undefined, 'alignment')).alignment!.logits };
  });
}
