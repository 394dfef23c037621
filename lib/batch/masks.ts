// Span masks of masked prediction and of SpecAugment along time: the same function with other numbers. It follows
// `_compute_mask_indices` of transformers for one utterance, so that a mask never depends on what else is in the batch.
import type { RandomSource } from '../random/philox.js';

export interface SpanMask {
  /** Upper bound of the masked share: spans may overlap. */
  probability: number;
  /** Frames a span. */
  length: number;
  /** Spans an utterance gets at least, as far as it has room. */
  minimumSpans: number;
}

/**
 * How many spans an utterance of `frames` frames gets: floor(probability · frames / length + rounding), within its room.
 *
 * @param rounding u ~ U[0, 1), drawn once a batch, which makes the expected count exact.
 */
export function spanCount(frames: number, { probability, length, minimumSpans }: SpanMask, rounding: number): number {
  let count = Math.max(Math.floor((probability * frames) / length + rounding), minimumSpans);
  if (count * length > frames) count = Math.floor(frames / length);
  return Math.max(Math.min(count, frames - (length - 1)), 0);
}

/**
 * Marks the masked frames of one utterance in `mask[0 .. frames)`. Starts are drawn without replacement from the
 * frames − length + 1 positions; an utterance shorter than a span gets no mask.
 *
 * @param mask u8 `[frames]`, zeros at first; 1 where the mask embedding replaces the frame.
 * @returns the number of frames that were marked.
 * @example
 * const random = new PhiloxStream(seed, step, sites.mask);
 * const rounding = random.uniform();
 * const mask = new Uint8Array(frames);
 * maskSpans(mask, { probability: 0.8, length: 10, minimumSpans: 2 }, rounding, random);
 */
export function maskSpans(mask: Uint8Array, settings: SpanMask, rounding: number, random: RandomSource): number {
  const count = spanCount(mask.length, settings, rounding);
  if (count === 0) return 0;
  const positions = mask.length - settings.length + 1;
  // The first `count` steps of a Fisher–Yates shuffle, on a sparse copy of 0, 1, 2, …
  const moved = new Map<number, number>();
  for (let drawn = 0; drawn < count; drawn++) {
    const other = drawn + random.integer(positions - drawn);
    const start = moved.get(other) ?? other;
    moved.set(other, moved.get(drawn) ?? drawn);
    mask.fill(1, start, start + settings.length);
  }
  let marked = 0;
  for (const value of mask) marked += value;
  return marked;
}
