import type { IslandModel } from './islands.js';

/**
 * Utterance logits from frames that arrive in parts: log Z of the paths of each emotion plus its bias, and the bias of neutral,
 * as an alignment network computes them from all frames at once. In double precision and log space, with three numbers per
 * emotion however many frames there are.
 *
 * @example
 * const forward = new IslandForward(bias, islands);
 * for await (const { frameLogits } of windows) {
 *   forward.push(frameLogits);
 *   show(forward.logits());
 * }
 */
export class IslandForward {
  /** Log weights of all paths so far that are before any island, inside one, and after one. */
  readonly #before: Float64Array;
  readonly #inside: Float64Array;
  readonly #after: Float64Array;
  readonly #stay: number;
  readonly #switch: number;
  #frames = 0;

  /** @param bias `[classes]` of the utterance logits. */
  constructor(
    private readonly bias: Float32Array,
    private readonly islands: IslandModel,
  ) {
    const classes = bias.length;
    this.#before = new Float64Array(classes);
    this.#inside = new Float64Array(classes);
    this.#after = new Float64Array(classes);
    this.#stay = -Math.log1p(Math.exp(-islands.switchingCost));
    this.#switch = this.#stay - islands.switchingCost;
  }

  /** Frame logits f32 `[T, classes]` of the next frames. */
  push(frameLogits: Float32Array): void {
    const classes = this.bias.length;
    const { neutral, scale } = this.islands;
    for (let row = 0; row + classes <= frameLogits.length; row += classes) {
      for (let c = 0; c < classes; c++) {
        if (c !== neutral) this.#step(c, scale * (frameLogits[row + c]! - frameLogits[row + neutral]!));
      }
      this.#frames++;
    }
  }

  /** f32 `[classes]` of all frames so far. */
  logits(): Float32Array {
    return this.bias.map((bias, c) => {
      // Without frames there is one path, of weight 1.
      if (c === this.islands.neutral || this.#frames === 0) return bias;
      return bias + logSum(this.#inside[c]!, this.#after[c]!);
    });
  }

  #step(c: number, evidence: number): void {
    const [before, inside, after] = [this.#before, this.#inside, this.#after];
    if (this.#frames === 0) {
      before[c] = -Math.LN2;
      inside[c] = -Math.LN2 + evidence;
      after[c] = -Infinity;
      return;
    }
    const outside = logSum(before[c]!, after[c]!);
    after[c] = logSum(after[c]! + this.#stay, inside[c]! + this.#switch);
    inside[c] = evidence + logSum(inside[c]! + this.#stay, outside + this.#switch);
    before[c]! += this.#stay;
  }
}

/** log(eᵃ + eᵇ) */
function logSum(a: number, b: number): number {
  const highest = Math.max(a, b);
  return highest === -Infinity ? highest : highest + Math.log1p(Math.exp(Math.min(a, b) - highest));
}
