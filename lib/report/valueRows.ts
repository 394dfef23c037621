// What the page of a regression shows of its predictions.
import type { RegressionSummary, ValueRow } from '../run/valueScores.js';
import type { ReportedRun } from './readRun.js';

/** Points of a scatter plot, which would not be told apart if there were more. */
const mostPoints = 1500;

export interface ValueOverview {
  /** Of all utterances, or of as many that are evenly spread over the list. */
  points: Pick<ValueRow, 'target' | 'values'>[];
  /** Utterances whose values are shown over time, evenly spread over the list. */
  examples: ValueRow[];
  seconds: number;
}

/** Reads stage 4's predictions of all folds. */
export async function readValueOverview(
  run: ReportedRun<RegressionSummary>,
  exampleCount: number,
): Promise<ValueOverview> {
  const { utterances } = run.summary;
  const every = Math.max(1, Math.ceil(utterances / mostPoints));
  const shown = Math.min(exampleCount, utterances);
  const wanted = new Set(Array.from({ length: shown }, (_, i) => Math.floor(((i + 0.5) * utterances) / shown)));
  const overview: ValueOverview = { points: [], examples: [], seconds: 0 };
  let index = 0;
  for (const fold of run.folds) {
    for await (const row of run.reader.valueRows(fold, 'predictions')) {
      if (index % every === 0) overview.points.push({ target: row.target, values: row.values });
      if (wanted.has(index)) overview.examples.push(row);
      overview.seconds += row.seconds;
      index++;
    }
  }
  return overview;
}
