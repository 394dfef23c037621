/** A stretch of an utterance to which one emotion was given. */
export interface TimelineSegment {
  /** Seconds from the utterance's start. */
  start: number;
  end: number;
  label: string;
  /** Mean posterior of `label` over the segment's frames. */
  confidence: number;
}

/** Where frames lie in time; `Geometry` of `lib/model` is one. */
export interface FrameTimes {
  /** Seconds from one frame to the next. */
  readonly frameSeconds: number;
  /** Seconds from the utterance's start to the centre of a frame. */
  frameCenterSeconds(frame: number): number;
}

// A softmax in bf16 can give an exact zero, which must not forbid a class for ever.
const smallestPosterior = 1e-8;

/**
 * The path through the classes that maximises Σ log posterior − `switchingCost` · changes (Viterbi). With a cost of 0 it is
 * the argmax of each frame. Ties keep the class of the frame before, or take the first class.
 *
 * @param posteriors f32 `[T, classes]`, rows that sum to 1.
 * @param switchingCost in nats, ≥ 0.
 * @returns i32 `[T]`: a class a frame.
 * @example
 * smooth(Float32Array.of(0.9, 0.1, 0.4, 0.6, 0.9, 0.1), 2, 1); // Int32Array [0, 0, 0]
 */
export function smooth(posteriors: Float32Array, classes: number, switchingCost: number): Int32Array {
  const frames = Math.floor(posteriors.length / classes);
  const path = new Int32Array(frames);
  if (frames === 0) return path;
  const from = new Int32Array(frames * classes);
  let score = new Float64Array(classes);
  let next = new Float64Array(classes);
  for (let frame = 0; frame < frames; frame++) {
    // All switches cost the same, so the best class to come from by a switch is the best class of all.
    let best = 0;
    for (let c = 1; c < classes; c++) if (score[c]! > score[best]!) best = c;
    for (let c = 0; c < classes; c++) {
      const stays = frame === 0 || score[c]! >= score[best]! - switchingCost;
      from[frame * classes + c] = stays ? c : best;
      const before = stays ? score[c]! : score[best]! - switchingCost;
      next[c] = before + Math.log(Math.max(posteriors[frame * classes + c]!, smallestPosterior));
    }
    [score, next] = [next, score];
  }
  let state = 0;
  for (let c = 1; c < classes; c++) if (score[c]! > score[state]!) state = c;
  for (let frame = frames - 1; frame >= 0; frame--) {
    path[frame] = state;
    state = from[frame * classes + state]!;
  }
  return path;
}

/**
 * Merges runs of one class into segments that cover the utterance without gaps: a boundary lies midway between the centres
 * of the frames on its sides, the first segment starts at 0 and the last ends with the utterance.
 *
 * @param path i32 `[T]`, as `smooth` gives it.
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
  const boundary = (frame: number) =>
    Number(Math.min(times.frameCenterSeconds(frame) - times.frameSeconds / 2, seconds).toFixed(4));
  const segments: TimelineSegment[] = [];
  for (let first = 0; first < path.length; ) {
    const state = path[first]!;
    let end = first;
    let sum = 0;
    while (end < path.length && path[end] === state) sum += posteriors[end++ * labels.length + state]!;
    segments.push({
      start: first === 0 ? 0 : boundary(first),
      end: end === path.length ? Number(seconds.toFixed(4)) : boundary(end),
      label: labels[state]!,
      confidence: sum / (end - first),
    });
    first = end;
  }
  return segments;
}
