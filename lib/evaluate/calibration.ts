// Calibration (temperature scaling, Guo et al., 2017, for logits of more than one kind): a classifier that was trained until it is
// sure of what it has seen is surer of what it has not than it may be. One number for each kind of logits, fitted on utterances
// that no weight was fitted on, multiplies them before they are added: probabilities come to mean what they say.
import { EmoframeError } from '../errors.js';
import { type Calibration, fusedLogits, probabilitiesOf, type UtteranceLogits } from './fusion.js';

const largestWeight = 20;
/** Most turns that all weights take. */
const rounds = 100;

/**
 * The weights of logits under which the true classes are most probable: the mean cross-entropy of the weighted sums is least
 * there. They are fitted as if one utterance more had an equal share of every class: a small set whose every utterance is
 * right would else ask for certainty. Between 0 and 20, for the kinds of logits that the rows have.
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
  const kinds = (['classifier', 'alignment'] as const).filter((kind) => rows[0]![kind] !== undefined);
  const weights = { classifier: 1, alignment: 1 };
  // The cross-entropy is convex in the weights, so turns of each with the others held end at its least.
  for (let round = 0; round < rounds; round++) {
    const before = { ...weights };
    for (const kind of kinds) {
      let [low, high] = [0, largestWeight];
      for (let step = 0; step < 50; step++) {
        weights[kind] = (low + high) / 2;
        if (slope(rows, truth, weights, kind) < 0) low = weights[kind];
        else high = weights[kind];
      }
    }
    if (kinds.every((kind) => Math.abs(weights[kind] - before[kind]) < 1e-6)) break;
  }
  return Object.fromEntries(kinds.map((kind) => [kind, weights[kind]]));
}

/** Of the summed cross-entropy by a weight: what is expected of the logits, less what the truth makes of them. */
function slope(
  rows: readonly UtteranceLogits[],
  truth: ArrayLike<number>,
  weights: Calibration,
  kind: 'classifier' | 'alignment',
): number {
  const utterances = rows.length;
  let sum = 0;
  for (const [i, row] of rows.entries()) {
    const logits = row[kind]!;
    const share = 1 / logits.length / (utterances + 1);
    for (const [c, probability] of probabilitiesOf(fusedLogits(row, weights)).entries()) {
      const target = share + (c === truth[i] ? utterances / (utterances + 1) : 0);
      sum += (probability - target) * logits[c]!;
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
