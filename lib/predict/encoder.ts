import { AudioPool } from '../audio/pool.js';
import { throwIfAborted } from '../errors.js';
import { Engine } from '../model/engine.js';
import { batchOf, type DeviceOptions, type LoadedModel, loadEncoder } from './loadModel.js';

/** Hidden states of one utterance. */
export interface HiddenStates {
  /** f32 `[frames, dimension]`. */
  hidden: Float32Array;
  frames: number;
  dimension: number;
}

/**
 * Hidden states of any Hugging Face HuBERT directory, at any layer.
 *
 * @example
 * await using encoder = await Encoder.load('hubert-base-ls960');
 * const { hidden, frames, dimension } = await encoder.encode('a.wav', { layer: 9 });
 */
export class Encoder {
  readonly #engine: Engine;
  readonly #loaded: LoadedModel;
  readonly #pool: AudioPool;

  private constructor(engine: Engine, loaded: LoadedModel, pool: AudioPool) {
    this.#engine = engine;
    this.#loaded = loaded;
    this.#pool = pool;
  }

  /** @param dir holds `config.json` and `model.safetensors` or `pytorch_model.bin`. */
  static async load(dir: string, options: DeviceOptions = {}): Promise<Encoder> {
    const engine = Engine.create({ device: options.device ?? 'cpu', threads: options.threads ?? 0 });
    try {
      const loaded = await loadEncoder(engine, dir, options.precision ?? 'fp32');
      return new Encoder(engine, loaded, new AudioPool({ threads: 1 }));
    } catch (error) {
      engine.dispose();
      throw error;
    }
  }

  /** The last layer; hidden states 0 … `layers` can be asked for. */
  get layers(): number {
    return this.#loaded.model.config.shape.layers;
  }

  /** Channels of a hidden state. */
  get dimension(): number {
    return this.#loaded.model.config.shape.hiddenSize;
  }

  /**
   * The hidden state at `layer` (0 = the transformer's input, L = the output of layer L, as in transformers 5's
   * `hidden_states`), or without one the model's output (`last_hidden_state`: in pre-norm models after the final LayerNorm).
   *
   * @param input a file, or f32 mono samples at 16 kHz.
   * @throws `ERR_AUDIO_SHORT`, `ERR_ARGUMENT` (no such layer), `ERR_ABORTED`, and what reading audio throws.
   * @example
   * const { hidden } = await encoder.encode(samples, { layer: 0 });
   */
  async encode(
    input: string | Float32Array,
    options: { layer?: number; signal?: AbortSignal } = {},
  ): Promise<HiddenStates> {
    const { model, normalize } = this.#loaded;
    const layer = options.layer ?? 'output';
    const samples = typeof input === 'string' ? await this.#pool.load(input, undefined, options.signal) : input;
    throwIfAborted(options.signal);
    const name = typeof input === 'string' ? input : 'The audio';
    const { hidden, offsets } = await model.encode(batchOf(samples, normalize, model.geometry, name), layer);
    return { hidden, frames: offsets[1]!, dimension: this.dimension };
  }

  /** Frees the model at once. */
  async dispose(): Promise<void> {
    this.#engine.dispose();
    await this.#pool.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}
