import { type AudioInput, idOf, isFile, nameOf, streamInput } from '../audio/input.js';
import { AudioPool } from '../audio/pool.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { chainLagSeconds } from '../evaluate/emotionChain.js';
import { parseOptions } from '../issues.js';
import type { Engine } from '../model/engine.js';
import { Geometry } from '../model/geometry.js';
import { Clusterer } from './clusterer.js';
import { Inference } from './inference.js';
import { loadClassifier, onNewEngine } from './loadModel.js';
import {
  type AudioCallOptions,
  type EmotionModelOptions,
  loadSchema,
  type PredictionSizes,
  type PredictManyOptions,
  type PredictOptions,
  planSchema,
  predictManySchema,
  predictSchema,
  type StreamOptions,
  streamSchema,
  type WindowOptions,
  windowSchema,
} from './options.js';
import { type PredictionMemory, planPasses } from './passMemory.js';
import type { Prediction, PredictionFailure, TimelineChunk } from './prediction.js';
import { type AudioInputs, checkIterable, predictMany } from './predictMany.js';
import { streamWindows } from './timelineStream.js';
import { loadUtterance, predictUtterances, type Utterance } from './utterances.js';
import { liveWindows, wholeWindows } from './windows.js';

const cpuBatchSeconds = 30;
/** Tried in turn: a GPU is full with the first, and less of it is lost with the others than by one after another. */
const gpuBatchSeconds = [350, 240, 120, 60];

/**
 * Utterance emotion and frame-level timeline of audio, from the `predictor` folder of a run.
 *
 * Every heavy step runs on the model's own thread or on decoding threads; the event loop stays free. Calls may overlap: they
 * take turns, by batches and by windows of long audio. Audio longer than `windowSeconds` goes through the model in
 * overlapping windows.
 *
 * @example
 * await using model = await EmotionModel.load('runs/demo/folds/s5/predictor');
 * const { label, segments } = await model.predict('a.wav');
 */
export class EmotionModel {
  readonly #engine: Engine;
  readonly #inference: Inference;
  readonly #pool: AudioPool;
  /**
   * Seconds of audio that {@link predictMany} puts through the model together by default: 30 on a CPU; on a GPU 350, or less where
   * such a batch would take more than half of the memory that there was when the model was loaded.
   */
  readonly batchSeconds: number;
  #disposed = false;

  private constructor(engine: Engine, inference: Inference, pool: AudioPool, batchSeconds: number) {
    this.#engine = engine;
    this.#inference = inference;
    this.#pool = pool;
    this.batchSeconds = batchSeconds;
  }

  /**
   * @param dir a directory as `savePretrained` writes it, with a classifier head; its `clusters` folder is optional. Or one that
   *   HFLEA's `fine_tune_hubert.py` saved.
   * @throws `ERR_HEAD`, `ERR_DEVICE`, `ERR_ARGUMENT`, and what reading a checkpoint throws.
   * @example
   * const model = await EmotionModel.load('predictor', { precision: 'bf16', clusters: false });
   */
  static async load(dir: string, options: EmotionModelOptions = {}): Promise<EmotionModel> {
    const { clusters = true, audioCache: cache, ...settings } = parseOptions(loadSchema, options);
    return onNewEngine(settings, async (engine, precision) => {
      const loaded = await loadClassifier(engine, dir, precision);
      const clusterer = clusters ? await Clusterer.find(engine, dir, precision) : undefined;
      const pool = new AudioPool({ threads: settings.threads === 1 ? 1 : 2, ...(cache !== undefined && { cache }) });
      const inference = new Inference(loaded, clusterer);
      return new EmotionModel(engine, inference, pool, await batchSecondsOn(engine, inference));
    });
  }

  /** The emotions, in the order of {@link PredictedFrame.posterior}. */
  get labels(): readonly string[] {
    return this.#inference.head.labels;
  }

  /**
   * What a frame's posterior and the segments follow from. `attention`: the classifier on this frame alone, as published, smoothed.
   * `alignment`: a network whose context is a frame's neighbourhood alone, and where it finds an emotion. In one pass every frame is
   * then neutral or of the emotions that the whole utterance may have; audio that goes through the model in windows, and every stream,
   * may hold any emotions one after another.
   */
  get timeline(): 'alignment' | 'attention' {
    return this.#inference.head.alignment === undefined ? 'attention' : 'alignment';
  }

