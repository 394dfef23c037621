import type { Utterance } from '../corpus/types.js';
import { EmoframeError } from '../errors.js';
import type { FrameTimes } from './segments.js';

/**
 * The true class of every frame: that of the segment in which the frame's centre lies, otherwise neutral. Where segments
 * overlap, the first counts.
 *
 * @param utterance one with `segments` (an empty list: neutral throughout).
 * @param labels the classes, in the order of the classifier's outputs.
 * @param neutral the class of time outside all segments.
 * @returns i32 `[frames]`.
 * @throws `ERR_CORPUS` when `neutral` or a segment's label is not among `labels`, or the segments are not known.
 * @example
 * if (utterance.segments) frameTruth(utterance, ['ang', 'hap', 'neu', 'sad'], 'neu', 143, model.geometry);
 */
export function frameTruth(
  utterance: Utterance,
  labels: readonly string[],
  neutral: string,
  frames: number,
  times: Pick<FrameTimes, 'frameCenterSeconds'>,
): Int32Array {
  if (utterance.segments === undefined) {
    throw new EmoframeError('ERR_CORPUS', `Utterance ${utterance.id} has no segments: its frame labels are unknown.`);
  }
  const classOf = (label: string, what: string) => {
    const index = labels.indexOf(label);
    if (index >= 0) return index;
    throw new EmoframeError(
      'ERR_CORPUS',
      `Utterance ${utterance.id}: ${what} '${label}' is not one of the labels ${labels.join(', ')}.`,
      { file: utterance.audio },
    );
  };
  const truth = new Int32Array(frames).fill(classOf(neutral, 'the neutral label'));
  for (const segment of [...utterance.segments].reverse()) {
    const label = classOf(segment.label, 'segment label');
    for (let frame = 0; frame < frames; frame++) {
      const center = times.frameCenterSeconds(frame);
      if (center >= segment.start && center < segment.end) truth[frame] = label;
    }
  }
  return truth;
}

/** An utterance with known segments, for `frameMetrics`. */
export interface FrameRow {
  /** `[T]` */
  truth: ArrayLike<number>;
  /** `[T]`: the timeline, e.g. from `smooth`. */
  path: ArrayLike<number>;
  /** `[T]`: pooling weights; they sum to 1. */
  attention: ArrayLike<number>;
  /** `[T, classes]`: probabilities of each frame's classes, row by row; each row sums to 1. */
  posteriors: ArrayLike<number>;
}

export interface FrameMetrics {
  /** Share of correct frames, over all frames of all utterances. */
  frameAccuracy: number;
  /** Mean frame recall over the classes present in the truth; unlike accuracy, the many neutral frames do not dominate it. */
  frameUa: number;
  /**
   * Emotion diarization error rate: (missed + false alarm + confusion + overlap) / speech duration, with frames as the unit
   * and pooled over utterances. Overlap is 0, as one emotion is predicted at a time, and neutral speech is part of the
   * duration, so here EDER = 1 − frameAccuracy; its parts give the kinds of error. Published figures are means over utterances,
   * each measured in seconds: `Scores.meanEder`.
   * Source: Wang et al., "Speech Emotion Diarization: Which Emotion Appears When?", 2023.
   */
  eder: number;
  /** Emotional frames predicted as neutral, as a share of all frames. */
  missed: number;
  /** Neutral frames predicted as emotional, as a share of all frames. */
  falseAlarm: number;
  /** Emotional frames predicted as another emotion, as a share of all frames. */
  confusion: number;
  /** Mean over emotional utterances of the attention mass on their emotional frames; NaN without emotional utterances. */
  attentionOnEmotion: number;
  /**
   * Mean over the same utterances of the emotional frames' share of the emotional posterior mass, Σ_t (1 − the posterior of
   * neutral). For an utterance without such mass it is the share of emotional frames.
   */
  posteriorOnEmotion: number;
  /** Mean over the same utterances of the share of emotional frames: the chance level of the two shares above. */
  emotionFrameShare: number;
  /** `posteriorOnEmotion / emotionFrameShare`: 1 for a timeline without timing information. */
  lift: number;
  /** Frames scored. */
  frames: number;
  /** Recall of each class, NaN if the truth has no frame of it. */
  recalls: number[];
}

/**
 * Frame-level scores, pooled over utterances with known segments.
 *
 * @param neutral index of the neutral class.
 * @throws `ERR_CORPUS` when there is no frame to score.
 * @example
 * const row = { truth: [0, 0, 1], path: [0, 1, 1], attention: [0.2, 0.2, 0.6], posteriors: [0.9, 0.1, 0.4, 0.6, 0.2, 0.8] };
 * frameMetrics([row], 2, 0).frameAccuracy; // 0.667
 */
export function frameMetrics(rows: Iterable<FrameRow>, classes: number, neutral: number): FrameMetrics {
  const hits = new Array<number>(classes).fill(0);
  const present = new Array<number>(classes).fill(0);
  let frames = 0;
  let missed = 0;
  let falseAlarm = 0;
  let confusion = 0;
  let emotionalUtterances = 0;
  let attentionOnEmotion = 0;
  let posteriorOnEmotion = 0;
  let emotionFrameShare = 0;
  for (const { truth, path, attention, posteriors } of rows) {
    let emotionalFrames = 0;
    let mass = 0;
    let emotion = 0;
    let emotionWhereTrue = 0;
    for (let frame = 0; frame < truth.length; frame++) {
      const actual = truth[frame]!;
      const predicted = path[frame]!;
      const emotional = 1 - posteriors[frame * classes + neutral]!;
      present[actual]!++;
      emotion += emotional;
      if (actual !== neutral) {
        emotionalFrames++;
        mass += attention[frame]!;
        emotionWhereTrue += emotional;
      }
      if (actual === predicted) hits[actual]!++;
      else if (predicted === neutral) missed++;
      else if (actual === neutral) falseAlarm++;
      else confusion++;
    }
    frames += truth.length;
    if (emotionalFrames > 0) {
      const share = emotionalFrames / truth.length;
      emotionalUtterances++;
      attentionOnEmotion += mass;
      posteriorOnEmotion += emotion > 0 ? emotionWhereTrue / emotion : share;
      emotionFrameShare += share;
    }
  }
  if (frames === 0)
    throw new EmoframeError('ERR_CORPUS', 'No utterance has known segments: there are no frames to score.');
  const recalls = present.map((count, label) => hits[label]! / count);
  const known = recalls.filter((recall) => !Number.isNaN(recall));
  return {
    frameAccuracy: hits.reduce((sum, hit) => sum + hit, 0) / frames,
    frameUa: known.reduce((sum, recall) => sum + recall, 0) / known.length,
    eder: (missed + falseAlarm + confusion) / frames,
    missed: missed / frames,
    falseAlarm: falseAlarm / frames,
    confusion: confusion / frames,
    attentionOnEmotion: attentionOnEmotion / emotionalUtterances,
    posteriorOnEmotion: posteriorOnEmotion / emotionalUtterances,
    emotionFrameShare: emotionFrameShare / emotionalUtterances,
    lift: posteriorOnEmotion / emotionFrameShare,
    frames,
    recalls,
  };
}
