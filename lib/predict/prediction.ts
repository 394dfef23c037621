import type { EmoframeError } from '../errors.js';
import type { TimelineSegment } from '../evaluate/segments.js';
import type { WindowsUsed } from './windows.js';

/** One frame of a timeline. */
export interface PredictedFrame {
  /** Seconds to the frame's centre. */
  readonly time: number;
  /** The classifier on this frame alone, in the order of `labels`; sums to 1. */
  readonly posterior: readonly number[];
  /** The frame's weight in the utterance's decision; sums to 1 over the utterance. */
  readonly attention: number;
  /** Pseudo-label of stage 2, when the model has clusters. */
  readonly cluster?: number;
}

/** The decision on an utterance. */
export interface Decision {
  /** The most probable emotion. */
  readonly label: string;
  /** By label; they sum to 1. */
  readonly probabilities: Readonly<Record<string, number>>;
}

/** What is heard in an utterance, and when. */
export interface Prediction extends Decision {
  readonly id: string;
  /** The channel that was heard, where one was asked for, counted from 1. */
  readonly channel?: number;
  /** Length of the audio. */
  readonly seconds: number;
  /** Seconds from one frame to the next. */
  readonly frameSeconds: number;
  readonly frames: readonly PredictedFrame[];
  /** The smoothed timeline: it covers the utterance without gaps. */
  readonly segments: readonly TimelineSegment[];
  /** The windows through which the audio was heard; null when it was heard in one pass. */
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

/** The next stretch of a timeline. */
export interface TimelineChunk {
  /** Seconds from the start of the audio; stretches follow each other without gaps. */
  readonly start: number;
  readonly end: number;
  readonly frames: readonly StreamedFrame[];
  /** Segments that nothing to come can change; together, those of all chunks are the smoothed timeline. */
  readonly segments: readonly TimelineSegment[];
  /** The decision on all that was heard so far; with the last chunk, on all of the audio. */
  readonly soFar: Decision;
  /** Whether the audio ends with this chunk. */
  readonly last: boolean;
}

/** The decision that a classifier's outputs `[classes]` make. */
export function decide(logits: Float32Array, labels: readonly string[]): Decision {
  const highest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - highest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return {
    label: labels[logits.indexOf(highest)]!,
    probabilities: Object.fromEntries(labels.map((label, c) => [label, powers[c]! / sum])),
  };
}
