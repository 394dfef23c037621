import { readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../checkpoint/atomic.js';
import { removeSteps } from '../checkpoint/checkpoints.js';
import { fileExists } from '../checkpoint/files.js';
import type { StageContext } from './context.js';
import type { StagePaths } from './foldPaths.js';

/** Writes the stage's metrics, then marks it done; its checkpoint is needed no more. */
export async function finishStage(context: StageContext, metrics: Record<string, unknown>): Promise<void> {
  const paths = context.paths.stage(context.stage);
  await writeFileAtomic(paths.metrics, `${JSON.stringify(metrics, undefined, 2)}\n`);
  const seconds = (Date.now() - context.startedAt) / 1000;
  await writeFileAtomic(paths.done, `${JSON.stringify({ time: new Date().toISOString(), seconds })}\n`);
  await removeSteps(paths.checkpoint);
}

export function isDone(paths: StagePaths): Promise<boolean> {
  return fileExists(paths.done);
}

/** Seconds that the stage took, from its start or last resumption. */
export async function secondsTaken(paths: StagePaths): Promise<number> {
  const { seconds } = JSON.parse(await readFile(paths.done, 'utf8')) as { seconds: number };
  return seconds;
}
