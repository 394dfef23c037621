// How well predicted values of a dimension, such as arousal, agree with true ones.
import { EmoframeError } from '../errors.js';
import { type BootstrapOptions, bootstrap } from './bootstrap.js';

/** Agreement of predicted with true values; population forms. */
export interface ValueMetrics {
  /**
   * Lin's concordance correlation coefficient, 2 cov / (var + var + (mean − mean)²): 1 where values are equal. Unlike Pearson's it
   * falls with an offset and with a wrong scale.
   */
  ccc: number;
  /** Pearson's correlation. */
  pearson: number;
  /** Root of the mean squared error. */
  rmse: number;
}

/**
 * Scores predicted values of one dimension. Where nothing varies, there is no correlation: 0.
 *
 * @throws `ERR_CORPUS` when there is nothing to score.
 * @example
 * valueMetrics([0, 0.5, 1], [0.25, 0.5, 0.75]); // ccc 0.8, pearson 1, rmse 0.204
 */
export function valueMetrics(truth: ArrayLike<number>, predicted: ArrayLike<number>): ValueMetrics {
  const count = truth.length;
  if (count === 0) throw new EmoframeError('ERR_CORPUS', 'No utterance with values to score: the test set is empty.');
  return metricsOf(
    truth,
    predicted,
    Int32Array.from({ length: count }, (_, index) => index),
  );
}

/** The scores of the utterances whose indices are given. */
function metricsOf(truth: ArrayLike<number>, predicted: ArrayLike<number>, indices: Int32Array): ValueMetrics {
  const count = indices.length;
  let [meanOfTruth, meanOfPredicted] = [0, 0];
  for (const i of indices) {
    meanOfTruth += truth[i]! / count;
    meanOfPredicted += predicted[i]! / count;
  }
  let [ofTruth, ofPredicted, covariance, squares] = [0, 0, 0, 0];
  for (const i of indices) {
    const [x, y] = [truth[i]! - meanOfTruth, predicted[i]! - meanOfPredicted];
    ofTruth += (x * x) / count;
    ofPredicted += (y * y) / count;
    covariance += (x * y) / count;
    squares += (truth[i]! - predicted[i]!) ** 2 / count;
  }
  const spread = ofTruth + ofPredicted + (meanOfTruth - meanOfPredicted) ** 2;
  const product = Math.sqrt(ofTruth * ofPredicted);
  return {
    ccc: spread === 0 ? 0 : (2 * covariance) / spread,
    pearson: product === 0 ? 0 : covariance / product,
    rmse: Math.sqrt(squares),
  };
}

/**
 * 95 % percentile intervals of the CCC of several dimensions, by resampling the utterances with replacement.
 *
 * @param truth the values of each dimension, each of all utterances; `predicted` likewise.
 * @returns `[low, high]` of each dimension, and last of the mean over them.
 * @throws `ERR_CORPUS` when there is nothing to score.
 * @example
 * const [arousal, mean] = await cccIntervals([[0, 0.5, 1]], [[0.25, 0.5, 0.75]], { samples: 2000, seed: 1 });
 */
export async function cccIntervals(
  truth: readonly ArrayLike<number>[],
  predicted: readonly ArrayLike<number>[],
  options: BootstrapOptions,
): Promise<[number, number][]> {
  return bootstrap(truth[0]?.length ?? 0, options, (drawn) => {
    const found = truth.map((values, dimension) => metricsOf(values, predicted[dimension]!, drawn).ccc);
    return [...found, found.reduce((sum, ccc) => sum + ccc, 0) / found.length];
  });
}
