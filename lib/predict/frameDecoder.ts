// Frames of a recording that is heard window by window: their posteriors, and the smoothed path through them.
import { type DecodedFrames, RecordingDecoder } from '../evaluate/alignmentTimeline.js';
import { SegmentBuilder, type TimelineSegment } from '../evaluate/segments.js';
import { Smoother } from '../evaluate/viterbi.js';
import type { ClassifyResult } from '../model/binding.js';
import type { Listener } from './listener.js';
import type { PooledStretches } from './pooledStretches.js';

/** Gives the frames of windows, in order; those of a window may be due with a later one. */
export interface FrameDecoder {
  push(result: ClassifyResult): DecodedFrames;
  /** The frames that are left. */
  finish(): DecodedFrames;
}

/** Of a model with an alignment network: its frames may be of any emotions one after another. */
export function alignedFrames({ head, geometry }: Listener, switchingCost: number): FrameDecoder {
  const decoder = new RecordingDecoder(head.labels.length, head.alignment!, geometry.frameSeconds, switchingCost);
  return {
    push: ({ alignment }) => decoder.push(alignment!.frameLogits),
    finish: () => decoder.finish(),
  };
}

/** Of a pooled classifier, which is asked for each frame alone; `pooled` has what was heard so far. */
export function classifiedFrames(pooled: PooledStretches, classes: number, switchingCost: number): FrameDecoder {
  const smoother = new Smoother(classes, switchingCost);
  return {
    push: ({ framePosteriors, pooled: own }) => {
      pooled.correct(framePosteriors, own);
      return { posteriors: framePosteriors, path: smoother.push(framePosteriors) };
    },
    finish: () => ({ posteriors: new Float32Array(), path: smoother.finish() }),
  };
}

/** Segments of frames that come in parts, whose posteriors and classes need not come together. */
export class SegmentStream {
  readonly #builder: SegmentBuilder;
  readonly #classes: number;
  #posteriors: Float32Array[] = [];
  #path: number[] = [];

  constructor({ head, geometry }: Listener) {
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
      segments.push(...this.#builder.push(state, this.#posteriors[frame]![state]!));
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
