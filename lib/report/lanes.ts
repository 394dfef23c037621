// The parts that drawings of an utterance are made of, whatever a model says of it: its sound with a line over it, and the axis of time.
import { largestOf } from '../lists.js';
import { type Html, html } from './html.js';

/** How frames lie in an utterance. */
export interface Timing {
  seconds: number;
  frameSeconds: number;
}

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

// Frames are 25 ms wide and start every 20 ms: the cell of frame i is centred on (320 i + 200) / 16000 s.
const windowSeconds = 0.025;

/** Start of frame `i`'s cell, as a share of the utterance. */
export function cellStart(i: number, row: Timing, frames: number): number {
  if (i === 0) return 0;
  if (i >= frames) return 1;
  return Math.min((i * row.frameSeconds + (windowSeconds - row.frameSeconds) / 2) / row.seconds, 1);
}

/** A value of each frame, drawn from 0 at the bottom to `highest`, and a level to compare it with. */
export interface Line {
  values: readonly number[];
  highest: number;
  level: number;
}

/** Attention as a multiple of its value if all frames had the same weight. */
export function attentionLine(attention: readonly number[]): Line {
  const values = attention.map((weight) => weight * attention.length);
  return { values, highest: Math.max(2, largestOf(values)), level: 1 };
}

/** Where the centres of frames lie, from 0 to 1000. */
export function frameCenter(i: number, { seconds, frameSeconds }: Timing): string {
  return ((1000 * (i * frameSeconds + windowSeconds / 2)) / seconds).toFixed(1);
}

/** The waveform, `bands` behind it and a line over it. */
export function wave(
  row: Timing,
  sound: Sound | undefined,
  { values, highest, level }: Line,
  bands?: readonly Html[],
): Html {
  const extremes = sound?.extremes ?? [];
  const x = (i: number) => ((1000 * i) / Math.max(extremes.length - 1, 1)).toFixed(1);
  const outline = [
    ...extremes.map(([, high], i) => `${x(i)},${(50 - 46 * high).toFixed(1)}`),
    ...extremes.map(([low], i) => `${x(i)},${(50 - 46 * low).toFixed(1)}`).reverse(),
  ];
  const y = (value: number) => (98 - (96 * value) / highest).toFixed(1);
  const line = values.map((value, i) => `${frameCenter(i, row)},${y(value)}`);
  return html`<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true"><g class="bands">${bands}</g>${
    extremes.length > 1 ? html`<polygon class="sound" points="${outline.join(' ')}"/>` : undefined
  }<line class="level" x1="0" x2="1000" y1="${y(level)}" y2="${y(level)}"/><polyline class="over" points="${line.join(' ')}"/></svg>${
    extremes.length > 1 ? undefined : html`<span class="missing">audio not found</span>`
  }`;
}

export function axis(seconds: number): Html {
  const step = [0.25, 0.5, 1, 2, 5, 10, 30].find((candidate) => seconds / candidate <= 6) ?? 60;
  const marks: Html[] = [];
  for (let at = 0; at < seconds - step * 0.3; at += step) {
    marks.push(html`<text x="${((100 * at) / seconds).toFixed(2)}%" y="13">${at === 0 ? '0 s' : at}</text>`);
  }
  return html`<svg aria-hidden="true">${marks}<text class="end" x="100%" y="13">${seconds.toFixed(2)}</text></svg>`;
}
