// The run directory: what a run was asked to do, and where each part of it lies. It is opened by every command of a run,
// and refuses to go on with other settings or another corpus than those it was begun with.
import { readdir, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { parseConfig } from '../config/read.js';
import type { RunConfig } from '../config/types.js';
import type { Fold } from '../corpus/folds.js';
import type { Corpus } from '../corpus/types.js';
import type { UnreadableUtterance } from '../corpus/unreadable.js';
import { EmoframeError } from '../errors.js';
import { writeJson } from '../files/json.js';
import { isLink, linkError } from '../files/links.js';
import { fileExists, readError } from '../files/read.js';
import { own } from '../own.js';
import { quoted } from '../quote.js';
import { objectiveOf, RunReader, type RunSettings } from './format.js';
import { isLockFile, lockName, RunLock } from './lock.js';
import { RunPaths } from './paths.js';
import type { StageName } from './stages.js';

/** What decides the result of a run. */
export interface RunRequest {
  config: RunConfig;
  /** Absolute path; null: from scratch. */
  model: string | null;
  /** Without what is skipped. */
  corpus: Corpus;
  folds: readonly Fold[];
  /** Utterances that were left out because their audio cannot be read. */
  skipped: readonly UnreadableUtterance[];
}

/** What produced it: kept for the record, and free to change when a run is resumed. */
export interface Environment {
  versions: { emoframe: string; node: string; cpuLibrary: string };
  device: string;
  /** The instruction set that kernels of the CPU were chosen for. */
  instructions: string;
  threads: number;
}

/** The paths of a run that is this process's alone until it is released; made by `openRunDirectory`. */
export class RunDirectory extends RunPaths {
  #lock: RunLock | undefined;

  /** Keeps other processes out. Errors: `ERR_RUN_IN_USE`, `ERR_WRITE`. */
  async lock(): Promise<void> {
    this.#lock = await RunLock.take(this.dir);
  }

  /** Sees that others are still kept out. Errors: `ERR_RUN_IN_USE`, `ERR_WRITE`. */
  keepLock(): void {
    this.#lock?.keep();
  }

  /** Lets other processes in; may be called again. */
  release(options: { leaveMark?: boolean } = {}): void {
    this.#lock?.release(options);
    this.#lock = undefined;
  }

  /**
   * Refuses links where a stage would write through them: what they lead to may be somebody else's.
   *
   * @throws EmoframeError `ERR_WRITE`
   */
  async refuseLinks(fold: string, stage: StageName): Promise<void> {
    const paths = this.fold(fold);
    const board = this.tensorboard(fold, stage);
    const { dir, checkpoint, model, labels, centroids } = paths.stage(stage);
    const folders = [dirname(paths.dir), paths.dir, dir, dirname(dirname(board)), dirname(board), board];
    for (const path of [...folders, checkpoint, model, labels, centroids]) {
      if (await isLink(path)) throw linkError(path);
    }
  }
}

/**
 * Begins a run directory, or opens one that was begun with the same request, and keeps other processes out of it until
 * `release`.
 *
 * @param prepare makes the request; it is given what the run skipped when it was begun, or nothing for a run that is new.
 * @throws `ERR_RUN_EXISTS` when the directory holds something else than a run; `ERR_RUN_IN_USE` while another process has it;
 * `ERR_RUN_MISMATCH` naming the first difference from what it was begun with; `ERR_WRITE`, `ERR_READ`.
 */
export async function openRunDirectory(
  out: string,
  prepare: (skipped: readonly UnreadableUtterance[] | undefined) => Promise<RunRequest>,
  environment: Environment,
): Promise<RunDirectory> {
  const run = new RunDirectory(resolve(out));
  // Before the lock: it is a file too, which has no business in somebody else's folder.
  if (await fileExists(run.config)) await readerOf(run).config();
  else await refuseForeign(run, out);
  await run.lock();
  try {
    // After the lock: another process may have begun the run just now.
    if (await fileExists(run.config)) await compare(run, await prepare(await readerOf(run).skipped()));
    else await begin(run, await prepare(undefined), environment);
    return run;
  } catch (error) {
    run.release();
    throw error;
  }
}

async function refuseForeign(run: RunDirectory, out: string): Promise<void> {
  const entries = await readdir(run.dir, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    if (error.code !== 'ENOTDIR') throw readError(run.dir, error);
    throw new EmoframeError('ERR_RUN_EXISTS', `${out} is not a folder: choose another.`, {
      file: run.dir,
      cause: error,
    });
  });
  const lock = join(run.dir, lockName);
  // A run that was stopped in its first moments left its lock's file, and no config.json, which is written last.
  const wasBegun = isLockFile(lock, { written: true });
  const first = firstFiles(run).map((file) => basename(file));
  const foreign = entries.find((entry) => {
    if (entry.name === lockName) return !isLockFile(lock);
    if (first.includes(entry.name)) return !(wasBegun && entry.isFile());
    // A corpus may lie beside its run, as the demo's does.
    return !(entry.name === 'corpus' && entry.isDirectory()) && !entry.name.startsWith('.');
  });
  // Another process may have begun the run just now.
  if (foreign === undefined || (await fileExists(run.config))) return;
  throw new EmoframeError(
    'ERR_RUN_EXISTS',
    `${out} is not empty (it contains ${foreign.name}) and is not a run: choose another folder, or move that away.`,
    { file: run.dir },
  );
}

