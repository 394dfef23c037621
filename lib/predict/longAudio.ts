// Long audio: what is heard in its windows, put together as if it had been heard at once.
import { SegmentBuilder, type TimelineSegment } from '../evaluate/segments.js';
import { Smoother } from '../evaluate/viterbi.js';
import { Geometry } from '../model/geometry.js';
import type { HeardWindow } from './heardWindows.js';
import type { Heard, Listener } from './listener.js';
import { PooledStretches } from './pooledStretches.js';
import { decide, type TimelineChunk } from './prediction.js';

/**
 * Hears all windows.
 *
 * @param afterWindow is told the samples that are done, of all.
 */
export async function hearWindows(
  listener: Listener,
  windows: AsyncIterable<HeardWindow>,
  afterWindow: (done: number, total: number) => void,
): Promise<Heard> {
  const pooled = new PooledStretches(listener.head);
  const stretches: { posteriors: Float32Array; attention: Float32Array; pooled: Float32Array; logSum: number }[] = [];
  const clusters: Int32Array[] = [];
  for await (const window of windows) {
    const { result, clusters: found } = await listener.hearWindow(window);
    pooled.add(result);
    const { framePosteriors: posteriors, attention, scoreLogSums } = result;
    stretches.push({ posteriors, attention, pooled: result.pooled, logSum: scoreLogSums[0]! });
    if (found !== undefined) clusters.push(found);
    afterWindow(window.last ? window.samples : window.keepEnd * listener.geometry.stride, window.samples);
  }
  for (const { posteriors, pooled: own, attention, logSum } of stretches) {
    pooled.correct(posteriors, own);
    const share = Math.exp(logSum - pooled.logSum);
    attention.forEach((weight, frame) => {
      attention[frame] = weight * share;
    });
  }
  return {
    logits: pooled.logits(),
    posteriors: joinFloats(stretches.map(({ posteriors }) => posteriors)),
    attention: joinFloats(stretches.map(({ attention }) => attention)),
    clusters: clusters.length === 0 ? undefined : Int32Array.from(clusters.flatMap((part) => [...part])),
  };
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

/** Hears windows one by one, and gives what each adds to the timeline. */
export async function* streamWindows(
  listener: Listener,
  windows: AsyncIterable<HeardWindow>,
  switchingCost: number,
): AsyncGenerator<TimelineChunk> {
  const { head, geometry } = listener;
  const { labels } = head;
  const pooled = new PooledStretches(head);
  const smoother = new Smoother(labels.length, switchingCost);
  const builder = new SegmentBuilder(labels, geometry);
  /** Posteriors of frames whose class is not decided, in order. */
  let undecided: number[][] = [];
  const settle = (path: readonly number[]): TimelineSegment[] => {
    const segments = path.flatMap((state, i) => builder.push(state, undecided[i]![state]!));
    undecided = undecided.slice(path.length);
    return segments;
  };
  for await (const window of windows) {
    const { result, clusters } = await listener.hearWindow(window);
    pooled.add(result);
    const { framePosteriors, attention, scoreLogSums } = result;
    pooled.correct(framePosteriors, result.pooled);
    const frames = Array.from(attention, (weight, i) => ({
      time: geometry.frameCenterSeconds(window.keepStart + i),
      posterior: Array.from(framePosteriors.subarray(i * labels.length, (i + 1) * labels.length)),
      score: Math.log(weight) + scoreLogSums[0]!,
      ...(clusters !== undefined && { cluster: clusters[i]! }),
    }));
    undecided.push(...frames.map(({ posterior }) => posterior));
    const segments = settle(smoother.push(framePosteriors));
    const seconds = window.samples / Geometry.sampleRate;
    if (window.last) segments.push(...settle(smoother.finish()), ...builder.finish(seconds));
    const boundary = (frame: number) =>
      Number((geometry.frameCenterSeconds(frame) - geometry.frameSeconds / 2).toFixed(4));
    yield {
      start: window.keepStart === 0 ? 0 : boundary(window.keepStart),
      end: window.last ? Number(seconds.toFixed(4)) : boundary(window.keepEnd),
      frames,
      segments,
      soFar: decide(pooled.logits(), head),
      last: window.last,
    };
  }
}
