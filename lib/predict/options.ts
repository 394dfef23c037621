// Options of prediction and encoding, checked where they come in.
import { z } from 'zod';
import { type AudioCacheOptions, audioCacheSchema } from '../audio/cacheFolder.js';
import type { AudioInputOptions } from '../audio/input.js';
import { MAX_SAMPLE_RATE, MIN_SAMPLE_RATE } from '../audio/limits.js';
import type { RawFormat } from '../audio/wav.js';
import { abortSignal, type Shape } from '../issues.js';
import type { Precision } from '../model/binding.js';
import { precisions } from '../model/precision.js';
import type { WindowOptions } from './windows.js';

/** Where and how a model runs. */
export interface DeviceOptions {
  /** `"cpu"` (default) or `"cuda:N"`. */
  device?: string;
  /** `"fp32"` (default), `"bf16"`, or on a GPU `"tf32"`. */
  precision?: Precision;
  /** 0 (default) = all threads this process may use. */
  threads?: number;
  /** Bytes of the device's memory that may be taken; 0 (default) = all that it has. */
  memoryLimit?: number;
}

/** How a model that hears audio is loaded. */
export interface ListeningOptions extends DeviceOptions {
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

/** How loud an alignment network hears audio: as it is, or brought to the mean level of its training audio. */
export type Level = 'as-is' | 'match';

/** What every call that takes audio takes with it. */
export interface AudioCallOptions extends AudioInputOptions, WindowOptions {
  /** Name of the audio in results and progress. Default: a file's name without its ending; `audio` for other inputs. */
  id?: string;
}

const positive = z.number().positive();
export const nonNegative = z.number().nonnegative();

export const deviceShape = {
  device: z.string().optional(),
  precision: z.enum(precisions).optional(),
  threads: z.number().int().nonnegative().optional(),
  memoryLimit: z.number().int().nonnegative().optional(),
} satisfies Shape<DeviceOptions>;

export const listeningShape = {
  ...deviceShape,
  audioCache: audioCacheSchema.optional() as z.ZodType<AudioCacheOptions | undefined>,
} satisfies Shape<ListeningOptions>;

const sampleRate = z.number().min(MIN_SAMPLE_RATE).max(MAX_SAMPLE_RATE);

const rawFormat = z.strictObject({
  encoding: z.enum(['s16le', 'f32le']),
  sampleRate,
  channels: z.number().int().min(1).max(64),
} satisfies Shape<RawFormat>);

export const windowShape = {
  windowSeconds: positive.optional(),
  overlapSeconds: nonNegative.optional(),
} satisfies Shape<WindowOptions>;

export const audioCallShape = {
  ...windowShape,
  id: z.string().optional(),
  sampleRate: sampleRate.optional(),
  format: rawFormat.optional(),
  signal: abortSignal.optional(),
} satisfies Shape<AudioCallOptions>;

export const predictionShape = {
  switchingCost: nonNegative.optional(),
  level: z.enum(['as-is', 'match'] satisfies Level[]).optional(),
};
