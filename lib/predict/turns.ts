// Who is next on an engine. The engine does what it was given, in that order, and nothing takes work back from it: so it is given
// little at a time, and what waits for its turn waits here, where it can still be given up.
import { onAbort, unlessAborted } from '../abort.js';
import { aborted, throwIfAborted } from '../errors.js';

/** One is computed while the next is packed and travels to the device. */
const mostUnderWay = 2;

/** How one call asks for an engine. */
export interface EngineUse {
  readonly turns: Turns;
  readonly signal: AbortSignal | undefined;
}

/**
 * Turns in the order in which they were asked for. All that one step of a call needs of the engine is one turn: where it was several,
 * each would wait for all that others have asked for meanwhile.
 *
 * @example
 * const result = await turns.take(() => model.classify(batch), signal);
 */
export class Turns {
  #underWay = 0;
  readonly #waiting = new Set<() => void>();

  /**
   * Does work when its turn comes.
   *
   * @throws what `work` does; `ERR_ABORTED` as soon as the signal fires: work that waits is then never begun, and the result of work that
   *   the engine has is dropped
   */
  async take<Result>(work: () => Promise<Result>, signal: AbortSignal | undefined): Promise<Result> {
    throwIfAborted(signal);
    if (this.#underWay < mostUnderWay) this.#underWay++;
    else await this.#turn(signal);
    return unlessAborted(this.#perform(work), signal);
  }

  async #perform<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } finally {
      this.#next();
    }
  }

  /** Waits until a turn is handed over. */
  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const begin = () => {
        this.#waiting.delete(begin);
        forget?.();
        resolve();
      };
      const forget =
        signal &&
        onAbort(signal, () => {
          this.#waiting.delete(begin);
          reject(aborted(signal));
        });
      this.#waiting.add(begin);
    });
  }

  #next(): void {
    const [next] = this.#waiting;
    if (next === undefined) this.#underWay--;
    else next();
  }
}
