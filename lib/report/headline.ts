import type { Chance } from './choose.js';
import { type Html, html, isKnown, percent } from './html.js';
import type { Scores, Summary } from './readRun.js';

interface Measure {
  key: 'wa' | 'ua' | 'frameAccuracy' | 'frameUa' | 'eder' | 'attentionOnEmotion';
  name: string;
  explanation: string;
  /** EDER is an error: less is better. */
  lessIsBetter?: boolean;
}

const measures: Measure[] = [
  { key: 'wa', name: 'WA', explanation: 'utterances that are right' },
  { key: 'ua', name: 'UA', explanation: 'mean recall over the emotions' },
  { key: 'frameAccuracy', name: 'Frame accuracy', explanation: 'frames of the smoothed timeline that are right' },
  { key: 'frameUa', name: 'Frame UA', explanation: 'mean recall of frames over the emotions' },
  { key: 'eder', name: 'EDER', explanation: 'emotion diarization error rate; less is better', lessIsBetter: true },
  {
    key: 'attentionOnEmotion',
    name: 'Attention on emotion',
    explanation: 'attention mass on emotional frames of emotional utterances',
  },
];

/** Stage 4 beside stage 1b: one scale a measure, with 95 % intervals and the level of a guess. */
export function headline(summary: Summary, chance: Chance): Html {
  const shown = measures.filter(({ key }) => isKnown(summary[key]));
  return html`<div class="scores" role="table" aria-label="Scores of stage 4 and stage 1b">
<div class="score head" role="row"><span role="columnheader">measure</span><span class="scale-head" role="columnheader"><span>0</span><span class="legend"><span class="key after">stage 4</span><span class="key before">stage 1b</span><span class="key chance">guess</span></span><span>100${'\u2009'}%</span></span><span role="columnheader">stage 1b</span><span role="columnheader">stage 4</span><span role="columnheader">change</span></div>
${shown.map((measure) => {
  const after = summary[measure.key]!;
  const before = summary.baseline?.[measure.key];
  const guess = measure.key === 'attentionOnEmotion' ? summary.emotionFrameShare : chance[measure.key];
  return html`<div class="score" role="row"><span class="measure" role="rowheader"><b>${measure.name}</b><small>${measure.explanation}</small></span>
<span class="scale" role="cell"><i class="track"></i>${isKnown(guess) && html`<i class="chance" style="left:${at(guess)}" title="guess: ${percent(guess)}"></i>`}
${interval('before', summary.baseline, measure.key)}${interval('after', summary, measure.key)}
${isKnown(before) && html`<i class="join" style="left:${at(Math.min(before, after))};width:${at(Math.abs(after - before))}"></i><i class="point before" style="left:${at(before)}" title="stage 1b: ${percent(before)}"></i>`}
<i class="point after" style="left:${at(after)}" title="stage 4: ${percent(after)}"></i></span>
<span class="number" role="cell" data-name="stage 1b">${percent(before)}</span><span class="number strong" role="cell" data-name="stage 4">${percent(after)}</span>${change(before, after, measure)}</div>`;
})}</div>`;
}

const at = (share: number) => `${(100 * Math.min(Math.max(share, 0), 1)).toFixed(2)}%`;

function interval(which: 'before' | 'after', scores: Scores | undefined, key: Measure['key']): Html | undefined {
  const limits = key === 'wa' || key === 'ua' ? scores?.intervals?.[key] : undefined;
  if (limits === undefined || !isKnown(limits[0]) || !isKnown(limits[1])) return undefined;
  const [low, high] = limits;
  return html`<i class="interval ${which}" style="left:${at(low)};width:${at(high - low)}" title="95 % interval: ${percent(low)} to ${percent(high)}"></i>`;
}

function change(before: number | null | undefined, after: number, measure: Measure): Html {
  if (!isKnown(before)) return html`<span class="number" role="cell" data-name="change">–</span>`;
  const points = 100 * (after - before);
  const better = measure.lessIsBetter ? points < -0.05 : points > 0.05;
  const worse = measure.lessIsBetter ? points > 0.05 : points < -0.05;
  return html`<span class="number ${better ? 'better' : worse ? 'worse' : ''}" role="cell" data-name="change">${points > 0 ? '+' : points < 0 ? '−' : '±'}${Math.abs(points).toFixed(1)}</span>`;
}
