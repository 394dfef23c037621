import { setMaxListeners } from 'node:events';
import { z } from 'zod';
import { type AudioInput, fileOf, idOf, isFile, loadInput, nameOf, streamInput } from '../audio/input.js';
import { AudioPool } from '../audio/pool.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { chainLagSeconds } from '../evaluate/emotionChain.js';
import { smooth } from '../evaluate/viterbi.js';
import { callback, describe, parseOptions } from '../issues.js';
import type { Engine } from '../model/engine.js';
import { Geometry } from '../model/geometry.js';
import { type Batch, batchesOf } from './batches.js';
import { Clusterer } from './clusterer.js';
import { liveWindows, wholeWindows } from './heardWindows.js';
import { inFlight } from './inFlight.js';
import { type Heard, Listener } from './listener.js';
import { loadClassifier } from './loadModel.js';
import { hearWindows, streamWindows } from './longAudio.js';
import { type PredictionMemory, planPasses } from './passMemory.js';
import { onNewEngine } from './onEngine.js';
import {
  type AudioCallOptions,
  type AudioProgress,
  audioCallShape,
  type Level,
  type ListeningOptions,
  listeningShape,
  nonNegative,
  predictionShape,
  windowShape,
} from './options.js';
import { decide, type Prediction, type PredictionFailure, type TimelineChunk, withTimeline } from './prediction.js';
import { ReadAhead } from './readAhead.js';
import { checkLength } from './wholeAudio.js';
import type { WindowOptions, WindowPlan, WindowsUsed } from './windows.js';

/** How an {@link EmotionModel} is loaded. */
export interface EmotionModelOptions extends ListeningOptions {
  /** Give every frame its cluster, where the directory has them (default). It costs a second pass through a second model. */
  clusters?: boolean;
}

/** Of {@link EmotionModel.predict}. */
export interface PredictOptions extends AudioCallOptions {
  /**
   * Nats that a change of emotion from one frame to the next must gain; 0 = no smoothing. Default: as the model was evaluated, or
   * what its alignment network was trained with. Where {@link EmotionModel.timeline} is `alignment` it counts for audio that is heard through
   * windows alone: in one pass, segments follow from the decision and from where the alignment network finds it.
   */
  switchingCost?: number;
  /**
   * How loud an alignment network hears the audio. It was trained on sound as loud as its corpus, and `as-is` (default) trusts that
   * this is too; `match` brings the audio as a whole to the mean level of the training audio: for recordings of another gain.
   */
  level?: Level;
  onProgress?: (progress: AudioProgress) => void;
}

/** Of {@link EmotionModel.predictMany}. */
export interface PredictManyOptions extends Omit<PredictOptions, 'id'> {
  /**
   * Seconds of audio that go through the model together; 0: each alone, as soon as it is decoded. More is faster for short
   * audio and takes more memory; a result waits until its batch is full or the inputs end. Default: {@link EmotionModel.batchSeconds}
   * for an array or another synchronous iterable, 0 for an asynchronous one, which may be slow.
   */
  batchSeconds?: number;
  /** `throw` (default): the first failure ends the iteration; `yield`: it is given in its place, and the others go on. */
  onError?: 'throw' | 'yield';
}

/** Of {@link EmotionModel.plan}: sizes as the calls take them. */
export type PredictionSizes = Pick<PredictManyOptions, 'windowSeconds' | 'overlapSeconds' | 'batchSeconds'>;

/** Of {@link EmotionModel.stream}. */
export interface StreamOptions extends AudioCallOptions {
  /** As in {@link PredictOptions}. */
  switchingCost?: number;
  /** As in {@link PredictOptions}; `match` needs all of the audio first, and so `normalizeBy` `whole`. */
  level?: Level;
  /**
   * What a window is normalised by: `whole` (default for files, bytes and samples at hand) all of the audio, which is read
   * first, so that chunks are those of `predict`; `window` (default for streams) itself, so that results come while audio does.
   */
  normalizeBy?: 'whole' | 'window';
}

