/** A part of an utterance with one predicted emotion. */
export interface TimelineSegment {
  /** Seconds from the utterance's start. */
  start: number;
  end: number;
  label: string;
  /** Mean posterior of `label` over the segment's frames. */
  confidence: number;
}

/** The times of frames; `Geometry` of `lib/model` implements it. */
export interface FrameTimes {
  /** Seconds from one frame to the next. */
  readonly frameSeconds: number;
  /** Seconds from the utterance's start to the centre of a frame. */
  frameCenterSeconds(frame: number): number;
}

/**
 * Merges runs of one class into segments that cover the utterance without gaps: a boundary is midway between the centres of
 * its neighbouring frames, the first segment starts at 0 and the last ends with the utterance.
 *
 * @param path i32 `[T]`, e.g. from `smooth`.
 * @param posteriors f32 `[T, labels.length]`.
 * @param seconds the utterance's length.
 * @example
 * toSegments(path, posteriors, ['ang', 'neu'], model.geometry, 2.5);
 * // [{ start: 0, end: 1.0025, label: 'neu', confidence: 0.81 }, { start: 1.0025, end: 2.5, label: 'ang', confidence: 0.66 }]
 */
export function toSegments(
  path: Int32Array,
  posteriors: Float32Array,
  labels: readonly string[],
  times: FrameTimes,
  seconds: number,
): TimelineSegment[] {
  const builder = new SegmentBuilder(labels, times);
  const segments: TimelineSegment[] = [];
  path.forEach((state, frame) => {
    for (const ended of builder.push(state, posteriors[frame * labels.length + state]!)) segments.push(ended);
  });
  return [...segments, ...builder.finish(seconds)];
}

/** `toSegments` frame by frame. */
export class SegmentBuilder {
  #first = 0;
  #frame = 0;
  #state = 0;
  #sum = 0;

  constructor(
    private readonly labels: readonly string[],
    private readonly times: FrameTimes,
  ) {}

  /** Takes the class and posterior of the next frame; returns the segment that it ends, if any. */
  push(state: number, posterior: number): TimelineSegment[] {
    const ended = this.#frame > 0 && state !== this.#state ? [this.#segment(this.#boundary(this.#frame))] : [];
    if (ended.length > 0) {
      this.#first = this.#frame;
      this.#sum = 0;
    }
    this.#state = state;
    this.#sum += posterior;
    this.#frame++;
    return ended;
  }

  /** The last segment of an utterance of this length. */
  finish(seconds: number): TimelineSegment[] {
    return this.#frame === 0 ? [] : [this.#segment(Number(seconds.toFixed(4)))];
  }

  #segment(end: number): TimelineSegment {
    return {
      start: this.#first === 0 ? 0 : this.#boundary(this.#first),
      end,
      label: this.labels[this.#state]!,
      confidence: this.#sum / (this.#frame - this.#first),
    };
  }

  #boundary(frame: number): number {
    return Number((this.times.frameCenterSeconds(frame) - this.times.frameSeconds / 2).toFixed(4));
  }
}
