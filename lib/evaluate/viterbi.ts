// A softmax in bf16 can be exactly zero, which must not rule out a class forever.
const smallestPosterior = 1e-8;

/**
 * The path through the classes that maximises Σ log posterior − `switchingCost` · changes (Viterbi). With a cost of 0 it is the
 * argmax of each frame. Ties keep the previous frame's class, or take the first class.
 *
 * @param posteriors f32 `[T, classes]`, rows that sum to 1.
 * @param switchingCost in nats, ≥ 0.
 * @returns i32 `[T]`: a class per frame.
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
 * `smooth` for frames that arrive in parts: it returns the class of each frame as soon as no later frame can change it, and in
 * total the same path.
 *
 * @example
 * const smoother = new Smoother(4, 3);
 * for await (const { posteriors } of parts) show(smoother.push(posteriors));
 * show(smoother.finish());
 */
export class Smoother {
  #score: Float64Array;
  #next: Float64Array;
  /** i32 `[undecided, classes]`, with spare room: the previous frame's class on the best path to each. */
  #from = new Int32Array(0);
  #undecided = 0;

  constructor(
    private readonly classes: number,
    private readonly switchingCost: number,
  ) {
    this.#score = new Float64Array(classes);
    this.#next = new Float64Array(classes);
  }

  /** Takes the next posteriors `[T, classes]`; returns the classes of the frames that are now decided, in order. */
  push(posteriors: Float32Array): number[] {
    this.#makeRoom(Math.floor(posteriors.length / this.classes));
    for (let row = 0; row + this.classes <= posteriors.length; row += this.classes) this.#step(posteriors, row);
    // All best paths agree up to the last frame at which they meet.
    let states = new Set(Array.from({ length: this.classes }, (_, c) => c));
    let frame = this.#undecided - 1;
    for (; frame >= 0 && states.size > 1; frame--) {
      const row = frame * this.classes;
      states = new Set([...states].map((c) => this.#from[row + c]!));
    }
    // Here `states` is the class at `frame`.
    const [state] = states;
    return frame < 0 || state === undefined ? [] : this.#decide(frame, state);
  }

  /** The classes of the remaining frames. */
  finish(): number[] {
    return this.#undecided === 0 ? [] : this.#decide(this.#undecided - 1, argmax(this.#score));
  }

  #makeRoom(frames: number): void {
    const needed = (this.#undecided + frames) * this.classes;
    if (needed <= this.#from.length) return;
    const larger = new Int32Array(Math.max(needed, 2 * this.#from.length));
    larger.set(this.#from);
    this.#from = larger;
  }

  #step(posteriors: Float32Array, row: number): void {
    const score = this.#score;
    // All switches cost the same, so the best class to come from by a switch is the best class of all. Before the first frame all
    // classes score 0, and each stays.
    const best = argmax(score);
    const from = this.#undecided * this.classes;
    for (let c = 0; c < this.classes; c++) {
      const stays = score[c]! >= score[best]! - this.switchingCost;
      this.#from[from + c] = stays ? c : best;
      const before = stays ? score[c]! : score[best]! - this.switchingCost;
      this.#next[c] = before + Math.log(Math.max(posteriors[row + c]!, smallestPosterior));
    }
    this.#undecided++;
    [this.#score, this.#next] = [this.#next, score];
  }

  /** The best path that ends in `state` at the undecided frame `last`. */
  #decide(last: number, state: number): number[] {
    const path = new Array<number>(last + 1);
    let current = state;
    for (let frame = last; frame >= 0; frame--) {
      path[frame] = current;
      current = this.#from[frame * this.classes + current]!;
    }
    this.#from.copyWithin(0, (last + 1) * this.classes, this.#undecided * this.classes);
    this.#undecided -= last + 1;
    return path;
  }
}

function argmax(values: Float64Array): number {
  let best = 0;
  for (let c = 1; c < values.length; c++) if (values[c]! > values[best]!) best = c;
  return best;
}
