import { wavFile } from '../audio/wavFile.js';

/** Root mean square. */
export function rms(samples: Float32Array): number {
  let sum = 0;
  for (const value of samples) sum += value * value;
  return Math.sqrt(sum / Math.max(1, samples.length));
}

/** The samples from the first to the last 5 ms block within 34 dB of the loudest one. */
export function trimSilence(samples: Float32Array, sampleRate: number): Float32Array {
  const block = Math.max(1, Math.round(sampleRate * 0.005));
  const levels: number[] = [];
  for (let start = 0; start < samples.length; start += block) levels.push(rms(samples.subarray(start, start + block)));
  const threshold = levels.reduce((most, level) => Math.max(most, level), 0) * 0.02;
  const first = levels.findIndex((level) => level > threshold);
  if (first < 0) return samples.subarray(0, 0);
  const last = levels.findLastIndex((level) => level > threshold);
  return samples.subarray(first * block, (last + 1) * block);
}

/** First-order high shelf at `corner` Hz: vocal effort raises the upper spectrum more than the lower. In place. */
export function highShelf(samples: Float32Array, sampleRate: number, corner: number, decibels: number): void {
  const gain = 10 ** (decibels / 20) - 1;
  const pole = Math.exp((-2 * Math.PI * corner) / sampleRate);
  let low = 0;
  for (let i = 0; i < samples.length; i++) {
    const value = samples[i]!;
    low = pole * low + (1 - pole) * value;
    samples[i] = value + gain * (value - low);
  }
}

/** Raised-cosine fades of `length` samples at both ends, so that a phrase neither starts nor ends with a click. In place. */
export function fadeEnds(samples: Float32Array, length: number): void {
  const count = Math.min(length, samples.length >> 1);
  for (let i = 0; i < count; i++) {
    const weight = 0.5 - 0.5 * Math.cos((Math.PI * (i + 0.5)) / count);
    samples[i]! *= weight;
    samples[samples.length - 1 - i]! *= weight;
  }
}

/** 16-bit mono WAV. */
export function encodeWav(samples: Float32Array, sampleRate: number): Buffer {
  const rounded = Int16Array.from(samples, (value) => Math.min(32767, Math.max(-32768, Math.round(value * 32768))));
  return wavFile(rounded, sampleRate);
}
