import { largestOf } from '../lists.js';
import { own } from '../own.js';
import type { RunSummary, Scores } from '../run/scores.js';
import type { RegressionSummary, ValueScores } from '../run/valueScores.js';

const share = (value: number) => (100 * value).toFixed(1);
const times = (value: number) => `${value.toFixed(2)} ×`;

const measures: [key: keyof Scores, name: string, written: (value: number) => string][] = [
  ['wa', 'WA', share],
  ['ua', 'UA', share],
  ['frameAccuracy', 'frame accuracy', share],
  ['frameUa', 'frame UA', share],
  ['eder', 'EDER (less is better)', share],
  ['meanEder', 'EDER, mean of utterances', share],
  ['attentionOnEmotion', 'attention on emotion', share],
  ['posteriorOnEmotion', 'posterior on emotion', share],
  ['lift', 'lift over share of time', times],
];

/** Scores of both fine-tuned models side by side; scores that the corpus does not allow are left out. */
export function scoreTable(summary: RunSummary | RegressionSummary): string[] {
  return 'dimensions' in summary ? valueTable(summary) : classTable(summary);
}

function valueTable(summary: RegressionSummary): string[] {
  const rows: [name: string, of: (scores: ValueScores) => number | undefined][] = [
    ...(summary.dimensions.length > 1 ? [['CCC, mean', ({ ccc }) => ccc] satisfies (typeof rows)[number]] : []),
    ...summary.dimensions.flatMap((name): typeof rows => [
      [`CCC of ${name}`, ({ values }) => own(values, name)?.ccc],
      [`Pearson of ${name}`, ({ values }) => own(values, name)?.pearson],
      [`RMSE of ${name}`, ({ values }) => own(values, name)?.rmse],
    ]),
  ];
  const width = Math.max(24, largestOf(rows.map(([name]) => name.length + 1)));
  const cell = (value: number | undefined) => (value?.toFixed(3) ?? '–').padStart(9);
  return [
    `${''.padEnd(width)} stage 1b  stage 4`,
    ...rows.map(([name, of]) => `${name.padEnd(width)}${cell(of(summary.baseline))}${cell(of(summary))}`),
  ];
}

function classTable(summary: RunSummary): string[] {
  const cell = (value: unknown, written: (value: number) => string) =>
    (typeof value === 'number' ? written(value) : '–').padStart(9);
  const shown = measures.filter(([key]) => typeof summary[key] === 'number');
  return [
    `${'%'.padEnd(24)} stage 1b  stage 4`,
    ...shown.map(
      ([key, name, written]) =>
        `${name.padEnd(24)}${cell(summary.baseline[key], written)}${cell(summary[key], written)}`,
    ),
  ];
}
