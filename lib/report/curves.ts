import type { ValueRow } from '../run/valueScores.js';
import { colorOf } from './colors.js';
import { type Html, html } from './html.js';
import { attentionLine, axis, frameCenter, type Sound, wave } from './lanes.js';
import type { ValueExample } from './valueRows.js';

/**
 * One utterance of a regression: its waveform with the attention over it, and for each dimension a curve of its frames by both stages,
 * with a dashed line at the true value of the utterance.
 */
export function valueFigure({ row, baseline }: ValueExample, index: number, sound: Sound | undefined): Html {
  const scale = scaleOf(baseline === undefined ? [row] : [row, baseline]);
  return html`<article class="utterance" data-index="${index}">
<header><h3 title="${row.id}">${row.id}</h3>
<p>${row.dimensions.map((name, k) => html`<span class="chip ${colorOf(k)}">${name} ${row.values[name]!.toFixed(2)}, true ${row.target[name]!.toFixed(2)}</span>`)}</p>
${sound?.wav !== undefined && html`<button type="button" class="play" aria-label="Play ${row.id}">▶</button><audio preload="none" src="${sound.wav}"></audio>`}</header>
<div class="rows">
<span class="name">sound, <em>attention</em></span><div class="lane wave">${wave(row, sound, attentionLine(row.attention))}</div>
${row.dimensions.map((name, k) => html`<span class="name">${name}</span><div class="lane curve ${colorOf(k)}">${curve(row, baseline, k, scale)}</div>`)}
<span class="name"></span><div class="axis">${axis(row.seconds)}</div>
</div><output class="readout" aria-live="off"></output></article>`;
}

/** The data for the page's hover script. */
export function valueData({ row }: ValueExample): Record<string, unknown> {
  const rounded = (value: number) => Number(value.toFixed(2));
  return {
    seconds: row.seconds,
    frameSeconds: row.frameSeconds,
    clusters: row.clusters ?? null,
    attention: row.attention.map((weight) => rounded(weight * row.attention.length)),
    target: row.dimensions.map((name) => rounded(row.target[name]!)),
    values: row.frameValues.map((frame) => frame.map(rounded)),
  };
}

/** From 0 to 1, on which corpora rate, or as far as values lie beyond. */
function scaleOf(rows: readonly ValueRow[]): [lowest: number, highest: number] {
  let [lowest, highest] = [0, 1];
  for (const { frameValues } of rows) {
    for (const value of frameValues.flat()) {
      lowest = Math.min(lowest, value);
      highest = Math.max(highest, value);
    }
  }
  return [lowest, highest];
}

function curve(row: ValueRow, baseline: ValueRow | undefined, k: number, [lowest, highest]: [number, number]): Html {
  const y = (value: number) => (98 - (96 * (value - lowest)) / (highest - lowest)).toFixed(1);
  const points = ({ frameValues }: ValueRow) =>
    frameValues.map((frame, i) => `${frameCenter(i, row)},${y(frame[k]!)}`).join(' ');
  const target = y(row.target[row.dimensions[k]!]!);
  return html`<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true"><line class="level" x1="0" x2="1000" y1="${target}" y2="${target}"/>${
    baseline !== undefined && html`<polyline class="faint" points="${points(baseline)}"/>`
  }<polyline points="${points(row)}"/></svg>`;
}
