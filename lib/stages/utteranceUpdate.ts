// One update of training on utterances: its passes, with the targets of each, and the optimiser's step.
import type { TargetDraw } from '../batch/samplers.js';
import { PhiloxStream, sites } from '../random/philox.js';
import type { StageContext } from './context.js';
import { framesOfDraws, type Inputs, maskDraws, passesOf } from './inputs.js';
import { optimizerAt, type PassTargets, type Update, updateOf } from './update.js';
import type { UtteranceTask } from './utteranceTask.js';

/**
 * Prepares an update.
 *
 * @param memberUpdates updates after which schedule and optimiser begin anew.
 * @param step the update's number over all members, from 0.
 */
export async function prepareUtteranceUpdate(
  context: StageContext,
  { settings, objective, stage: { model }, mask, frameLabels }: UtteranceTask,
  inputs: Inputs,
  memberUpdates: number,
  draws: readonly TargetDraw[],
  step: number,
): Promise<Update> {
  const random = new PhiloxStream(context.seed, step, sites.mask);
  const rounding = random.uniform();
  const passes: PassTargets[] = [];
  for (const group of passesOf(context, model.geometry, draws)) {
    passes.push({
      frames: framesOfDraws(group),
      ...targetsOf(group, objective),
      ...(mask !== undefined && { mask: maskDraws(group, mask, rounding, random).mask }),
      ...(frameLabels !== undefined && { frameLabels: frameLabels(group) }),
      batch: await inputs.pack(group),
    });
  }
  // CCC is of all values of an update together, and so is not a sum over utterances.
  const denominator = objective === 'regression' ? 1 : settings.batchSize;
  const common = { objective, denominator, featurePenalty: 0, featureGradientScale: 1 };
  // Draws, masks and dropout follow from the update's number over all members; the schedule and AdamW begin anew with each.
  const { schedule: decay, warmupUpdates } = settings;
  const schedule = { decay, warmupUpdates, updates: memberUpdates };
  const optimizer = optimizerAt(step % memberUpdates, settings.optimizer, schedule);
  return updateOf({ seed: context.seed, step }, passes, common, optimizer);
}

function targetsOf(
  draws: readonly TargetDraw[],
  objective: UtteranceTask['objective'],
): Pick<PassTargets, 'labels' | 'targets'> {
  if (objective !== 'regression') return { labels: Int32Array.from(draws, ({ label }) => label) };
  return { labels: new Int32Array(), targets: Float32Array.from(draws.flatMap(({ values = [] }) => values)) };
}
