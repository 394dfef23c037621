import type { Scores } from '../report/readRun.js';

const measures: [keyof Scores, string][] = [
  ['wa', 'WA'],
  ['ua', 'UA'],
  ['frameAccuracy', 'frame accuracy'],
  ['frameUa', 'frame UA'],
  ['eder', 'EDER (less is better)'],
  ['meanEder', 'mean of utterances’ EDER'],
  ['attentionOnEmotion', 'attention on emotion'],
];

/** Scores of both fine-tuned models side by side; what the corpus cannot tell is left out. */
export function scoreTable(summary: Scores & { baseline?: Scores | null }): string {
  const number = (value: unknown) => (typeof value === 'number' ? (100 * value).toFixed(1) : '–').padStart(9);
  const shown = measures.filter(([key]) => typeof summary[key] === 'number');
  return [
    `${'%'.padEnd(24)} stage 1b  stage 4`,
    ...shown.map(([key, name]) => `${name.padEnd(24)}${number(summary.baseline?.[key])}${number(summary[key])}`),
  ].join('\n');
}
