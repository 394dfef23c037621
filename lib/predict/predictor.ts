import { basename, extname } from 'node:path';
import { AudioPool } from '../audio/pool.js';
import type { Head } from '../checkpoint/pretrained.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { smooth, type TimelineSegment, toSegments } from '../evaluate/viterbi.js';
import { Engine } from '../model/engine.js';
import { Clusterer } from './clusterer.js';
import { batchOf, type DeviceOptions, type LoadedModel, loadClassifier } from './loadModel.js';

export interface PredictorOptions extends DeviceOptions {
  /** Give every frame its cluster, where the directory has them (default). It costs a second pass through a second model. */
  clusters?: boolean;
}

export interface PredictOptions {
  /** Nats that a change of emotion from one frame to the next must gain; 0 = no smoothing. Default: as the model was evaluated. */
  switchingCost?: number;
  /** Name of the utterance in the result; default: the file's name without its ending. */
  id?: string;
  signal?: AbortSignal;
}

export interface PredictManyOptions extends Omit<PredictOptions, 'id'> {
  /** After each file. */
  onProgress?: (done: number, total: number) => void;
}

/** One frame of a timeline. */
export interface PredictedFrame {
  /** Seconds to the frame's centre. */
  time: number;
  /** The classifier on this frame alone, in the order of `labels`; sums to 1. */
  posterior: number[];
  /** The frame's weight in the utterance's decision; sums to 1 over the utterance. */
  attention: number;
  /** Pseudo-label of stage 2, when the predictor has clusters. */
  cluster?: number;
}

export interface Prediction {
  id: string;
  /** The utterance's emotion. */
  label: string;
  probabilities: Record<string, number>;
  /** Length of the audio. */
  seconds: number;
  /** Seconds from one frame to the next. */
  frameSeconds: number;
  frames: PredictedFrame[];
  /** The smoothed timeline: it covers the utterance without gaps. */
  segments: TimelineSegment[];
}

// The default of `evaluate.switchingCost` in lib/config.
const defaultSwitchingCost = 4;

/**
 * Utterance emotion and frame-level timeline of audio, from the `predictor` folder of a run.
 *
 * @example
 * await using predictor = await Predictor.load('runs/demo/folds/session5/predictor');
 * const { label, segments } = await predictor.predict('a.wav');
 */
export class Predictor {
  readonly #engine: Engine;
  readonly #loaded: LoadedModel & { head: Head };
  readonly #clusterer: Clusterer | undefined;
  readonly #pool: AudioPool;
  readonly #decodeAhead: number;

  private constructor(
    engine: Engine,
    loaded: LoadedModel & { head: Head },
    clusterer: Clusterer | undefined,
    threads: number,
  ) {
    this.#engine = engine;
    this.#loaded = loaded;
    this.#clusterer = clusterer;
    this.#pool = new AudioPool({ threads });
    // One file more than there are decoders, so that none waits for the model.
    this.#decodeAhead = threads + 1;
  }

  /**
   * @param dir a directory as `savePretrained` writes it, with a classifier head; its `clusters` folder is optional.
   * @throws `ERR_HEAD`, `ERR_DEVICE`, and what reading a checkpoint throws.
   * @example
   * const predictor = await Predictor.load('predictor', { precision: 'bf16', clusters: false });
   */
  static async load(dir: string, options: PredictorOptions = {}): Promise<Predictor> {
    const precision = options.precision ?? 'fp32';
    const engine = Engine.create({ device: options.device ?? 'cpu', threads: options.threads ?? 0 });
    try {
      const loaded = await loadClassifier(engine, dir, precision);
      const clusterer = options.clusters === false ? undefined : await Clusterer.find(engine, dir, precision);
      return new Predictor(engine, loaded, clusterer, options.threads === 1 ? 1 : 2);
    } catch (error) {
      engine.dispose();
      throw error;
    }
  }

