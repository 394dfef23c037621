// Batches of one stage. When the feature encoder is frozen its output is computed once an utterance and kept by the engine;
// when it is trained, or its output would not fit the memory allowed, batches hold the samples themselves.

import { statisticsFor, type WaveformStatistics } from '../audio/normalize.js';
import { maskSpans, type SpanMask } from '../batch/masks.js';
import { packFeatures, packLocally, packSamples } from '../batch/pack.js';
import type { Draw, SamplerItem } from '../batch/samplers.js';
import type { LoadedHubert } from '../checkpoint/load.js';
import { given } from '../given.js';
import { groupBy, mapLimited } from '../lists.js';
import type { SoundStatistics } from '../model/alignment.js';
import type { PackedBatch } from '../model/binding.js';
import { Geometry } from '../model/geometry.js';
import type { RandomSource } from '../random/philox.js';
import { type StageContext, samplesOf } from './context.js';

/** Frames that so many seconds give. */
export function framesIn(seconds: number, geometry: Geometry): number {
  return geometry.frames(Math.floor(seconds * Geometry.sampleRate));
}

/** Splits draws into passes of forward and backward that each hold at most `memory.passSeconds` of audio. */
export function passesOf<Item extends { count: number }>(
  context: StageContext,
  geometry: Geometry,
  draws: readonly Item[],
): Item[][] {
  return groupBy(draws, (draw) => draw.count, framesIn(context.config.memory.passSeconds, geometry));
}

/** Frames of all draws together. */
export function framesOfDraws(draws: readonly { count: number }[]): number {
  return draws.reduce((sum, { count }) => sum + count, 0);
}

/** Masks the frames of a pass draw by draw: u8 `[T]`, and how many of them are masked. */
export function maskDraws(
  draws: readonly Draw[],
  settings: SpanMask,
  rounding: number,
  random: RandomSource,
): { mask: Uint8Array; masked: number } {
  const mask = new Uint8Array(framesOfDraws(draws));
  let [first, masked] = [0, 0];
  for (const { count } of draws) {
    masked += maskSpans(mask.subarray(first, first + count), settings, rounding, random);
    first += count;
  }
  return { mask, masked };
}

export interface InputOptions {
  /** Whether the feature encoder is trained. */
  trainFeatureEncoder: boolean;
  /** Audio after so many frames of an utterance is never used. Absent: all may be. */
  firstFrames?: number;
  /** Whether features of a frozen encoder may be stored (default). */
  stored?: boolean;
  /** What waveforms are normalised by, in place of each utterance's own statistics. */
  statistics?: SoundStatistics;
}

/** A part of an utterance, with what the whole is normalised by where the model wants that. */
interface Cut {
  readonly samples: Float32Array;
  readonly waveform?: WaveformStatistics;
}

export class Inputs {
  readonly #cached: boolean;
  /** Frames whose features will be stored; 0: none are. */
  readonly storedFrames: number;
  /** Of the longest utterance among them. */
  readonly longestStoredFrames: number;
  /** Utterances whose features are being stored, so that two batches do not both do it. */
  readonly #storing = new Map<string, Promise<void>>();

  constructor(
    private readonly context: StageContext,
    private readonly stage: LoadedHubert,
    items: readonly SamplerItem[],
    private readonly options: InputOptions,
  ) {
    const lengths = items.map((item) => Math.min(item.frames, options.firstFrames ?? item.frames));
    const frames = lengths.reduce((sum, length) => sum + length, 0);
    const { config, alignment } = stage.model.spec;
    const columns = config.shape.convDim.at(-1)! + (alignment?.melBands ?? 0);
    const bytes = frames * columns * Float32Array.BYTES_PER_ELEMENT;
    this.#cached =
      (options.stored ?? true) && !options.trainFeatureEncoder && bytes <= context.config.memory.featureBytes;
    this.storedFrames = this.#cached ? frames : 0;
    this.longestStoredFrames = this.#cached ? lengths.reduce((most, length) => Math.max(most, length), 0) : 0;
  }

  /** The batch of these draws, in their order. */
  async pack(draws: readonly Draw[]): Promise<PackedBatch> {
    if (!this.#cached) {
      const cut = await mapLimited(draws, ({ id, start, count }) => this.#cut(id, start, count));
      return this.#packed(
        cut,
        draws.map(({ id }) => id),
      );
    }
    await this.#store([...new Set(draws.map(({ id }) => id))]);
    return packFeatures(
      draws.map(({ id }) => id),
      draws,
    );
  }

  async #cut(id: string, start: number, count?: number): Promise<Cut> {
    const { geometry } = this.stage.model;
    const whole = await samplesOf(this.context, id);
    const first = start * geometry.stride;
    const samples = count === undefined ? whole : whole.subarray(first, first + geometry.samplesFor(count));
    return { samples, ...given({ waveform: await statisticsFor(whole, this.stage.normalize) }) };
  }

  /** Normalised over whole utterances, so that a crop is the same signal as in the whole. */
  #packed(cuts: readonly Cut[], names: readonly string[]): PackedBatch {
    const { statistics } = this.options;
    if (statistics !== undefined) {
      const sounds = cuts.map(({ samples }) => samples);
      return packLocally(sounds, this.stage.model.geometry.stride, statistics, names);
    }
    return packSamples(
      cuts.map(({ samples }) => samples),
      this.stage.model.geometry.stride,
      { names, normalize: this.stage.normalize !== false && cuts.map(({ waveform }) => waveform!) },
    );
  }

  async #store(ids: readonly string[]): Promise<void> {
    const { model } = this.stage;
    // One utterance a call: stored features must not depend on the batch that needed them first, and so on where a run resumed.
    await mapLimited(ids, async (id) => {
      if (model.storedFrames(id) >= 0) return;
      let storing = this.#storing.get(id);
      if (storing === undefined) {
        storing = this.#cut(id, 0, this.options.firstFrames).then((cut) =>
          model.storeFeatures([id], this.#packed([cut], [id])),
        );
        this.#storing.set(id, storing);
      }
      try {
        await storing;
      } finally {
        this.#storing.delete(id);
      }
    });
  }
}
