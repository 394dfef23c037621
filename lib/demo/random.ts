import { deriveSeed, PhiloxStream } from '../random/philox.js';

/**
 * One independent stream per (seed, name), so that one speaker's draws never depend on how many another speaker made, nor on
 * which thread made them.
 */
export class Random {
  private readonly stream: PhiloxStream;

  constructor(seed: number, name: string) {
    this.stream = new PhiloxStream(deriveSeed(seed, name), 0, 0);
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * this.stream.uniform();
  }

  /** Uniform over 0 … count − 1. */
  integer(count: number): number {
    return this.stream.integer(count);
  }

  /** Gaussian; beyond two deviations drawn again, so that no parameter leaves its plausible range. */
  normal(mean: number, deviation: number): number {
    for (;;) {
      const value = this.stream.normal();
      if (Math.abs(value) <= 2) return mean + deviation * value;
    }
  }

  pick<T>(items: readonly T[]): T {
    return items[this.integer(items.length)]!;
  }

  shuffle<T>(items: readonly T[]): T[] {
    return this.stream.shuffle([...items]);
  }
}
