// Calibration (temperature scaling, Guo et al., 2017): a classifier that was trained until it is sure of what it has seen is surer
// of what it has not than it may be. One number, fitted on utterances that no weight was fitted on, multiplies its logits, so that
// probabilities come to mean what they say. Logits of more than one kind count alike: how much better one is than another, a
// small validation set whose voices were heard in training cannot tell.
import { EmoframeError } from '../errors.js';
import { type Calibration, fusedLogits, probabilitiesOf, type UtteranceLogits } from './fusion.js';

const largestWeight = 20;

/**
 * The weight of logits, the same of each kind, under which the true classes are most probable: the mean cross-entropy of the
 * weighted sums is least there. It is fitted as if one utterance more had an equal share of every class: a small set whose every
 * utterance is right would else ask for certainty. Between 0 and 20.
 *
 * @param rows logits of an utterance each; all have the same kinds.
 * @param truth their classes.
 * @throws `ERR_CORPUS` when there is nothing to fit on.
 * @example
 * const right = { classifier: Float32Array.of(2, 0) };
 * fitCalibration([right, right, right, right], [0, 0, 0, 1]); // { classifier: 0.42 }, which makes it 0.7 and 0.3
 */
export function fitCalibration(rows: readonly UtteranceLogits[], truth: ArrayLike<number>): Calibration {
  if (rows.length === 0) {
    throw new EmoframeError('ERR_CORPUS', 'No validation utterance to calibrate on: the validation set is empty.');
  }
  const sums = rows.map((row) => fusedLogits(row));
  // The cross-entropy is convex in the weight, so the sign of its slope tells on which side the least lies.
  let [low, high] = [0, largestWeight];
  for (let step = 0; step < 50; step++) {
    const middle = (low + high) / 2;
    if (slope(sums, truth, middle) < 0) low = middle;
    else high = middle;
  }
  const weight = (low + high) / 2;
  const kinds = (['classifier', 'alignment'] as const).filter((kind) => rows[0]![kind] !== undefined);
  return Object.fromEntries(kinds.map((kind) => [kind, weight]));
}

/** Of the summed cross-entropy by the weight: what is expected of the logits, less what the truth makes of them. */
function slope(sums: readonly Float32Array[], truth: ArrayLike<number>, weight: number): number {
  const utterances = sums.length;
  let slope = 0;
  for (const [i, logits] of sums.entries()) {
    const share = 1 / logits.length / (utterances + 1);
    for (const [c, probability] of probabilitiesOf(logits.map((logit) => weight * logit)).entries()) {
      const target = share + (c === truth[i] ? utterances / (utterances + 1) : 0);
      slope += (probability - target) * logits[c]!;
    }
  }
  return slope;
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

/** What a calibration did to a set of utterances. */
export interface CalibrationScores {
  weights: Calibration;
  /** Expected calibration error of the calibrated probabilities. */
  ece: number;
  /** The same with all weights 1. */
  eceUncalibrated: number;
}

/** @throws as {@link expectedCalibrationError} */
export function calibrationScores(
  rows: readonly UtteranceLogits[],
  truth: ArrayLike<number>,
  weights: Calibration,
): CalibrationScores {
  const eceWith = (calibration: Calibration) =>
    expectedCalibrationError(
      rows.map((row) => probabilitiesOf(fusedLogits(row, calibration))),
      truth,
    );
  return { weights, ece: eceWith(weights), eceUncalibrated: eceWith({}) };
}
