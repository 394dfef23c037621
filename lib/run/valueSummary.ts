// Scores of a regression over the folds that are evaluated.
import type { RunConfig } from '../config/types.js';
import type { UnreadableUtterance } from '../corpus/unreadable.js';
import { cccIntervals } from '../evaluate/concordance.js';
import type { RunReader } from './format.js';
import {
  type PooledValueScores,
  type RegressionSummary,
  scoreValueRows,
  type ValueFoldSummary,
  type ValueRow,
  type ValueScores,
  valuesOfRows,
} from './valueScores.js';

/** Only what scores need: frames of all rows together would be large. */
type ScoredRow = Pick<ValueRow, 'target' | 'values'>;

/** What is known of a run beside its scores. */
export interface SummarizedRun {
  config: RunConfig;
  /** Of all stages. */
  seconds: number;
  skipped: UnreadableUtterance[];
}

/** Scores of these folds, each on its own and over the utterances of all. */
export async function summarizeValues(
  reader: RunReader,
  foldNames: readonly string[],
  { config, seconds, skipped, dimensions }: SummarizedRun & { dimensions: readonly string[] },
): Promise<RegressionSummary> {
  const folds: ValueFoldSummary[] = [];
  const rows = { predictions: [] as ScoredRow[], baseline: [] as ScoredRow[] };
  for (const name of foldNames) {
    folds.push({ name, ...(await reader.valueMetrics(name)) });
    for (const which of ['predictions', 'baseline'] as const) {
      for await (const { target, values } of reader.valueRows(name, which)) rows[which].push({ target, values });
    }
  }
  const baselines = folds.map(({ baseline }) => baseline);
  return {
    ...(await pooled(rows.predictions, folds, config, dimensions)),
    baseline: await pooled(rows.baseline, baselines, config, dimensions),
    seconds,
    dimensions: [...dimensions],
    protocol: config.protocol,
    utterances: rows.predictions.length,
    skipped,
    folds,
  };
}

async function pooled(
  rows: readonly ScoredRow[],
  folds: readonly ValueScores[],
  config: RunConfig,
  dimensions: readonly string[],
): Promise<PooledValueScores> {
  const { truth, predicted } = valuesOfRows(rows, dimensions);
  const options = { samples: config.evaluate.bootstrapSamples, seed: config.seed };
  const intervals = await cccIntervals(truth, predicted, options);
  return {
    ...scoreValueRows(rows, dimensions),
    intervals: {
      ccc: intervals.at(-1)!,
      values: Object.fromEntries(dimensions.map((name, index) => [name, intervals[index]!])),
    },
    meanOverFolds: { ccc: folds.reduce((sum, { ccc }) => sum + ccc, 0) / folds.length },
  };
}
