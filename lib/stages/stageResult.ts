import { rm } from 'node:fs/promises';
import { writeFileAtomic } from '../checkpoint/atomic.js';
import { fileExists } from '../checkpoint/files.js';
import type { StageContext } from './context.js';

/** Writes the stage's metrics, then marks it done; its checkpoint is needed no more. */
export async function finishStage(context: StageContext, metrics: Record<string, unknown>): Promise<void> {
  const paths = context.paths.stage(context.stage);
  await writeFileAtomic(paths.metrics, `${JSON.stringify(metrics, undefined, 2)}\n`);
  await writeFileAtomic(paths.done, `${JSON.stringify({ stage: context.stage, time: new Date().toISOString() })}\n`);
  await rm(paths.checkpoint, { recursive: true, force: true });
}

export async function isDone(paths: { done: string }): Promise<boolean> {
  return fileExists(paths.done);
}
