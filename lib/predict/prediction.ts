import type { EmoframeError } from '../errors.js';
import { probabilitiesOf } from '../evaluate/fusion.js';
import { type FrameTimes, type TimelineSegment, toSegments } from '../evaluate/segments.js';
import { given } from '../given.js';
import { largestOf } from '../lists.js';
import type { WindowsUsed } from './windows.js';

/** What a model gives: the probabilities of emotions, or the values of dimensions such as arousal. */
export type Task = 'classification' | 'regression';

/** What is known of a frame, whatever the model gives. */
export interface FrameBase {
  /** Seconds to the frame's centre. */
  readonly time: number;
  /** Pseudo-label of stage 2, when the model has clusters. */
  readonly cluster?: number;
}

/** What a classifier gives of a frame. */
export interface EmotionOfFrame {
  /**
   * In the order of `labels`; sums to 1. Of a model whose timeline is `alignment`: that the frame is of this emotion. Otherwise the
   * classifier on this frame alone (`attention`, `frames`) or on the window around it (`windows`).
   */
  readonly posterior: readonly number[];
  readonly values?: undefined;
}

/** What a regression gives of a frame. */
export interface ValuesOfFrame {
  readonly posterior?: undefined;
  /** In the order of `labels`, the dimensions: the head on this frame alone, or on the window around it. */
  readonly values: readonly number[];
}

/** What a model gives of a frame. */
export type OutputOfFrame<T extends Task> = T extends 'regression' ? ValuesOfFrame : EmotionOfFrame;

/** One frame of a timeline. */
export type PredictedFrame<T extends Task = Task> = FrameBase & {
  /**
   * The frame's weight in the utterance's decision; sums to 1 over the utterance. Without a pooled classifier it is the frame's
   * share of what is not neutral.
   */
  readonly attention: number;
} & OutputOfFrame<T>;

/** What columns of frames there are, whatever the model gives. */
export interface ColumnsBase {
  /** f32 `[frames]` */
  readonly attention: Float32Array;
  /** i32 `[frames]`; absent when the model has no clusters. */
  readonly clusters?: Int32Array;
}

/** Of a classifier. */
export interface EmotionColumns extends ColumnsBase {
  /** f32 `[frames, labels]`: the posteriors of each frame. */
  readonly posteriors: Float32Array;
  readonly values?: undefined;
}

/** Of a regression. */
export interface ValuesColumns extends ColumnsBase {
  readonly posteriors?: undefined;
  /** f32 `[frames, labels]`: the values of each frame. */
  readonly values: Float32Array;
}

/** A timeline's frames column by column, as the model gives them. */
export type FrameColumns<T extends Task = Task> = T extends 'regression' ? ValuesColumns : EmotionColumns;

/** The emotion of an utterance. */
export interface EmotionDecision {
  /** The most probable emotion. */
  readonly label: string;
  /** By label; they sum to 1. */
  readonly probabilities: Readonly<Record<string, number>>;
  readonly values?: undefined;
}

/** The values of an utterance's dimensions. */
export interface ValuesDecision {
  readonly label?: undefined;
  readonly probabilities?: undefined;
  /** By dimension, such as `arousal`, on the scale of the model's training. */
  readonly values: Readonly<Record<string, number>>;
}

/** The decision on an utterance: its emotion, or the values of its dimensions. */
export type Decision<T extends Task = Task> = T extends 'regression' ? ValuesDecision : EmotionDecision;

/** What a prediction has beside its decision. */
export interface PredictionBase<T extends Task> {
  readonly id: string;
  /** The channel that was read, where one was asked for, counted from 1. */
  readonly channel?: number;
  /** Length of the audio. */
  readonly seconds: number;
  /** Seconds from one frame to the next. */
  readonly frameSeconds: number;
  /** Made from the columns when it is first read. */
  readonly frames: readonly PredictedFrame<T>[];
  /** The smoothed timeline: it covers the utterance without gaps. Made when it is first read. Of a regression: none. */
  readonly segments: readonly TimelineSegment[];
  /** What frames and segments are made of, without an object a frame. Not among the properties that are listed, copied or written as JSON. */
  readonly columns: FrameColumns<T>;
  /** The windows in which the audio went through the model; null for one pass. */
  readonly windows: WindowsUsed | null;
}

