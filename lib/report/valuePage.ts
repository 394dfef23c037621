// The page of a run that learned values of dimensions: how well they agree with the truth, and how they change with time.
import { own } from '../own.js';
import type { PooledValueScores, RegressionSummary, ValueScores } from '../run/valueScores.js';
import { valueData, valueFigure } from './curves.js';
import { type Html, html } from './html.js';
import type { Sound } from './lanes.js';
import { legendOf, pageOf } from './pageFrame.js';
import type { ReportedRun } from './readRun.js';
import { scatterPlot } from './scatter.js';
import type { ValueOverview } from './valueRows.js';

/** The whole page. `sounds` are those of the overview's examples, in the same order. */
export function valuePage(
  run: ReportedRun<RegressionSummary>,
  { points, examples, seconds }: ValueOverview,
  sounds: readonly (Sound | undefined)[],
): string {
  const { summary } = run;
  const { dimensions } = summary;
  const sections = html`<section id="scores"><h2>Scores on held-out speech</h2>
<p>Stage 4, and stage 1b in small print. The concordance correlation coefficient (CCC) is 1 where predicted values are the true ones; an offset or a wrong scale lowers it, unlike Pearson's correlation. Intervals are 95 % bootstrap intervals over utterances.</p>
${scoreTable(summary)}${summary.folds.length > 1 && foldTable(summary)}</section>
<section id="values"><h2>Predicted and true values</h2><p>Stage 4: ${points.length} utterances, true values to the right, predicted ones upwards.</p>
<div class="charts">${dimensions.map((name) =>
    scatterPlot(
      name,
      points.map(({ target, values }): [number, number] => [target[name]!, values[name]!]),
    ),
  )}</div></section>
${
  examples.length > 0 &&
  html`<section id="timelines"><h2>Values over time</h2><p>${examples.length} test utterances, chosen by a fixed rule: from the least error to the largest, evenly spread. Curves are the values of frames after stage 4, paler ones after stage 1b; dashed lines are the utterance's true values. The line over the sound is the attention of stage 4, dashed at its level if all frames had the same weight.</p>
${legendOf(dimensions)}${examples.map((example, i) => valueFigure(example, i, sounds[i]))}</section>`
}`;
  return pageOf(run, {
    names: dimensions,
    counted: dimensions.length === 1 ? 'dimension' : 'dimensions',
    headline: `CCC ${digits(summary.ccc)} with the ratings of held-out utterances`,
    lede: `The mean over ${dimensions.join(', ')}; ${digits(summary.baseline.ccc)} after stage 1b.`,
    utterances: summary.utterances,
    seconds,
    sections,
    sources: 'Concordance correlation coefficient: Lin, 1989.',
    figures: examples.map(valueData),
  });
}

function scoreTable(summary: RegressionSummary): Html {
  const row = (name: string, of: (scores: ValueScores) => (number | undefined)[], limits: [number, number]) =>
    html`<tr><td>${name}</td>${of(summary).map((value, index) => {
      return html`<td>${digits(value)} <small>${digits(of(summary.baseline)[index])}</small></td>`;
    })}<td>${digits(limits[0])} to ${digits(limits[1])}</td></tr>`;
  const { intervals }: PooledValueScores = summary;
  return html`<div class="scroll"><table class="folds"><thead><tr><th>dimension</th><th>CCC</th><th>Pearson</th><th>RMSE</th><th>interval of the CCC</th></tr></thead><tbody>${summary.dimensions.map(
    (name) =>
      row(
        name,
        ({ values }) => {
          const scores = own(values, name);
          return [scores?.ccc, scores?.pearson, scores?.rmse];
        },
        own(intervals.values, name) ?? [Number.NaN, Number.NaN],
      ),
  )}${summary.dimensions.length > 1 && row('mean', ({ ccc }) => [ccc, undefined, undefined], intervals.ccc)}</tbody></table></div>`;
}

function foldTable(summary: RegressionSummary): Html {
  return html`<details open><summary>CCC by fold: stage 4, and stage 1b</summary><div class="scroll"><table class="folds"><thead><tr><th>fold</th>${summary.dimensions.map((name) => html`<th>${name}</th>`)}<th>mean</th></tr></thead><tbody>${summary.folds.map(
    (fold) =>
      html`<tr><td>${fold.name}</td>${summary.dimensions.map(
        (name) =>
          html`<td>${digits(own(fold.values, name)?.ccc)} <small>${digits(own(fold.baseline.values, name)?.ccc)}</small></td>`,
      )}<td>${digits(fold.ccc)} <small>${digits(fold.baseline.ccc)}</small></td></tr>`,
  )}</tbody></table></div></details>`;
}

function digits(value: number | undefined): string {
  return value === undefined || Number.isNaN(value) ? '–' : value.toFixed(3);
}
