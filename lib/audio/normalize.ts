import { piecesOf } from '../float32.js';

/** By what a waveform is brought to zero mean and unit variance: (x - mean) · scale. */
export interface WaveformStatistics {
  mean: number;
  /** 1 / sqrt(variance + ε). */
  scale: number;
}

/** ε of the feature extractors of transformers. */
const defaultEpsilon = 1e-7;

/**
 * How a model expects its waveforms: as they are (false); each utterance at zero mean and unit variance, with ε 1e-7 (true) or
 * another, such as the 1e-5 of a LayerNorm over the samples; or brought to the model by a mean and a scale of its training data.
 */
export type Normalization = boolean | { epsilon: number } | WaveformStatistics;

/**
 * Of an utterance that goes through the model in windows; one that goes through it whole is normalised on the device.
 *
 * @param samples f32 at 16 kHz, all of the utterance's
 * @param epsilon added to the variance
 * @example
 * const statistics = await waveformStatistics(samples);
 * const batch = packSamples([samples.subarray(0, 16_000)], stride, { normalize: [statistics] });
 */
export async function waveformStatistics(samples: Float32Array, epsilon = defaultEpsilon): Promise<WaveformStatistics> {
  const count = samples.length;
  let sum = 0;
  for await (const part of piecesOf(samples)) sum = withValues(sum, part);
  const mean = sum / count;
  let squares = 0;
  for await (const part of piecesOf(samples)) squares = withSquares(squares, part, mean);
  return { mean, scale: 1 / Math.sqrt(squares / count + epsilon) };
}

function withValues(sum: number, samples: Float32Array): number {
  let all = sum;
  for (let i = 0; i < samples.length; i++) all += samples[i]!;
  return all;
}

function withSquares(sum: number, samples: Float32Array, mean: number): number {
  let all = sum;
  for (let i = 0; i < samples.length; i++) {
    const off = samples[i]! - mean;
    all += off * off;
  }
  return all;
}

/** By what a part of an utterance is brought to a model, of all of the utterance's samples; undefined: by nothing. */
export async function statisticsFor(
  samples: Float32Array,
  normalize: Normalization,
): Promise<WaveformStatistics | undefined> {
  if (typeof normalize === 'boolean') return normalize ? waveformStatistics(samples) : undefined;
  return 'epsilon' in normalize ? waveformStatistics(samples, normalize.epsilon) : normalize;
}
