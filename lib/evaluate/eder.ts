// The emotion diarization error rate in seconds, as published for ZED. frames.ts has the same in frames.
import type { Segment } from '../corpus/types.js';

/** Seconds of an utterance in which a timeline is wrong, by kind of error. */
export interface DiarizationErrors {
  /** Emotional speech predicted as neutral. */
  missed: number;
  /** Neutral speech predicted as emotional. */
  falseAlarm: number;
  /** Emotional speech predicted as another emotion. */
  confusion: number;
}

/**
 * Compares a timeline with the true one, exactly at segment bounds. EDER is the sum of the errors over the utterance's
 * length (Wang et al., "Speech Emotion Diarization: Which Emotion Appears When?", 2023); their fourth kind, overlap, is 0, as
 * one emotion is predicted at a time.
 *
 * @param truth true segments in order; time outside all of them is neutral. Where two overlap, the first counts.
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

/** The label at given times, which must be queried in order. */
function labelReader(segments: readonly Segment[], neutral: string): (moment: number) => string {
  let next = 0;
  return (moment) => {
    while (next < segments.length && segments[next]!.end <= moment) next++;
    const segment = segments[next];
    return segment !== undefined && segment.start <= moment ? segment.label : neutral;
  };
}
