import { z } from 'zod';
import { type AudioCacheOptions, audioCacheSchema } from '../audio/cacheFolder.js';
import type { RunConfig } from '../config/types.js';
import { foldsSchema } from '../corpus/foldFile.js';
import type { Fold } from '../corpus/folds.js';
import type { Corpus } from '../corpus/types.js';
import { isObject } from '../files/json.js';
import { abortSignal, callback, type Shape, strictOptions } from '../issues.js';
import type { EngineSettings } from '../model/engine.js';
import { deviceShape } from '../model/precision.js';
import type { StageName } from '../run/stages.js';

export type { StageName };

/** How far a run has come. */
export interface ProgressEvent {
  fold: string;
  stage: StageName;
  done: number;
  total: number;
  /** What is being done, where a stage does more than train. */
  message?: string;
  metrics?: Record<string, number>;
}

/** Something that went wrong and that the run gets over, such as a damaged training state with a whole one before it. */
export interface RunWarning {
  fold: string;
  stage: StageName;
  message: string;
}

/** What a {@link Trainer} is opened with. */
export interface TrainerOptions extends Omit<EngineSettings, 'graphs'> {
  corpus: Corpus;
  /** The pretrained model, a checkpoint of any kind that {@link loadPretrained} reads; absent: from scratch, with the config's `model`. */
  modelDir?: string;
  /** The run directory. */
  out: string;
  config: RunConfig;
  /** The split, as `readFolds` gives it, in place of the config's `folds`. */
  folds?: readonly Fold[];
  /** In place of the config's. */
  precision?: RunConfig['precision'];
  /** Where decoded audio is kept between runs. Default: nowhere. It has no influence on results. */
  audioCache?: AudioCacheOptions;
  /** Stops the opening, with `ERR_ABORTED`. */
  signal?: AbortSignal;
  /** With `audio.onCorrupt` = `skip` a new run first reads all audio: how many utterances are done, of how many. */
  onAudioCheck?: (done: number, total: number) => void;
  /** Whether stages that were begun before may go on. Default: they are refused with `ERR_RUN_EXISTS`. */
  resume?: boolean;
}

/** What every call of a {@link Trainer} takes. */
export interface StageCallOptions {
  /** Only these folds, by name. Default: all. */
  folds?: readonly string[];
  /** Stops between steps, with `ERR_ABORTED`; what was done can be resumed. */
  signal?: AbortSignal;
  onProgress?: (event: ProgressEvent) => void;
  /** Absent: `process.emitWarning`, which writes to stderr. */
  onWarning?: (warning: RunWarning) => void;
}

/** @internal */
export const trainerSchema = strictOptions({
  corpus: z.custom<Corpus>((value) => isObject(value) && 'utterances' in value, 'Expected a corpus'),
  modelDir: z.string().exactOptional(),
  out: z.string().min(1),
  config: z.custom<RunConfig>((value) => isObject(value) && 'folds' in value, 'Expected a config from parseConfig'),
  folds: foldsSchema.exactOptional(),
  ...deviceShape,
  audioCache: audioCacheSchema.exactOptional(),
  signal: abortSignal.exactOptional(),
  onAudioCheck: callback<NonNullable<TrainerOptions['onAudioCheck']>>().exactOptional(),
  resume: z.boolean().exactOptional(),
} satisfies Shape<TrainerOptions>);

/** @internal */
export const stageCallSchema = strictOptions({
  folds: z.array(z.string()).exactOptional(),
  signal: abortSignal.exactOptional(),
  onProgress: callback<NonNullable<StageCallOptions['onProgress']>>().exactOptional(),
  onWarning: callback<NonNullable<StageCallOptions['onWarning']>>().exactOptional(),
} satisfies Shape<StageCallOptions>);
