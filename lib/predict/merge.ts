// What the windows of an utterance give, merged exactly as one pass over all of it would give it: the decision from sums, the
// frames from a decoder that goes on from window to window.

import type { WaveformStatistics } from '../audio/normalize.js';
import { type Head, poolingOf } from '../checkpoint/head.js';
import { type DecodedFrames, RecordingDecoder } from '../evaluate/alignmentTimeline.js';
import { emotionalShare } from '../evaluate/emotionalShare.js';
import { fusedLogits } from '../evaluate/fusion.js';
import { IslandForward } from '../evaluate/islandForward.js';
import { Smoother } from '../evaluate/viterbi.js';
import { joinFloats } from '../float32.js';
import { given } from '../given.js';
import type { ClassifyResult } from '../model/binding.js';
import type { Inference, Inferred } from './inference.js';
import type { AudioWindow } from './windows.js';

/**
 * Runs all windows of an utterance through the models, and merges what comes of them as if they had been one pass.
 *
 * @param switchingCost of a recording's timeline, where an alignment network makes it.
 * @param waveform by which the input of an alignment network is normalised, in place of its training's; undefined: by that.
 * @param afterWindow is called with the samples that are done, of all.
 */
export async function inferWindows(
  inference: Inference,
  windows: AsyncIterable<AudioWindow>,
  switchingCost: number,
  waveform: WaveformStatistics | undefined,
  afterWindow: (done: number, total: number) => void,
): Promise<Inferred> {
  const utterance = new UtteranceSoFar(inference.head);
  const { labels, alignment } = inference.head;
  const decoder = alignment === undefined ? undefined : alignedFrames(inference, switchingCost);
  const decoded: DecodedFrames[] = [];
  const classified: ClassifiedWindow[] = [];
  const clusters: Int32Array[] = [];
  for await (const window of windows) {
    const { result, clusters: found } = await inference.inferWindow(window, waveform);
    utterance.add(result);
    if (decoder !== undefined) decoded.push(decoder.push(result));
    const { framePosteriors: posteriors, attention, pooled, scoreLogSums } = result;
    if (utterance.pooled !== undefined) classified.push({ posteriors, attention, pooled, scoreLogSums });
    if (found !== undefined) clusters.push(found);
    afterWindow(window.last ? window.samples : window.keepEnd * inference.geometry.stride, window.samples);
  }
  for (const { posteriors, pooled: own, attention, scoreLogSums } of classified) {
    utterance.pooled!.correct(posteriors, own);
    const share = Math.exp(scoreLogSums[0]! - utterance.pooled!.logSum);
    attention.forEach((weight, frame) => {
      attention[frame] = weight * share;
    });
  }
  if (decoder !== undefined) decoded.push(decoder.finish());
  const posteriors = joinFloats((decoder === undefined ? classified : decoded).map((part) => part.posteriors));
  return {
    logits: utterance.logits(),
    posteriors,
    attention:
      utterance.pooled === undefined
        ? emotionalShare(posteriors, labels.length, alignment!.neutral)
        : joinFloats(classified.map(({ attention }) => attention)),
    clusters: clusters.length === 0 ? undefined : Int32Array.from(clusters.flatMap((part) => [...part])),
    path: decoder === undefined ? undefined : Int32Array.from(decoded.flatMap(({ path }) => path)),
  };
}

/** What the pooled classifier makes of a window by itself. */
type ClassifiedWindow = Pick<ClassifyResult, 'attention' | 'pooled' | 'scoreLogSums'> & { posteriors: Float32Array };

/** The decision on an utterance that comes window by window: by its pooled classifier, its alignment network, or both. */
export class UtteranceSoFar {
  /** Of a head with a pooled classifier. */
  readonly pooled: PooledSum | undefined;
  readonly #islands: IslandForward | undefined;

  constructor(private readonly head: Head) {
    const bias = head.tensors.find(({ name }) => name === 'alignment.utterance_bias');
    this.pooled = poolingOf(head) === undefined ? undefined : new PooledSum(head);
    this.#islands = head.alignment === undefined ? undefined : new IslandForward(bias!.data, head.alignment);
  }

  /** The next window, classified alone. */
  add(result: ClassifyResult): void {
    this.pooled?.add(result);
    if (result.alignment !== undefined) this.#islands?.push(result.alignment.frameLogits);
  }

