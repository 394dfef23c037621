// A stage that is finished says so in a file that is written last, with the size and checksum of all that it leaves: whoever
// reads a result, perhaps months later, asks first whether it still is what was written.
import { readdir } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { recoverDirectory, writeFileAtomic } from '../files/atomic.js';
import { type Checksum, checksumOf, checksumSchema, verifyChecksum } from '../files/checksum.js';
import { readJson, writeJson } from '../files/json.js';
import { fileExists, type Refuse, unlessAbsent } from '../files/read.js';
import { byName, describeIssues } from '../issues.js';
import { removeSteps } from '../training/savedSteps.js';
import { type FoldPaths, markName, type StagePaths } from './paths.js';
import type { StageName } from './stages.js';

const markSchema = z.object({
  time: z.string(),
  /** From the stage's start or last resumption. */
  seconds: z.number(),
  /** By path in the stage's folder. Runs of earlier versions have none, and are read as they are. */
  files: byName(checksumSchema).optional(),
});
type Mark = z.infer<typeof markSchema>;

/** A stage of one fold that is about to be done. */
export interface FinishedStage {
  paths: FoldPaths;
  stage: StageName;
  /** When it began, in ms as `Date.now()`. */
  startedAt: number;
}

/** Writes the stage's metrics, then marks it done; its training states are needed no more. */
export async function finishStage(
  { paths: fold, stage, startedAt }: FinishedStage,
  metrics: Record<string, unknown>,
): Promise<void> {
  const paths = fold.stage(stage);
  await writeJson(paths.metrics, metrics);
  const files = await checksumsOfResults(paths);
  const seconds = (Date.now() - startedAt) / 1000;
  const mark: Mark = { time: new Date().toISOString(), seconds, files };
  await writeFileAtomic(paths.done, `${JSON.stringify(mark)}\n`);
  await removeSteps(paths.checkpoint);
}

export function isDone(paths: StagePaths): Promise<boolean> {
  return fileExists(paths.done);
}

/** Seconds that a finished stage took, from its start or last resumption. */
export async function secondsTaken(paths: StagePaths): Promise<number> {
  return (await readMark(paths.done)).seconds;
}

/**
 * Refuses a result of a finished stage, a file or a folder, that is not what the stage left.
 *
 * @throws EmoframeError `ERR_CHECKPOINT_DAMAGED` naming the file and what to do; `ERR_READ`
 * @example
 * await verifyResult(context.paths.stage('finetune').model);
 */
export async function verifyResult(result: string): Promise<void> {
  const [dir, name] = [dirname(result), basename(result)];
  const done = join(dir, markName);
  if (!(await fileExists(done))) return;
  const { files = {} } = await readMark(done);
  await recoverDirectory(result);
  for (const [path, checksum] of Object.entries(files)) {
    if (path !== name && !path.startsWith(`${name}/`)) continue;
    await verifyChecksum(join(dir, path), checksum, damaged(join(dir, path), dir));
  }
}

async function checksumsOfResults(paths: StagePaths): Promise<Record<string, Checksum>> {
  const files: Record<string, Checksum> = {};
  for (const result of paths.results) {
    const inside = await unlessAbsent(result, readdir(result));
    const found = inside?.map((name) => join(result, name)) ?? ((await fileExists(result)) ? [result] : []);
    for (const file of found.sort()) {
      const name = file.slice(paths.dir.length + 1).replaceAll(sep, '/');
      files[name] = await checksumOf(file, damaged(file, paths.dir));
    }
  }
  return files;
}

async function readMark(file: string): Promise<Mark> {
  const refuse = damaged(file, dirname(file));
  const parsed = markSchema.safeParse(await readJson(file, 16 << 20, refuse));
  if (parsed.success) return parsed.data;
  throw refuse(`it is not the mark of a finished stage (${describeIssues(parsed.error)})`);
}

/** Errors of a file that a finished stage left. A stage that is done again gives the same bits: those after it remain good. */
export function damaged(file: string, dir: string): Refuse {
  return (reason, cause) =>
    new EmoframeError(
      'ERR_CHECKPOINT_DAMAGED',
      `${file} is damaged: ${reason}. Restore a copy, or delete ${dir} and resume: the stage is done again, with the same result.`,
      { file, cause },
    );
}
