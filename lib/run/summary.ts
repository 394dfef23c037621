// Scores of the folds that are evaluated, each on its own and over the utterances of all.
import { dirname } from 'node:path';
import type { RunConfig } from '../config/types.js';
import type { UnreadableUtterance } from '../corpus/unreadable.js';
import { bootstrapInterval } from '../evaluate/metrics.js';
import { writeJson } from '../files/json.js';
import { RunReader } from './format.js';
import type { RunLabels } from './labels.js';
import type { RunPaths } from './paths.js';
import {
  classesOf,
  type FoldSummary,
  type Intervals,
  type PooledScores,
  type PredictionRow,
  type RunSummary,
  type Scores,
  scoreRows,
} from './scores.js';
import { damaged, isDone, secondsTaken, verifyResult } from './stageResult.js';
import { stageNames } from './stages.js';
import type { RegressionSummary } from './valueScores.js';
import { type SummarizedRun, summarizeValues } from './valueSummary.js';

/** Scores the folds that are evaluated and writes `summary.json`; nothing when none is. */
export async function writeSummary(
  run: RunPaths,
  foldNames: readonly string[],
  config: RunConfig,
  { labels, neutral }: Pick<RunLabels, 'labels' | 'neutral'>,
  skipped: readonly UnreadableUtterance[],
): Promise<RunSummary | RegressionSummary | undefined> {
  const evaluated: string[] = [];
  let seconds = 0;
  // Of folds whose marks may be of a version that kept no checksums.
  const reader = new RunReader(run, (file) => damaged(file, dirname(file)));
  for (const name of foldNames) {
    const paths = run.fold(name);
    for (const stage of stageNames) {
      if (await isDone(paths.stage(stage))) seconds += await secondsTaken(paths.stage(stage));
    }
    if (!(await isDone(paths.stage('evaluate')))) continue;
    for (const result of paths.stage('evaluate').results) await verifyResult(result);
    evaluated.push(name);
  }
  if (evaluated.length === 0) return undefined;
  const common = { config, seconds, skipped: [...skipped] };
  const summary =
    config.dimensions === null
      ? await summarizeClasses(reader, evaluated, { ...common, labels, neutral })
      : await summarizeValues(reader, evaluated, { ...common, dimensions: config.dimensions });
  await writeJson(run.summary, summary);
  return summary;
}

async function summarizeClasses(
  reader: RunReader,
  foldNames: readonly string[],
  { config, seconds, skipped, labels, neutral }: SummarizedRun & Pick<RunLabels, 'labels' | 'neutral'>,
): Promise<RunSummary> {
  const folds: FoldSummary[] = [];
  const rows: PredictionRow[] = [];
  const baselineRows: PredictionRow[] = [];
  for (const name of foldNames) {
    folds.push({ name, ...(await reader.metrics(name)) });
    for await (const row of reader.rows(name, 'predictions')) rows.push(row);
    for await (const row of reader.rows(name, 'baseline')) baselineRows.push(row);
  }
  const pooled = async (of: readonly PredictionRow[], scores: readonly Scores[]): Promise<PooledScores> => ({
    ...scoreRows(of, labels, neutral),
    intervals: await intervalsOf(of, labels, config),
    meanOverFolds: { wa: mean(scores.map(({ wa }) => wa)), ua: mean(scores.map(({ ua }) => ua)) },
  });
  return {
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
    skipped,
    folds,
  };
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
