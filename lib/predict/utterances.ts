// Utterances that are at hand as a whole, and what is predicted of them.
import { type AudioInput, fileOf, isFile, loadInput, nameOf } from '../audio/input.js';
import type { AudioPool } from '../audio/pool.js';
import { throwIfAborted } from '../errors.js';
import { smooth } from '../evaluate/viterbi.js';
import { Geometry } from '../model/geometry.js';
import type { Inference, Inferred } from './inference.js';
import { inferWindows } from './merge.js';
import { checkLength } from './modelInput.js';
import type { AudioCallOptions, AudioProgress, PredictOptions } from './options.js';
import { decide, type Prediction, withTimeline } from './prediction.js';
import { type WindowPlan, type WindowsUsed, wholeWindows } from './windows.js';

/** An utterance, ready for the models. */
export interface Utterance {
  id: string;
  /** In errors. */
  name: string;
  samples: Float32Array;
  channel?: number;
}

/** @throws `ERR_AUDIO_SHORT`, and what reading audio throws */
export async function loadUtterance(
  pool: AudioPool,
  geometry: Geometry,
  id: string,
  input: AudioInput,
  options: AudioCallOptions,
): Promise<Utterance> {
  const name = nameOf(id, input);
  const samples = await loadInput(pool, input, options, name);
  checkLength(samples.length, geometry, name);
  const channel = isFile(input) ? fileOf(input).channel : undefined;
  return { id, name, samples, ...(channel !== undefined && { channel }) };
}

/** Utterances of one window go through the models together; longer ones by themselves, window by window. */
export async function predictUtterances(
  inference: Inference,
  utterances: readonly Utterance[],
  plan: WindowPlan,
  settings: Pick<PredictOptions, 'signal' | 'onProgress' | 'level' | 'switchingCost'>,
): Promise<Prediction[]> {
  const { geometry, normalizing, turns } = inference;
  const { signal, onProgress, level } = settings;
  throwIfAborted(signal);
  const cost = inference.switchingCost(settings);
  const fits = ({ samples }: Utterance) => plan.fits(geometry.frames(samples.length));
  const inferred = new Map<Utterance, Inferred>();
  for (const long of utterances.filter((utterance) => !fits(utterance))) {
    const windows = wholeWindows(long.samples, geometry, normalizing, plan, long.name, { turns, signal });
    const report = (done: number, total: number) => onProgress?.(progressOf(long, done, total));
    const [waveform] = (await inference.waveformsOf([long.samples], level)) ?? [];
    inferred.set(long, await inferWindows(inference, windows, cost, waveform, signal, report));
  }
  const short = utterances.filter(fits);
  const results = short.length === 0 ? [] : await inference.infer(short, level, signal);
  for (const [index, utterance] of short.entries()) inferred.set(utterance, results[index]!);
  const predictions = utterances.map((utterance) => {
    if (fits(utterance)) {
      const total = utterance.samples.length;
      onProgress?.(progressOf(utterance, total, total));
    }
    return predictionOf(inference, utterance, inferred.get(utterance)!, fits(utterance) ? null : plan.used, cost);
  });
  // Whoever is told of the progress may have aborted.
  throwIfAborted(signal);
  return predictions;
}

function predictionOf(
  { task, head: { labels }, geometry: times }: Inference,
  { id, samples, channel }: Utterance,
  { logits, posteriors, attention, clusters, path }: Inferred,
  windows: WindowsUsed | null,
  cost: number,
): Prediction {
  const seconds = samples.length / Geometry.sampleRate;
  return withTimeline(
    {
      id,
      ...(channel !== undefined && { channel }),
      ...decide(task, logits, labels),
      seconds,
      frameSeconds: times.frameSeconds,
      windows,
    },
    {
      task,
      outputs: posteriors,
      attention,
      clusters,
      labels,
      times,
      seconds,
      path: () => path ?? smooth(posteriors, labels.length, cost),
    },
  );
}

function progressOf({ id }: Utterance, done: number, total: number): AudioProgress {
  return { id, doneSeconds: done / Geometry.sampleRate, totalSeconds: total / Geometry.sampleRate };
}
