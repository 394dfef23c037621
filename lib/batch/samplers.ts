// Which utterances an update sees. Both samplers are pure functions of (seed, step): a run that resumes needs only the
// number of the step.
import { EmoframeError } from '../errors.js';
import { PhiloxStream, type Seed, sites } from '../random/philox.js';
import type { FrameRange } from './pack.js';

/** One utterance as a sampler sees it. */
export interface SamplerItem {
  id: string;
  /** Frames of the whole utterance. */
  frames: number;
}

/** One utterance in an update, with the frames that are used. */
export interface Draw extends FrameRange {
  id: string;
}

export interface PretrainingSamplerOptions {
  seed: Seed;
  /** Frames of audio an update holds at most. */
  batchFrames: number;
  /** Longer utterances are cropped to this, at a random frame. */
  maxFrames: number;
  /** Shorter utterances are left out, and listed in `excluded`. */
  minFrames: number;
}

/**
 * Updates of masked prediction: every epoch is a fresh shuffle, cut into as few updates as the capacity allows, of even size.
 *
 * @throws `ERR_CORPUS` when no utterance is long enough.
 * @example
 * const sampler = new PretrainingSampler(items, { seed: 1, batchFrames: 17500, maxFrames: 780, minFrames: 50 });
 * const draws = sampler.at(0); // step 0
 */
export class PretrainingSampler {
  readonly excluded: string[];
  readonly #items: SamplerItem[];
  /** Where each epoch seen so far ends: the first step of the next. */
  readonly #ends: number[] = [];
  #epoch = -1;
  #updates: SamplerItem[][] = [];

  constructor(
    items: readonly SamplerItem[],
    private readonly options: PretrainingSamplerOptions,
  ) {
    this.#items = items.filter((item) => item.frames >= options.minFrames);
    this.excluded = items.filter((item) => item.frames < options.minFrames).map((item) => item.id);
    if (this.#items.length === 0) {
      throw new EmoframeError(
        'ERR_CORPUS',
        `No utterance has ${options.minFrames} frames or more: none of ${items.length} can be used for masked prediction. Lower minSeconds, or give longer audio.`,
      );
    }
  }

  /** The epoch (from 0) to which a step belongs. */
  epochOf(step: number): number {
    let epoch = 0;
    while (this.#firstStep(epoch + 1) <= step) epoch++;
    return epoch;
  }

  /** The utterances of an update (`step` from 0). */
  at(step: number): Draw[] {
    const epoch = this.epochOf(step);
    this.#open(epoch);
    const update = this.#updates[step - this.#firstStep(epoch)] ?? [];
    const random = new PhiloxStream(this.options.seed, step, sites.crop);
    return update.map((item) => {
      const count = this.#used(item);
      return { id: item.id, start: random.integer(item.frames - count + 1), count };
    });
  }

  #used(item: SamplerItem): number {
    return Math.min(item.frames, this.options.maxFrames);
  }

  #firstStep(epoch: number): number {
    while (this.#ends.length < epoch) {
      this.#open(this.#ends.length);
      this.#ends.push((this.#ends.at(-1) ?? 0) + this.#updates.length);
    }
    return this.#ends[epoch - 1] ?? 0;
  }

  #open(epoch: number): void {
    if (this.#epoch === epoch) return;
    const order = new PhiloxStream(this.options.seed, epoch, sites.shuffle).shuffle([...this.#items]);
    this.#updates = this.#cut(order);
    this.#epoch = epoch;
  }

  // Even shares rather than full updates and a small last one, whose noisy gradient would weigh as much as the others.
  #cut(order: SamplerItem[]): SamplerItem[][] {
    const { batchFrames } = this.options;
    const total = order.reduce((sum, item) => sum + this.#used(item), 0);
    for (let count = Math.ceil(total / batchFrames); ; count++) {
      const updates: SamplerItem[][] = [];
      let update: SamplerItem[] | undefined;
      let before = 0;
      let size = 0;
      let largest = 0;
      for (const item of order) {
        if (update === undefined || size === 0 || before >= (updates.length * total) / count) {
          update = [];
          updates.push(update);
          size = 0;
        }
        update.push(item);
        before += this.#used(item);
        size += this.#used(item);
        largest = Math.max(largest, size);
      }
      if (largest <= batchFrames || updates.length === order.length) return updates;
    }
  }
}

/** What is to be learned of an utterance. */
interface Target {
  /** Class; 0 for all utterances of which values are learned. */
  label: number;
  /** Values in the order of the outputs, of a regression. */
  values?: readonly number[];
}

/** One utterance with its target as the fine-tuning sampler sees it. */
export interface TargetItem extends SamplerItem, Target {}

/** One utterance in a fine-tuning update. */
export interface TargetDraw extends Draw, Target {}

export interface BalancedSamplerOptions {
  seed: Seed;
  batchSize: number;
  /** Only the first so many frames of an utterance are used. */
  maxFrames: number;
}

/**
 * Updates of fine-tuning: utterances are drawn with replacement, inversely to the frequency of their class: a class first,
 * each alike, then one of its utterances.
 *
 * @throws `ERR_CORPUS` when there is nothing to draw from.
 * @example
 * new BalancedSampler(items, { seed: 1, batchSize: 64, maxFrames: 299 }).at(0).length; // 64
 */
export class BalancedSampler {
  /** Updates that show as many utterances as there are. */
  readonly updatesPerEpoch: number;
  readonly #classes: TargetItem[][];

  constructor(
    items: readonly TargetItem[],
    private readonly options: BalancedSamplerOptions,
  ) {
    if (items.length === 0) {
      throw new EmoframeError(
        'ERR_CORPUS',
        'No labelled utterance to train on: the training part of the fold is empty.',
      );
    }
    this.updatesPerEpoch = Math.ceil(items.length / options.batchSize);
    const labels = [...new Set(items.map((item) => item.label))].sort((a, b) => a - b);
    this.#classes = labels.map((label) => items.filter((item) => item.label === label));
  }

  /** The utterances of an update (`step` from 0). */
  at(step: number): TargetDraw[] {
    const random = new PhiloxStream(this.options.seed, step, sites.classDraw);
    return Array.from({ length: this.options.batchSize }, () => {
      const { frames, ...item } = random.pick(random.pick(this.#classes));
      return { ...item, start: 0, count: Math.min(frames, this.options.maxFrames) };
    });
  }
}
