import { largestOf } from '../lists.js';
/** Weights of the logits that decide an utterance's emotion. For a classifier alone it is one over its temperature. */
export interface Calibration {
  /** Of the pooled classifier's logits. */
  readonly classifier?: number;
  /** Of the alignment network's logits. */
  readonly alignment?: number;
}

/** The logits of an utterance, f32 `[classes]` each. */
export interface UtteranceLogits {
  readonly classifier?: Float32Array;
  readonly alignment?: Float32Array;
}

/**
 * The logits `[classes]` that decide an utterance's emotion: the weighted sum of those present. A weight defaults to 1.
 *
 * @example
 * fusedLogits({ classifier: Float32Array.of(2, 0), alignment: Float32Array.of(0, 1) }, { classifier: 0.5 }); // [1, 1]
 */
export function fusedLogits({ classifier, alignment }: UtteranceLogits, calibration: Calibration = {}): Float32Array {
  const some = classifier ?? alignment!;
  const { classifier: ofClassifier = 1, alignment: ofAlignment = 1 } = calibration;
  return some.map((_, c) => ofClassifier * (classifier?.[c] ?? 0) + ofAlignment * (alignment?.[c] ?? 0));
}

/** Softmax of logits. */
export function probabilitiesOf(logits: ArrayLike<number>): number[] {
  const highest = largestOf(Array.from(logits));
  const powers = Array.from(logits, (logit) => Math.exp(logit - highest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}
