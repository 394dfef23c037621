import type { PredictionRow } from '../run/scores.js';
import type { Example } from './choose.js';
import { colorOf } from './colors.js';
import { type Html, html, percent } from './html.js';

/** The drawing of an utterance's waveform. */
export interface Sound {
  /** `[buckets, 2]`: lowest and highest sample of each bucket, over the peak. */
  extremes: [low: number, high: number][];
  /** A WAV file as a data URL, when it is small enough to be played from the page. */
  wav?: string;
}

/** Lowest and highest sample of equal parts, scaled so that the loudest reaches 1. */
export function extremesOf(samples: Float32Array, buckets: number): [number, number][] {
  let peak = 1e-6;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  const count = Math.min(buckets, samples.length);
  return Array.from({ length: count }, (_, bucket) => {
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    const end = Math.floor(((bucket + 1) * samples.length) / count);
    for (let i = Math.floor((bucket * samples.length) / count); i < end; i++) {
      low = Math.min(low, samples[i]!);
      high = Math.max(high, samples[i]!);
    }
    return [low / peak, high / peak];
  });
}

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
<p><span class="chip" style="${colorOf(truthIndex)}">${row.label}</span><span class="arrow" aria-label="predicted as">→</span><span class="chip" style="${colorOf(predictedIndex)}">${row.predicted} ${percent(confidence, 0)}</span></p>
${sound?.wav !== undefined && html`<button type="button" class="play" aria-label="Play ${row.id}">▶</button><audio preload="none" src="${sound.wav}"></audio>`}</header>
<div class="rows">
<span class="name">sound, <em>${aligned(row) ? 'emotional' : 'attention'}</em></span><div class="lane wave">${wave(row, sound, lineOver(row, neutral))}</div>
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

// Frames are 25 ms wide and start every 20 ms: the cell of frame i is centred on (320 i + 200) / 16000 s.
const windowSeconds = 0.025;

/** Start of frame `i`'s cell, as a share of the utterance. */
function cellStart(i: number, row: PredictionRow, frames: number): number {
  if (i === 0) return 0;
  if (i >= frames) return 1;
  return Math.min((i * row.frameSeconds + (windowSeconds - row.frameSeconds) / 2) / row.seconds, 1);
}

/** A value of each frame, drawn from 0 at the bottom to `highest`, and a level to compare it with. */
interface Line {
  values: readonly number[];
  highest: number;
  level: number;
}

/** Attention as a multiple of its value if all frames had the same weight; a posterior as it is. */
function lineOver(row: PredictionRow, neutral: number): Line {
  if (aligned(row)) return { values: emotionalPosterior(row, neutral), highest: 1, level: 0.5 };
  const values = row.attention.map((weight) => weight * row.attention.length);
  return { values, highest: Math.max(...values, 2), level: 1 };
}

function wave(row: PredictionRow, sound: Sound | undefined, { values, highest, level }: Line): Html {
  const bands = row.truth === undefined ? undefined : runs(row.truth, row, 100);
  const extremes = sound?.extremes ?? [];
  const x = (i: number) => ((1000 * i) / Math.max(extremes.length - 1, 1)).toFixed(1);
  const outline = [
    ...extremes.map(([, high], i) => `${x(i)},${(50 - 46 * high).toFixed(1)}`),
    ...extremes.map(([low], i) => `${x(i)},${(50 - 46 * low).toFixed(1)}`).reverse(),
  ];
  const y = (value: number) => (98 - (96 * value) / highest).toFixed(1);
  const line = values.map((value, i) => {
    const center = (1000 * (i * row.frameSeconds + windowSeconds / 2)) / row.seconds;
    return `${center.toFixed(1)},${y(value)}`;
  });
  return html`<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true"><g class="bands">${bands}</g>${
    extremes.length > 1 ? html`<polygon class="sound" points="${outline.join(' ')}"/>` : undefined
  }<line class="level" x1="0" x2="1000" y1="${y(level)}" y2="${y(level)}"/><polyline class="over" points="${line.join(' ')}"/></svg>${
    extremes.length > 1 ? undefined : html`<span class="missing">audio not found</span>`
  }`;
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
      html`<rect x="${from.toFixed(1)}" width="${(to - from).toFixed(1)}" height="${height}" style="${colorOf(path[first]!)}"/>`,
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
    return html`<polygon points="${[...top, ...bottom.reverse()].join(' ')}" style="${colorOf(label)}"/>`;
  });
  return html`<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">${areas}</svg>`;
}

function axis(seconds: number): Html[] {
  const step = [0.25, 0.5, 1, 2, 5, 10, 30].find((candidate) => seconds / candidate <= 6) ?? 60;
  const marks: Html[] = [];
  for (let at = 0; at < seconds - step * 0.3; at += step) {
    marks.push(html`<span style="left:${((100 * at) / seconds).toFixed(2)}%">${at === 0 ? '0 s' : at}</span>`);
  }
  return [...marks, html`<span class="end">${seconds.toFixed(2)}</span>`];
}