  /** `[classes]`, of all windows so far. */
  logits(): Float32Array {
    return fusedLogits(
      given({ classifier: this.pooled?.logits(), alignment: this.#islands?.logits() }),
      this.head.calibration,
    );
  }
}

// Of the pooled standard deviation, as native/ops.h has it.
const varianceFloor = 1e-5;

/**
 * The classification of an utterance from windows of it that were pooled each by itself. Pooling is a weighted mean (with `stats`, and
 * a standard deviation about it), so windows of known total weight add up to exactly the pooling over all of their frames.
 */
class PooledSum {
  readonly #classes: number;
  readonly #weight: Float32Array;
  readonly #bias: Float32Array;
  readonly #width: number;
  readonly #deviations: boolean;
  #mean: Float64Array;
  #variance: Float64Array;
  #logSum = -Infinity;

  constructor(head: Head) {
    const tensor = (name: string) => head.tensors.find((candidate) => candidate.name === name)!;
    const weight = tensor('classifier.weight');
    this.#weight = weight.data;
    this.#bias = tensor('classifier.bias').data;
    this.#classes = head.labels.length;
    this.#deviations = head.pooling === 'stats';
    this.#width = weight.shape[1]! / (this.#deviations ? 2 : 1);
    this.#mean = new Float64Array(this.#width);
    this.#variance = new Float64Array(this.#deviations ? this.#width : 0);
  }

  /** log Σ exp(score) over all frames so far. */
  get logSum(): number {
    return this.#logSum;
  }

  /** The next window, classified alone. */
  add({ pooled, scoreLogSums }: ClassifyResult): void {
    const logSum = scoreLogSums[0]!;
    const highest = Math.max(this.#logSum, logSum);
    const total = highest + Math.log(Math.exp(this.#logSum - highest) + Math.exp(logSum - highest));
    const [before, part] = [Math.exp(this.#logSum - total), Math.exp(logSum - total)];
    const difference = this.#mean.map((value, c) => pooled[c]! - value);
    this.#variance = this.#variance.map((value, c) => {
      const variance = pooled[this.#width + c]! ** 2 - varianceFloor;
      return before * value + part * variance + before * part * difference[c]! ** 2;
    });
    this.#mean = this.#mean.map((value, c) => value + part * difference[c]!);
    this.#logSum = total;
  }

  /** [classes], of all frames so far. */
  logits(): Float32Array {
    const deviation = this.#deviation();
    const inputs = 2 * this.#width;
    return this.#bias.map((bias, k) => {
      let sum = bias;
      const row = k * (this.#deviations ? inputs : this.#width);
      for (let c = 0; c < this.#width; c++) sum += this.#weight[row + c]! * this.#mean[c]!;
      deviation.forEach((value, c) => {
        sum += this.#weight[row + this.#width + c]! * value;
      });
      return sum;
    });
  }

  /**
   * With `stats` pooling a frame is classified with the deviation of its utterance. Posteriors `[T, classes]` of a window,
   * which were computed with its own, are changed to those with the deviation of all frames so far; others are as they are.
   */
  correct(posteriors: Float32Array, pooled: Float32Array): void {
    if (!this.#deviations) return;
    const shift = this.#deviation().map((value, c) => value - pooled[this.#width + c]!);
    const factors = Array.from({ length: this.#classes }, (_, k) => {
      const row = (2 * k + 1) * this.#width;
      return Math.exp(shift.reduce((sum, value, c) => sum + this.#weight[row + c]! * value, 0));
    });
    for (let frame = 0; frame < posteriors.length; frame += this.#classes) {
      let sum = 0;
      for (let k = 0; k < this.#classes; k++) sum += posteriors[frame + k]! * factors[k]!;
      for (let k = 0; k < this.#classes; k++) posteriors[frame + k] = (posteriors[frame + k]! * factors[k]!) / sum;
    }
  }

  #deviation(): Float64Array {
    return this.#variance.map((value) => Math.sqrt(Math.max(value, 0) + varianceFloor));
  }
}

/** Posteriors of frames and the smoothed path through them, window by window; those of a window may come with a later one. */
export interface FrameDecoder {
  push(result: ClassifyResult): DecodedFrames;
  /** The frames that are left. */
  finish(): DecodedFrames;
}

/** Of a model with an alignment network: its frames may be of any emotions one after another. */
export function alignedFrames({ head, geometry }: Inference, switchingCost: number): FrameDecoder {
  const decoder = new RecordingDecoder(head.labels.length, head.alignment!, geometry.frameSeconds, switchingCost);
  return {
    push: ({ alignment }) => decoder.push(alignment!.frameLogits),
    finish: () => decoder.finish(),
  };
}

/** Of a pooled classifier, which is asked for each frame alone; `pooled` has all windows so far. */
export function classifiedFrames(pooled: PooledSum, classes: number, switchingCost: number): FrameDecoder {
  const smoother = new Smoother(classes, switchingCost);
  return {
    push: ({ framePosteriors, pooled: own }) => {
      pooled.correct(framePosteriors, own);
      return { posteriors: framePosteriors, path: smoother.push(framePosteriors) };
    },
    finish: () => ({ posteriors: new Float32Array(), path: smoother.finish() }),
  };
}
