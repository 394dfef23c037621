import { largestOf } from '../lists.js';
import type { IslandModel } from './islands.js';

/** Seconds after a frame that its posterior takes into account. */
export const chainLagSeconds = 1;

/**
 * Posteriors of the frames of a recording that may have any emotions in turn: a Markov chain over all classes that keeps its
 * class with probability σ(switchingCost) and otherwise moves to one of the others. Each frame's posterior is conditioned on all
 * frames before it and `lag` frames after it, so it does not depend on the parts in which frames arrive.
 *
 * @example
 * const chain = new EmotionChain(4, islands, 50);
 * for await (const evidence of parts) show(chain.push(evidence)); // `lag` frames later
 * show(chain.finish());
 */
export class EmotionChain {
  /** Posteriors of the last frame, given the frames up to it. */
  #filtered: Float64Array;
  /** For frames whose posterior is still pending: the same, and likelihoods up to a factor. */
  #waiting: { filtered: Float64Array; likelihood: Float64Array }[] = [];
  readonly #stay: number;
  readonly #switch: number;

  /** @param lag frames after a frame that its posterior waits for */
  constructor(
    private readonly classes: number,
    { switchingCost }: IslandModel,
    private readonly lag: number,
  ) {
    this.#stay = 1 / (1 + Math.exp(-switchingCost));
    this.#switch = (1 - this.#stay) / Math.max(classes - 1, 1);
    this.#filtered = new Float64Array(classes).fill(1 / classes);
  }

  /** Takes evidence f32 `[T, classes]` of the next frames and returns the posteriors f32 `[_, classes]` that are due now. */
  push(evidence: Float32Array): Float32Array {
    const due: Float64Array[] = [];
    for (let row = 0; row + this.classes <= evidence.length; row += this.classes) {
      this.#step(evidence.subarray(row, row + this.classes));
      if (this.#waiting.length <= this.lag) continue;
      due.push(this.#posterior(0));
      this.#waiting.shift();
    }
    return Float32Array.from(due.flatMap((row) => [...row]));
  }

  /** Posteriors of the remaining frames. */
  finish(): Float32Array {
    const due = this.#waiting.map((_, index) => this.#posterior(index));
    this.#waiting = [];
    return Float32Array.from(due.flatMap((row) => [...row]));
  }

  #step(evidence: Float32Array): void {
    const highest = largestOf(evidence);
    const likelihood = Float64Array.from(evidence, (value) => Math.exp(value - highest));
    const filtered = this.#filtered.slice();
    this.#move(filtered);
    multiply(filtered, likelihood);
    this.#filtered = filtered;
    this.#waiting.push({ filtered, likelihood });
  }

  /** The posterior of a pending frame, given the pending frames after it. */
  #posterior(index: number): Float64Array {
    const end = Math.min(index + this.lag, this.#waiting.length - 1);
    const future = new Float64Array(this.classes).fill(1);
    for (let next = end; next > index; next--) {
      multiply(future, this.#waiting[next]!.likelihood);
      this.#move(future);
    }
    multiply(future, this.#waiting[index]!.filtered);
    return future;
  }

  /** One step of the chain, in place, on values that sum to 1; the same in both directions. */
  #move(values: Float64Array): void {
    for (let c = 0; c < values.length; c++) values[c] = this.#switch + (this.#stay - this.#switch) * values[c]!;
  }
}

/** `values` times `factors`, in place, over their sum. */
function multiply(values: Float64Array, factors: Float64Array): void {
  let total = 0;
  for (let c = 0; c < values.length; c++) {
    values[c]! *= factors[c]!;
    total += values[c]!;
  }
  for (let c = 0; c < values.length; c++) values[c]! /= total;
}
