import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { describeIssues } from '../issues.js';
import { RunPaths } from '../run/paths.js';
import type { PredictionRow } from '../run/scores.js';

export type { PredictionRow };

/** Scores of one set of predictions; null or absent where they cannot be known. */
export interface Scores {
  wa?: number | null;
  ua?: number | null;
  macroF1?: number | null;
  eder?: number | null;
  meanEder?: number | null;
  frameAccuracy?: number | null;
  frameUa?: number | null;
  attentionOnEmotion?: number | null;
  posteriorOnEmotion?: number | null;
  emotionFrameShare?: number | null;
  lift?: number | null;
  confusion?: number[][];
  intervals?: { [score in 'wa' | 'ua' | 'macroF1']?: [number, number] };
}

/** `summary.json`, as far as a report needs it. */
export interface Summary extends Scores {
  baseline?: Scores;
  seconds?: number;
  folds?: (Scores & { name: string; baseline?: Scores })[];
  labels: string[];
  /** Of `labels`. */
  neutral?: string;
}

/** What stage 4 is trained for, as the run's settings say. */
export type Objective = 'attention' | 'forward-backward' | 'both';

const score = z.number().nullish();
const scores = z.looseObject({
  wa: score,
  ua: score,
  macroF1: score,
  eder: score,
  meanEder: score,
  frameAccuracy: score,
  frameUa: score,
  attentionOnEmotion: score,
  posteriorOnEmotion: score,
  emotionFrameShare: score,
  lift: score,
  confusion: z.array(z.array(z.number())).optional(),
  intervals: z.record(z.string(), z.tuple([z.number(), z.number()])).optional(),
});
const summarySchema = scores.extend({
  labels: z.array(z.string()),
  neutral: z.string().optional(),
  baseline: scores.optional(),
  seconds: z.number().optional(),
  folds: z.array(scores.extend({ name: z.string(), baseline: scores.optional() })).optional(),
});

/** One row of `log.jsonl`: where it stands, and numbers by name. */
export interface LogRow {
  fold: string;
  stage: string;
  step: number;
  metrics: Record<string, number>;
}

export interface RunFiles {
  paths: RunPaths;
  name: string;
  summary: Summary;
  config: Record<string, unknown>;
  objective: Objective;
  log: LogRow[];
  /** Folds that were evaluated. */
  folds: string[];
}

const objectiveSchema = z.looseObject({
  config: z.looseObject({
    align: z.looseObject({ objective: z.enum(['attention', 'forward-backward', 'both'] satisfies Objective[]) }),
  }),
});

/** Reads what a finished run left. @throws `ERR_RUN_INCOMPLETE` when nothing was evaluated yet. */
export async function readRun(dir: string): Promise<RunFiles> {
  const paths = new RunPaths(dir);
  const summary = await readSummary(paths.summary);
  const corpus = await readJson<{ name?: string }>(paths.corpus);
  const config = (await readJson<Record<string, unknown>>(paths.config)) ?? {};
  return {
    paths,
    name: corpus?.name ?? '',
    summary,
    config,
    // Runs of before there was a choice had this one.
    objective: objectiveSchema.safeParse(config).data?.config.align.objective ?? 'attention',
    log: await readLog(paths.log),
    folds: (summary.folds ?? []).map(({ name }) => name).sort(),
  };
}

async function readSummary(file: string): Promise<Summary> {
  const content = await readJson(file);
  const parsed = summarySchema.safeParse(content);
  if (parsed.success) return parsed.data as Summary;
  const reason = content === undefined ? 'is missing' : `is not a run's (${describeIssues(parsed.error)})`;
  throw new EmoframeError(
    'ERR_RUN_INCOMPLETE',
    `${file} ${reason}: a report needs a run that was evaluated. Continue it with emoframe run --resume.`,
    { file },
  );
}

async function readJson<T>(file: string): Promise<T | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new EmoframeError('ERR_RUN_INCOMPLETE', `${file} is not valid JSON.`, { file, cause });
  }
}

/** Rows of a JSONL file one by one; a last line cut short by a crash is passed over. Nothing where there is no file. */
export async function* readRows<T>(file: string): AsyncGenerator<T> {
  const stream = createReadStream(file);
  try {
    for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
      if (line === '') continue;
      let row: T;
      try {
        row = JSON.parse(line) as T;
      } catch {
        continue;
      }
      yield row;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  } finally {
    stream.destroy();
  }
}

async function readLog(file: string): Promise<LogRow[]> {
  const rows: LogRow[] = [];
  for await (const { fold, stage, step, time: _time, total: _total, ...rest } of readRows<Record<string, unknown>>(
    file,
  )) {
    if (typeof stage !== 'string' || typeof step !== 'number') continue;
    const metrics: Record<string, number> = {};
    for (const [name, value] of Object.entries(rest)) {
      if (typeof value === 'number' && Number.isFinite(value)) metrics[name] = value;
    }
    rows.push({ fold: String(fold ?? ''), stage, step, metrics });
  }
  return rows;
}

/** Class index of a row's prediction, which may be given by name or by number. */
export function predictedIndex(row: Pick<PredictionRow, 'predicted' | 'labels'>): number {
  return typeof row.predicted === 'number' ? row.predicted : row.labels.indexOf(row.predicted);
}
