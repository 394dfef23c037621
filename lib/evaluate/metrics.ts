import { EmoframeError } from '../errors.js';
import { type BootstrapOptions, bootstrap } from './bootstrap.js';

export interface UtteranceMetrics {
  /** Weighted accuracy: the share of correct utterances. */
  wa: number;
  /** Unweighted accuracy: mean recall over the classes present in the truth. */
  ua: number;
  /** Mean F1 over the classes found in the truth or the predictions. */
  macroF1: number;
  /** `confusion[truth][predicted]`, counts. */
  confusion: number[][];
  /** Recall of each class; NaN for those in `absent`. */
  recalls: number[];
  /** Classes without an utterance in the truth, which are left out of `ua`. */
  absent: number[];
}

/** A score of `utteranceMetrics` for which an interval can be computed. */
export type ScoreName = 'wa' | 'ua' | 'macroF1';

/**
 * Utterance-level scores from true and predicted classes.
 *
 * @throws `ERR_CORPUS` when there is nothing to score.
 * @example
 * utteranceMetrics([0, 0, 0, 1], [0, 0, 1, 1], 2); // wa 0.75, ua 0.833, confusion [[2, 1], [0, 1]]
 */
export function utteranceMetrics(
  truth: ArrayLike<number>,
  predicted: ArrayLike<number>,
  classes: number,
): UtteranceMetrics {
  if (truth.length === 0)
    throw new EmoframeError('ERR_CORPUS', 'No labelled utterance to score: the test set is empty.');
  const confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (let i = 0; i < truth.length; i++) confusion[truth[i]!]![predicted[i]!]!++;
  return { ...scoresOf(confusion), confusion };
}

function scoresOf(confusion: number[][]): Omit<UtteranceMetrics, 'confusion'> {
  const absent: number[] = [];
  let total = 0;
  let right = 0;
  let f1Sum = 0;
  let f1Classes = 0;
  const recalls = confusion.map((row, c) => {
    const hits = row[c]!;
    const actual = row.reduce((sum, count) => sum + count, 0);
    const guessed = confusion.reduce((sum, other) => sum + other[c]!, 0);
    total += actual;
    right += hits;
    if (actual + guessed > 0) {
      f1Sum += (2 * hits) / (actual + guessed);
      f1Classes++;
    }
    if (actual === 0) absent.push(c);
    return actual === 0 ? Number.NaN : hits / actual;
  });
  const known = recalls.filter((recall) => !Number.isNaN(recall));
  return {
    wa: right / total,
    ua: known.reduce((sum, recall) => sum + recall, 0) / known.length,
    macroF1: f1Sum / f1Classes,
    recalls,
    absent,
  };
}

/**
 * A 95 % percentile interval of a score, by resampling the utterances with replacement.
 *
 * @returns `[low, high]`.
 * @example
 * const [low, high] = await bootstrapInterval(truth, predicted, 4, 'ua', { samples: 2000, seed: 1 });
 */
export async function bootstrapInterval(
  truth: ArrayLike<number>,
  predicted: ArrayLike<number>,
  classes: number,
  score: ScoreName,
  options: BootstrapOptions,
): Promise<[number, number]> {
  const confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  const [interval] = await bootstrap(truth.length, options, (drawn) => {
    for (const row of confusion) row.fill(0);
    for (const index of drawn) confusion[truth[index]!]![predicted[index]!]!++;
    return [scoresOf(confusion)[score]];
  });
  return interval!;
}
