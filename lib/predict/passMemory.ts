// The memory of a pass through a model: what it takes is known beforehand, and a pass that does not fit is not begun.

import { EmoframeError } from '../errors.js';
import { largestOf } from '../lists.js';
import type { MemoryPlan, PackedBatch } from '../model/binding.js';
import type { Engine } from '../model/engine.js';
import type { Model } from '../model/model.js';

/** What goes through a model at once. */
export interface Pass {
  readonly frames: number;
  readonly utterances: number;
  /** Whether only ranges of its frames are classified. */
  readonly ranges: boolean;
}

/** Bytes of the device's memory that prediction takes at its most. */
export interface PredictionMemory {
  /** Of all models. */
  readonly weights: number;
  /** For passes: an arena of each model, and temporaries. */
  readonly passes: number;
  readonly total: number;
  /** What is available for it, including what is held already. */
  readonly available: number;
}

/**
 * The memory of one model's passes. Where memory is limited, on a GPU or by `memoryLimit`, it is planned before the first pass
 * that is larger than those before, and taken at once. It grows with the passes that come, in steps of a quarter at most:
 * short audio never takes what long audio would, and hardly a pass has to ask.
 */
export class PassMemory {
  #prepared: Pass = { frames: 0, utterances: 0, ranges: false };

  constructor(
    private readonly engine: Engine,
    private readonly model: Model,
  ) {}

  /**
   * Does a pass, once its memory is there.
   *
   * @throws `ERR_OUT_OF_MEMORY` before the pass is begun, with what lowers the need. The model stays usable.
   */
  async run<Result>(batch: PackedBatch, ranges: boolean, pass: () => Promise<Result>): Promise<Result> {
    try {
      if (this.#limited) await this.#prepare(this.#passOf(batch, ranges));
      return await pass();
    } catch (error) {
      if (!(error instanceof EmoframeError) || error.code !== 'ERR_OUT_OF_MEMORY') throw error;
      // The model has given its arena back.
      this.#prepared = { frames: 0, utterances: 0, ranges: false };
      throw new EmoframeError(error.code, `${error.message} ${this.#advice}`, { cause: error });
    }
  }

  /** What is taken for passes of up to such a size. */
  plan(largest: Pass): Promise<MemoryPlan> {
    return this.model.plan({ ...roomy(largest), ...nothingStored });
  }

  get #limited(): boolean {
    return this.engine.memoryLimit > 0 || this.engine.device !== 'cpu';
  }

  async #prepare(pass: Pass): Promise<void> {
    const had = this.#prepared;
    if (pass.frames <= had.frames && pass.utterances <= had.utterances && pass.ranges <= had.ranges) return;
    const both = {
      frames: Math.max(pass.frames, had.frames),
      utterances: Math.max(pass.utterances, had.utterances),
      ranges: pass.ranges || had.ranges,
    };
    // The last bytes of a device may be had too.
    this.#prepared = await this.#take(roomy(both)).catch(() => this.#take(pass));
  }

  async #take(pass: Pass): Promise<Pass> {
    await this.model.prepare({ ...pass, ...nothingStored });
    return pass;
  }

  #passOf({ lengths }: PackedBatch, ranges: boolean): Pass {
    const frames = lengths!.reduce((sum, length) => sum + this.model.geometry.frames(length), 0);
    return { frames, utterances: lengths!.length, ranges };
  }

  get #advice(): string {
    const ways = [
      'lower windowSeconds (--window-seconds), or batchSeconds where several audios go through the model together',
      ...(this.model.spec.precision === 'bf16' ? [] : ['use precision bf16']),
      ...(this.engine.memoryLimit > 0 ? ['raise memoryLimit (--memory-limit)'] : []),
    ];
    return `To make it fit, ${ways.join(', or ')}.`;
  }
}

/** What passes of several models on one engine take at their most, each model's of the size that takes more. */
export async function planPasses(
  engine: Engine,
  models: readonly PassMemory[],
  passes: readonly Pass[],
): Promise<PredictionMemory> {
  let [weights, arenas, scratch] = [0, 0, 0];
  for (const model of models) {
    const plans = await Promise.all(passes.map((pass) => model.plan(pass)));
    weights += plans[0]!.weights;
    arenas += largestOf(plans.map(({ activations }) => activations));
    scratch = Math.max(scratch, largestOf(plans.map((plan) => plan.scratch)));
  }
  const { held, available } = await engine.memory();
  const all = arenas + scratch;
  return { weights, passes: all, total: weights + all, available: held + available };
}

const nothingStored = { storedFrames: 0, longestStoredFrames: 0 };

function roomy({ frames, utterances, ranges }: Pass): Pass {
  return { frames: roundUp(frames), utterances: roundUp(utterances), ranges };
}

/** To three significant bits. */
function roundUp(count: number): number {
  const step = 2 ** Math.max(0, Math.floor(Math.log2(count)) - 2);
  return Math.ceil(count / step) * step;
}
