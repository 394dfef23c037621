import type { PackedBatch } from './binding.js';

/** Moments that a batch gives in place of its utterances' own, of one utterance. */
export type WindowMomentsGiven = Required<Pick<PackedBatch, 'windowMean' | 'windowCovariance'>>;

/** Means and covariances of parts, put together in double precision. Its loops keep to `kernel`, and so within all arrays. */
export class MomentSum {
  #count = 0;
  readonly #mean: Float64Array;
  readonly #covariance: Float64Array;

  constructor(private readonly kernel: number) {
    this.#mean = new Float64Array(kernel);
    this.#covariance = new Float64Array(kernel * kernel);
  }

  add(mean: Float32Array, covariance: Float32Array, count: number): void {
    const total = this.#count + count;
    const [before, part] = [this.#count / total, count / total];
    const difference = this.#mean.map((value, k) => mean[k]! - value);
    for (let k = 0; k < this.kernel; k++) {
      for (let j = 0; j < this.kernel; j++) {
        const at = k * this.kernel + j;
        const between = before * part * difference[k]! * difference[j]!;
        this.#covariance[at] = before * this.#covariance[at]! + part * covariance[at]! + between;
      }
      this.#mean[k]! += part * difference[k]!;
    }
    this.#count = total;
  }

  moments(): WindowMomentsGiven {
    return { windowMean: Float32Array.from(this.#mean), windowCovariance: Float32Array.from(this.#covariance) };
  }
}
