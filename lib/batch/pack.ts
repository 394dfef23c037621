// Utterances laid end to end on one time axis, never padded: each starts at a multiple of the model's stride, so that the
// frames of every convolution stay aligned, and nothing of one utterance reaches another.

import type { Normalization, WaveformStatistics } from '../audio/normalize.js';
import { given } from '../given.js';
import type { SoundStatistics } from '../model/alignment.js';
import type { PackedBatch } from '../model/binding.js';

/** A part of an utterance in frames of the model. */
export interface FrameRange {
  /** First frame. */
  start: number;
  /** Frames. */
  count: number;
}

/** Options of `packSamples`. */
export interface PackOptions {
  /** Names of the utterances, for error messages. */
  names?: readonly string[];
  /** As the model expects them, by the statistics of each; or by those given, one for each (of longer audio it is part of). */
  normalize?: Normalization | readonly WaveformStatistics[];
}

/**
 * Packs raw audio. Samples are not copied here but by each call that is given the batch, before it returns.
 *
 * @param utterances f32 at 16 kHz, each long enough for one frame.
 * @param stride samples a frame (`geometry.stride`).
 * @example
 * await model.encode(packSamples([first, second], model.geometry.stride, { normalize: true }), 9);
 */
export function packSamples(
  utterances: readonly Float32Array[],
  stride: number,
  { names, normalize = false }: PackOptions = {},
): PackedBatch {
  const starts = new Int32Array(utterances.length);
  const lengths = new Int32Array(utterances.length);
  let total = 0;
  utterances.forEach((samples, index) => {
    starts[index] = total;
    lengths[index] = samples.length;
    total += Math.ceil(samples.length / stride) * stride;
  });
  return {
    samples: utterances,
    starts,
    lengths,
    ...(normalize !== false && { normalize: true }),
    ...statisticsOf(normalize, utterances.length),
    ...(names && { names }),
  };
}

function statisticsOf(
  normalize: Normalization | readonly WaveformStatistics[],
  utterances: number,
): Pick<PackedBatch, 'epsilon' | 'waveform'> {
  if (typeof normalize === 'boolean') return {};
  if ('epsilon' in normalize) return { epsilon: normalize.epsilon };
  const given = 'mean' in normalize ? Array.from({ length: utterances }, () => normalize) : normalize;
  return { waveform: Float64Array.from(given.flatMap(({ mean, scale }) => [mean, scale])) };
}

/**
 * Packs raw audio for an alignment network that was trained with statistics of its corpus (`AlignmentSettings.statistics`): they
 * bring the samples to the model in place of each utterance's own, so that a frame follows from its neighbourhood alone.
 *
 * @param utterances f32 at 16 kHz, each long enough for one frame.
 * @param waveforms in place of the mean and scale of `statistics`, of each utterance.
 * @example
 * const { frameLogits } = (await model.classify(packLocally([samples], stride, statistics), undefined, 'alignment')).alignment;
 */
export function packLocally(
  utterances: readonly Float32Array[],
  stride: number,
  { waveform, windows }: SoundStatistics,
  names?: readonly string[],
  waveforms: readonly WaveformStatistics[] = utterances.map(() => waveform),
): PackedBatch {
  const batch = packSamples(utterances, stride, { normalize: waveforms, ...given({ names }) });
  if (windows === undefined) return batch;
  const repeated = (values: readonly number[]) => Float32Array.from(utterances.flatMap(() => values));
  return { ...batch, windowMean: repeated(windows.mean), windowCovariance: repeated(windows.covariance) };
}

/**
 * Packs stored features of the frozen encoder by key, each with its range of frames.
 *
 * @example
 * await model.trainStep(packFeatures(['a', 'b'], [{ start: 0, count: 99 }, { start: 40, count: 779 }]), options);
 */
export function packFeatures(keys: readonly string[], ranges: readonly FrameRange[]): PackedBatch {
  return {
    features: [...keys],
    frameStarts: Int32Array.from(ranges, (range) => range.start),
    frameCounts: Int32Array.from(ranges, (range) => range.count),
  };
}