/** An input of {@link EmotionModel.predictMany} with a name. */
export interface NamedAudio {
  readonly id: string;
  readonly audio: AudioInput;
}

const loadSchema = z.strictObject({ ...listeningShape, clusters: z.boolean().optional() });
const predictSchema = z.strictObject({
  ...audioCallShape,
  ...predictionShape,
  onProgress: callback<NonNullable<PredictOptions['onProgress']>>().optional(),
});
const predictManySchema = predictSchema.omit({ id: true }).extend({
  batchSeconds: nonNegative.optional(),
  onError: z.enum(['throw', 'yield']).optional(),
});
const latencySchema = z.strictObject(windowShape);
const planSchema = z.strictObject({ ...windowShape, batchSeconds: nonNegative.optional() });
const streamSchema = z.strictObject({
  ...audioCallShape,
  ...predictionShape,
  normalizeBy: z.enum(['whole', 'window']).optional(),
});

// The default of `evaluate.switchingCost` in lib/config.
const defaultSwitchingCost = 4;
const cpuBatchSeconds = 30;
/** Tried in turn: a GPU is full with the first, and less of it is lost with the others than by one after another. */
const gpuBatchSeconds = [350, 240, 120, 60];
/** Batches that are in the model's hands: one computes while the next is packed and travels to the device. */
const batchesInFlight = 2;
/** Inputs that are taken from their source before their turn. */
const mostAhead = 64;

/** An utterance, ready for the model. */
interface Utterance {
  id: string;
  /** In errors. */
  name: string;
  samples: Float32Array;
  channel?: number;
}

/** What came of an utterance of a batch. */
type Outcome = Prediction | { id: string; failure: unknown };

/**
 * Utterance emotion and frame-level timeline of audio, from the `predictor` folder of a run.
 *
 * Every heavy step runs on the model's own thread or on decoding threads; the event loop stays free. Calls may overlap: they
 * take turns, by batches and by windows of long audio. Audio longer than `windowSeconds` is heard through overlapping
 * windows.
 *
 * @example
 * await using model = await EmotionModel.load('runs/demo/folds/s5/predictor');
 * const { label, segments } = await model.predict('a.wav');
 */
export class EmotionModel {
  readonly #engine: Engine;
  readonly #listener: Listener;
  readonly #pool: AudioPool;
  /**
   * Seconds of audio that {@link predictMany} puts through the model together by default: 30 on a CPU; on a GPU 350, or less where
   * such a batch would take more than half of the memory that there was when the model was loaded.
   */
  readonly batchSeconds: number;
  #disposed = false;

  private constructor(engine: Engine, listener: Listener, pool: AudioPool, batchSeconds: number) {
    this.#engine = engine;
    this.#listener = listener;
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
    const {
      clusters = true,
      audioCache: cache,
      ...settings
    } = parseOptions(loadSchema, options) as EmotionModelOptions;
    return onNewEngine(settings, async (engine, precision) => {
      const loaded = await loadClassifier(engine, dir, precision);
      const clusterer = clusters ? await Clusterer.find(engine, dir, precision) : undefined;
      const pool = new AudioPool({ threads: settings.threads === 1 ? 1 : 2, ...(cache !== undefined && { cache }) });
      const listener = new Listener(loaded, clusterer);
      return new EmotionModel(engine, listener, pool, await batchSecondsOn(engine, listener));
    });
  }

  /** The emotions, in the order of {@link PredictedFrame.posterior}. */
  get labels(): readonly string[] {
    return this.#listener.head.labels;
  }

  /**
   * What a frame's posterior and the segments follow from. `attention`: the classifier on this frame alone, as published, smoothed.
   * `alignment`: a network that hears a frame's neighbourhood alone, and where it finds an emotion. In one pass every frame is then
   * neutral or of the emotions that the whole utterance may have; audio heard through windows, and every stream, may hold any emotions one after
   * another.
   */
  get timeline(): 'alignment' | 'attention' {
    return this.#listener.head.alignment === undefined ? 'attention' : 'alignment';
  }

