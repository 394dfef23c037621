import { deriveSeed, PhiloxStream } from '../random/philox.js';

/**
 * One independent stream per (seed, name), so that one speaker's draws never depend on how many another speaker made, nor on
 * which thread made them.
 */
export class Random extends PhiloxStream {
  constructor(seed: number, name: string) {
    super(deriveSeed(seed, name), 0, 0);
  }

  /** Uniform in [low, high). */
  override uniform(low = 0, high = 1): number {
    return low + (high - low) * super.uniform();
  }

  /** Gaussian; beyond two deviations drawn again, so that no parameter leaves its plausible range. */
  override normal(mean = 0, deviation = 1): number {
    for (;;) {
      const value = super.normal();
      if (Math.abs(value) <= 2) return mean + deviation * value;
    }
  }
}
