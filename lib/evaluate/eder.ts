// The emotion diarization error rate by the second, as it is published for ZED: of frames, which have a length of their own,
// frames.ts tells.
import type { Segment } from '../corpus/types.js';

/** Seconds of an utterance in which a timeline is wrong, by kind. */
export interface DiarizationErrors {
  /** Emotional speech that was taken for neutral. */
  missed: number;
  /** Neutral speech that was taken for emotional. */
  falseAlarm: number;
  /** Emotional speech that was taken for another emotion. */
  confusion: number;
}

/**
 * Compares a timeline with the true one, to the ends of their segments. EDER is the sum of the errors over the utterance's
 * length (Wang et al., "Speech Emotion Diarization: Which Emotion Appears When?", 2023); their fourth kind, overlap, is 0, as
 * one emotion is predicted at a time.
 *
 * @param truth true segments in order; time outside all of them is neutral. Where two overlap, the first one holds.
 * @param predicted the same, of the timeline; `toSegments` gives one.
 * @param neutral the label of speech without emotion.
 * @param seconds the utterance's length.
 * @example
 * const truth = [{ start: 1, end: 3, label: 'sad' }];
 * diarizationErrors(truth, [{ start: 0, end: 2, label: 'sad' }], 'neutral', 4); // { missed: 1, falseAlarm: 1, confusion: 0 }
 */
export function diarizationErrors(
  truth: readonly Segment[],
  predicted: readonly Segment[],
  neutral: string,
  seconds: number,
): DiarizationErrors {
  const errors = { missed: 0, falseAlarm: 0, confusion: 0 };
  const bounds = [...truth, ...predicted].flatMap(({ start, end }) => [start, end]);
  const cuts = [0, ...bounds.filter((at) => at > 0 && at < seconds).sort((a, b) => a - b), seconds];
  const [actualAt, predictedAt] = [labelReader(truth, neutral), labelReader(predicted, neutral)];
  for (let i = 1; i < cuts.length; i++) {
    const [from, to] = [cuts[i - 1]!, cuts[i]!];
    const [actual, said] = [actualAt((from + to) / 2), predictedAt((from + to) / 2)];
    if (actual === said) continue;
    const kind = said === neutral ? 'missed' : actual === neutral ? 'falseAlarm' : 'confusion';
    errors[kind] += to - from;
  }
  return errors;
}

/** The label at moments that are asked for in order. */
function labelReader(segments: readonly Segment[], neutral: string): (moment: number) => string {
  let next = 0;
  return (moment) => {
    while (next < segments.length && segments[next]!.end <= moment) next++;
    const segment = segments[next];
    return segment !== undefined && segment.start <= moment ? segment.label : neutral;
  };
}
