import type { PooledScores, RunSummary } from '../run/scores.js';
import type { Chance } from './choose.js';
import { type Html, html, isKnown, percent, times } from './html.js';

interface Measure {
  key: 'wa' | 'ua' | 'frameAccuracy' | 'frameUa' | 'eder' | 'attentionOnEmotion' | 'lift';
  name: string;
  explanation: string;
  /** True for EDER, which is an error rate. */
  lessIsBetter?: boolean;
}

const measures: Measure[] = [
  { key: 'wa', name: 'WA', explanation: 'correct utterances' },
  { key: 'ua', name: 'UA', explanation: 'mean recall over the emotions' },
  { key: 'frameAccuracy', name: 'Frame accuracy', explanation: 'correct frames of the timeline' },
  { key: 'frameUa', name: 'Frame UA', explanation: 'mean frame recall over the emotions' },
  { key: 'eder', name: 'EDER', explanation: 'emotion diarization error rate; less is better', lessIsBetter: true },
  {
    key: 'attentionOnEmotion',
    name: 'Attention on emotion',
    explanation: 'attention mass on emotional frames of emotional utterances',
  },
  {
    key: 'lift',
    name: 'Lift',
    explanation: 'emotional posterior mass on emotional frames, over their share of time',
  },
];

/** Stage 4 beside stage 1b: one scale per measure, with 95 % intervals and the chance level. */
export function headline(summary: RunSummary, chance: Chance): Html {
  const shown = measures.filter(({ key }) => isKnown(summary[key]));
  return html`<div class="scores" role="table" aria-label="Scores of stage 4 and stage 1b">
<div class="score head" role="row"><span role="columnheader">measure</span><span class="scale-head" role="columnheader"><span>0</span><span class="legend"><span class="key after">stage 4</span><span class="key before">stage 1b</span><span class="key chance">chance</span></span><span>100${'\u2009'}%</span></span><span role="columnheader">stage 1b</span><span role="columnheader">stage 4</span><span role="columnheader">change</span></div>
${shown.map((measure) => {
  const after = summary[measure.key]!;
  const before = summary.baseline[measure.key];
  const level = chanceOf(measure, summary, chance);
  const written = measure.key === 'lift' ? times : percent;
  const at = (value: number) => place(measure, value, summary);
  return html`<div class="score" role="row"><span class="measure" role="rowheader"><b>${measure.name}</b><small>${measure.explanation}</small></span>
<span class="scale" role="cell"><svg><line class="track" x1="0" x2="100%" y1="15" y2="15"/>${isKnown(level) && html`<line class="chance" x1="${at(level)}" x2="${at(level)}" y1="4" y2="26"><title>chance: ${written(level)}</title></line>`}
${interval('before', summary.baseline, measure.key)}${interval('after', summary, measure.key)}
${isKnown(before) && html`<line class="join" x1="${at(before)}" x2="${at(after)}" y1="15" y2="15"/><circle class="point before" cx="${at(before)}" cy="15" r="5.75"><title>stage 1b: ${written(before)}</title></circle>`}
<circle class="point after" cx="${at(after)}" cy="15" r="7"><title>stage 4: ${written(after)}</title></circle></svg></span>
<span class="number" role="cell" data-name="stage 1b">${written(before)}</span><span class="number strong" role="cell" data-name="stage 4">${written(after)}</span>${change(before, after, measure)}</div>`;
})}</div>`;
}

function chanceOf({ key }: Measure, { emotionFrameShare }: RunSummary, chance: Chance): number | null | undefined {
  if (key === 'attentionOnEmotion') return emotionFrameShare;
  return key === 'lift' ? 1 : chance[key];
}

/** The position of a value on its scale. Lift is scaled so that its end means all posterior mass on emotion; chance is the share of time. */
function place({ key }: Measure, value: number, { emotionFrameShare }: RunSummary): string {
  return shareOf(key === 'lift' ? value * (emotionFrameShare ?? 0) : value);
}

const shareOf = (share: number) => `${(100 * Math.min(Math.max(share, 0), 1)).toFixed(2)}%`;

function interval(which: 'before' | 'after', scores: PooledScores, key: Measure['key']): Html | undefined {
  const limits = key === 'wa' || key === 'ua' ? scores.intervals[key] : undefined;
  if (limits === undefined) return undefined;
  const [low, high] = limits;
  return html`<rect class="interval ${which}" x="${shareOf(low)}" width="${shareOf(high - low)}" y="11" height="8" rx="4"><title>95 % interval: ${percent(low)} to ${percent(high)}</title></rect>`;
}

function change(before: number | null | undefined, after: number, measure: Measure): Html {
  if (!isKnown(before)) return html`<span class="number" role="cell" data-name="change">–</span>`;
  // The last digit shown: a hundredth of a lift, a tenth of a percent.
  const [points, digits] = measure.key === 'lift' ? [after - before, 2] : [100 * (after - before), 1];
  const least = 0.5 * 10 ** -digits;
  const better = measure.lessIsBetter ? points < -least : points > least;
  const worse = measure.lessIsBetter ? points > least : points < -least;
  return html`<span class="number ${better ? 'better' : worse ? 'worse' : ''}" role="cell" data-name="change">${points > 0 ? '+' : points < 0 ? '−' : '±'}${Math.abs(points).toFixed(digits)}</span>`;
}