/** The files that a run is begun with, the last one first. */
function firstFiles({ config, skipped, folds, corpus }: RunDirectory): string[] {
  return [config, skipped, folds, corpus];
}

async function begin(run: RunDirectory, request: RunRequest, environment: Environment): Promise<void> {
  const { config, model } = request;
  try {
    await writeJson(run.corpus, request.corpus);
    await writeJson(run.folds, request.folds);
    await writeJson(run.skipped, request.skipped);
    await writeJson(run.config, { ...environment, model, seed: config.seed, config });
  } catch (error) {
    // Without the lock's file nothing would say that they are of a run.
    for (const file of firstFiles(run)) {
      await rm(file, { force: true }).catch(() => run.release({ leaveMark: true }));
    }
    throw error;
  }
}

async function compare(run: RunDirectory, request: RunRequest): Promise<void> {
  const reader = readerOf(run);
  const begun = await reader.config();
  const corpus = await reader.corpus();
  const folds = await reader.folds();
  const difference =
    firstDifference(
      { model: begun.model, config: withDefaults(begun.config) },
      { model: request.model, config: request.config },
    ) ??
    firstDifference({ corpus: byId(corpus) }, { corpus: byId(request.corpus) }) ??
    firstDifference({ folds }, { folds: request.folds });
  if (difference === undefined) return;
  throw new EmoframeError(
    'ERR_RUN_MISMATCH',
    `The run in ${run.dir} was started with ${difference.path} = ${shown(difference.before)}, but now it is ${shown(difference.after)}. Resume it with the settings and corpus that it was started with, or choose another folder.`,
    { file: run.dir },
  );
}

/** A config that was written by an earlier version has the defaults in fields that it did not know, and one part of stage 4. */
function withDefaults(config: RunSettings): unknown {
  try {
    return parseConfig({ ...config, align: { ...config.align, objective: objectiveOf(config) } });
  } catch {
    // The comparison then names the field.
    return config;
  }
}

function readerOf(run: RunDirectory): RunReader {
  return new RunReader(
    run,
    (file) => (reason, cause) =>
      new EmoframeError(
        'ERR_RUN_MISMATCH',
        `${file} cannot be used (${reason}): the run cannot be continued. Restore the file, or choose another folder.`,
        { file, cause },
      ),
  );
}

/** Without the ratings that an earlier version recorded, which nothing was learned from. */
function byId(corpus: { utterances: readonly { id: string; dimensions?: unknown }[] }): unknown {
  return Object.fromEntries(corpus.utterances.map(({ dimensions: _, ...utterance }) => [utterance.id, utterance]));
}

interface Difference {
  path: string;
  before: unknown;
  after: unknown;
}

/** The first place where two JSON values differ; what JSON cannot hold is as absent. */
export function firstDifference(before: unknown, after: unknown): Difference | undefined {
  return walk(JSON.parse(JSON.stringify(before)), JSON.parse(JSON.stringify(after)), '');
}

function walk(before: unknown, after: unknown, path: string): Difference | undefined {
  if (typeof before === 'object' && typeof after === 'object' && before !== null && after !== null) {
    const [a, b] = [before as Record<string, unknown>, after as Record<string, unknown>];
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
      const found = walk(own(a, key), own(b, key), path === '' ? key : `${path}.${key}`);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  return Object.is(before, after) ? undefined : { path, before, after };
}

function shown(value: unknown): string {
  return value === undefined ? 'nothing' : quoted(value);
}
