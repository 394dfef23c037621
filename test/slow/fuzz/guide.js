// What steers a fuzzer: the inputs that reached something new, and the next to be tried, made of them.
import { mutate } from './mutate.js';

/** Larger inputs are slow, and limits on size are reached by the few that may be larger. */
const usualBytes = 1 << 15;

/** How often a branch was taken, in steps that matter: once, twice, a few times, often. As a bit. */
const steps = new Uint8Array(256).map((_, count) => {
  if (count === 0) return 0;
  if (count < 4) return 1 << (count - 1);
  return count < 8 ? 8 : count < 16 ? 16 : count < 32 ? 32 : count < 128 ? 64 : 128;
});

/** Which branches were reached, and how often. */
export class Reached {
  #seen;
  /** Branches, and pairs of a branch and how often it was taken. */
  edges = 0;
  features = 0;

  #outside;

  /**
   * Counts what instrumented code counts in `globalThis.reached`, or what lies elsewhere.
   *
   * @param {{ clear: () => void, fetch: (into: Uint8Array) => void } | undefined} outside
   */
  constructor(outside) {
    this.#outside = outside;
    const end = outside === undefined ? 4 * Math.ceil(globalThis.reachedEnd / 4) : globalThis.reached.length;
    this.counters = outside === undefined ? globalThis.reached.subarray(0, end) : new Uint8Array(end);
    this.wide = new Uint32Array(this.counters.buffer, this.counters.byteOffset, end / 4);
    this.#seen = new Uint8Array(end);
  }

  begin() {
    this.counters.fill(0);
    this.#outside?.clear();
  }

  /** Whether the input since `begin` reached something new, which from then on is known. */
  end() {
    const { counters, wide } = this;
    this.#outside?.fetch(counters);
    const seen = this.#seen;
    let isNew = false;
    for (let i = 0; i < wide.length; i++) {
      if (wide[i] === 0) continue;
      for (let at = 4 * i; at < 4 * i + 4; at++) {
        const step = steps[counters[at]];
        if ((seen[at] & step) === step) continue;
        if (seen[at] === 0) this.edges++;
        seen[at] |= step;
        this.features++;
        isNew = true;
      }
    }
    return isNew;
  }

  /** All that the input since `begin` reached, as numbers. */
  reached() {
    this.#outside?.fetch(this.counters);
    const found = [];
    for (let at = 0; at < this.counters.length; at++) {
      if (this.counters[at] !== 0) found.push(256 * at + steps[this.counters[at]]);
    }
    return found;
  }
}

/** A word of the sources put in, or over as many bytes. */
function putWord(random, bytes, words) {
  const word = Buffer.from(random.pick(words));
  const at = random.below(bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, at), word, bytes.subarray(at + (random.oneIn(2) ? word.length : 0))]);
}

/** A byte a little higher or lower. */
function nudge(random, bytes) {
  const changed = Buffer.from(bytes);
  if (changed.length > 0) changed[random.below(changed.length)] += random.below(33) - 16;
  return changed;
}

/** A part of one input in another. */
function cross(random, bytes, other) {
  const from = random.below(other.length + 1);
  const part = other.subarray(from, from + 1 + random.below(Math.min(64, other.length + 1)));
  const at = random.below(bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at + (random.oneIn(2) ? part.length : 0))]);
}

/** The inputs worth changing, and what is made of them. */
export class Corpus {
  inputs = [];

  /** @param reader of readers.js; @param {string[]} words that the sources know */
  constructor(random, reader, words) {
    this.random = random;
    this.reader = reader;
    this.words = words;
    this.mostBytes = usualBytes;
  }

  add(bytes) {
    this.inputs.push(bytes);
    this.mostBytes = Math.max(this.mostBytes, bytes.length + 1024);
  }

  /** The next input to be tried. */
  next() {
    const { random, inputs, reader } = this;
    // What was found last is least explored.
    const recent = Math.max(1, inputs.length >> 3);
    let bytes = random.oneIn(3) ? inputs[inputs.length - 1 - random.below(recent)] : random.pick(inputs);
    if (reader.structured !== undefined && !random.oneIn(3)) bytes = this.#structured(bytes);
    else bytes = this.#unstructured(bytes);
    return bytes.length > this.mostBytes && !random.oneIn(100) ? bytes.subarray(0, this.mostBytes) : bytes;
  }

  /** What kept to the form before may be changed within it again; the form of others cannot be found. */
  #structured(bytes) {
    try {
      const changed = this.reader.structured(this.random, bytes);
      return this.random.oneIn(4) ? this.#unstructured(changed) : changed;
    } catch {
      return this.#unstructured(bytes);
    }
  }

  #unstructured(bytes) {
    const { random, inputs, words } = this;
    if (random.oneIn(3)) return mutate(random, bytes, inputs, this.reader.text);
    let changed = bytes;
    for (let round = 1 + random.below(random.oneIn(2) ? 1 : 6); round > 0; round--) {
      const kind = random.below(4);
      if (kind === 0 && words.length > 0) changed = putWord(random, changed, words);
      else if (kind === 1) changed = nudge(random, changed);
      else if (kind === 2) changed = cross(random, changed, random.pick(inputs));
      else {
        changed = Buffer.from(changed);
        if (changed.length > 0) changed[random.below(changed.length)] = random.below(256);
      }
    }
    return changed;
  }
}

/** Of inputs and what each reached, few small ones that together reach all of it. */
export function fewest(inputs) {
  const left = new Set(inputs.flatMap(({ reached }) => reached));
  const kept = [];
  // The smallest first: an input is kept for what no smaller one reached.
  for (const input of [...inputs].sort((a, b) => a.bytes.length - b.bytes.length)) {
    const its = input.reached.filter((feature) => left.has(feature));
    if (its.length === 0) continue;
    for (const feature of its) left.delete(feature);
    kept.push(input.bytes);
  }
  return kept;
}
