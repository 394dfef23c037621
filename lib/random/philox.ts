// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), the same function as
// native/philox.h bit for bit. Counter-based: a number is a pure function of (seed, step, site, index), so crops, masks and
// draws are the same with any thread count and after a resume, and no generator state is ever saved. Indices are within bounds
// by how they are made, in functions that are called for every number.

/** Four 32-bit words. */
export type Philox4 = [number, number, number, number];

/** An integer in [0, 2^53]; a bigint is taken modulo 2^64. */
export type Seed = number | bigint;

/**
 * Who draws. Two uses at one (seed, step) must not share a site; those of the native dropout masks lie below 2^30.
 */
export const sites = {
  seed: 0x40000000,
  shuffle: 0x40000001,
  crop: 0x40000002,
  mask: 0x40000003,
  classDraw: 0x40000004,
  frameSample: 0x40000005,
  concatenation: 0x40000006,
} as const;

// Math.imul keeps the low word of a product; the high word comes from 16-bit halves, whose products are exact in a double.
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}

/** The rounds themselves: counter and key words in, four words out. */
export function philoxBlock(counter: Philox4, key: readonly [number, number]): Philox4 {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const n0 = multiplyHigh(0xcd9e8d57, c2) ^ c1 ^ k0;
    const n2 = multiplyHigh(0xd2511f53, c0) ^ c3 ^ k1;
    c1 = Math.imul(0xcd9e8d57, c2) >>> 0;
    c3 = Math.imul(0xd2511f53, c0) >>> 0;
    c0 = n0 >>> 0;
    c2 = n2 >>> 0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** Low and high 32-bit words. */
function words(value: Seed): [number, number] {
  if (typeof value === 'bigint') return [Number(value & 0xffffffffn), Number((value >> 32n) & 0xffffffffn)];
  return [value >>> 0, Math.floor(value / 0x100000000) >>> 0];
}

/**
 * Block `index` of the stream (seed, step, site).
 *
 * @example
 * philox(0, 0, 0, 0); // [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]
 */
export function philox(seed: Seed, step: number, site: number, index: number): Philox4 {
  const [low, high] = words(index);
  return philoxBlock([low, high, site >>> 0, step >>> 0], words(seed));
}

/** What draws masks and samples: so that a test can feed its own numbers. */
export interface RandomSource {
  /** Uniform in [0, 1). */
  uniform(): number;
  /** Uniform among 0 … n − 1. */
  integer(n: number): number;
}

/**
 * The stream (seed, step, site) read word by word.
 *
 * @example
 * const order = new PhiloxStream(seed, epoch, sites.shuffle).shuffle([...ids]);
 */
export class PhiloxStream implements RandomSource {
  #block: Philox4 = [0, 0, 0, 0];
  #position = 0;

  constructor(
    readonly seed: Seed,
    readonly step: number,
    readonly site: number,
  ) {}

  /** The next 32 bits. */
  bits(): number {
    const lane = this.#position % 4;
    if (lane === 0) this.#block = philox(this.seed, this.step, this.site, this.#position / 4);
    this.#position++;
    return this.#block[lane]!;
  }

  uniform(): number {
    return (this.bits() >>> 8) / 0x1000000;
  }

  /** `n` up to 2^21, so that the product is exact; the bias is below n / 2^32. */
  integer(n: number): number {
    return Math.floor((this.bits() * n) / 0x100000000);
  }

  /** One of the items, each alike; there must be one. */
  pick<Item>(items: readonly Item[]): Item {
    return items[this.integer(items.length)]!;
  }

  /** Standard normal (Box–Muller). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Shuffles in place (Fisher–Yates) and gives the array back. */
  shuffle<Item>(items: Item[]): Item[] {
    for (let last = items.length - 1; last > 0; last--) {
      const other = this.integer(last + 1);
      [items[last], items[other]] = [items[other]!, items[last]!];
    }
    return items;
  }
}

/**
 * A seed of its own for each named part of a run (a fold, a stage), so that no two parts repeat each other's draws.
 *
 * @returns an integer below 2^53.
 * @example
 * deriveSeed(config.seed, fold.name, 'pretrain');
 */
export function deriveSeed(seed: Seed, ...names: string[]): number {
  // FNV-1a over the names, each ended by a byte that UTF-8 never holds.
  let hash = 0x811c9dc5;
  for (const name of names) {
    for (const byte of [...new TextEncoder().encode(name), 0xff]) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  const [low, high] = philox(seed, hash, sites.seed, 0);
  return (high & 0x1fffff) * 0x100000000 + low;
}
