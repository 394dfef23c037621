// An update of the weights: passes of forward and backward whose gradients add up, and the optimiser's step. Both kinds of
// training prepare updates, and nothing but this does them.
import { EmoframeError } from '../errors.js';
import type { OptimizerOptions, PackedBatch, TrainStepOptions } from '../model/binding.js';
import type { Model } from '../model/model.js';
import { learningRateShare, type Schedule } from './schedule.js';

/** One pass of forward and backward. */
export interface Pass {
  batch: PackedBatch;
  frames: number;
  options: TrainStepOptions;
}

/** All that an update is made of. It follows from the run's seed and the update's number. */
export interface Update {
  passes: readonly Pass[];
  optimizer: OptimizerOptions;
}

/** A pass of an update that is being prepared: its batch, and what is to be learned from it. */
export type PassTargets = Omit<Pass, 'options'> & Pick<TrainStepOptions, 'labels' | 'targets' | 'mask' | 'frameLabels'>;

/**
 * Completes the passes of an update, which draw their dropout each for itself.
 *
 * @param step the update's number in the stage, from 0.
 * @param common what its passes have in common.
 */
export function updateOf(
  { seed, step }: { seed: number; step: number },
  passes: readonly PassTargets[],
  common: Omit<TrainStepOptions, keyof PassTargets | 'others' | 'seed' | 'step' | 'dropout'>,
  optimizer: OptimizerOptions,
): Update {
  return {
    passes: passes.map(({ batch, frames, ...targets }, index) => ({
      batch,
      frames,
      options: { ...common, ...targets, seed, step: passStep(step, index), dropout: true },
    })),
    optimizer,
  };
}

/** What is known of an update once it is done. */
export interface UpdateResult {
  /** Per masked frame, or per utterance, as is accuracy. */
  loss: number;
  accuracy: number;
  featurePenalty: number;
  /** Before it was clipped. */
  gradientNorm: number;
  learningRate: number;
  frames: number;
}

/** Queues an update, its passes and the optimiser's step. Weights are left as they are when any of them fails. */
export async function trainOn(model: Model, update: Update): Promise<UpdateResult> {
  const { optimizer } = update;
  const passes = takesTwoRounds(update) ? await withOthers(model, update.passes) : update.passes;
  const running = passes.map(({ batch, options }) => model.trainStep(batch, options));
  const [{ gradientNorm }, ...results] = await Promise.all([model.optimizerStep(optimizer), ...running]);
  const frames = passes.reduce((sum, pass) => sum + pass.frames, 0);
  let [loss, accuracy, featurePenalty] = [0, 0, 0];
  for (const [index, pass] of passes.entries()) {
    const result = results[index]!;
    loss += result.lossSum;
    accuracy += result.correct;
    featurePenalty += result.featurePenalty * (pass.frames / frames);
  }
  const denominator = passes[0]?.options.denominator ?? 1;
  return {
    loss: loss / denominator,
    accuracy: accuracy / denominator,
    featurePenalty,
    gradientNorm,
    learningRate: optimizer.learningRate,
    frames,
  };
}

/** Whether passes need the outputs of each other first: a CCC is of all utterances of an update together. */
export function takesTwoRounds({ passes }: Update): boolean {
  return passes.length > 1 && passes[0]!.options.objective === 'regression';
}

/** Each pass with the outputs and targets of all others, which are computed first. */
async function withOthers(model: Model, passes: readonly Pass[]): Promise<Pass[]> {
  const outputs = await Promise.all(passes.map(({ batch, options }) => model.trainOutputs(batch, options)));
  const targets = passes.map(({ options }) => options.targets!);
  return passes.map((pass, index) => {
    const ofOthers = (values: readonly Float32Array[]) => joined(values.filter((_, other) => other !== index));
    const others = { outputs: ofOthers(outputs), targets: ofOthers(targets) };
    return { ...pass, options: { ...pass.options, others } };
  });
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let first = 0;
  for (const part of parts) {
    all.set(part, first);
    first += part.length;
  }
  return all;
}

/** The optimiser's step of an update (from 0), with the learning rate that the schedule has for it. */
export function optimizerAt(
  update: number,
  optimizer: Omit<OptimizerOptions, 'step'>,
  schedule: Schedule,
): OptimizerOptions {
  const learningRate = optimizer.learningRate * learningRateShare(update, schedule);
  return { ...optimizer, learningRate, step: update + 1 };
}

const passesPerUpdate = 1024;

/** The step number under which pass `index` of an update draws its dropout: no two passes share one. */
function passStep(step: number, index: number): number {
  if (index >= passesPerUpdate || step >= 2 ** 32 / passesPerUpdate) {
    throw new EmoframeError(
      'ERR_CONFIG',
      `An update may have ${passesPerUpdate} passes and a stage ${2 ** 32 / passesPerUpdate} updates: raise memory.passSeconds, or lower batchSeconds, batchSize or updates.`,
    );
  }
  return step * passesPerUpdate + index;
}
