// Calibration (temperature scaling, Guo et al., 2017): a trained classifier is overconfident on data it has not seen. One factor,
// fitted on utterances that were not trained on, multiplies its logits, so that probabilities match frequencies. Logits of several
// kinds have the same factor: a small validation set, with voices that are also in training, cannot say how much better one is.

import { EmoframeError } from '../errors.js';
import { largestOf } from '../lists.js';
import { type Calibration, fusedLogits, probabilitiesOf, type UtteranceLogits } from './fusion.js';

const largestWeight = 20;

/**
 * The weight of the logits, the same for each kind, that makes the true classes most probable: it minimises the mean
 * cross-entropy of the weighted sums. One extra utterance with equal shares of all classes is included in the fit, since a small
 * set without errors would otherwise call for certainty. Between 0 and 20.
 *
 * @param rows the logits of each utterance; all of the same kinds.
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
  // The cross-entropy is convex in the weight, so the sign of its slope says on which side the minimum lies.
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

/** The derivative of the summed cross-entropy by the weight: the logits' expectation minus the logit of the truth. */
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
 * Expected calibration error: utterances are put into 15 bins of equal width by the probability of their most probable class; the
 * difference between that probability and the accuracy, averaged over bins weighted by their size.
 *
 * @param probabilities one row per utterance, each summing to 1.
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
  // Confidences minus hits of each bin.
  const gaps = new Float64Array(bins);
  for (const [i, row] of probabilities.entries()) {
    const confidence = largestOf(row);
    const bin = Math.min(Math.floor(confidence * bins), bins - 1);
    gaps[bin]! += confidence - (row.indexOf(confidence) === truth[i] ? 1 : 0);
  }
  return gaps.reduce((sum, gap) => sum + Math.abs(gap), 0) / probabilities.length;
}

/** The effect of a calibration on a set of utterances. */
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