/**
 * The emotion of an utterance, or the values of its dimensions, and its timeline. Which of the two it is follows from the model
 * ({@link EmotionModel.task}); `values` is undefined in the one and `label` in the other.
 *
 * @example
 * const prediction = await model.predict('a.wav');
 * if (prediction.values === undefined) console.log(prediction.label, prediction.frames[0].posterior);
 * else console.log(prediction.values.arousal, prediction.frames[0].values);
 */
export type Prediction<T extends Task = Task> = T extends Task ? Decision<T> & PredictionBase<T> : never;

/** In place of a prediction, when failures were asked to be yielded. */
export interface PredictionFailure {
  readonly id: string;
  readonly error: EmoframeError;
}

/** One frame of audio whose end is not known yet. */
export type StreamedFrame<T extends Task = Task> = FrameBase & {
  /**
   * What attention is made of: the weights of frames are the softmax of their scores. 0 with `mean` and `sum` pooling; with `max`
   * pooling they are so within a window alone.
   */
  readonly score: number;
} & OutputOfFrame<T>;

/** The next part of a timeline. */
export interface TimelineChunk<T extends Task = Task> {
  /**
   * Seconds from the start of the audio, of its frames; chunks follow each other without gaps. Of a model whose timeline is
   * `alignment` they end a second before the audio so far, as posteriors wait for so much of what follows; a chunk may have no frames yet.
   */
  readonly start: number;
  readonly end: number;
  readonly frames: readonly StreamedFrame<T>[];
  /** Segments that nothing to come can change; together, those of all chunks are the smoothed timeline. Of a regression: none. */
  readonly segments: readonly TimelineSegment[];
  /** The decision on all of the audio so far; with the last chunk, on all of the audio. */
  readonly soFar: Decision<T>;
  /** Whether the audio ends with this chunk. */
  readonly last: boolean;
}

/** What a {@link Prediction}'s frames and segments follow from. */
export interface Timeline {
  task: Task;
  /** f32 `[frames, labels]` */
  outputs: Float32Array;
  attention: Float32Array;
  clusters: Int32Array | undefined;
  labels: readonly string[];
  times: FrameTimes;
  seconds: number;
  /** i32 `[frames]`: the class of each; not asked for of a regression. */
  path: () => Int32Array;
}

/** A prediction whose frames and segments are made when they are asked for: most callers want one of them, or neither. */
export function withTimeline(
  prediction: Decision & Omit<PredictionBase<Task>, 'frames' | 'segments' | 'columns'>,
  timeline: Timeline,
): Prediction {
  let frames: PredictedFrame[] | undefined;
  let segments: TimelineSegment[] | undefined;
  const { windows, ...decision } = prediction;
  const seen = {
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
  const { task, outputs, attention, clusters } = timeline;
  return Object.defineProperties(seen, {
    windows: { value: windows, enumerable: true },
    columns: {
      value: { [task === 'regression' ? 'values' : 'posteriors']: outputs, attention, ...given({ clusters }) },
    },
  }) as unknown as Prediction;
}

function framesOf({ task, outputs, attention, clusters, labels, times }: Timeline): PredictedFrame[] {
  return Array.from(attention, (weight, frame) => ({
    time: times.frameCenterSeconds(frame),
    ...outputOfFrame(task, outputs, labels.length, frame),
    attention: weight,
    ...(clusters !== undefined && { cluster: clusters[frame]! }),
  }));
}

/** Of a frame's row of `[frames, labels]`. */
export function outputOfFrame(
  task: Task,
  outputs: Float32Array,
  labels: number,
  frame: number,
): EmotionOfFrame | ValuesOfFrame {
  const row = Array.from(outputs.subarray(frame * labels, (frame + 1) * labels));
  return task === 'regression' ? { values: row } : { posterior: row };
}

function segmentsOf({ task, outputs, labels, times, seconds, path }: Timeline): TimelineSegment[] {
  return task === 'regression' ? [] : toSegments(path(), outputs, labels, times, seconds);
}

/** The decision that a head's outputs for an utterance make: logits `[classes]`, or the values of a regression. */
export function decide(task: Task, outputs: Float32Array, labels: readonly string[]): Decision {
  const byLabel = (values: ArrayLike<number>) => Object.fromEntries(labels.map((label, c) => [label, values[c]!]));
  if (task === 'regression') return { values: byLabel(outputs) };
  return {
    label: labels[outputs.indexOf(largestOf(outputs))]!,
    probabilities: byLabel(probabilitiesOf(outputs)),
  };
}
