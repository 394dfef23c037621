import type { PredictionRow } from '../run/scores.js';
import type { Example } from './choose.js';
import { colorOf } from './colors.js';
import { type Html, html, percent } from './html.js';
import { attentionLine, axis, cellStart, type Line, type Sound, wave } from './lanes.js';

/**
 * One utterance: its waveform, with the attention or an alignment network's emotional posterior over it, true segments, the
 * timelines of both stages, and the posterior of each frame. The drawings scale to any width; all text is HTML beside them, so
 * it stays readable on a phone.
 *
 * @param neutral index of the neutral class
 */
export function timelineFigure(example: Example, index: number, sound: Sound | undefined, neutral: number): Html {
  const { row, baseline } = example;
  const predictedIndex = row.labels.indexOf(row.predicted);
  const truthIndex = row.labels.indexOf(row.label);
  const confidence = row.probabilities[predictedIndex];
  return html`<article class="utterance" data-index="${index}">
<header><span class="verdict ${example.right ? 'right' : 'wrong'}">${example.right ? 'right' : 'wrong'}</span>
<h3 title="${row.id}">${row.id}</h3>
<p><span class="chip ${colorOf(truthIndex)}">${row.label}</span><span class="arrow" aria-label="predicted as">→</span><span class="chip ${colorOf(predictedIndex)}">${row.predicted} ${percent(confidence, 0)}</span></p>
${sound?.wav !== undefined && html`<button type="button" class="play" aria-label="Play ${row.id}">▶</button><audio preload="none" src="${sound.wav}"></audio>`}</header>
<div class="rows">
<span class="name">sound, <em>${aligned(row) ? 'emotional' : 'attention'}</em></span><div class="lane wave">${wave(row, sound, lineOver(row, neutral), row.truth && runs(row.truth, row, 100))}</div>
${row.truth !== undefined && html`<span class="name">truth</span><div class="lane strip">${strip(row.truth, row)}</div>`}
<span class="name">stage 4</span><div class="lane strip">${strip(row.path, row)}</div>
${baseline !== undefined && html`<span class="name">stage 1b</span><div class="lane strip faint">${strip(baseline.path, row)}</div>`}
<span class="name">posterior</span><div class="lane posterior">${posterior(row)}</div>
<span class="name"></span><div class="axis">${axis(row.seconds)}</div>
</div><output class="readout" aria-live="off"></output></article>`;
}

/** Whether the timeline is that of an alignment network. */
function aligned(row: PredictionRow): boolean {
  return row.timeline === 'alignment';
}

/** Of each frame, the probability that it is not neutral. */
function emotionalPosterior(row: PredictionRow, neutral: number): number[] {
  return row.posteriors.map((frame) => 1 - frame[neutral]!);
}

/** The data for the page's hover script. */
export function timelineData(example: Example, neutral: number): Record<string, unknown> {
  const { row } = example;
  return {
    seconds: row.seconds,
    frameSeconds: row.frameSeconds,
    path: row.path,
    truth: row.truth ?? null,
    clusters: row.clusters ?? null,
    ...(aligned(row)
      ? { emotional: emotionalPosterior(row, neutral).map((share) => Math.round(100 * share)) }
      : { attention: row.attention.map((weight) => Number((weight * row.attention.length).toFixed(2))) }),
    posteriors: row.posteriors.map((frame) => frame.map((p) => Math.round(100 * p))),
  };
}

/** Attention as a multiple of its value if all frames had the same weight; a posterior as it is. */
function lineOver(row: PredictionRow, neutral: number): Line {
  if (aligned(row)) return { values: emotionalPosterior(row, neutral), highest: 1, level: 0.5 };
  return attentionLine(row.attention);
}

function strip(path: readonly number[], row: PredictionRow): Html {
  return html`<svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">${runs(path, row, 10)}</svg>`;
}

/** A rectangle for each run of one class. */
function runs(path: readonly number[], row: PredictionRow, height: number): Html[] {
  const rectangles: Html[] = [];
  for (let first = 0; first < path.length; ) {
    let end = first;
    while (end < path.length && path[end] === path[first]) end++;
    const from = 1000 * cellStart(first, row, path.length);
    const to = 1000 * cellStart(end, row, path.length);
    rectangles.push(
      html`<rect x="${from.toFixed(1)}" width="${(to - from).toFixed(1)}" height="${height}" class="${colorOf(path[first]!)}"/>`,
    );
    first = end;
  }
  return rectangles;
}

/** The posteriors stacked in the order of the labels, so that each frame's column is full. */
function posterior(row: PredictionRow): Html {
  const frames = row.posteriors.length;
  const lower = new Float64Array(frames);
  const areas = row.labels.map((_, label) => {
    const top: string[] = [];
    const bottom: string[] = [];
    for (let i = 0; i < frames; i++) {
      const x = frames === 1 ? 500 : (1000 * i) / (frames - 1);
      bottom.push(`${x.toFixed(1)},${(100 - 100 * lower[i]!).toFixed(1)}`);
      lower[i]! += row.posteriors[i]![label]!;
      top.push(`${x.toFixed(1)},${(100 - 100 * Math.min(lower[i]!, 1)).toFixed(1)}`);
    }
    return html`<polygon points="${[...top, ...bottom.reverse()].join(' ')}" class="${colorOf(label)}"/>`;
  });
  return html`<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">${areas}</svg>`;
}