  /** Where it runs, e.g. `cpu`. */
  get device(): string {
    return this.#engine.device;
  }

  /**
   * What is heard in one audio.
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
    const settings = parseOptions(predictSchema, options) as PredictOptions;
    this.#checkAlive();
    throwIfAborted(settings.signal);
    const plan = this.#listener.windows(settings);
    const utterance = await this.#load(settings.id ?? idOf(input), input, settings);
    const [prediction] = await this.#predictTogether([utterance], plan, settings);
    return prediction!;
  }

  /**
   * What is heard in many audios, in their order. Later ones are decoded while the model works, and short ones go through
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
    inputs: Iterable<AudioInput | NamedAudio> | AsyncIterable<AudioInput | NamedAudio>,
    options?: PredictManyOptions & { onError?: 'throw' },
  ): AsyncGenerator<Prediction, void, undefined>;
  predictMany(
    inputs: Iterable<AudioInput | NamedAudio> | AsyncIterable<AudioInput | NamedAudio>,
    options: PredictManyOptions,
  ): AsyncGenerator<Prediction | PredictionFailure, void, undefined>;
  async *predictMany(
    inputs: Iterable<AudioInput | NamedAudio> | AsyncIterable<AudioInput | NamedAudio>,
    options: PredictManyOptions = {},
  ): AsyncGenerator<Prediction | PredictionFailure, void, undefined> {
    const settings = parseOptions(predictManySchema, options) as PredictManyOptions;
    checkIterable(inputs);
    this.#checkAlive();
    throwIfAborted(settings.signal);
    const plan = this.#listener.windows(settings);
    const batchSeconds = settings.batchSeconds ?? (Symbol.asyncIterator in inputs ? 0 : this.batchSeconds);
    const budget = batchSeconds * Geometry.sampleRate;
    // An iteration that is left, or fails, stops what was begun ahead.
    const stop = new AbortController();
    setMaxListeners(0, stop.signal);
    const abort = () => stop.abort(settings.signal?.reason);
    settings.signal?.addEventListener('abort', abort, { once: true });
    const ahead = new ReadAhead(
      numberInputs(inputs),
      ({ id, audio }) => this.#load(id, audio, { ...settings, signal: stop.signal }),
      {
        items: mostAhead,
        working: this.#pool.threads,
        held: Math.max(batchSeconds, cpuBatchSeconds) * Geometry.sampleRate,
        size: ({ samples }) => samples.length,
      },
    );
    const batches = batchesOf(ahead, ({ samples }) => samples.length, budget, settings.signal);
    const answer = async (batch: Batch<NamedAudio, Utterance>): Promise<Outcome[]> =>
      'error' in batch ? [{ id: batch.item.id, failure: batch.error }] : this.#answer(batch.results, plan, settings);
    try {
      for await (const outcomes of inFlight(batches, answer, batchesInFlight)) {
        for (const outcome of outcomes) {
          if (!('failure' in outcome)) yield outcome;
          else if (goesOn(outcome.failure, settings)) yield { id: outcome.id, error: outcome.failure };
          else throw outcome.failure;
        }
      }
    } finally {
      settings.signal?.removeEventListener('abort', abort);
      stop.abort();
      ahead.close();
    }
  }

  /**
   * The timeline of long or live audio as it is heard, a stretch of `windowSeconds` less twice `overlapSeconds` at a time.
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
    const settings = parseOptions(streamSchema, options) as StreamOptions;
    this.#checkAlive();
    throwIfAborted(settings.signal);
    const { geometry } = this.#listener;
    const plan = this.#listener.windows(settings);
    const id = settings.id ?? idOf(input);
    const live = !isFile(input) && !ArrayBuffer.isView(input);
    const normalizeBy = settings.normalizeBy ?? (live ? 'window' : 'whole');
    const cost = this.#switchingCost(settings);
    if (normalizeBy === 'window' && settings.level === 'match') {
      throw new EmoframeError(
        'ERR_ARGUMENT',
        "The level of audio whose end is not known cannot be matched: give level 'as-is', or normalizeBy 'whole'.",
      );
    }
    if (normalizeBy === 'window' && !isFile(input)) {
      const name = nameOf(id, input);
      const windows = liveWindows(streamInput(input, settings, name), geometry, plan, name);
      yield* streamWindows(this.#listener, windows, cost, undefined);
      return;
    }
    const { samples, name } = await this.#load(id, input, settings);
    const windows =
      normalizeBy === 'whole'
        ? wholeWindows(samples, geometry, this.#listener.normalizing, plan, name, settings.signal)
        : liveWindows(
            streamInput(samples, { ...(settings.signal && { signal: settings.signal }) }, name),
            geometry,
            plan,
            name,
          );
    const [waveform] = this.#listener.waveformsOf([samples], settings.level) ?? [];
    yield* streamWindows(this.#listener, windows, cost, waveform);
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
    const plan = this.#listener.windows(parseOptions(latencySchema, windows) as WindowOptions);
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
    const { batchSeconds = this.batchSeconds, ...windows } = parseOptions(planSchema, sizes) as PredictionSizes;
    this.#checkAlive();
    return planPrediction(this.#engine, this.#listener, { ...windows, batchSeconds });
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

  async #load(id: string, input: AudioInput, options: AudioCallOptions): Promise<Utterance> {
    const name = nameOf(id, input);
    const samples = await loadInput(this.#pool, input, options, name);
    checkLength(samples.length, this.#listener.geometry, name);
    const channel = isFile(input) ? fileOf(input).channel : undefined;
    return { id, name, samples, ...(channel !== undefined && { channel }) };
  }

  /**
   * Predictions of utterances, or of each alone where together they fail: a failure belongs to one of them. The last may be one
   * that ends the iteration.
   */
  async #answer(group: readonly Utterance[], plan: WindowPlan, settings: PredictManyOptions): Promise<Outcome[]> {
    try {
      return await this.#predictTogether(group, plan, settings);
    } catch (failure) {
      if (group.length === 1) return [{ id: group[0]!.id, failure }];
    }
    const outcomes: Outcome[] = [];
    for (const utterance of group) {
      const [outcome] = await this.#answer([utterance], plan, settings);
      outcomes.push(outcome!);
      if ('failure' in outcome! && !goesOn(outcome.failure, settings)) break;
    }
    return outcomes;
  }

  /** Utterances of one window go through the model together; longer ones stand alone. */
  async #predictTogether(
    group: readonly Utterance[],
    plan: WindowPlan,
    settings: PredictManyOptions,
  ): Promise<Prediction[]> {
    const { geometry, normalizing } = this.#listener;
    const { signal, onProgress } = settings;
    throwIfAborted(signal);
    const fits = ({ samples }: Utterance) => plan.fits(geometry.frames(samples.length));
    const heard = new Map<Utterance, Heard>();
    for (const long of group.filter((utterance) => !fits(utterance))) {
      const windows = wholeWindows(long.samples, geometry, normalizing, plan, long.name, signal);
      const tell = (done: number, total: number) => onProgress?.(progressOf(long, done, total));
      const [waveform] = this.#listener.waveformsOf([long.samples], settings.level) ?? [];
      heard.set(long, await hearWindows(this.#listener, windows, this.#switchingCost(settings), waveform, tell));
    }
    const short = group.filter(fits);
    const results = short.length === 0 ? [] : await this.#listener.hear(short, settings.level);
    for (const [index, utterance] of short.entries()) heard.set(utterance, results[index]!);
    throwIfAborted(signal);
    return group.map((utterance) => {
      if (fits(utterance)) {
        const total = utterance.samples.length;
        onProgress?.(progressOf(utterance, total, total));
      }
      return this.#predictionOf(utterance, heard.get(utterance)!, fits(utterance) ? null : plan.used, settings);
    });
  }

  #predictionOf(
    { id, samples, channel }: Utterance,
    { logits, posteriors, attention, clusters, path }: Heard,
    windows: WindowsUsed | null,
    options: { switchingCost?: number },
  ): Prediction {
    const { geometry: times } = this.#listener;
    const { labels } = this;
    const seconds = samples.length / Geometry.sampleRate;
    const cost = this.#switchingCost(options);
    return withTimeline(
      {
        id,
        ...(channel !== undefined && { channel }),
        ...decide(logits, labels),
        seconds,
        frameSeconds: times.frameSeconds,
        windows,
      },
      {
        columns: { posteriors, attention, ...(clusters !== undefined && { clusters }) },
        labels,
        times,
        seconds,
        path: () => path ?? smooth(posteriors, labels.length, cost),
      },
    );
  }

  #switchingCost({ switchingCost }: { switchingCost?: number }): number {
    const { alignment, info } = this.#listener.head;
    const evaluated = alignment?.switchingCost ?? info?.switchingCost;
    return switchingCost ?? (typeof evaluated === 'number' && evaluated >= 0 ? evaluated : defaultSwitchingCost);
  }

  #checkAlive(): void {
    if (this.#disposed) throw new EmoframeError('ERR_DISPOSED', 'The model was disposed of: load it again to go on.');
  }
}

