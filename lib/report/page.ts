import type { RunSummary, Scores } from '../run/scores.js';
import { confusionMatrix } from './charts.js';
import type { Example, Overview } from './choose.js';
import { headline } from './headline.js';
import { type Html, html, isKnown, percent, times } from './html.js';
import type { Sound } from './lanes.js';
import { legendOf, pageOf } from './pageFrame.js';
import type { ReportedRun } from './readRun.js';
import { timelineData, timelineFigure } from './timeline.js';

/** The whole page. `sounds` are those of the overview's examples, in the same order. */
export function reportPage(
  run: ReportedRun<RunSummary>,
  overview: Overview,
  sounds: readonly (Sound | undefined)[],
): string {
  const { summary } = run;
  const { labels } = summary;
  const neutral = labels.indexOf(summary.neutral);
  const sections = html`<section id="scores"><h2>Scores on held-out speech</h2>
<p>Stage 1b is the same network fine-tuned with mean pooling over time; stage 4 ${addedInStage4[run.objective]}. Bars are 95 % bootstrap intervals. “Chance” always predicts the most common class (for UA: any one class).</p>
${headline(summary, overview.chance)}${summary.folds.length > 1 && foldTable(summary)}</section>
<section id="confusion"><h2>Confusion</h2><p>Rows are true emotions, columns predicted ones: percent of the row, and number of utterances.</p>
<div class="matrices">${confusionMatrix('Stage 4', summary.confusion, labels)}${confusionMatrix('Stage 1b', summary.baseline.confusion, labels)}</div></section>
${
  overview.examples.length > 0 &&
  html`<section id="timelines"><h2>When each emotion occurs</h2>
<p>${overview.examples.length} test utterances, chosen by a fixed rule: correct and wrong ones of each emotion in turn, evenly spread over the list. Bands behind the waveform are the true segments; ${lineOf(overview.examples)}.</p>
${legendOf(labels)}${overview.examples.map((example, i) => timelineFigure(example, i, sounds[i], neutral))}</section>`
}`;
  return pageOf(run, {
    names: labels,
    counted: 'emotions',
    headline: sentence(summary, overview),
    lede: comparison(summary),
    utterances: overview.utterances,
    seconds: overview.seconds,
    sections,
    sources: 'Frame-level emotional state alignment: Li et al., 2023. EDER: Wang et al., 2023.',
    figures: overview.examples.map((example) => timelineData(example, neutral)),
  });
}

const network =
  'a network that sees only the neighbourhood of a frame and aligns emotion with time by forward-backward';
const addedInStage4: Record<ReportedRun['objective'], string> = {
  attention: 'adds pretraining on frame-level pseudo-labels and attention',
  'forward-backward': `adds pretraining on frame-level pseudo-labels and ${network}`,
  both: `adds pretraining on frame-level pseudo-labels, attention, and ${network}, which draws the timeline`,
};

/** Explains the line over the waveform. */
function lineOf(examples: readonly Example[]): string {
  return examples.some(({ row }) => row.timeline === 'alignment')
    ? 'the line is the posterior of stage 4 that a frame is emotional, from 0 at the bottom to 1, dashed at one half'
    : 'the line is the attention of stage 4, dashed at its level if all frames had the same weight';
}

function sentence(summary: RunSummary, { chance }: Overview): string {
  return `${percent(summary.wa, 0)} of held-out utterances are classified correctly; chance is ${percent(chance.wa, 0)}`;
}

function comparison(summary: RunSummary): string {
  const { baseline, frameUa } = summary;
  if (!isKnown(frameUa)) return 'The corpus has no frame-level truth: timelines are shown but not scored.';
  return `At frame level, mean recall over the emotions is ${percent(frameUa)} after stage 4 and ${percent(baseline.frameUa)} after stage 1b.`;
}

function foldTable(summary: RunSummary): Html {
  const columns: [string, (scores: Scores) => string][] = [
    ['WA', ({ wa }) => percent(wa)],
    ['UA', ({ ua }) => percent(ua)],
    ['macro F1', ({ macroF1 }) => percent(macroF1)],
    ['frame UA', ({ frameUa }) => percent(frameUa)],
    ['EDER', ({ eder }) => percent(eder)],
    ['mean EDER', ({ meanEder }) => percent(meanEder)],
    ['lift', ({ lift }) => times(lift)],
  ];
  return html`<details open><summary>By fold: stage 4, and stage 1b</summary><div class="scroll"><table class="folds"><thead><tr><th>fold</th>${columns.map(([name]) => html`<th>${name}</th>`)}</tr></thead><tbody>${summary.folds.map(
    (fold) =>
      html`<tr><td>${fold.name}</td>${columns.map(
        ([, of]) => html`<td>${of(fold)} <small>${of(fold.baseline)}</small></td>`,
      )}</tr>`,
  )}</tbody></table></div></details>`;
}
