// Work in the order of its items, begun before its turn: ahead of a reader, in batches, a few at once.
import { unlessAborted } from '../abort.js';

type Outcome<Result> = { result: Result } | { error: unknown };

/** Work that was begun before its turn. */
interface Slot<Item, Result> {
  readonly item: Item;
  /** The result or the error, when it is there. */
  outcome: Outcome<Result> | undefined;
  readonly done: Promise<void>;
}

interface ReadAheadLimits<Result> {
  /** Items that are taken from the source before their turn. */
  items: number;
  /** Items whose work is begun and not over. */
  working: number;
  /** What finished results may amount to before no more work is begun. */
  held: number;
  size(result: Result): number;
}

/**
 * Takes items from a source and works on a few of them before they are asked for, in order: as many at once as `working`
 * says, and no more once `held` is reached.
 */
export class ReadAhead<Item, Result> {
  readonly #source: AsyncIterator<Item> | Iterator<Item>;
  readonly #slots: Slot<Item, Result>[] = [];
  #working = 0;
  #held = 0;
  #ended = false;
  #failure: { error: unknown } | undefined;
  #pulling = false;
  #changed: (() => void)[] = [];

  constructor(
    source: Iterable<Item> | AsyncIterable<Item>,
    private readonly work: (item: Item) => Promise<Result>,
    private readonly limits: ReadAheadLimits<Result>,
  ) {
    this.#source = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  }

  /** The next item when its work is over; nothing at the end. What the source throws is thrown in its place. */
  async take(): Promise<Slot<Item, Result> | undefined> {
    void this.#pull();
    while (this.#slots.length === 0) {
      if (this.#failure !== undefined) throw this.#failure.error;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => this.#changed.push(resolve));
    }
    await this.#slots[0]!.done;
    const slot = this.#slots.shift()!;
    if ('result' in slot.outcome!) this.#held -= this.limits.size(slot.outcome.result);
    void this.#pull();
    return slot;
  }

  /** Ends the source: no more is wanted. */
  close(): void {
    if (!this.#ended) Promise.resolve(this.#source.return?.()).catch(() => undefined);
    this.#ended = true;
  }

  async #pull(): Promise<void> {
    if (this.#pulling) return;
    this.#pulling = true;
    try {
      while (!this.#ended && this.#mayBegin()) {
        const next = await this.#source.next();
        if (this.#ended) break;
        if (next.done === true) this.#ended = true;
        else this.#begin(next.value);
        this.#notify();
      }
    } catch (error) {
      this.#ended = true;
      this.#failure = { error };
      this.#notify();
    } finally {
      this.#pulling = false;
    }
  }

  #mayBegin(): boolean {
    const { items, working, held } = this.limits;
    return this.#slots.length < items && this.#working < working && this.#held < held;
  }

  #begin(item: Item): void {
    this.#working++;
    const finish = (outcome: Outcome<Result>) => {
      slot.outcome = outcome;
      this.#working--;
      if ('result' in outcome) this.#held += this.limits.size(outcome.result);
      void this.#pull();
    };
    const done = this.work(item).then(
      (result) => finish({ result }),
      (error: unknown) => finish({ error }),
    );
    const slot: Slot<Item, Result> = { item, outcome: undefined, done };
    this.#slots.push(slot);
  }

  #notify(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }
}

/** Results that are taken together, or a failure between them. */
export type Batch<Item, Result> =
  | { readonly results: readonly Result[] }
  | { readonly item: Item; readonly error: unknown };

/**
 * Neighbours in batches of at most `budget`, one that is larger by itself. Batches follow from the order and the sizes
 * alone, never from what happens to be ready: the same inputs give the same batches.
 */
export async function* batchesOf<Item, Result>(
  ahead: ReadAhead<Item, Result>,
  size: (result: Result) => number,
  budget: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Batch<Item, Result>> {
  let results: Result[] = [];
  let room = budget;
  for (;;) {
    const slot = await unlessAborted(ahead.take(), signal);
    const next = slot?.outcome;
    const joins = next !== undefined && 'result' in next && size(next.result) <= room;
    if (!joins && results.length > 0) yield { results };
    if (slot === undefined || next === undefined) return;
    if (!joins) {
      results = [];
      room = budget;
    }
    if ('error' in next) {
      yield { item: slot.item, error: next.error };
      continue;
    }
    results.push(next.result);
    room -= size(next.result);
    if (room > 0) continue;
    // What fills a batch does not wait for what comes next.
    yield { results };
    results = [];
    room = budget;
  }
}

/**
 * What comes of work on items, in the items' order. Each is begun as soon as it comes, as long as no more than `most` are
 * under way; a result does not wait for the item after it. Where the items end in a failure it is thrown once the results
 * of those before it were given.
 */
export async function* inFlight<Item, Result>(
  items: AsyncIterable<Item>,
  work: (item: Item) => Promise<Result>,
  most: number,
): AsyncGenerator<Result, void, undefined> {
  const source = items[Symbol.asyncIterator]();
  const underWay: Promise<Result>[] = [];
  const ask = () => awaitedLater(source.next());
  let coming: Promise<IteratorResult<Item>> | undefined = ask();
  let failure: { error: unknown } | undefined;
  try {
    for (;;) {
      const oldest = underWay[0];
      if (coming !== undefined && underWay.length < most) {
        const arrival: Promise<{ next: IteratorResult<Item> } | { error: unknown }> = coming.then(
          (next) => ({ next }),
          (error: unknown) => ({ error }),
        );
        const over = oldest?.then(
          () => undefined,
          () => undefined,
        );
        const arrived = await (over === undefined ? arrival : Promise.race([over, arrival]));
        if (arrived !== undefined) {
          coming = undefined;
          if ('error' in arrived) {
            failure = arrived;
          } else if (arrived.next.done !== true) {
            underWay.push(awaitedLater(work(arrived.next.value)));
            coming = ask();
          }
          continue;
        }
      }
      if (oldest === undefined) break;
      underWay.shift();
      yield await oldest;
    }
    if (failure !== undefined) throw failure.error;
  } finally {
    // It may be waiting for its own source: nobody waits for it.
    if (coming !== undefined) awaitedLater(Promise.resolve(source.return?.()));
  }
}

/** A promise whose failure is thrown where it is awaited, or nowhere. */
function awaitedLater<Result>(promise: Promise<Result>): Promise<Result> {
  promise.catch(() => undefined);
  return promise;
}