  /** The emotions, in the order of `PredictedFrame.posterior`. */
  get labels(): readonly string[] {
    return this.#loaded.head.labels;
  }

  /**
   * @param input a file, or f32 mono samples at 16 kHz.
   * @throws `ERR_AUDIO_SHORT` under one frame (25 ms), `ERR_ABORTED`, and what reading audio throws.
   * @example
   * const { frames } = await predictor.predict(samples, { id: 'microphone', switchingCost: 3 });
   */
  async predict(input: string | Float32Array, options: PredictOptions = {}): Promise<Prediction> {
    throwIfAborted(options.signal);
    const samples = typeof input === 'string' ? await this.#pool.load(input, undefined, options.signal) : input;
    const name = typeof input === 'string' ? input : 'The audio';
    return this.#predict(samples, name, options.id ?? idOf(name), options);
  }

  /**
   * Predicts many files in order; later files are decoded while the model works.
   *
   * @throws what `predict` throws, at the file concerned.
   * @example
   * for await (const { id, label } of predictor.predictMany(['a.wav', 'b.flac'])) console.log(id, label);
   */
  async *predictMany(paths: readonly string[], options: PredictManyOptions = {}): AsyncGenerator<Prediction> {
    const decoding: Promise<Float32Array>[] = [];
    let next = 0;
    for (const [index, path] of paths.entries()) {
      throwIfAborted(options.signal);
      while (next < paths.length && decoding.length < this.#decodeAhead) {
        const load = this.#pool.load(paths[next++]!, undefined, options.signal);
        // An error is met when the file's turn comes; until then it must not count as unhandled.
        load.catch(() => undefined);
        decoding.push(load);
      }
      const samples = await decoding.shift()!;
      yield await this.#predict(samples, path, idOf(path), options);
      options.onProgress?.(index + 1, paths.length);
    }
  }

  async #predict(samples: Float32Array, name: string, id: string, options: PredictOptions): Promise<Prediction> {
    const { model, normalize, head } = this.#loaded;
    const { geometry } = model;
    const switchingCost = options.switchingCost ?? this.#evaluatedSwitchingCost();
    if (!(switchingCost >= 0)) {
      throw new EmoframeError(
        'ERR_ARGUMENT',
        `Expected non-negative number for switchingCost but received ${switchingCost}`,
      );
    }
    const result = await model.classify(batchOf(samples, normalize, geometry, name));
    throwIfAborted(options.signal);
    const clusters = await this.#clusterer?.clustersOf(samples, name);
    throwIfAborted(options.signal);

    const classes = head.labels.length;
    const posteriors = result.framePosteriors;
    const probabilities = softmax(result.logits);
    const seconds = samples.length / 16000;
    const path = smooth(posteriors, classes, switchingCost);
    return {
      id,
      label: head.labels[probabilities.indexOf(Math.max(...probabilities))]!,
      probabilities: Object.fromEntries(head.labels.map((label, c) => [label, probabilities[c]!])),
      seconds,
      frameSeconds: geometry.frameSeconds,
      frames: Array.from(result.attention, (attention, frame) => ({
        time: geometry.frameCenterSeconds(frame),
        posterior: Array.from(posteriors.subarray(frame * classes, (frame + 1) * classes)),
        attention,
        ...(clusters === undefined ? {} : { cluster: clusters[frame]! }),
      })),
      segments: toSegments(path, posteriors, head.labels, geometry, seconds),
    };
  }

  #evaluatedSwitchingCost(): number {
    const cost = this.#loaded.head.info?.switchingCost;
    return typeof cost === 'number' && cost >= 0 ? cost : defaultSwitchingCost;
  }

  /** Frees the models at once and ends the decoders. */
  async dispose(): Promise<void> {
    this.#engine.dispose();
    await this.#pool.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

function idOf(path: string): string {
  return basename(path, extname(path));
}

function softmax(logits: Float32Array): number[] {
  const highest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - highest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
