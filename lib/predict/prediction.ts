import type { EmoframeError } from '../errors.js';
import { probabilitiesOf } from '../evaluate/fusion.js';
import { type FrameTimes, type TimelineSegment, toSegments } from '../evaluate/segments.js';
import type { WindowsUsed } from './windows.js';

/** One frame of a timeline. */
export interface PredictedFrame {
  /** Seconds to the frame's centre. */
  readonly time: number;
  /**
   * In the order of `labels`; sums to 1. Of a model whose timeline is `attention`: the classifier on this frame alone. Of one
   * whose timeline is `alignment`: that the frame is of this emotion.
   */
  readonly posterior: readonly number[];
  /**
   * The frame's weight in the utterance's decision; sums to 1 over the utterance. Without a pooled classifier it is the frame's
   * share of what is not neutral.
   */
  readonly attention: number;
  /** Pseudo-label of stage 2, when the model has clusters. */
  readonly cluster?: number;
}

/** A timeline's frames column by column, as the model gives them. */
export interface FrameColumns {
  /** f32 `[frames, labels]`: {@link PredictedFrame.posterior} of each. */
  readonly posteriors: Float32Array;
  /** f32 `[frames]` */
  readonly attention: Float32Array;
  /** i32 `[frames]`; absent when the model has no clusters. */
  readonly clusters?: Int32Array;
}

/** The decision on an utterance. */
export interface Decision {
  /** The most probable emotion. */
  readonly label: string;
  /** By label; they sum to 1. */
  readonly probabilities: Readonly<Record<string, number>>;
}

/** The emotion of an utterance, and its timeline. */
export interface Prediction extends Decision {
  readonly id: string;
  /** The channel that was read, where one was asked for, counted from 1. */
  readonly channel?: number;
  /** Length of the audio. */
  readonly seconds: number;
  /** Seconds from one frame to the next. */
  readonly frameSeconds: number;
  /** Made from the columns when it is first read. */
  readonly frames: readonly PredictedFrame[];
  /** The smoothed timeline: it covers the utterance without gaps. Made when it is first read. */
  readonly segments: readonly TimelineSegment[];
  /** What frames and segments are made of, without an object a frame. Not among the properties that are listed, copied or written as JSON. */
  readonly columns: FrameColumns;
  /** The windows in which the audio went through the model; null for one pass. */
  readonly windows: WindowsUsed | null;
}

/** In place of a prediction, when failures were asked to be yielded. */
export interface PredictionFailure {
  readonly id: string;
  readonly error: EmoframeError;
}

/** One frame of audio whose end is not known yet. */
export interface StreamedFrame extends Omit<PredictedFrame, 'attention'> {
  /** What attention is made of: the weights of frames are the softmax of their scores. 0 with `mean` pooling. */
  readonly score: number;
}

/** The next part of a timeline. */
export interface TimelineChunk {
  /**
   * Seconds from the start of the audio, of its frames; chunks follow each other without gaps. Of a model whose timeline is
   * `alignment` they end a second before the audio so far, as posteriors wait for so much of what follows; a chunk may have no frames yet.
   */
  readonly start: number;
  readonly end: number;
  readonly frames: readonly StreamedFrame[];
  /** Segments that nothing to come can change; together, those of all chunks are the smoothed timeline. */
  readonly segments: readonly TimelineSegment[];
  /** The decision on all of the audio so far; with the last chunk, on all of the audio. */
  readonly soFar: Decision;
  /** Whether the audio ends with this chunk. */
  readonly last: boolean;
}

/** What a {@link Prediction}'s frames and segments follow from. */
export interface Timeline {
  columns: FrameColumns;
  labels: readonly string[];
  times: FrameTimes;
  seconds: number;
  /** i32 `[frames]`: the class of each. */
  path: () => Int32Array;
}

/** A prediction whose frames and segments are made when they are asked for: most callers want one of them, or neither. */
export function withTimeline(
  prediction: Omit<Prediction, 'frames' | 'segments' | 'columns'>,
  timeline: Timeline,
): Prediction {
  let frames: PredictedFrame[] | undefined;
  let segments: TimelineSegment[] | undefined;
  const { windows, ...decision } = prediction;
  const seen: Omit<Prediction, 'columns' | 'windows'> = {
    ...decision,
    get frames() {
      frames ??= framesOf(timeline);
      return frames;
    },
    get segments() {
      segments ??= segmentsOf(timeline);
      return segments;
    },
  };
  return Object.defineProperties(seen, {
    windows: { value: windows, enumerable: true },
    columns: { value: timeline.columns },
  }) as Prediction;
}

function framesOf({ columns, labels, times }: Timeline): PredictedFrame[] {
  const { posteriors, attention, clusters } = columns;
  const classes = labels.length;
  const frames: PredictedFrame[] = [];
  for (let frame = 0; frame < attention.length; frame++) {
    const posterior: number[] = [];
    for (let c = 0; c < classes; c++) posterior.push(posteriors[frame * classes + c]!);
    const seen = { time: times.frameCenterSeconds(frame), posterior, attention: attention[frame]! };
    frames.push(clusters === undefined ? seen : { ...seen, cluster: clusters[frame]! });
  }
  return frames;
}

function segmentsOf({ columns: { posteriors }, labels, times, seconds, path }: Timeline): TimelineSegment[] {
  return toSegments(path(), posteriors, labels, times, seconds);
}

/** The decision that logits `[classes]` make. */
export function decide(logits: Float32Array, labels: readonly string[]): Decision {
  const probabilities = probabilitiesOf(logits);
  return {
    label: labels[logits.indexOf(Math.max(...logits))]!,
    probabilities: Object.fromEntries(labels.map((label, c) => [label, probabilities[c]!])),
  };
}
