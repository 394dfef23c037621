/**
 * The corpus's own generator (sfc32): one independent stream per (seed, name), so that one speaker's draws never depend on
 * how many another speaker made, nor on which thread made them.
 */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  constructor(seed: number, name: string) {
    // FNV-1a of the name keeps streams of the same seed apart.
    let hash = 0x811c9dc5;
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    this.a = seed >>> 0;
    this.b = Math.floor(seed / 4294967296) >>> 0;
    this.c = hash >>> 0;
    for (let i = 0; i < 16; i++) this.uint32();
  }

  uint32(): number {
    const sum = (((this.a + this.b) | 0) + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * (this.uint32() / 4294967296);
  }

  /** Uniform over 0 … count − 1. */
  integer(count: number): number {
    return Math.floor(this.uniform(0, count));
  }

  /** Gaussian; beyond two deviations drawn again, so that no parameter leaves its plausible range. */
  normal(mean: number, deviation: number): number {
    for (;;) {
      const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
      const value = radius * Math.cos(2 * Math.PI * this.uniform());
      if (Math.abs(value) <= 2) return mean + deviation * value;
    }
  }

  pick<T>(items: readonly T[]): T {
    return items[this.integer(items.length)]!;
  }

  shuffle<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [result[i], result[j]] = [result[j]!, result[i]!];
    }
    return result;
  }
}