  /** Where it runs, e.g. `cpu`. */
  get device(): string {
    return this.#engine.device;
  }

  /**
   * The emotion of one audio, and its timeline.
   *
   * @param input a file or a part of one, samples, bytes or a stream; a stream is read to its end first. Samples and bytes must not be
   * written until the promise settles.
   * @throws `ERR_AUDIO_SHORT` under one frame (25 ms), `ERR_OUT_OF_MEMORY` (before what does not fit is begun), `ERR_ABORTED`,
   * `ERR_DISPOSED`, `ERR_ARGUMENT`, and what reading audio throws.
   * @example
   * const { frames } = await model.predict(samples, { id: 'microphone', sampleRate: 48_000, switchingCost: 3 });
   * const { label } = await model.predict(request, { signal: AbortSignal.timeout(10_000) }); // an upload of a WAV file
   */
  async predict(input: AudioInput, options: PredictOptions = {}): Promise<Prediction> {
    const settings = parseOptions(predictSchema, options);
    this.#checkAlive();
    throwIfAborted(settings.signal);
    const plan = this.#inference.windows(settings);
    const utterance = await this.#load(settings.id ?? idOf(input), input, settings);
    const [prediction] = await predictUtterances(this.#inference, [utterance], plan, settings);
    return prediction!;
  }

  /**
   * The same of many audios, in their order. Later ones are decoded while the model works, and short ones go through
   * it together; what is held at once is bounded, however many there are. A result is that of `predict`, up to rounding of
   * the arithmetic (1e-5 of a probability in fp32, 2e-2 in bf16), and the same in every run.
   *
   * @param inputs what `predict` takes, or `{ id, audio }`; they may come as slowly as they like.
   * @throws as `predict`, naming the audio; with `onError: 'yield'` only `ERR_ABORTED`, `ERR_DISPOSED`, `ERR_ARGUMENT`, and
   * what `inputs` itself throws.
   * @example
   * for await (const result of model.predictMany(paths, { onError: 'yield' })) {
   *   if ('error' in result) console.error(result.id, result.error.code);
   *   else console.log(result.id, result.label);
   * }
   */
  predictMany(
    inputs: AudioInputs,
    options?: PredictManyOptions & { onError?: 'throw' },
  ): AsyncGenerator<Prediction, void, undefined>;
  predictMany(
    inputs: AudioInputs,
    options: PredictManyOptions,
  ): AsyncGenerator<Prediction | PredictionFailure, void, undefined>;
  async *predictMany(
    inputs: AudioInputs,
    options: PredictManyOptions = {},
  ): AsyncGenerator<Prediction | PredictionFailure, void, undefined> {
    const settings = parseOptions(predictManySchema, options);
    checkIterable(inputs);
    this.#checkAlive();
    throwIfAborted(settings.signal);
    const plan = this.#inference.windows(settings);
    const batchSeconds = settings.batchSeconds ?? (Symbol.asyncIterator in inputs ? 0 : this.batchSeconds);
    yield* predictMany(this.#inference, this.#pool, inputs, plan, { ...settings, batchSeconds });
  }

  /**
   * The timeline of long or live audio as it comes, a part of `windowSeconds` less twice `overlapSeconds` at a time.
   *
   * @param input as `predict` takes it.
   * @throws as `predict`.
   * @example
   * for await (const { segments, soFar } of model.stream(socket, {
   *   format: { encoding: 's16le', sampleRate: 16_000, channels: 1 },
   *   windowSeconds: 6,
   *   overlapSeconds: 1,
   * })) {
   *   for (const { start, end, label } of segments) console.log(start, end, label);
   * }
   */
  async *stream(input: AudioInput, options: StreamOptions = {}): AsyncGenerator<TimelineChunk, void, undefined> {
    const settings = parseOptions(streamSchema, options);
    this.#checkAlive();
    throwIfAborted(settings.signal);
    const { geometry } = this.#inference;
    const plan = this.#inference.windows(settings);
    const id = settings.id ?? idOf(input);
    const live = !isFile(input) && !ArrayBuffer.isView(input);
    const normalizeBy = settings.normalizeBy ?? (live ? 'window' : 'whole');
    const cost = this.#inference.switchingCost(settings);
    if (normalizeBy === 'window' && settings.level === 'match') {
      throw new EmoframeError(
        'ERR_ARGUMENT',
        "The level of audio whose end is not known cannot be matched: give level 'as-is', or normalizeBy 'whole'.",
      );
    }
    if (normalizeBy === 'whole') {
      const { samples, name } = await this.#load(id, input, settings);
      const windows = wholeWindows(samples, geometry, this.#inference.normalizing, plan, name, settings.signal);
      const [waveform] = this.#inference.waveformsOf([samples], settings.level) ?? [];
      yield* streamWindows(this.#inference, windows, cost, waveform);
      return;
    }
    const name = nameOf(id, input);
    const { sampleRate } = Geometry;
    const parts = isFile(input)
      ? streamInput((await this.#load(id, input, settings)).samples, { ...settings, sampleRate }, name)
      : streamInput(input, settings, name);
    yield* streamWindows(this.#inference, liveWindows(parts, geometry, plan, name), cost, undefined);
  }

  /**
   * Seconds that {@link stream} gives a frame after it was spoken, at the most and without the time of computing: until its window
   * has come, and where {@link timeline} is `alignment` with the second after it that its posterior takes into account.
   *
   * @param windows as they will be given to `stream`.
   * @throws `ERR_ARGUMENT`
   * @example
   * model.latencySeconds({ windowSeconds: 6, overlapSeconds: 1 }); // 6
   */
  latencySeconds(windows: WindowOptions = {}): number {
    const plan = this.#inference.windows(parseOptions(windowSchema, windows));
    return plan.latencySeconds(this.timeline === 'alignment' ? chainLagSeconds : 0);
  }

  /**
   * What prediction takes of the device's memory at its most: a window, or a batch of audio of a second each. Shorter audio takes
   * less. Calls need not be planned: where memory is limited, each pass is, before it is begun.
   *
   * @param sizes as `predictMany` has them by default, or as they will be given to calls.
   * @throws `ERR_ARGUMENT`, `ERR_DISPOSED`
   * @example
   * const { total, available } = await model.plan({ windowSeconds: 60, batchSeconds: 120 });
   */
  async plan(sizes: PredictionSizes = {}): Promise<PredictionMemory> {
    const { batchSeconds = this.batchSeconds, ...windows } = parseOptions(planSchema, sizes);
    this.#checkAlive();
    return planPrediction(this.#engine, this.#inference, { ...windows, batchSeconds });
  }

  /** Frees the models and ends the decoding threads; work that goes on is refused with `ERR_DISPOSED`. May be called again. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    this.#engine.dispose();
    await this.#pool.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #load(id: string, input: AudioInput, options: AudioCallOptions): Promise<Utterance> {
    return loadUtterance(this.#pool, this.#inference.geometry, id, input, options);
  }

  #checkAlive(): void {
    if (this.#disposed) throw new EmoframeError('ERR_DISPOSED', 'The model was disposed of: load it again to go on.');
  }
}

/** A window, or a batch of audio of a second each. */
function planPrediction(
  engine: Engine,
  inference: Inference,
  { batchSeconds, ...windows }: PredictionSizes & { batchSeconds: number },
): Promise<PredictionMemory> {
  const { geometry, models } = inference;
  const window = { frames: inference.windows(windows).windowFrames, utterances: 1, ranges: true };
  const utterances = Math.ceil(batchSeconds);
  const batch = { frames: geometry.frames(batchSeconds * Geometry.sampleRate), utterances, ranges: false };
  const passes = batch.frames < utterances || utterances === 0 ? [window] : [window, batch];
  return planPasses(
    engine,
    models.map(({ memory }) => memory),
    passes,
  );
}

async function batchSecondsOn(engine: Engine, inference: Inference): Promise<number> {
  if (engine.device === 'cpu') return cpuBatchSeconds;
  for (const batchSeconds of gpuBatchSeconds) {
    const { total, available } = await planPrediction(engine, inference, { batchSeconds });
    if (total <= available / 2) return batchSeconds;
  }
  return cpuBatchSeconds;
}
