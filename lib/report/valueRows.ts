// What the page of a regression shows of its predictions.
import type { RegressionSummary, ValueRow } from '../run/valueScores.js';
import { evenly } from './choose.js';
import type { ReportedRun } from './readRun.js';

/** Points of a scatter plot, which would not be told apart if there were more. */
const mostPoints = 1500;

export interface ValueOverview {
  /** Of all utterances, or of as many that are evenly spread over the list. */
  points: Pick<ValueRow, 'target' | 'values'>[];
  /** Utterances whose values are shown over time, from the least error to the largest, evenly spread. */
  examples: ValueExample[];
  seconds: number;
}

/** An utterance for the page: stage 4's row and, if there is one, stage 1b's. */
export interface ValueExample {
  row: ValueRow;
  baseline?: ValueRow;
}

interface Candidate {
  fold: string;
  id: string;
  error: number;
}

/**
 * Reads all predictions in two passes (they can be large) and picks examples by a fixed rule, so that the page does not flatter the
 * model.
 */
export async function readValueOverview(
  run: ReportedRun<RegressionSummary>,
  exampleCount: number,
): Promise<ValueOverview> {
  const every = Math.max(1, Math.ceil(run.summary.utterances / mostPoints));
  const candidates: Candidate[] = [];
  const points: ValueOverview['points'] = [];
  let seconds = 0;
  for (const fold of run.folds) {
    for await (const row of run.reader.valueRows(fold, 'predictions')) {
      const { id, target, values } = row;
      if (candidates.length % every === 0) points.push({ target, values });
      candidates.push({ fold, id, error: errorOf(row) });
      seconds += row.seconds;
    }
  }
  const ranked = candidates.sort((a, b) => a.error - b.error);
  return { points, examples: await readExamples(run, evenly(ranked, exampleCount)), seconds };
}

/** The mean distance from the truth over dimensions. */
function errorOf({ dimensions, values, target }: ValueRow): number {
  return dimensions.reduce((sum, name) => sum + Math.abs(values[name]! - target[name]!), 0) / dimensions.length;
}

async function readExamples(
  run: ReportedRun<RegressionSummary>,
  chosen: readonly Candidate[],
): Promise<ValueExample[]> {
  const rows = new Map<string, ValueRow>();
  for (const fold of new Set(chosen.map((candidate) => candidate.fold))) {
    const wanted = new Set(chosen.filter((candidate) => candidate.fold === fold).map(({ id }) => id));
    for (const which of ['predictions', 'baseline'] as const) {
      for await (const row of run.reader.valueRows(fold, which))
        if (wanted.has(row.id)) rows.set(`${which}/${fold}/${row.id}`, row);
    }
  }
  return chosen.map(({ fold, id }) => {
    const baseline = rows.get(`baseline/${fold}/${id}`);
    return { row: rows.get(`predictions/${fold}/${id}`)!, ...(baseline !== undefined && { baseline }) };
  });
}
