// The training states of one stage that are kept: the newest and the one before it, each under a name of its own, so that a new one
// never takes the place of another and a stop at any moment leaves those that were whole. The one before is for when a power cut
// or a failing disk damaged the newest: training repeats the steps in between and comes to the same bits.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { damaged } from '../checkpoint/failures.js';
import { EmoframeError } from '../errors.js';
import { directoryExists, removeLeftovers, removeTree, writeError } from '../files/atomic.js';
import { isSystemError, orClose, readError } from '../files/read.js';
import { type OpenTrainingState, openTrainingState, saveTrainingState, type TrainingState } from './trainingState.js';

/** Training state after so many updates. */
export interface StepState extends TrainingState {
  step: number;
}

/** The same as it lies on disk, until it is closed. */
export type OpenStep = StepState & OpenTrainingState;

const placeOf = (directory: string, step: number): string => join(directory, `step-${step}`);

/** Steps whose state is kept, the latest first. */
async function stepsIn(directory: string): Promise<number[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (isSystemError(error) && (error as { code: string }).code === 'ENOENT') return [];
    throw readError(directory, error);
  });
  const steps = names.map((name) => Number(/^step-(\d+)$/.exec(name)?.[1] ?? Number.NaN));
  return steps.filter((step) => Number.isSafeInteger(step)).sort((a, b) => b - a);
}

/** Removes a training state, or, of a stage that is done, the directory of all. Errors: `ERR_WRITE`. */
export async function removeSteps(path: string): Promise<void> {
  await removeTree(path).catch((error: unknown) => {
    throw writeError(path, error);
  });
}

/**
 * Writes a training state beside the one before it, and removes those that are older. Disk space for two suffices.
 *
 * @throws EmoframeError `ERR_WRITE`, with the states that were there as good as before; `ERR_TENSOR`
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
  for (const step of older) await removeSteps(placeOf(directory, step));
  if (newest === undefined && !(await directoryExists(directory))) return;
  // A writer that was killed left an unfinished directory, under the name of a step that need not come again.
  await removeLeftovers(directory).catch((error: unknown) => {
    throw writeError(directory, error);
  });
}

/**
 * Opens the newest training state; when it is damaged, the one before it, with a message to `warn`. The damaged one is then
 * removed: it is of no use, and the next state must not count it as the one before.
 *
 * @returns undefined when there is none.
 * @throws EmoframeError `ERR_CHECKPOINT_DAMAGED` naming the file, when none is whole; `ERR_READ`
 * @example
 * const saved = await openLatestStep('tapt/checkpoint', (message) => console.error(message));
 */
export async function openLatestStep(
  directory: string,
  warn: (message: string) => void,
): Promise<OpenStep | undefined> {
  const passedOver: { step: number; error: EmoframeError }[] = [];
  for (const step of await stepsIn(directory)) {
    const place = placeOf(directory, step);
    try {
      const opened = await openTrainingState(place);
      return await orClose(opened, async () => {
        const { step: written, ...state } = opened.state;
        if (written !== step) {
          // A copy that was put back under another name would train some steps twice, or leave some out.
          throw damaged(place)(`it holds the state after update ${String(written)}, not after the one in its name`);
        }
        for (const { step: unusable, error } of passedOver) {
          warn(`${error.message} It was removed; continuing from the previous training state, of update ${step}.`);
          await removeSteps(placeOf(directory, unusable));
        }
        return { ...opened, step, state };
      });
    } catch (error) {
      if (!(error instanceof EmoframeError) || error.code !== 'ERR_CHECKPOINT_DAMAGED') throw error;
      passedOver.push({ step, error });
    }
  }
  const [newest] = passedOver;
  if (newest === undefined) return undefined;
  throw new EmoframeError(
    'ERR_CHECKPOINT_DAMAGED',
    `${newest.error.message} There is no intact earlier training state. Restore a copy, or delete ${directory} to start this stage again; the stages before it are kept.`,
    { file: newest.error.file ?? directory, cause: newest.error },
  );
}
