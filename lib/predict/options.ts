// Options of prediction and encoding, checked where they come in.
import { z } from 'zod';
import { type AudioCacheOptions, audioCacheSchema } from '../audio/cacheFolder.js';
import type { AudioInputOptions } from '../audio/input.js';
import { MAX_SAMPLE_RATE, MIN_SAMPLE_RATE } from '../audio/limits.js';
import type { RawFormat } from '../audio/wav.js';
import { type DownloadOptions, type DownloadProgress, downloadShape } from '../hub/download.js';
import { abortSignal, callback, type Shape, strictOptions } from '../issues.js';
import type { Precision } from '../model/binding.js';
import type { EngineSettings } from '../model/engine.js';
import { deviceShape } from '../model/precision.js';
import type { Task } from './prediction.js';

/** Where and how a model runs. */
export interface DeviceOptions extends Omit<EngineSettings, 'graphs'> {
  /** `"fp32"` (default), `"bf16"`, or on a GPU `"tf32"`. */
  precision?: Precision;
}

/** How a model that is named rather than at hand comes from the Hugging Face Hub; of one at hand only `revision` is refused. */
export interface HubModelOptions extends Omit<DownloadOptions, 'onProgress'> {
  /** Called while the model is downloaded. */
  onDownload?: (progress: DownloadProgress) => void;
}

/** How a model is loaded that takes audio in. */
export interface InferenceOptions extends DeviceOptions, HubModelOptions {
  /** Where the decoded audio of files is kept for later. Default: nowhere. It has no influence on results. */
  audioCache?: AudioCacheOptions;
}

/** How far the work on one audio has come: after each window, and once for audio of one window. */
export interface AudioProgress {
  /** The audio's id. */
  readonly id: string;
  readonly doneSeconds: number;
  readonly totalSeconds: number;
}

/** How loud the audio is that an alignment network is given: as it is, or brought to the mean level of its training audio. */
export type Level = 'as-is' | 'match';

/** How long audio is cut. */
export interface WindowOptions {
  /** Seconds that go through the model at once; audio up to that long goes through it in one pass. Default 30. */
  windowSeconds?: number;
  /**
   * Seconds on either side of a window that are computed but not kept. From 1.3 s on, all that lies before the transformer is
   * as in one pass. Default 2, or a sixth of a window that is shorter than 12 s; of a model with an alignment network at least
   * the context that this has on either side of a frame.
   */
  overlapSeconds?: number;
}

/** What every call that takes audio takes with it. */
export interface AudioCallOptions extends AudioInputOptions, WindowOptions {
  /** Name of the audio in results and progress. Default: a file's name without its ending; `audio` for other inputs. */
  id?: string;
}

/** How an {@link EmotionModel} is loaded. */
export interface EmotionModelOptions extends InferenceOptions {
  /** Give every frame its cluster, where the directory has them (default). It costs a second pass through a second model. */
  clusters?: boolean;
  /**
   * `ctc-mean`: take the head of a speech recogniser (`lm_head`) for a classifier of the mean over frames, as some are published. Nothing
   * in such a checkpoint says that it is one. Default: the head by its own form.
   */
  head?: 'ctc-mean';
  /** What the model must give, for types that say it: a model that gives the other is refused with `ERR_HEAD`. Default: either. */
  task?: Task;
}

/** Of {@link EmotionModel.predict}. */
export interface PredictOptions extends AudioCallOptions {
  /**
   * Nats that a change of emotion from one frame to the next must gain; 0 = no smoothing. Default: as the model was evaluated, or
   * what its alignment network was trained with. Where {@link EmotionModel.timeline} is `alignment` it counts for audio that goes through the
   * model in windows alone: in one pass, segments follow from the decision and from where the alignment network finds it.
   */
  switchingCost?: number;
  /**
   * How loud the audio is that an alignment network is given. It was trained on sound as loud as its corpus, and `as-is` (default)
   * trusts that this is too; `match` brings the audio as a whole to the mean level of the training audio: for recordings of another gain.
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

const positive = z.number().positive();
const nonNegative = z.number().nonnegative();

const { onProgress: onDownload, ...hubShape } = downloadShape;

/** @internal */
export const inferenceShape = {
  ...deviceShape,
  ...hubShape,
  onDownload,
  audioCache: audioCacheSchema.exactOptional(),
} satisfies Shape<InferenceOptions>;

const sampleRate = z.number().min(MIN_SAMPLE_RATE).max(MAX_SAMPLE_RATE);

const rawFormat = strictOptions({
  encoding: z.enum(['s16le', 'f32le']),
  sampleRate,
  channels: z.number().int().min(1).max(64),
} satisfies Shape<RawFormat>);

/** @internal */
export const windowShape = {
  windowSeconds: positive.exactOptional(),
  overlapSeconds: nonNegative.exactOptional(),
} satisfies Shape<WindowOptions>;

/** @internal */
export const audioCallShape = {
  ...windowShape,
  id: z.string().exactOptional(),
  sampleRate: sampleRate.exactOptional(),
  format: rawFormat.exactOptional(),
  signal: abortSignal.exactOptional(),
  maxSeconds: positive.exactOptional(),
  // A timer takes at most 24 days.
  idleSeconds: nonNegative.max(1e6).exactOptional(),
} satisfies Shape<AudioCallOptions>;

const predictionShape = {
  switchingCost: nonNegative.exactOptional(),
  level: z.enum(['as-is', 'match'] satisfies Level[]).exactOptional(),
};

const predictShape = {
  ...audioCallShape,
  ...predictionShape,
  onProgress: callback<NonNullable<PredictOptions['onProgress']>>().exactOptional(),
} satisfies Shape<PredictOptions>;
const { id: _, ...manyShape } = predictShape;

/** @internal */
export const loadSchema = strictOptions({
  ...inferenceShape,
  clusters: z.boolean().exactOptional(),
  head: z.literal('ctc-mean').exactOptional(),
  task: z.enum(['classification', 'regression'] satisfies Task[]).exactOptional(),
} satisfies Shape<EmotionModelOptions>);
/** @internal */
export const predictSchema = strictOptions(predictShape);
/** @internal */
export const predictManySchema = strictOptions({
  ...manyShape,
  batchSeconds: nonNegative.exactOptional(),
  onError: z.enum(['throw', 'yield']).exactOptional(),
});
/** @internal */
export const windowSchema = strictOptions(windowShape);
/** @internal */
export const planSchema = strictOptions({ ...windowShape, batchSeconds: nonNegative.exactOptional() });
/** @internal */
export const streamSchema = strictOptions({
  ...audioCallShape,
  ...predictionShape,
  normalizeBy: z.enum(['whole', 'window']).exactOptional(),
});