function progressOf({ id }: Utterance, done: number, total: number): AudioProgress {
  return { id, doneSeconds: done / Geometry.sampleRate, totalSeconds: total / Geometry.sampleRate };
}

/** Every input with an id: its own, a file's name without its ending, or its number from 0. */
async function* numberInputs(
  inputs: Iterable<AudioInput | NamedAudio> | AsyncIterable<AudioInput | NamedAudio>,
): AsyncGenerator<NamedAudio> {
  let index = 0;
  for await (const input of inputs) {
    if (isNamed(input)) yield input;
    else yield { id: isFile(input) ? idOf(input) : String(index), audio: input };
    index++;
  }
}

function checkIterable(inputs: unknown): void {
  const iterable =
    typeof inputs === 'object' && inputs !== null && (Symbol.iterator in inputs || Symbol.asyncIterator in inputs);
  // Samples and bytes can be iterated over too, but are one audio.
  if (iterable && !ArrayBuffer.isView(inputs)) return;
  throw new EmoframeError(
    'ERR_ARGUMENT',
    `Expected an iterable of audio for inputs but received ${ArrayBuffer.isView(inputs) ? 'one audio' : describe(inputs)}.`,
  );
}

function isNamed(input: AudioInput | NamedAudio): input is NamedAudio {
  return typeof input === 'object' && 'audio' in input && 'id' in input;
}

