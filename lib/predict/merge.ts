// What the windows of an utterance give, merged exactly as one pass over all of it would give it: the decision from sums, the
// frames from a decoder that goes on from window to window.

import type { WaveformStatistics } from '../audio/normalize.js';
import { classifierOptions, type Head, poolingOf } from '../checkpoint/head.js';
import { type DecodedFrames, RecordingDecoder } from '../evaluate/alignmentTimeline.js';
import { emotionalShare } from '../evaluate/emotionalShare.js';
import { fusedLogits } from '../evaluate/fusion.js';
import { IslandForward } from '../evaluate/islandForward.js';
import type { Smoother } from '../evaluate/viterbi.js';
import { joinFloats } from '../float32.js';
import { given } from '../given.js';
import type { ClassifyResult, PoolingName } from '../model/binding.js';
import { deviationOf } from '../model/classifier.js';
import { HeadOutputs } from './headOutputs.js';
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
  signal: AbortSignal | undefined,
  afterWindow: (done: number, total: number) => void,
): Promise<Inferred> {
  const utterance = new UtteranceSoFar(inference.head);
  const { labels, alignment } = inference.head;
  const decoder = alignment === undefined ? undefined : alignedFrames(inference, switchingCost);
  const decoded: DecodedFrames[] = [];
  const classified: ClassifiedWindow[] = [];
  const clusters: Int32Array[] = [];
  for await (const window of windows) {
    const { result, clusters: found } = await inference.inferWindow(window, waveform, signal);
    utterance.add(result);
    if (decoder !== undefined) decoded.push(decoder.push(result));
    const { framePosteriors: posteriors, attention, pooled, scoreLogSums } = result;
    if (utterance.pooled !== undefined) classified.push({ posteriors, attention, pooled, scoreLogSums });
    if (found !== undefined) clusters.push(found);
    afterWindow(window.last ? window.samples : window.keepEnd * inference.geometry.stride, window.samples);
  }
  for (const [index, { posteriors, pooled: own, attention, scoreLogSums }] of classified.entries()) {
    utterance.pooled!.correct(posteriors, own);
    const share = utterance.pooled!.shareOf(index, scoreLogSums[0]!);
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

  /** `[classes]`, of all windows so far: logits, or the values of a regression. */
  logits(): Float32Array {
    return fusedLogits(
      given({ classifier: this.pooled?.outputs(), alignment: this.#islands?.logits() }),
      this.head.calibration,
    );
  }
}

// Of the pooled standard deviation, as native/ops.h has it.
const varianceFloor = 1e-5;

/**
 * The classification of an utterance from windows of it that were pooled each by itself. Whatever the pooling is (a weighted mean, and
 * a standard deviation about it; a sum; a maximum), windows of known total weight add up to exactly the pooling over all of their
 * frames. Variances that are clamped (`attentive-stats`) come out of a window as the least there is, and may then be too large by that.
 */
class PooledSum {
  readonly #head: HeadOutputs;
  readonly #task: Head['task'];
  readonly #classes: number;
  readonly #pooling: PoolingName;
  /** Whether a frame was classified with the deviation of its window. */
  readonly #correctable: boolean;
  readonly #width: number;
  readonly #deviation: ReturnType<typeof deviationOf>;
  /** The weighted mean, the sum, or the maximum of all frames so far. */
  #pooled: Float64Array;
  #variance: Float64Array;
  #logSum = -Infinity;
  /** Of each maximum, the window that it is in; windows so far. */
  readonly #winners: Int32Array;
  #windows = 0;

  constructor(head: Head) {
    this.#head = new HeadOutputs(head);
    this.#task = head.task;
    this.#classes = head.labels.length;
    const { pooling, frames } = classifierOptions(head)!;
    this.#pooling = pooling;
    this.#correctable = pooling === 'stats' && frames === undefined;
    this.#deviation = deviationOf(pooling);
    this.#width = this.#head.inputs / (this.#deviation === undefined ? 1 : 2);
    this.#pooled = new Float64Array(this.#width).fill(pooling === 'max' ? -Infinity : 0);
    this.#winners = new Int32Array(this.#width);
    this.#variance = new Float64Array(this.#deviation === undefined ? 0 : this.#width);
  }

  /** The next window, classified alone. */
  add({ pooled, scoreLogSums }: ClassifyResult): void {
    const logSum = scoreLogSums[0]!;
    const highest = Math.max(this.#logSum, logSum);
    const total = highest + Math.log(Math.exp(this.#logSum - highest) + Math.exp(logSum - highest));
    const [before, part] = [Math.exp(this.#logSum - total), Math.exp(logSum - total)];
    this.#logSum = total;
    if (this.#pooling === 'sum') this.#pooled = this.#pooled.map((value, c) => value + pooled[c]!);
    else if (this.#pooling === 'max') {
      this.#pooled.forEach((value, c) => {
        if (pooled[c]! > value) this.#winners[c] = this.#windows;
      });
      this.#pooled = this.#pooled.map((value, c) => Math.max(value, pooled[c]!));
    } else {
      const difference = this.#pooled.map((value, c) => pooled[c]! - value);
      this.#variance = this.#variance.map((value, c) => {
        const variance = pooled[this.#width + c]! ** 2 - (this.#deviation === 'added' ? varianceFloor : 0);
        return before * value + part * variance + before * part * difference[c]! ** 2;
      });
      this.#pooled = this.#pooled.map((value, c) => value + part * difference[c]!);
    }
    this.#windows++;
  }

  /**
   * What window `index`, of the given log Σ exp(score), has of the weights of all frames so far. Of maxima: the share of channels whose
   * maximum is in it, which its frames are taken to have as they have the maxima within it.
   */
  shareOf(index: number, logSum: number): number {
    if (this.#pooling !== 'max') return Math.exp(logSum - this.#logSum);
    return this.#winners.reduce((sum, winner) => sum + (winner === index ? 1 : 0), 0) / this.#width;
  }

  /** [classes], of all frames so far: logits, or the values of a regression. */
  outputs(): Float32Array {
    return this.#head.of(Float64Array.from([...this.#pooled, ...this.#deviations()]));
  }

  /**
   * With `stats` pooling a frame is classified with the deviation of its utterance. Outputs of frames `[T, classes]` of a window,
   * which were computed with its own, are changed to those with the deviation of all frames so far; others are as they are.
   */
  correct(outputs: Float32Array, pooled: Float32Array): void {
    if (!this.#correctable) return;
    const shift = this.#deviations().map((value, c) => value - pooled[this.#width + c]!);
    const change = this.#head.changeBy(Float64Array.from([...new Float64Array(this.#width), ...shift]));
    for (let row = 0; row < outputs.length; row += this.#classes) {
      if (this.#task === 'regression') {
        for (let k = 0; k < this.#classes; k++) outputs[row + k]! += change[k]!;
        continue;
      }
      const changed = change.map((by, k) => outputs[row + k]! * Math.exp(by));
      const sum = changed.reduce((all, value) => all + value, 0);
      for (let k = 0; k < this.#classes; k++) outputs[row + k] = changed[k]! / sum;
    }
  }

  #deviations(): Float64Array {
    return this.#variance.map((value) =>
      Math.sqrt(this.#deviation === 'added' ? Math.max(value, 0) + varianceFloor : Math.max(value, varianceFloor)),
    );
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

/** Of a pooled head, whose frames are smoothed if they have classes; `pooled` has all windows so far. */
export function pooledFrames(pooled: PooledSum, smoother: Smoother | undefined): FrameDecoder {
  return {
    push: ({ framePosteriors, pooled: own }) => {
      pooled.correct(framePosteriors, own);
      return { posteriors: framePosteriors, path: smoother?.push(framePosteriors) ?? [] };
    },
    finish: () => ({ posteriors: new Float32Array(), path: smoother?.finish() ?? [] }),
  };
}
