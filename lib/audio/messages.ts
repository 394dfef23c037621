import { EmoframeError, type EmoframeErrorCode } from '../errors.js';
import type { AudioCacheOptions } from './cacheFolder.js';
import type { AudioRange } from './types.js';

/** What a worker can be asked. */
export interface Task {
  kind: 'load' | 'measure' | 'mfcc';
  path: string;
  range: AudioRange;
  maxSeconds?: number | undefined;
}

/** What a worker is told: a task; `stop`: the task is not wanted any more; `end`: nor is the worker. */
export type Order = Task | 'stop' | 'end';

/** Its answers; arrays are moved between the threads, not copied. */
export interface Results {
  load: { samples: Float32Array };
  measure: { sampleCount: number };
  mfcc: { features: Float32Array; frames: number; sampleCount: number };
}

/** An error as plain data: a class does not survive the way between threads. */
export interface ErrorData {
  code: EmoframeErrorCode;
  message: string;
  file?: string;
}

/** `warnings`: what went wrong on the way without stopping the work. */
export type Reply = ({ result: Results[Task['kind']] } | { error: ErrorData }) & { warnings: string[] };

/** What a worker is started with. */
export interface WorkerSettings {
  cache?: AudioCacheOptions;
}

export function toErrorData(error: unknown, path: string): ErrorData {
  if (error instanceof EmoframeError) return { code: error.code, message: error.message, file: error.file ?? path };
  const reason = error instanceof Error ? error.message : String(error);
  return { code: 'ERR_AUDIO', message: `${path} could not be loaded: ${reason}.`, file: path };
}

export function fromErrorData(data: ErrorData): EmoframeError {
  return new EmoframeError(data.code, data.message, { file: data.file });
}
