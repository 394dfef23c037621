// The timeline of audio as its windows come: frames and segments once nothing to come can change them.
import type { WaveformStatistics } from '../audio/normalize.js';
import { poolingOf } from '../checkpoint/head.js';
import type { DecodedFrames } from '../evaluate/alignmentTimeline.js';
import { emotionalMass } from '../evaluate/emotionalShare.js';
import { SegmentBuilder, type TimelineSegment } from '../evaluate/segments.js';
import { Smoother } from '../evaluate/viterbi.js';
import type { ClassifyResult } from '../model/binding.js';
import { Geometry } from '../model/geometry.js';
import type { Inference } from './inference.js';
import { alignedFrames, type FrameDecoder, pooledFrames, UtteranceSoFar } from './merge.js';
import { decide, outputOfFrame, type StreamedFrame, type TimelineChunk } from './prediction.js';
import type { AudioWindow } from './windows.js';

/** Runs windows through the models one by one, and gives what each adds to the timeline. `waveform`: as in `inferWindows`. */
export async function* streamWindows(
  inference: Inference,
  windows: AsyncIterable<AudioWindow>,
  switchingCost: number,
  waveform: WaveformStatistics | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<TimelineChunk> {
  const { task, head, geometry } = inference;
  const utterance = new UtteranceSoFar(head);
  const decoder = decoderOf(inference, utterance, switchingCost);
  // A regression has no segments.
  const segmented = task === 'regression' ? undefined : new SegmentStream(inference);
  const frames = new FrameStream(inference);
  for await (const window of windows) {
    const { result, clusters } = await inference.inferWindow(window, waveform, signal);
    utterance.add(result);
    frames.add(result, clusters);
    const first = frames.given;
    const decoded = window.last ? [decoder.push(result), decoder.finish()] : [decoder.push(result)];
    const due = decoded.flatMap(({ posteriors }) => frames.give(posteriors));
    const settled = decoded.flatMap((part) => segmented?.push(part) ?? []);
    const seconds = window.samples / Geometry.sampleRate;
    const segments = window.last ? settled.concat(segmented?.finish(seconds) ?? []) : settled;
    const boundary = (frame: number) =>
      frame === 0 ? 0 : Number((geometry.frameCenterSeconds(frame) - geometry.frameSeconds / 2).toFixed(4));
    yield {
      start: boundary(first),
      end: window.last ? Number(seconds.toFixed(4)) : boundary(frames.given),
      frames: due,
      segments,
      soFar: decide(task, utterance.logits(), head.labels),
      last: window.last,
    };
  }
}

function decoderOf(inference: Inference, { pooled }: UtteranceSoFar, switchingCost: number): FrameDecoder {
  const { task, head } = inference;
  if (head.alignment !== undefined) return alignedFrames(inference, switchingCost);
  return pooledFrames(pooled!, task === 'regression' ? undefined : new Smoother(head.labels.length, switchingCost));
}

/** Frames of a stream, each given with its posterior, which may come later than what else is known of it. */
class FrameStream {
  /** Frames that were given. */
  given = 0;
  /** Of frames that were not given yet, in order. */
  #scores: number[] = [];
  #clusters: number[] = [];

  constructor(private readonly inference: Inference) {}

  /** The frames of a window. */
  add({ attention, scoreLogSums }: ClassifyResult, clusters: Int32Array | undefined): void {
    for (const weight of attention) this.#scores.push(Math.log(weight) + scoreLogSums[0]!);
    for (const cluster of clusters ?? []) this.#clusters.push(cluster);
  }

  /** Those whose posteriors `[T, classes]` are there. */
  give(posteriors: Float32Array): StreamedFrame[] {
    const { task, head, geometry } = this.inference;
    const { labels, alignment } = head;
    const classes = labels.length;
    const pooled = poolingOf(head) !== undefined;
    const scores = pooled ? this.#scores : emotionalMass(posteriors, classes, alignment!.neutral).map(Math.log);
    const frames = Array.from({ length: posteriors.length / classes }, (_, i) => ({
      time: geometry.frameCenterSeconds(this.given + i),
      ...outputOfFrame(task, posteriors, classes, i),
      score: scores[i]!,
      ...(this.#clusters.length > 0 && { cluster: this.#clusters[i]! }),
    }));
    this.given += frames.length;
    this.#scores = this.#scores.slice(frames.length);
    this.#clusters = this.#clusters.slice(frames.length);
    return frames;
  }
}

/** Segments of frames that come in parts, whose posteriors and classes need not come together. */
class SegmentStream {
  readonly #builder: SegmentBuilder;
  readonly #classes: number;
  #posteriors: Float32Array[] = [];
  #path: number[] = [];

  constructor({ head, geometry }: Inference) {
    this.#builder = new SegmentBuilder(head.labels, geometry);
    this.#classes = head.labels.length;
  }

  /** The segments that are ended now. */
  push({ posteriors, path }: DecodedFrames): TimelineSegment[] {
    for (let row = 0; row < posteriors.length; row += this.#classes)
      this.#posteriors.push(posteriors.subarray(row, row + this.#classes));
    for (const state of path) this.#path.push(state);
    const both = Math.min(this.#posteriors.length, this.#path.length);
    const segments: TimelineSegment[] = [];
    for (let frame = 0; frame < both; frame++) {
      const state = this.#path[frame]!;
      for (const ended of this.#builder.push(state, this.#posteriors[frame]![state]!)) segments.push(ended);
    }
    this.#posteriors = this.#posteriors.slice(both);
    this.#path = this.#path.slice(both);
    return segments;
  }

  /** The last segment of audio of so many seconds. */
  finish(seconds: number): TimelineSegment[] {
    return this.#builder.finish(seconds);
  }
}
