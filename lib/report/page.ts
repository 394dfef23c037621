import type { RunSummary, Scores } from '../run/scores.js';
import { confusionMatrix } from './charts.js';
import type { Example, Overview } from './choose.js';
import { colorOf, emotionColors } from './colors.js';
import { headline } from './headline.js';
import { Html, html, isKnown, jsonScript, percent, times } from './html.js';
import type { Sound } from './lanes.js';
import type { ReportedRun } from './readRun.js';
import { pageScript } from './script.js';
import { duration, settingsSection, trainingSection } from './sections.js';
import { pageStyle } from './style.js';
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
  const legend = html`<div class="emotions"><span class="legend">${labels.map(
    (label, i) => html`<span><i class="swatch" style="${colorOf(i)}"></i>${label}</span>`,
  )}</span></div>`;
  const title = run.name === '' ? 'emoframe report' : `emoframe: ${run.name}`;
  return html`${new Html('<!doctype html>')}
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${title}</title>
${emotionColors(labels)}<style>${new Html(pageStyle)}</style></head><body>
<div class="masthead"><p class="brand">emoframe${run.name !== '' && html` · ${run.name}`}</p>
<h1>${sentence(summary, overview)}</h1>
<p class="lede">${comparison(summary)}</p>
<ul class="facts"><li><b>${overview.utterances}</b> test utterances</li><li><b>${duration(overview.seconds)}</b> of speech</li><li><b>${labels.length}</b> emotions</li><li><b>${run.folds.length}</b> ${run.folds.length === 1 ? 'fold' : 'folds'}</li><li>run in <b>${duration(summary.seconds)}</b></li></ul></div>
<main>
<section id="scores"><h2>Scores on held-out speech</h2>
<p>Stage 1b is the same network fine-tuned with mean pooling over time; stage 4 ${addedInStage4[run.objective]}. Bars are 95 % bootstrap intervals. “Chance” always predicts the most common class (for UA: any one class).</p>
${headline(summary, overview.chance)}${summary.folds.length > 1 && foldTable(summary)}</section>
<section id="confusion"><h2>Confusion</h2><p>Rows are true emotions, columns predicted ones: percent of the row, and number of utterances.</p>
<div class="matrices">${confusionMatrix('Stage 4', summary.confusion, labels)}${confusionMatrix('Stage 1b', summary.baseline.confusion, labels)}</div></section>
${
  overview.examples.length > 0 &&
  html`<section id="timelines"><h2>When each emotion occurs</h2>
<p>${overview.examples.length} test utterances, chosen by a fixed rule: correct and wrong ones of each emotion in turn, evenly spread over the list. Bands behind the waveform are the true segments; ${lineOf(overview.examples)}.</p>
${legend}${overview.examples.map((example, i) => timelineFigure(example, i, sounds[i], neutral))}</section>`
}
${trainingSection(run)}
${settingsSection(run)}
<footer>Made by emoframe from ${run.reader.paths.dir.split('/').at(-1) ?? ''}. Frame-level emotional state alignment: Li et al., 2023. EDER: Wang et al., 2023.</footer>
</main>
${jsonScript('timeline-data', { labels, utterances: overview.examples.map((example) => timelineData(example, neutral)) })}<script>${new Html(pageScript)}</script></body></html>
`.text;
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
