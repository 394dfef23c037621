// Samples as a model takes them in: utterances whole, or one window after another. Normalisation of the waveform, and GroupNorm in
// the first convolution of the base form, are over the whole utterance; with their statistics known, everything up to the
// transformer is the same in a window as in one pass over all.
import { statisticsFor, type WaveformStatistics } from '../audio/normalize.js';
import { packSamples } from '../batch/pack.js';
import { EmoframeError } from '../errors.js';
import type { PackedBatch } from '../model/binding.js';
import type { Geometry } from '../model/geometry.js';
import { MomentSum, type WindowMomentsGiven } from '../model/momentSum.js';
import type { LoadedModel } from './loadModel.js';
import type { EngineUse } from './turns.js';

/** An utterance for one model, window by window. */
export class NormalizedUtterance {
  private constructor(
    private readonly samples: Float32Array,
    private readonly geometry: Geometry,
    private readonly waveform: WaveformStatistics | undefined,
    private readonly moments: WindowMomentsGiven | undefined,
  ) {}

  /**
   * Goes over the audio once, for what is over the whole of it.
   *
   * @param samples 16 kHz mono, of at least one frame.
   * @param blockFrames frames read at once.
   */
  static async open(
    samples: Float32Array,
    { model, normalize }: LoadedModel,
    blockFrames: number,
    { turns, signal }: EngineUse,
  ): Promise<NormalizedUtterance> {
    const waveform = await statisticsFor(samples, normalize);
    if (!model.config.shape.groupNorm) return new NormalizedUtterance(samples, model.geometry, waveform, undefined);
    const { stride } = model.geometry;
    const [kernel, hop] = [model.config.shape.convKernel[0]!, model.config.shape.convStride[0]!];
    const sum = new MomentSum(kernel);
    const whole = new NormalizedUtterance(samples, model.geometry, waveform, undefined);
    for (let first = 0; first < samples.length; ) {
      // The windows that start inside the block, and the rest with the last block rather than in a scrap of its own.
      let end = first + blockFrames * stride;
      if (end + stride + model.geometry.receptiveField > samples.length) end = samples.length;
      const block = whole.#part(first, end === samples.length ? end : end + kernel - hop);
      const { mean, covariance, counts } = await turns.take(() => model.windowMoments(block), signal);
      sum.add(mean, covariance, counts[0]!);
      first = end;
    }
    return new NormalizedUtterance(samples, model.geometry, waveform, sum.moments());
  }

  /** The frames `[start, end)` as a batch of their own. */
  batch({ start, end }: { start: number; end: number }): PackedBatch {
    const first = start * this.geometry.stride;
    return { ...this.#part(first, first + this.geometry.samplesFor(end - start)), ...this.moments };
  }

  #part(first: number, end: number): PackedBatch {
    return packSamples([this.samples.subarray(first, end)], this.geometry.stride, {
      ...(this.waveform !== undefined && { normalize: [this.waveform] }),
    });
  }
}

/**
 * Utterances as a model expects them, each normalised by itself, on one axis.
 *
 * @throws `ERR_AUDIO_SHORT` when one does not fill a frame.
 */
export function batchOf(
  utterances: readonly { samples: Float32Array; name: string }[],
  { model, normalize }: LoadedModel,
): PackedBatch {
  for (const { samples, name } of utterances) checkLength(samples.length, model.geometry, name);
  return packSamples(
    utterances.map(({ samples }) => samples),
    model.geometry.stride,
    { names: utterances.map(({ name }) => name), normalize },
  );
}

/** Throws `ERR_AUDIO_SHORT` for audio that does not fill a frame. */
export function checkLength(samples: number, geometry: Geometry, name: string): void {
  if (geometry.frames(samples) >= 1) return;
  throw new EmoframeError(
    'ERR_AUDIO_SHORT',
    `${name} has ${samples} samples at 16 kHz; at least ${geometry.receptiveField} are needed for one frame.`,
    { file: name },
  );
}
