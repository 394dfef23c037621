// Long audio: what is heard in its windows, put together as if it had been heard at once.
import type { WaveformStatistics } from '../audio/normalize.js';
import { poolingOf } from '../checkpoint/head.js';
import type { DecodedFrames } from '../evaluate/alignmentTimeline.js';
import { emotionalMass, emotionalShare } from '../evaluate/emotionalShare.js';
import type { ClassifyResult } from '../model/binding.js';
import { Geometry } from '../model/geometry.js';
import { alignedFrames, classifiedFrames, SegmentStream } from './frameDecoder.js';
import type { HeardWindow } from './heardWindows.js';
import type { Heard, Listener } from './listener.js';
import { decide, type StreamedFrame, type TimelineChunk } from './prediction.js';
import { UtteranceSoFar } from './utteranceSoFar.js';

/**
 * Hears all windows.
 *
 * @param switchingCost of a recording's timeline, where an alignment network makes it.
 * @param waveform by which an alignment network hears the audio, in place of its training's; undefined: by that.
 * @param afterWindow is told the samples that are done, of all.
 */
export async function hearWindows(
  listener: Listener,
  windows: AsyncIterable<HeardWindow>,
  switchingCost: number,
  waveform: WaveformStatistics | undefined,
  afterWindow: (done: number, total: number) => void,
): Promise<Heard> {
  const utterance = new UtteranceSoFar(listener.head);
  const { labels, alignment } = listener.head;
  const decoder = alignment === undefined ? undefined : alignedFrames(listener, switchingCost);
  const decoded: DecodedFrames[] = [];
  const stretches: PooledStretch[] = [];
  const clusters: Int32Array[] = [];
  for await (const window of windows) {
    const { result, clusters: found } = await listener.hearWindow(window, waveform);
    utterance.add(result);
    if (decoder !== undefined) decoded.push(decoder.push(result));
    if (utterance.pooled !== undefined) stretches.push(pooledStretch(result));
    if (found !== undefined) clusters.push(found);
    afterWindow(window.last ? window.samples : window.keepEnd * listener.geometry.stride, window.samples);
  }
  for (const { posteriors, pooled: own, attention, logSum } of stretches) {
    utterance.pooled!.correct(posteriors, own);
    const share = Math.exp(logSum - utterance.pooled!.logSum);
    attention.forEach((weight, frame) => {
      attention[frame] = weight * share;
    });
  }
  if (decoder !== undefined) decoded.push(decoder.finish());
  const posteriors = joinFloats((decoder === undefined ? stretches : decoded).map((part) => part.posteriors));
  return {
    logits: utterance.logits(),
    posteriors,
    attention:
      utterance.pooled === undefined
        ? emotionalShare(posteriors, labels.length, alignment!.neutral)
        : joinFloats(stretches.map(({ attention }) => attention)),
    clusters: clusters.length === 0 ? undefined : Int32Array.from(clusters.flatMap((part) => [...part])),
    path: decoder === undefined ? undefined : Int32Array.from(decoded.flatMap(({ path }) => path)),
  };
}

/** What pooling makes of a stretch by itself. */
interface PooledStretch {
  posteriors: Float32Array;
  attention: Float32Array;
  pooled: Float32Array;
  logSum: number;
}

function pooledStretch({ framePosteriors, attention, pooled, scoreLogSums }: ClassifyResult): PooledStretch {
  return { posteriors: framePosteriors, attention, pooled, logSum: scoreLogSums[0]! };
}

function joinFloats(parts: readonly Float32Array[]): Float32Array {
  const joined = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let position = 0;
  for (const part of parts) {
    joined.set(part, position);
    position += part.length;
  }
  return joined;
}

/** Hears windows one by one, and gives what each adds to the timeline. `waveform`: as in {@link hearWindows}. */
export async function* streamWindows(
  listener: Listener,
  windows: AsyncIterable<HeardWindow>,
  switchingCost: number,
  waveform: WaveformStatistics | undefined,
): AsyncGenerator<TimelineChunk> {
  const { head, geometry } = listener;
  const utterance = new UtteranceSoFar(head);
  const decoder =
    head.alignment === undefined
      ? classifiedFrames(utterance.pooled!, head.labels.length, switchingCost)
      : alignedFrames(listener, switchingCost);
  const segmented = new SegmentStream(listener);
  const frames = new FrameStream(listener);
  for await (const window of windows) {
    const { result, clusters } = await listener.hearWindow(window, waveform);
    utterance.add(result);
    frames.hear(result, clusters);
    const first = frames.given;
    const decoded = window.last ? [decoder.push(result), decoder.finish()] : [decoder.push(result)];
    const due = decoded.flatMap(({ posteriors }) => frames.give(posteriors));
    const segments = decoded.flatMap((part) => segmented.push(part));
    const seconds = window.samples / Geometry.sampleRate;
    if (window.last) segments.push(...segmented.finish(seconds));
    const boundary = (frame: number) =>
      frame === 0 ? 0 : Number((geometry.frameCenterSeconds(frame) - geometry.frameSeconds / 2).toFixed(4));
    yield {
      start: boundary(first),
      end: window.last ? Number(seconds.toFixed(4)) : boundary(frames.given),
      frames: due,
      segments,
      soFar: decide(utterance.logits(), head.labels),
      last: window.last,
    };
  }
}

/** Frames of a stream, each given with its posterior, which may come later than what else is known of it. */
class FrameStream {
  /** Frames that were given. */
  given = 0;
  /** Of frames that were heard and not given, in order. */
  #scores: number[] = [];
  #clusters: number[] = [];

  constructor(private readonly listener: Listener) {}

  /** The frames of a window. */
  hear({ attention, scoreLogSums }: ClassifyResult, clusters: Int32Array | undefined): void {
    for (const weight of attention) this.#scores.push(Math.log(weight) + scoreLogSums[0]!);
    for (const cluster of clusters ?? []) this.#clusters.push(cluster);
  }

  /** Those whose posteriors `[T, classes]` are there. */
  give(posteriors: Float32Array): StreamedFrame[] {
    const { head, geometry } = this.listener;
    const { labels, alignment } = head;
    const classes = labels.length;
    const pooled = poolingOf(head) !== undefined;
    const scores = pooled ? this.#scores : emotionalMass(posteriors, classes, alignment!.neutral).map(Math.log);
    const frames = Array.from({ length: posteriors.length / classes }, (_, i) => ({
      time: geometry.frameCenterSeconds(this.given + i),
      posterior: Array.from(posteriors.subarray(i * classes, (i + 1) * classes)),
      score: scores[i]!,
      ...(this.#clusters.length > 0 && { cluster: this.#clusters[i]! }),
    }));
    this.given += frames.length;
    this.#scores = this.#scores.slice(frames.length);
    this.#clusters = this.#clusters.slice(frames.length);
    return frames;
  }
}
