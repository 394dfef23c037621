import type { RunSummary, Scores } from '../run/scores.js';

const share = (value: number) => (100 * value).toFixed(1);
const times = (value: number) => `${value.toFixed(2)} ×`;

const measures: [key: keyof Scores, name: string, written: (value: number) => string][] = [
  ['wa', 'WA', share],
  ['ua', 'UA', share],
  ['frameAccuracy', 'frame accuracy', share],
  ['frameUa', 'frame UA', share],
  ['eder', 'EDER (less is better)', share],
  ['meanEder', 'mean of utterances’ EDER', share],
  ['attentionOnEmotion', 'attention on emotion', share],
  ['posteriorOnEmotion', 'posterior on emotion', share],
  ['lift', 'lift, over its time', times],
];

/** Scores of both fine-tuned models side by side; what the corpus cannot tell is left out. */
export function scoreTable(summary: RunSummary): string {
  const cell = (value: unknown, written: (value: number) => string) =>
    (typeof value === 'number' ? written(value) : '–').padStart(9);
  const shown = measures.filter(([key]) => typeof summary[key] === 'number');
  return [
    `${'%'.padEnd(24)} stage 1b  stage 4`,
    ...shown.map(
      ([key, name, written]) =>
        `${name.padEnd(24)}${cell(summary.baseline[key], written)}${cell(summary[key], written)}`,
    ),
  ].join('\n');
}
