// Scores of prediction rows: of one fold for its metrics, of all folds for the summary.
import type { RunConfig } from '../config/types.js';
import type { UnreadableUtterance } from '../corpus/unreadable.js';
import type { DiarizationErrors } from '../evaluate/eder.js';
import { type FrameMetrics, type FrameRow, frameMetrics } from '../evaluate/frames.js';
import { type UtteranceMetrics, utteranceMetrics } from '../evaluate/metrics.js';

/** One row of `predictions.jsonl` or `baseline.jsonl`: a model's prediction for one utterance. */
export interface PredictionRow {
  id: string;
  audio: string;
  startSeconds?: number;
  endSeconds?: number;
  /** Counted from 1. */
  channel?: number;
  /** The true label. */
  label: string;
  predicted: string;
  /** In the order of `labels`. */
  probabilities: number[];
  seconds: number;
  frameSeconds: number;
  labels: string[];
  /** What says when: the classifier's weights and frame posteriors (absent: that), or a network that was trained to align. */
  timeline?: 'alignment' | 'attention';
  /** `[T][labels.length]` */
  posteriors: number[][];
  /** `[T]`, sums to 1. */
  attention: number[];
  /** `[T]`, stage 2's clusters. */
  clusters?: number[];
  /** `[T]`, indices into `labels`: the timeline that follows from the posteriors. */
  path: number[];
  /** `[T]`, where segments are known. */
  truth?: number[];
  /** Where segments are known: seconds in which the timeline is wrong. */
  errorSeconds?: DiarizationErrors;
}

/** Utterance scores, and frame scores where truth is known (else null). */
export interface Scores extends UtteranceMetrics {
  eder: number | null;
  /** The mean over utterances of each one's EDER by the second: what is published for ZED. */
  meanEder: number | null;
  frameAccuracy: number | null;
  frameUa: number | null;
  attentionOnEmotion: number | null;
  /** Null in scores of before it was measured, as is `lift`. */
  posteriorOnEmotion: number | null;
  emotionFrameShare: number | null;
  lift: number | null;
  /** The parts of EDER. */
  frameErrors: Pick<FrameMetrics, 'missed' | 'falseAlarm' | 'confusion'> | null;
}

/** Scores of one fold's test session. */
export interface FoldSummary extends Scores {
  name: string;
  utterances: number;
  /** Test utterances that are too short for one frame. */
  excluded: string[];
  baseline: Scores;
}

/** 95 % bootstrap intervals over utterances. */
export type Intervals = {
  wa: [number, number];
  ua: [number, number];
  macroF1: [number, number];
};

/** Scores over the utterances of all folds. */
export interface PooledScores extends Scores {
  intervals: Intervals;
  /** Means over folds. */
  meanOverFolds: { wa: number; ua: number };
}

/** `summary.json`: scores over the utterances of all folds, of stage 4 and, as `baseline`, of stage 1b. */
export interface RunSummary extends PooledScores {
  baseline: PooledScores;
  folds: FoldSummary[];
  labels: string[];
  neutral: string;
  protocol: RunConfig['protocol'];
  utterances: number;
  /** Utterances of the corpus that were left out because their audio cannot be read. */
  skipped: UnreadableUtterance[];
  /** Of all stages, each from its start or last resumption. */
  seconds: number;
}

/** True and predicted classes of rows. */
export function classesOf(
  rows: readonly PredictionRow[],
  labels: readonly string[],
): { truth: number[]; predicted: number[] } {
  return {
    truth: rows.map(({ label }) => labels.indexOf(label)),
    predicted: rows.map(({ predicted }) => labels.indexOf(predicted)),
  };
}

export function scoreRows(rows: readonly PredictionRow[], labels: readonly string[], neutral: string): Scores {
  const { truth, predicted } = classesOf(rows, labels);
  const utterances = utteranceMetrics(truth, predicted, labels.length);
  if (!rows.some((row) => row.truth !== undefined)) {
    return {
      ...utterances,
      eder: null,
      meanEder: null,
      frameAccuracy: null,
      frameUa: null,
      attentionOnEmotion: null,
      posteriorOnEmotion: null,
      emotionFrameShare: null,
      lift: null,
      frameErrors: null,
    };
  }
  const frames = frameMetrics(withTruth(rows), labels.length, labels.indexOf(neutral));
  const { eder, frameAccuracy, frameUa, attentionOnEmotion, posteriorOnEmotion, emotionFrameShare, lift } = frames;
  const { missed, falseAlarm, confusion } = frames;
  return {
    ...utterances,
    eder,
    meanEder: meanEder(rows.filter(({ truth: known }) => known !== undefined)),
    frameAccuracy,
    frameUa,
    attentionOnEmotion,
    posteriorOnEmotion,
    emotionFrameShare,
    lift,
    frameErrors: { missed, falseAlarm, confusion },
  };
}

/** Null: a row of an earlier version does not say. */
function meanEder(rows: readonly PredictionRow[]): number | null {
  let sum = 0;
  for (const { errorSeconds, seconds } of rows) {
    if (errorSeconds === undefined) return null;
    sum += (errorSeconds.missed + errorSeconds.falseAlarm + errorSeconds.confusion) / seconds;
  }
  return sum / rows.length;
}

/** One after another: rows of a large test session are many. */
function* withTruth(rows: readonly PredictionRow[]): Generator<FrameRow> {
  for (const { truth, path, attention, posteriors } of rows) {
    if (truth !== undefined) yield { truth, path, attention, posteriors: posteriors.flat() };
  }
}
