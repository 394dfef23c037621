// Temperature scaling (Guo et al., 2017): a classifier that was trained until it is sure of what it has seen is surer of what
// it has not than it may be. One number, fitted on utterances that no weight was fitted on, divides its logits: the order of
// the classes stays, and probabilities come to mean what they say.
import { EmoframeError } from '../errors.js';

/** Probabilities that logits stand for; they sum to 1. */
export function softmax(logits: ArrayLike<number>, temperature = 1): number[] {
  let highest = Number.NEGATIVE_INFINITY;
  for (let c = 0; c < logits.length; c++) highest = Math.max(highest, logits[c]!);
  const powers = Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

const [lowest, highest] = [0.05, 20];

/**
 * The temperature under which the true classes are most probable: the mean cross-entropy of softmax(logits / temperature) is
 * least there. It is fitted as if one utterance more had an equal share of every class: a small set whose every utterance is
 * right would else ask for certainty. Between 0.05 and 20.
 *
 * @param logits one row an utterance.
 * @param truth their classes.
 * @throws `ERR_CORPUS` when there is nothing to fit on.
 * @example
 * fitTemperature([[2, 0], [2, 0], [2, 0], [2, 0]], [0, 0, 0, 1]); // 2 / log(3.5 / 1.5) = 2.36, which makes it 0.7 and 0.3
 */
export function fitTemperature(logits: readonly ArrayLike<number>[], truth: ArrayLike<number>): number {
  if (logits.length === 0) {
    throw new EmoframeError(
      'ERR_CORPUS',
      'No validation utterance to fit a temperature on: the validation set is empty.',
    );
  }
  // The cross-entropy is convex in 1 / temperature, so the sign of its slope tells on which side the least lies.
  let [cold, hot] = [lowest, highest];
  for (let round = 0; round < 50; round++) {
    const middle = Math.sqrt(cold * hot);
    if (slope(logits, truth, middle) > 0) cold = middle;
    else hot = middle;
  }
  return Math.sqrt(cold * hot);
}

/** Of the summed cross-entropy by 1 / temperature: what is expected of the logits, less what the truth makes of them. */
function slope(logits: readonly ArrayLike<number>[], truth: ArrayLike<number>, temperature: number): number {
  const utterances = logits.length;
  let sum = 0;
  for (const [i, row] of logits.entries()) {
    const share = 1 / row.length / (utterances + 1);
    for (const [c, probability] of softmax(row, temperature).entries()) {
      const target = share + (c === truth[i] ? utterances / (utterances + 1) : 0);
      sum += (probability - target) * row[c]!;
    }
  }
  return sum;
}

const bins = 15;

/**
 * Expected calibration error: utterances are sorted into 15 bins of equal width by the probability of their most probable class;
 * the difference between that probability and the share of right ones, averaged over bins by their size.
 *
 * @param probabilities one row an utterance, each summing to 1.
 * @param truth their classes.
 * @throws `ERR_CORPUS` when there is nothing to score.
 * @example
 * expectedCalibrationError([[0.9, 0.1], [0.9, 0.1]], [0, 1]); // 0.4: 0.9 was said, half were right
 */
export function expectedCalibrationError(
  probabilities: readonly (readonly number[])[],
  truth: ArrayLike<number>,
): number {
  if (probabilities.length === 0)
    throw new EmoframeError('ERR_CORPUS', 'No labelled utterance to score: the test set is empty.');
  // Of each bin: confidences less hits.
  const gaps = new Float64Array(bins);
  for (const [i, row] of probabilities.entries()) {
    const confidence = Math.max(...row);
    const bin = Math.min(Math.floor(confidence * bins), bins - 1);
    gaps[bin]! += confidence - (row.indexOf(confidence) === truth[i] ? 1 : 0);
  }
  return gaps.reduce((sum, gap) => sum + Math.abs(gap), 0) / probabilities.length;
}

/** What a temperature did to a set of utterances. */
export interface CalibrationScores {
  temperature: number;
  /** Expected calibration error of the calibrated probabilities. */
  ece: number;
  /** The same without the temperature. */
  eceUncalibrated: number;
}

/** @throws as {@link expectedCalibrationError} */
export function calibrationScores(
  logits: readonly ArrayLike<number>[],
  truth: ArrayLike<number>,
  temperature: number,
): CalibrationScores {
  const eceAt = (at: number) =>
    expectedCalibrationError(
      logits.map((row) => softmax(row, at)),
      truth,
    );
  return { temperature, ece: eceAt(temperature), eceUncalibrated: eceAt(1) };
}
