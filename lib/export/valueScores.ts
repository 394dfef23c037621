import type { ValueMetrics } from '../evaluate/concordance.js';
import { own } from '../own.js';
import { code, plain, table } from './markdown.js';
import type { RunRecord } from './runRecord.js';

/** Results of a model that predicts values, as a section of its card; nothing of one that was not evaluated so. */
export function valueScoresSection({
  valueScores: scores,
  overallValues: overall,
  fold,
}: RunRecord): string | undefined {
  if (scores === undefined) return undefined;
  const digits = (value: number | undefined) => value?.toFixed(3) ?? 'unknown';
  const limits = ([low, high]: readonly [number, number]) => plain(` [${digits(low)}, ${digits(high)}]`);
  const rows = Object.entries(scores.values).map(([name, found]: [string, ValueMetrics]) => {
    const all = own(overall?.values, name);
    const interval = own(overall?.intervals.values, name);
    return [
      code(name),
      ...[digits(found.ccc), digits(found.pearson), digits(found.rmse)],
      ...(overall === undefined ? [] : [`${digits(all?.ccc)}${interval === undefined ? '' : limits(interval)}`]),
    ];
  });
  if (rows.length > 1) {
    const all = overall && `${digits(overall.ccc)}${limits(overall.intervals.ccc)}`;
    rows.push(['mean', digits(scores.ccc), '', '', ...(all === undefined ? [] : [all])]);
  }
  const heads = ['', 'CCC', 'Pearson', 'RMSE', ...(overall === undefined ? [] : ['CCC of all folds'])];
  const folds = overall && (overall.folds === 1 ? 'the one evaluated fold' : `all ${overall.folds} evaluated folds`);
  const note =
    overall === undefined
      ? ''
      : ` Each fold has its own model; the last column describes the method, over ${overall.utterances} utterances of ${folds}, with 95 % bootstrap intervals.`;
  return `## Results\n\n${table(heads, rows)}\n\nOf ${scores.utterances} held-out utterances of fold ${code(fold)}. CCC is the concordance correlation coefficient.${note}`;
}
