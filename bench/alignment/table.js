// One table of a corpus: scores in the mean over seeds, with their 95 % intervals.
import { SCORES } from './tally.js';

const TITLES = ['WA', 'UA', 'frame accuracy', 'frame UA', 'EDER', 'lift', 'attention lift'];

/** `0.750 ± 0.021 [0.731, 0.768]`: the mean, half the interval over seeds, and the interval over utterances. */
function cell({ mean, overSeeds, bootstrap: [low, high] }) {
  if (Number.isNaN(mean)) return '–';
  const spread = overSeeds === null ? '' : ` ± ${overSeeds.toFixed(3)}`;
  return `${mean.toFixed(3)}${spread} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
}

/** @param {{ name: string, scores: ReturnType<import('./tally.js').summarize>, seconds: number }[]} rows */
export function markdown(rows) {
  const lines = [
    ['', ...TITLES, 'seconds'],
    ['---', ...TITLES.map(() => '---'), '---'],
    ...rows.map(({ name, scores, seconds }) => [
      name,
      ...SCORES.map((score) => cell(scores[score])),
      seconds === 0 ? '–' : seconds.toFixed(0),
    ]),
  ];
  return lines.map((line) => `| ${line.join(' | ')} |`).join('\n');
}
