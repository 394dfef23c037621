// The checkpoints of one training: the newest and the one before it, each under a name of its own, so that a new one never
// takes the place of another and a stop at any moment leaves those that were whole. The one before is there for a newest one
// that a power cut or a failing disk damaged: training repeats the steps in between and comes to the same bits.
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EmoframeError } from '../errors.js';
import { directoryExists, removeLeftovers, writeError } from '../files/atomic.js';
import { isSystemError, readError } from '../files/read.js';
import { type OpenTrainingState, openTrainingState, saveTrainingState, type TrainingState } from './trainingState.js';

/** Training state after so many updates. */
export interface StepState extends TrainingState {
  step: number;
}

/** The same as it lies on disk, until it is closed. */
export type OpenStep = StepState & OpenTrainingState;

const placeOf = (directory: string, step: number): string => join(directory, `step-${step}`);

/** Steps that have a checkpoint, the latest first. */
async function stepsIn(directory: string): Promise<number[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (isSystemError(error) && (error as { code: string }).code === 'ENOENT') return [];
    throw readError(directory, error);
  });
  const steps = names.map((name) => Number(/^step-(\d+)$/.exec(name)?.[1] ?? Number.NaN));
  return steps.filter((step) => Number.isSafeInteger(step)).sort((a, b) => b - a);
}

async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch((error: unknown) => {
    throw writeError(path, error);
  });
}

/**
 * Writes a checkpoint beside the one before it, and removes those that are older. Disk space for two suffices.
 *
 * @throws EmoframeError `ERR_WRITE`, with the checkpoints that were there as good as before; `ERR_TENSOR`
 * @example
 * await saveStep('tapt/checkpoint', { step: 1200, tensors, moments, state: { best: 0.71 } });
 */
export async function saveStep(directory: string, { step, state, ...weights }: StepState): Promise<void> {
  await makeRoom(directory);
  await saveTrainingState(placeOf(directory, step), { ...weights, state: { ...state, step } });
}

/** Leaves only the newest, before the next is written: room is never needed for three. */
async function makeRoom(directory: string): Promise<void> {
  const [newest, ...older] = await stepsIn(directory);
  for (const step of older) await remove(placeOf(directory, step));
  if (newest === undefined && !(await directoryExists(directory))) return;
  // A writer that was killed left an unfinished directory, under the name of a step that need not come again.
  await removeLeftovers(directory).catch((error: unknown) => {
    throw writeError(directory, error);
  });
}

/** A copy that was put back under another name would train some steps twice, or leave some out. */
function misnamed(place: string, written: unknown): EmoframeError {
  return new EmoframeError(
    'ERR_CHECKPOINT_DAMAGED',
    `${place} is damaged: it holds the state after update ${String(written)}, not that of its name.`,
    { file: place },
  );
}

/**
 * Opens the newest checkpoint; when it is damaged, the one before it, which `warn` is told of. A damaged one that was passed
 * over is removed: it could not serve, and the next checkpoint must not count it as the one before.
 *
 * @returns undefined when there is none.
 * @throws EmoframeError `ERR_CHECKPOINT_DAMAGED` naming the file, when no checkpoint is whole; `ERR_READ`
 * @example
 * const saved = await openLatestStep('tapt/checkpoint', (message) => console.error(message));
 */
export async function openLatestStep(
  directory: string,
  warn: (message: string) => void,
): Promise<OpenStep | undefined> {
  const damaged: { step: number; error: EmoframeError }[] = [];
  for (const step of await stepsIn(directory)) {
    try {
      const { state, ...opened } = await openTrainingState(placeOf(directory, step));
      const { step: written, ...rest } = state;
      if (written !== step) {
        await opened.close();
        throw misnamed(placeOf(directory, step), written);
      }
      for (const { step: unusable, error } of damaged) {
        warn(`${error.message} It was removed; going on from the checkpoint before it, of update ${step}.`);
        await remove(placeOf(directory, unusable));
      }
      return { step, state: rest, ...opened };
    } catch (error) {
      if (!(error instanceof EmoframeError) || error.code !== 'ERR_CHECKPOINT_DAMAGED') throw error;
      damaged.push({ step, error });
    }
  }
  const [newest] = damaged;
  if (newest === undefined) return undefined;
  throw new EmoframeError(
    'ERR_CHECKPOINT_DAMAGED',
    `${newest.error.message} There is no whole checkpoint before it. Restore a copy, or delete ${directory} to begin this stage again; the stages before it are kept.`,
    { file: newest.error.file!, cause: newest.error },
  );
}

/** Removes all checkpoints: the stage is done. Errors: `ERR_WRITE`. */
export function removeSteps(directory: string): Promise<void> {
  return remove(directory);
}
