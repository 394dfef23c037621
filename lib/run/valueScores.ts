// Scores of prediction rows of a regression: of one fold for its metrics, of all folds for the summary.
import type { RunConfig } from '../config/types.js';
import type { Values } from '../corpus/types.js';
import type { UnreadableUtterance } from '../corpus/unreadable.js';
import { type ValueMetrics, valueMetrics } from '../evaluate/concordance.js';

/** One row of `predictions.jsonl` or `baseline.jsonl` of a regression: a model's values for one utterance. */
export interface ValueRow {
  id: string;
  audio: string;
  startSeconds?: number;
  endSeconds?: number;
  /** Counted from 1. */
  channel?: number;
  /** The true values, by dimension. */
  target: Values;
  /** The predicted values. */
  values: Values;
  seconds: number;
  frameSeconds: number;
  /** In the order of the model's outputs. */
  dimensions: string[];
  /** `[T][dimensions.length]`: the values of each frame. */
  frameValues: number[][];
  /** `[T]`, sums to 1. */
  attention: number[];
  /** `[T]`, stage 2's clusters. */
  clusters?: number[];
}

/** Scores of the values of utterances. */
export interface ValueScores {
  /** Concordance correlation coefficient, the mean over dimensions. */
  ccc: number;
  /** Of each dimension. */
  values: Record<string, ValueMetrics>;
}

/** Value scores of one fold's test session. */
export interface ValueFoldSummary extends ValueScores {
  name: string;
  utterances: number;
  /** Test utterances that are too short for one frame. */
  excluded: string[];
  baseline: ValueScores;
}

/** Value scores over the utterances of all folds. */
export interface PooledValueScores extends ValueScores {
  /** 95 % bootstrap intervals over utterances: of the mean CCC, and of the CCC of each dimension. */
  intervals: { ccc: [number, number]; values: Record<string, [number, number]> };
  /** Means over folds. */
  meanOverFolds: { ccc: number };
}

/** `summary.json` of a regression: scores over the utterances of all folds, of stage 4 and, as `baseline`, of stage 1b. */
export interface RegressionSummary extends PooledValueScores {
  baseline: PooledValueScores;
  folds: ValueFoldSummary[];
  dimensions: string[];
  protocol: RunConfig['protocol'];
  utterances: number;
  /** Utterances of the corpus that were left out because their audio cannot be read. */
  skipped: UnreadableUtterance[];
  /** Of all stages, each from its start or last resumption. */
  seconds: number;
}

/** True and predicted values of rows, `[dimension][row]`. */
export function valuesOfRows(
  rows: readonly Pick<ValueRow, 'target' | 'values'>[],
  dimensions: readonly string[],
): { truth: number[][]; predicted: number[][] } {
  return {
    truth: dimensions.map((name) => rows.map(({ target }) => target[name]!)),
    predicted: dimensions.map((name) => rows.map(({ values }) => values[name]!)),
  };
}

export function scoreValueRows(
  rows: readonly Pick<ValueRow, 'target' | 'values'>[],
  dimensions: readonly string[],
): ValueScores {
  const { truth, predicted } = valuesOfRows(rows, dimensions);
  const values = dimensions.map((name, index): [string, ValueMetrics] => [
    name,
    valueMetrics(truth[index]!, predicted[index]!),
  ]);
  const ccc = values.reduce((sum, [, metrics]) => sum + metrics.ccc, 0) / values.length;
  return { ccc, values: Object.fromEntries(values) };
}
