import { type AudioInput, audioOf, idOf, isFile, nameOf, streamInput } from '../audio/input.js';
import { AudioPool } from '../audio/pool.js';
import type { Head } from '../checkpoint/head.js';
import { EmoframeError } from '../errors.js';
import { chainLagSeconds } from '../evaluate/emotionChain.js';
import { given } from '../given.js';
import { parseOptions } from '../issues.js';
import type { Engine } from '../model/engine.js';
import { Geometry } from '../model/geometry.js';
import { Clusterer } from './clusterer.js';
import { Inference, type TimelineMethod } from './inference.js';
import { Lifetime } from './lifetime.js';
import { findCheckpoint, loadClassifier, onNewEngine } from './loadModel.js';
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
import { ownInput } from './ownInput.js';
import { type PredictionMemory, planPasses } from './passMemory.js';
import type { Prediction, PredictionFailure, Task, TimelineChunk } from './prediction.js';
import { type AudioInputs, checkIterable, predictMany } from './predictMany.js';
import { streamWindows } from './timelineStream.js';
import { loadUtterance, predictUtterances, type Utterance } from './utterances.js';
import { liveWindows, type WindowPlan, wholeWindows } from './windows.js';

const cpuBatchSeconds = 30;
/** Tried in turn: a GPU is full with the first, and less of it is lost with the others than by one after another. */
const gpuBatchSeconds = [350, 240, 120, 60];

/**
 * Utterance emotion and frame-level timeline of audio, from the `predictor` folder of a run or a published model; of a model whose head
 * is a regression, values of dimensions in their place.
 *
 * Every heavy step runs on the model's own thread or on decoding threads; the event loop stays free. Calls may overlap: they
 * take turns, by batches and by windows of long audio. Audio longer than `windowSeconds` goes through the model in
 * overlapping windows.
 *
 * @example
 * await using model = await EmotionModel.load('runs/demo/folds/s5/predictor');
 * const { label, segments } = await model.predict('a.wav');
 */
export class EmotionModel<T extends Task = Task> {
  /**
   * What its predictions have: `label`, `probabilities` and posteriors of frames (`classification`), or `values` of dimensions
   * (`regression`).
   */
  readonly task: T;
  readonly #engine: Engine;
  readonly #inference: Inference;
  readonly #pool: AudioPool;
  /**
   * Seconds of audio that {@link predictMany} puts through the model together by default: 30 on a CPU; on a GPU 350, or less where
   * such a batch would take more than half of the memory that there was when the model was loaded.
   */
  readonly batchSeconds: number;
  readonly #lifetime = new Lifetime('model');

  private constructor(task: T, engine: Engine, inference: Inference, pool: AudioPool, batchSeconds: number) {
    this.task = task;
    this.#engine = engine;
    this.#inference = inference;
    this.#pool = pool;
    this.batchSeconds = batchSeconds;
  }

  /**
   * @param model a directory or file here: a run's `predictor`, whose `clusters` folder is optional, or a published model of any form that
   *   `emoframe models` lists. Otherwise the OWNER/NAME of one on the Hugging Face Hub, which is downloaded to the cache.
   * @throws `ERR_HEAD` (it has no head, one that cannot be run, or not the one of the `task` that is asked for), `ERR_DEVICE`,
   *   `ERR_ARGUMENT`, and what reading a checkpoint and {@link downloadModel} throw.
   * @example
   * const model = await EmotionModel.load('predictor', { precision: 'bf16', clusters: false });
   * const published = await EmotionModel.load('superb/hubert-large-superb-er', { task: 'classification' });
   */
  static async load(
    model: string,
    options: EmotionModelOptions & { task: 'classification' },
  ): Promise<EmotionModel<'classification'>>;
  static async load(
    model: string,
    options: EmotionModelOptions & { task: 'regression' },
  ): Promise<EmotionModel<'regression'>>;
  static async load(
    model: string,
    options?: EmotionModelOptions,
  ): Promise<EmotionModel<'classification'> | EmotionModel<'regression'>>;
  static async load(model: string, options: EmotionModelOptions = {}): Promise<EmotionModel> {
    const { clusters = true, audioCache: cache, head, task, ...settings } = parseOptions(loadSchema, options);
    return onNewEngine(settings, async (engine, precision) => {
      const dir = await findCheckpoint(model, settings);
      const loaded = await loadClassifier(engine, dir, precision, given({ head }));
      checkTask(model, loaded.head, task);
      const clusterer = clusters ? await Clusterer.find(engine, dir, precision) : undefined;
      const pool = new AudioPool({ threads: settings.threads === 1 ? 1 : 2, ...(cache !== undefined && { cache }) });
      const inference = new Inference(loaded, clusterer);
      return new EmotionModel(inference.task, engine, inference, pool, await batchSecondsOn(engine, inference));
    });
  }

