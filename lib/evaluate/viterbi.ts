// A softmax in bf16 can give an exact zero, which must not forbid a class for ever.
const smallestPosterior = 1e-8;

/**
 * The path through the classes that maximises Σ log posterior − `switchingCost` · changes (Viterbi). With a cost of 0 it is
 * the argmax of each frame. Ties keep the class of the frame before, or take the first class.
 *
 * @param posteriors f32 `[T, classes]`, rows that sum to 1.
 * @param switchingCost in nats, ≥ 0.
 * @returns i32 `[T]`: a class a frame.
 * @example
 * smooth(Float32Array.of(0.9, 0.1, 0.4, 0.6, 0.9, 0.1), 2, 1); // Int32Array [0, 0, 0]
 */
export function smooth(posteriors: Float32Array, classes: number, switchingCost: number): Int32Array {
  const smoother = new Smoother(classes, switchingCost);
  const path = new Int32Array(Math.floor(posteriors.length / classes));
  const decided = smoother.push(posteriors);
  path.set(decided);
  path.set(smoother.finish(), decided.length);
  return path;
}

/**
 * `smooth` of frames that come in parts: it gives the class of each frame as soon as no frame to come can change it, and in
 * all the same path.
 *
 * @example
 * const smoother = new Smoother(4, 3);
 * for await (const { posteriors } of parts) show(smoother.push(posteriors));
 * show(smoother.finish());
 */
export class Smoother {
  #score: Float64Array;
  #next: Float64Array;
  /** For each frame that is not decided, and each class: the class of the frame before on the best path to it. */
  #from: number[][] = [];
  #frames = 0;

  constructor(
    private readonly classes: number,
    private readonly switchingCost: number,
  ) {
    this.#score = new Float64Array(classes);
    this.#next = new Float64Array(classes);
  }

  /** The next posteriors `[T, classes]`; gives the classes of the frames that are now decided, in order. */
  push(posteriors: Float32Array): number[] {
    for (let row = 0; row + this.classes <= posteriors.length; row += this.classes) this.#step(posteriors, row);
    // All best paths agree up to the last frame at which they meet.
    let states = new Set(Array.from({ length: this.classes }, (_, c) => c));
    let frame = this.#from.length - 1;
    for (; frame >= 0 && states.size > 1; frame--) {
      const from = this.#from[frame]!;
      states = new Set([...states].map((c) => from[c]!));
    }
    // Here `states` is the class at `frame`.
    const [state] = states;
    return frame < 0 || state === undefined ? [] : this.#decide(frame, state);
  }

  /** The classes of the frames that are left. */
  finish(): number[] {
    return this.#from.length === 0 ? [] : this.#decide(this.#from.length - 1, argmax(this.#score));
  }

  #step(posteriors: Float32Array, row: number): void {
    const score = this.#score;
    // All switches cost the same, so the best class to come from by a switch is the best class of all.
    const best = argmax(score);
    const from = new Array<number>(this.classes);
    for (let c = 0; c < this.classes; c++) {
      const stays = this.#frames === 0 || score[c]! >= score[best]! - this.switchingCost;
      from[c] = stays ? c : best;
      const before = stays ? score[c]! : score[best]! - this.switchingCost;
      this.#next[c] = before + Math.log(Math.max(posteriors[row + c]!, smallestPosterior));
    }
    this.#from.push(from);
    this.#frames++;
    [this.#score, this.#next] = [this.#next, score];
  }

  /** The best path that ends in `state` at the undecided frame `last`. */
  #decide(last: number, state: number): number[] {
    const decided = this.#from.splice(0, last + 1);
    const path = new Array<number>(decided.length);
    let current = state;
    for (let frame = last; frame >= 0; frame--) {
      path[frame] = current;
      current = decided[frame]![current]!;
    }
    return path;
  }
}

function argmax(values: Float64Array): number {
  let best = 0;
  for (let c = 1; c < values.length; c++) if (values[c]! > values[best]!) best = c;
  return best;
}
