// What a stage is given: one fold of one run. A stage reads the results of earlier stages from the fold's folder and leaves
// its own there; nothing passes from stage to stage in memory, so any of them can run alone.

import type { RunConfig } from '../config/types.js';
import type { Fold } from '../corpus/folds.js';
import type { Utterance } from '../corpus/types.js';
import { EmoframeError } from '../errors.js';
import { mapLimited } from '../lists.js';
import type { Engine } from '../model/engine.js';
import type { Geometry } from '../model/geometry.js';
import type { FoldPaths } from '../run/paths.js';
import type { StageName } from '../run/stages.js';
import { yieldWhenDue } from '../yield.js';

/** Gives the audio of utterances. */
export interface UtteranceAudio {
  /** Samples: f32 at 16 kHz, mono. */
  get(utterance: Utterance, signal?: AbortSignal): Promise<Float32Array>;
  /** MFCCs f32 `[F, 39]` at 100 Hz. */
  mfcc(utterance: Utterance, signal?: AbortSignal): Promise<{ features: Float32Array; frames: number }>;
}

export type Metrics = Record<string, number>;

/** Rows of the log and progress, already bound to the fold and the stage. */
export interface StageReport {
  /** A row of `log.jsonl` and scalars for TensorBoard. */
  log(step: number, total: number, metrics: Metrics): void;
  progress(done: number, total: number, message?: string, metrics?: Metrics): void;
  /** The loop goes on after this many steps: what was logged of later ones is dropped, as they will be logged again. */
  continueFrom(step: number): Promise<void>;
  /** Forces to disk what was logged. */
  sync(): Promise<void>;
  /** Shown at every start of the stage; the numbers go to `log.jsonl` under `name` at the first, so that a resumed log is the same. */
  note(message: string, name: string, numbers: Metrics): Promise<void>;
  /** Something that a user must know although work goes on. */
  warn(message: string): void;
}

export interface StageContext {
  fold: Fold;
  stage: StageName;
  /** Of this fold and stage alone. */
  seed: number;
  config: RunConfig;
  engine: Engine;
  /** The pretrained model, a checkpoint of any kind; absent: from scratch. */
  modelDir?: string;
  /** All utterances of the corpus by id. */
  utterances: ReadonlyMap<string, Utterance>;
  /** Classes, or dimensions of a regression, in the order of the outputs. */
  labels: readonly string[];
  /** The class of time outside all segments; empty in a regression. */
  neutral: string;
  audio: UtteranceAudio;
  /** Samples of each utterance that has been decoded, by id; shared by all stages. */
  sampleCounts: Map<string, number>;
  paths: FoldPaths;
  report: StageReport;
  /** When the stage began, in ms as `Date.now()`. */
  startedAt: number;
  signal?: AbortSignal;
}

export function utteranceOf(context: StageContext, id: string): Utterance {
  const utterance = context.utterances.get(id);
  if (utterance === undefined) {
    throw new EmoframeError(
      'ERR_CORPUS',
      `Fold ${context.fold.name} names the utterance ${id}, which the corpus lacks.`,
    );
  }
  return utterance;
}

/** An utterance's samples; its length is remembered. What is done with many of them gets a turn of the event loop at a time. */
export async function samplesOf(context: StageContext, id: string): Promise<Float32Array> {
  await yieldWhenDue();
  const samples = await context.audio.get(utteranceOf(context, id), context.signal);
  context.sampleCounts.set(id, samples.length);
  return samples;
}

/**
 * Sees to it that `sampleCounts` has these utterances. The exact number of samples is known only after decoding, so audio that
 * no stage has read yet is read here.
 */
export async function measureSamples(context: StageContext, ids: readonly string[]): Promise<void> {
  const unknown = ids.filter((id) => !context.sampleCounts.has(id));
  let done = 0;
  await mapLimited(unknown, async (id) => {
    await samplesOf(context, id);
    context.report.progress(++done, unknown.length, 'reading audio');
  });
}

/** Frames of each utterance. */
export async function framesOf(
  context: StageContext,
  geometry: Geometry,
  ids: readonly string[],
): Promise<{ id: string; frames: number }[]> {
  await measureSamples(context, ids);
  return ids.map((id) => ({ id, frames: geometry.frames(context.sampleCounts.get(id)!) }));
}

/** All utterances of the training sessions. */
export function trainingIds({ fold }: StageContext): string[] {
  return [...fold.train, ...fold.validation];
}

/** Audio for masked prediction: all of the training sessions, and with the transductive protocol the test session's. */
export function pretrainingIds(context: StageContext): string[] {
  const { fold, config } = context;
  return config.protocol === 'transductive' ? [...trainingIds(context), ...fold.test] : trainingIds(context);
}
