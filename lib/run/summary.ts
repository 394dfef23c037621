import { readFile } from 'node:fs/promises';
import type { RunConfig } from '../config/types.js';
import type { UnreadableUtterance } from '../corpus/unreadable.js';
import { bootstrapInterval } from '../evaluate/metrics.js';
import { writeFileAtomic } from '../files/atomic.js';
import { yieldWhenDue } from '../yield.js';
import type { RunDirectory } from './directory.js';
import type { RunLabels } from './labels.js';
import { classesOf, type PredictionRow, type Scores, scoreRows } from './scores.js';
import { isDone, secondsTaken, verifyResult } from './stageResult.js';
import { stageNames } from './stages.js';

/** Scores of one fold's test session. */
export interface FoldSummary extends Scores {
  name: string;
  utterances: number;
  /** Test utterances that are too short for one frame. */
  excluded: string[];
  baseline: Scores;
}

/** 95 % bootstrap intervals over utterances. */
export type Intervals = {
  wa: [number, number];
  ua: [number, number];
  macroF1: [number, number];
};

/** `summary.json`: scores over the utterances of all folds, of stage 4 and, as `baseline`, of stage 1b. */
export interface RunSummary extends Scores {
  intervals: Intervals;
  /** Means over folds. */
  meanOverFolds: { wa: number; ua: number };
  baseline: Scores & { intervals: Intervals; meanOverFolds: { wa: number; ua: number } };
  folds: FoldSummary[];
  labels: string[];
  neutral: string;
  protocol: RunConfig['protocol'];
  utterances: number;
  /** Utterances of the corpus that were left out because their audio cannot be read. */
  skipped: UnreadableUtterance[];
  /** Of all stages, each from its start or last resumption. */
  seconds: number;
}

/** What folds that were evaluated before it was measured do not tell. */
const unmeasured = { posteriorOnEmotion: null, lift: null } as const;

/** Scores the folds that are evaluated and writes `summary.json`; nothing when none is. */
export async function writeSummary(
  run: RunDirectory,
  foldNames: readonly string[],
  config: RunConfig,
  { labels, neutral }: Pick<RunLabels, 'labels' | 'neutral'>,
  skipped: readonly UnreadableUtterance[],
): Promise<RunSummary | undefined> {
  const folds: FoldSummary[] = [];
  const rows: PredictionRow[] = [];
  const baselineRows: PredictionRow[] = [];
  let seconds = 0;
  for (const name of foldNames) {
    const paths = run.fold(name);
    for (const stage of stageNames) {
      if (await isDone(paths.stage(stage))) seconds += await secondsTaken(paths.stage(stage));
    }
    if (!(await isDone(paths.stage('evaluate')))) continue;
    for (const result of paths.stage('evaluate').results) await verifyResult(result);
    const metrics = JSON.parse(await readFile(paths.stage('evaluate').metrics, 'utf8')) as Omit<FoldSummary, 'name'>;
    folds.push({ name, ...unmeasured, ...metrics, baseline: { ...unmeasured, ...metrics.baseline } });
    rows.push(...(await readRows(paths.rows('predictions'))));
    baselineRows.push(...(await readRows(paths.rows('baseline'))));
  }
  if (folds.length === 0) return undefined;
  const pooled = async (of: readonly PredictionRow[], scores: readonly Scores[]) => ({
    ...scoreRows(of, labels, neutral),
    intervals: await intervalsOf(of, labels, config),
    meanOverFolds: { wa: mean(scores.map(({ wa }) => wa)), ua: mean(scores.map(({ ua }) => ua)) },
  });
  const summary: RunSummary = {
    ...(await pooled(rows, folds)),
    baseline: await pooled(
      baselineRows,
      folds.map(({ baseline }) => baseline),
    ),
    seconds,
    labels: [...labels],
    neutral,
    protocol: config.protocol,
    utterances: rows.length,
    skipped: [...skipped],
    folds,
  };
  await writeFileAtomic(run.summary, `${JSON.stringify(summary, undefined, 2)}\n`);
  return summary;
}

async function readRows(file: string): Promise<PredictionRow[]> {
  const rows: PredictionRow[] = [];
  for (const line of (await readFile(file, 'utf8')).split('\n')) {
    await yieldWhenDue();
    if (line !== '') rows.push(JSON.parse(line) as PredictionRow);
  }
  return rows;
}

async function intervalsOf(
  rows: readonly PredictionRow[],
  labels: readonly string[],
  config: RunConfig,
): Promise<Intervals> {
  const { truth, predicted } = classesOf(rows, labels);
  const options = { samples: config.evaluate.bootstrapSamples, seed: config.seed };
  const interval = (score: keyof Intervals) => bootstrapInterval(truth, predicted, labels.length, score, options);
  return { wa: await interval('wa'), ua: await interval('ua'), macroF1: await interval('macroF1') };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
