// Memory is planned before a stage's first step: reported, refused where the device has less, and taken at once.

import { EmoframeError } from '../errors.js';
import { largestOf } from '../lists.js';
import type { MemoryPlan, TrainStepOptions } from '../model/binding.js';
import { availableBytes, mebibytes } from '../model/memory.js';
import type { Model } from '../model/model.js';
import type { StageContext } from './context.js';
import { framesIn, type Inputs } from './inputs.js';

/** What passes of a stage are cut from. */
export interface PlannedPasses {
  objective: TrainStepOptions['objective'];
  inputs: Inputs;
  /** Sets from which passes are cut: frames that are used of each utterance, and how many of them an update may hold. */
  sets: readonly PassSet[];
}

export interface PassSet {
  lengths: readonly number[];
  /** Frames of all passes together, at most. Absent: of all utterances. */
  frames?: number;
  /** Utterances of an update, where one may be drawn more than once. Absent: each comes once. */
  draws?: number;
}

/**
 * Plans the stage's passes at their largest, reports what they need, and takes it.
 *
 * @throws `ERR_OUT_OF_MEMORY`, with the settings that lower what is needed
 */
export async function prepareMemory(context: StageContext, model: Model, passes: PlannedPasses): Promise<void> {
  const capacity = framesIn(context.config.memory.passSeconds, model.geometry);
  const largest = passes.sets.map((set) => largestPass(set, capacity));
  const work = {
    objective: passes.objective,
    frames: largestOf(largest.map(({ frames }) => frames)),
    utterances: largestOf(largest.map(({ utterances }) => utterances)),
    storedFrames: passes.inputs.storedFrames,
    longestStoredFrames: passes.inputs.longestStoredFrames,
  };
  const plan = await model.prepare(work).catch((error: unknown) => {
    throw withMemoryAdvice(error, context);
  });
  await reportPlan(context, plan);
}

/** The most frames and the most utterances that a pass of a set can have; not both are reached by one pass. */
export function largestPass(
  { lengths, draws, ...set }: PassSet,
  capacity: number,
): { frames: number; utterances: number } {
  const sorted = [...lengths].sort((a, b) => a - b);
  const longest = sorted.at(-1) ?? 1;
  const all = draws === undefined ? sorted.reduce((sum, length) => sum + length, 0) : draws * longest;
  const frames = Math.max(Math.min(capacity, all, set.frames ?? all), longest);
  let utterances = 0;
  if (draws !== undefined) utterances = Math.min(draws, Math.floor(frames / Math.max(sorted[0] ?? 1, 1)));
  else
    for (let sum = 0; utterances < sorted.length && sum + sorted[utterances]! <= frames; utterances++)
      sum += sorted[utterances]!;
  return { frames, utterances: Math.max(utterances, 1) };
}

async function reportPlan(context: StageContext, plan: MemoryPlan): Promise<void> {
  const { engine, report } = context;
  const { weights, gradients, moments, features, activations, scratch, total, held } = plan;
  const free = availableBytes(engine.device, plan.available);
  const parts = [
    `${mebibytes(weights)} of weights`,
    `${mebibytes(gradients + moments)} of gradients and moments`,
    `${mebibytes(activations + scratch)} for a pass`,
    ...(features > 0 ? [`${mebibytes(features)} of stored features`] : []),
  ];
  await report.note(
    `needs ${mebibytes(total)} on ${engine.device} (${parts.join(', ')}), ${mebibytes(free + held)} available`,
    'memory',
    { weights, gradients, moments, features, activations, scratch, total },
  );
  // Only on a CPU, as elsewhere it was refused: a machine may have swap space, so it is not refused here.
  if (total - held > free)
    report.warn(
      `The stage needs ${mebibytes(total - held)} more memory, but the system has only ${mebibytes(free)} available: it may become very slow, or be killed. ${advice(context)}`,
    );
}

/** `ERR_OUT_OF_MEMORY` with the settings that lower what is needed; any other error as it is. */
export function withMemoryAdvice(error: unknown, context: StageContext): unknown {
  if (!(error instanceof EmoframeError) || error.code !== 'ERR_OUT_OF_MEMORY') return error;
  return new EmoframeError(error.code, `Stage ${context.stage}: ${error.message} ${advice(context)}`, { cause: error });
}

function advice({ config, engine }: StageContext): string {
  const { passSeconds, featureBytes } = config.memory;
  const ways = [
    `lower memory.passSeconds (${passSeconds}) for smaller passes`,
    ...(featureBytes > 0 ? [`set memory.featureBytes (${featureBytes}) to 0 to store no features`] : []),
    ...(config.precision !== 'bf16' ? ['use precision bf16'] : []),
    ...(engine.memoryLimit > 0 ? [`raise memoryLimit (${engine.memoryLimit})`] : []),
  ];
  return `To make it fit, ${ways.join(', or ')}.`;
}
