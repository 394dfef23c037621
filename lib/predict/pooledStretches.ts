import type { Head } from '../checkpoint/pretrained.js';
import type { ClassifyResult } from '../model/binding.js';

// Of the pooled standard deviation, as native/ops.h has it.
const varianceFloor = 1e-5;

/**
 * The classification of an utterance from pooled stretches of it. Pooling is a weighted mean (with `stats`, and a standard
 * deviation about it), so stretches of known total weight add up to exactly the pooling over all of their frames.
 */
export class PooledStretches {
  readonly #classes: number;
  readonly #weight: Float32Array;
  readonly #bias: Float32Array;
  readonly #width: number;
  readonly #deviations: boolean;
  #mean: Float64Array;
  #variance: Float64Array;
  #logSum = -Infinity;

  constructor(head: Head) {
    const tensor = (name: string) => head.tensors.find((candidate) => candidate.name === name)!;
    const weight = tensor('classifier.weight');
    this.#weight = weight.data;
    this.#bias = tensor('classifier.bias').data;
    this.#classes = head.labels.length;
    this.#deviations = head.pooling === 'stats';
    this.#width = weight.shape[1]! / (this.#deviations ? 2 : 1);
    this.#mean = new Float64Array(this.#width);
    this.#variance = new Float64Array(this.#deviations ? this.#width : 0);
  }

  /** log Σ exp(score) over all frames so far. */
  get logSum(): number {
    return this.#logSum;
  }

  /** The next stretch, classified alone. */
  add({ pooled, scoreLogSums }: ClassifyResult): void {
    const logSum = scoreLogSums[0]!;
    const highest = Math.max(this.#logSum, logSum);
    const total = highest + Math.log(Math.exp(this.#logSum - highest) + Math.exp(logSum - highest));
    const [before, part] = [Math.exp(this.#logSum - total), Math.exp(logSum - total)];
    const difference = this.#mean.map((value, c) => pooled[c]! - value);
    this.#variance = this.#variance.map((value, c) => {
      const variance = pooled[this.#width + c]! ** 2 - varianceFloor;
      return before * value + part * variance + before * part * difference[c]! ** 2;
    });
    this.#mean = this.#mean.map((value, c) => value + part * difference[c]!);
    this.#logSum = total;
  }

  /** [classes], of all frames so far. */
  logits(): Float32Array {
    const deviation = this.#deviation();
    const inputs = 2 * this.#width;
    return this.#bias.map((bias, k) => {
      let sum = bias;
      const row = k * (this.#deviations ? inputs : this.#width);
      for (let c = 0; c < this.#width; c++) sum += this.#weight[row + c]! * this.#mean[c]!;
      deviation.forEach((value, c) => {
        sum += this.#weight[row + this.#width + c]! * value;
      });
      return sum;
    });
  }

  /**
   * With `stats` pooling a frame is classified with the deviation of its utterance. Posteriors `[T, classes]` of a stretch,
   * which were computed with its own, are changed to those with the deviation of all frames so far; others are as they are.
   */
  correct(posteriors: Float32Array, pooled: Float32Array): void {
    if (!this.#deviations) return;
    const shift = this.#deviation().map((value, c) => value - pooled[this.#width + c]!);
    const factors = Array.from({ length: this.#classes }, (_, k) => {
      const row = (2 * k + 1) * this.#width;
      return Math.exp(shift.reduce((sum, value, c) => sum + this.#weight[row + c]! * value, 0));
    });
    for (let frame = 0; frame < posteriors.length; frame += this.#classes) {
      let sum = 0;
      for (let k = 0; k < this.#classes; k++) sum += posteriors[frame + k]! * factors[k]!;
      for (let k = 0; k < this.#classes; k++) posteriors[frame + k] = (posteriors[frame + k]! * factors[k]!) / sum;
    }
  }

  #deviation(): Float64Array {
    return this.#variance.map((value) => Math.sqrt(Math.max(value, 0) + varianceFloor));
  }
}