/** Whether a failure is that of one audio, and the others are to go on. */
function goesOn(error: unknown, { onError }: PredictManyOptions): error is EmoframeError {
  return onError === 'yield' && error instanceof EmoframeError && !['ERR_ABORTED', 'ERR_DISPOSED'].includes(error.code);
}

/** A window, or a batch of audio of a second each. */
function planPrediction(
  engine: Engine,
  listener: Listener,
  { batchSeconds, ...windows }: PredictionSizes & { batchSeconds: number },
): Promise<PredictionMemory> {
  const { geometry, models } = listener;
  const window = { frames: listener.windows(windows).windowFrames, utterances: 1, ranges: true };
  const utterances = Math.ceil(batchSeconds);
  const batch = { frames: geometry.frames(batchSeconds * Geometry.sampleRate), utterances, ranges: false };
  const passes = batch.frames < utterances || utterances === 0 ? [window] : [window, batch];
  return planPasses(
    engine,
    models.map(({ memory }) => memory),
    passes,
  );
}

async function batchSecondsOn(engine: Engine, listener: Listener): Promise<number> {
  if (engine.device === 'cpu') return cpuBatchSeconds;
  for (const batchSeconds of gpuBatchSeconds) {
    const { total, available } = await planPrediction(engine, listener, { batchSeconds });
    if (total <= available / 2) return batchSeconds;
  }
  return cpuBatchSeconds;
}
