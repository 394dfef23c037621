import { z } from 'zod';
import { type AudioInput, audioOf, idOf, loadInput, nameOf } from '../audio/input.js';
import { AudioPool } from '../audio/pool.js';
import { throwIfAborted } from '../errors.js';
import { callback, parseOptions, strictOptions } from '../issues.js';
import type { PackedBatch } from '../model/binding.js';
import type { Engine } from '../model/engine.js';
import { Geometry } from '../model/geometry.js';
import { Lifetime } from './lifetime.js';
import { findCheckpoint, type LoadedModel, loadEncoder, onNewEngine } from './loadModel.js';
import { batchOf } from './modelInput.js';
import {
  type AudioCallOptions,
  type AudioProgress,
  audioCallShape,
  type InferenceOptions,
  inferenceShape,
  type WindowOptions,
  windowSchema,
} from './options.js';
import { ownInput } from './ownInput.js';
import { type PredictionMemory, planPasses } from './passMemory.js';
import { Turns } from './turns.js';
import { WindowPlan, type WindowsUsed, wholeWindows } from './windows.js';

/** Hidden states of one utterance. */
export interface HiddenStates {
  /** f32 `[frames, dimension]`. */
  readonly hidden: Float32Array;
  readonly frames: number;
  readonly dimension: number;
  /** The windows in which they were computed; null for one pass. */
  readonly windows: WindowsUsed | null;
}

/** Of {@link Encoder.encode}. */
export interface EncodeOptions extends AudioCallOptions {
  /** 0 (the transformer's input) to `layers`; absent: the model's output. */
  layer?: number;
  onProgress?: (progress: AudioProgress) => void;
}

const loadSchema = strictOptions(inferenceShape);
const encodeSchema = strictOptions({
  ...audioCallShape,
  layer: z.number().int().nonnegative().exactOptional(),
  onProgress: callback<NonNullable<EncodeOptions['onProgress']>>().exactOptional(),
});

/**
 * Hidden states of any checkpoint of HuBERT, wav2vec 2.0, WavLM, data2vec or emotion2vec, at any layer.
 *
 * @example
 * await using encoder = await Encoder.load('hubert-base-ls960');
 * const { hidden, frames, dimension } = await encoder.encode('a.wav', { layer: 9 });
 */
export class Encoder {
  readonly #engine: Engine;
  readonly #loaded: LoadedModel;
  readonly #pool: AudioPool;
  readonly #lifetime = new Lifetime('encoder');
  readonly #turns = new Turns();

  private constructor(engine: Engine, loaded: LoadedModel, pool: AudioPool) {
    this.#engine = engine;
    this.#loaded = loaded;
    this.#pool = pool;
  }

  /**
   * @param model a checkpoint of any kind that {@link loadPretrained} reads: a directory or a file here. Otherwise the OWNER/NAME of one on
   *   the Hugging Face Hub, which is downloaded to the cache.
   * @throws `ERR_DEVICE`, `ERR_ARGUMENT`, and what {@link loadPretrained} and {@link downloadModel} throw.
   * @example
   * const encoder = await Encoder.load('facebook/hubert-base-ls960', { revision: 'main' });
   */
  static async load(model: string, options: InferenceOptions = {}): Promise<Encoder> {
    const { audioCache: cache, ...settings } = parseOptions(loadSchema, options);
    return onNewEngine(settings, async (engine, precision) => {
      const loaded = await loadEncoder(engine, await findCheckpoint(model, settings), precision);
      return new Encoder(engine, loaded, new AudioPool({ threads: 1, ...(cache !== undefined && { cache }) }));
    });
  }

  /** The last layer; hidden states 0 … `layers` can be asked for. */
  get layers(): number {
    return this.#loaded.model.config.shape.layers;
  }

  /** Where it runs, e.g. `cpu`. */
  get device(): string {
    return this.#engine.device;
  }

  /** Channels of a hidden state. */
  get dimension(): number {
    return this.#loaded.model.config.shape.hiddenSize;
  }

  /**
   * The hidden state at `layer` (0 = the transformer's input, L = the output of layer L, as in transformers 5's
   * `hidden_states`), or without one the model's output (`last_hidden_state`: in pre-norm models after the final LayerNorm).
   * Audio longer than `windowSeconds` goes through the model in overlapping windows.
   *
   * @param input a file, samples, bytes or a stream; see {@link AudioInput}. Samples and bytes are copied at the call.
   * @throws `ERR_AUDIO_SHORT`, `ERR_ARGUMENT` (no such layer), `ERR_OUT_OF_MEMORY` (before what does not fit is begun),
   * `ERR_ABORTED`, `ERR_DISPOSED`, and what reading audio throws.
   * @example
   * const { hidden } = await encoder.encode(samples, { layer: 0 });
   */
  async encode(input: AudioInput, options: EncodeOptions = {}): Promise<HiddenStates> {
    const { signal, ...settings } = parseOptions(encodeSchema, options);
    const own = ownInput(audioOf(input));
    return this.#lifetime.run(signal, (stop) => this.#encode(own, { ...settings, signal: stop }));
  }

  async #encode(input: AudioInput, settings: EncodeOptions & { signal: AbortSignal }): Promise<HiddenStates> {
    const { signal } = settings;
    const { model, memory } = this.#loaded;
    const turns = this.#turns;
    const plan = new WindowPlan(model.geometry, settings);
    const layer = settings.layer ?? 'output';
    const id = settings.id ?? idOf(input);
    const name = nameOf(id, input);
    const samples = await loadInput(this.#pool, input, settings, name);
    const frames = model.geometry.frames(samples.length);
    const { dimension } = this;
    const totalSeconds = samples.length / Geometry.sampleRate;
    const encode = (batch: PackedBatch) =>
      turns.take(() => memory.run(batch, false, () => model.encode(batch, layer)), signal);
    if (plan.fits(frames)) {
      const { hidden } = await encode(batchOf([{ samples, name }], this.#loaded));
      settings.onProgress?.({ id, doneSeconds: totalSeconds, totalSeconds });
      throwIfAborted(signal);
      return { hidden, frames, dimension, windows: null };
    }
    const hidden = new Float32Array(frames * dimension);
    for await (const window of wholeWindows(samples, model.geometry, [this.#loaded], plan, name, { turns, signal })) {
      const encoded = await encode(window.batch(this.#loaded));
      const [first, end] = [window.keepStart - window.start, window.keepEnd - window.start];
      hidden.set(encoded.hidden.subarray(first * dimension, end * dimension), window.keepStart * dimension);
      const doneSeconds = window.last ? totalSeconds : window.keepEnd * model.geometry.frameSeconds;
      settings.onProgress?.({ id, doneSeconds, totalSeconds });
    }
    throwIfAborted(signal);
    return { hidden, frames, dimension, windows: plan.used };
  }

  /**
   * What encoding takes of the device's memory at its most, with such windows.
   *
   * @throws `ERR_ARGUMENT`, `ERR_DISPOSED`
   * @example
   * const { total, available } = await encoder.plan({ windowSeconds: 60 });
   */
  async plan(options: WindowOptions = {}): Promise<PredictionMemory> {
    const windows = new WindowPlan(this.#loaded.model.geometry, parseOptions(windowSchema, options));
    const window = { frames: windows.windowFrames, utterances: 1, ranges: false };
    return planPasses(this.#engine, [this.#loaded.memory], [window]);
  }

  /** Frees the model at once. May be called again. */
  async dispose(): Promise<void> {
    this.#lifetime.end();
    this.#engine.dispose();
    await this.#pool.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}