  /** The emotions, in the order of a frame's `posterior`; of a regression the dimensions, in that of its `values`. */
  get labels(): readonly string[] {
    return this.#inference.head.labels;
  }

  /**
   * What frames and segments follow from; the results have the same form.
   *
   * - `alignment`: a network whose context is a frame's neighbourhood alone, and where it finds an emotion. In one pass every frame is
   *   then neutral or of the emotions that the whole utterance may have; audio that goes through the model in windows, and every stream,
   *   may hold any emotions one after another.
   * - `frames`: the head on this frame alone, smoothed. Its outputs for an utterance are the mean of those of frames, before any softmax.
   * - `attention`: the same where frames are weighted, as published.
   * - `windows`: the head is not linear from pooling on, and is applied to the second around a frame, every tenth of a second.
   */
  get timeline(): TimelineMethod {
    return this.#inference.timeline;
  }

  /** Where it runs, e.g. `cpu`. */
  get device(): string {
    return this.#engine.device;
  }

  /**
   * The emotion of one audio, and its timeline.
   *
   * @param input a file or a part of one, samples, bytes or a stream; a stream is read to its end first. Samples and bytes are
   * copied at the call. An abort or a disposal settles it at once, whatever is still computed.
   * @throws `ERR_AUDIO_SHORT` under one frame (25 ms), `ERR_OUT_OF_MEMORY` (before what does not fit is begun), `ERR_ABORTED`,
   * `ERR_DISPOSED`, `ERR_ARGUMENT`, and what reading audio throws.
   * @example
   * const { frames } = await model.predict(samples, { id: 'microphone', sampleRate: 48_000, switchingCost: 3 });
   * const { label } = await model.predict(request, { signal: AbortSignal.timeout(10_000) }); // an upload of a WAV file
   */
  async predict(input: AudioInput, options: PredictOptions = {}): Promise<Prediction<T>> {
    const { signal: asked, ...settings } = parseOptions(predictSchema, options);
    const own = ownInput(audioOf(input));
    return this.#lifetime.run(asked, async (signal) => {
      const plan = this.#inference.windows(settings);
      const utterance = await this.#load(settings.id ?? idOf(own), own, { ...settings, signal });
      const [prediction] = await predictUtterances(this.#inference, [utterance], plan, { ...settings, signal });
      return prediction as Prediction<T>;
    });
  }

  /**
   * The same of many audios, in their order. Later ones are decoded while the model works, and short ones go through
   * it together; what is held at once is bounded, however many there are. A result is that of `predict`, up to rounding of
   * the arithmetic (1e-5 of a probability in fp32, 2e-2 in bf16), and the same in every run.
   *
   * @param inputs what `predict` takes, or `{ id, audio }`; they may come as slowly as they like. Samples and bytes are copied
   * when they come.
   * @throws as `predict`, naming the audio; with `onError: 'yield'` only `ERR_ABORTED`, `ERR_DISPOSED`, `ERR_ARGUMENT` for options and for
   * what holds no inputs, and what `inputs` itself throws. An input that is no audio is a failure like others, `ERR_ARGUMENT`.
   * @example
   * for await (const result of model.predictMany(paths, { onError: 'yield' })) {
   *   if ('error' in result) console.error(result.id, result.error.code);
   *   else console.log(result.id, result.label);
   * }
   */
  predictMany(
    inputs: AudioInputs,
    options?: PredictManyOptions & { onError?: 'throw' },
  ): AsyncGenerator<Prediction<T>, void, undefined>;
  predictMany(
    inputs: AudioInputs,
    options: PredictManyOptions,
  ): AsyncGenerator<Prediction<T> | PredictionFailure, void, undefined>;
  async *predictMany(
    inputs: AudioInputs,
    options: PredictManyOptions = {},
  ): AsyncGenerator<Prediction<T> | PredictionFailure, void, undefined> {
    const settings = parseOptions(predictManySchema, options);
    checkIterable(inputs);
    const plan = this.#inference.windows(settings);
    const batchSeconds = settings.batchSeconds ?? (Symbol.asyncIterator in inputs ? 0 : this.batchSeconds);
    const { signal, end } = this.#lifetime.begin(settings.signal);
    try {
      const predictions = predictMany(this.#inference, this.#pool, inputs, plan, { ...settings, signal, batchSeconds });
      yield* predictions as AsyncGenerator<Prediction<T> | PredictionFailure, void, undefined>;
    } finally {
      // An iteration that is left, or fails, stops what was begun ahead.
      end();
    }
  }

  /**
   * The timeline of long or live audio as it comes, a part of `windowSeconds` less twice `overlapSeconds` at a time.
   *
   * @param input as `predict` takes it; samples and bytes are copied when the iteration begins.
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
  async *stream(input: AudioInput, options: StreamOptions = {}): AsyncGenerator<TimelineChunk<T>, void, undefined> {
    const { signal: asked, ...settings } = parseOptions(streamSchema, options);
    const plan = this.#inference.windows(settings);
    const audio = audioOf(input);
    const live = !isFile(audio) && !ArrayBuffer.isView(audio);
    const normalizeBy = settings.normalizeBy ?? (live ? 'window' : 'whole');
    if (normalizeBy === 'window' && settings.level === 'match') {
      throw new EmoframeError(
        'ERR_ARGUMENT',
        "The level of audio whose end is not known cannot be matched: give level 'as-is', or normalizeBy 'whole'.",
      );
    }
    const { signal, end } = this.#lifetime.begin(asked);
    try {
      const chunks = this.#chunksOf(ownInput(audio), plan, { ...settings, normalizeBy, signal });
      yield* chunks as AsyncGenerator<TimelineChunk<T>, void, undefined>;
    } finally {
      end();
    }
  }

  async *#chunksOf(
    input: AudioInput,
    plan: WindowPlan,
    settings: StreamOptions & { normalizeBy: 'whole' | 'window'; signal: AbortSignal },
  ): AsyncGenerator<TimelineChunk, void, undefined> {
    const { geometry, normalizing, turns } = this.#inference;
    const { signal, normalizeBy, level } = settings;
    const id = settings.id ?? idOf(input);
    const cost = this.#inference.switchingCost(settings);
    if (normalizeBy === 'whole') {
      const { samples, name } = await this.#load(id, input, settings);
      const windows = wholeWindows(samples, geometry, normalizing, plan, name, { turns, signal });
      const [waveform] = (await this.#inference.waveformsOf([samples], level)) ?? [];
      yield* streamWindows(this.#inference, windows, cost, waveform, signal);
      return;
    }
    const name = nameOf(id, input);
    const { sampleRate } = Geometry;
    const parts = isFile(input)
      ? streamInput((await this.#load(id, input, settings)).samples, { ...settings, sampleRate }, name)
      : streamInput(input, settings, name);
    yield* streamWindows(this.#inference, liveWindows(parts, geometry, plan, name), cost, undefined, signal);
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
    this.#lifetime.check();
    return planPrediction(this.#engine, this.#inference, { ...windows, batchSeconds });
  }

  /** Frees the models and ends the decoding threads; calls that go on end at once with `ERR_DISPOSED`. May be called again. */
  async dispose(): Promise<void> {
    this.#lifetime.end();
    this.#engine.dispose();
    await this.#pool.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #load(id: string, input: AudioInput, options: AudioCallOptions): Promise<Utterance> {
    return loadUtterance(this.#pool, this.#inference.geometry, id, input, options);
  }
}

/** @throws `ERR_HEAD` */
function checkTask(model: string, { task: given, labels }: Head, asked: Task | undefined): void {
  const task: Task = given ?? 'classification';
  if (asked === undefined || asked === task) return;
  const gives = `${task === 'regression' ? 'values of' : 'one of'} ${labels.join(', ')}`;
  throw new EmoframeError('ERR_HEAD', `${model} gives ${gives}: its task is ${task}, and not the ${asked} asked for.`);
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
