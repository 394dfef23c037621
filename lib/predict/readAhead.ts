/** Work that was begun before its turn. */
export interface Slot<Item, Result> {
  readonly item: Item;
  /** The result or the error, when it is there. */
  settled: { result: Result } | { error: unknown } | undefined;
  readonly done: Promise<void>;
}

export interface ReadAheadLimits<Result> {
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
    if ('result' in slot.settled!) this.#held -= this.limits.size(slot.settled.result);
    void this.#pull();
    return slot;
  }

  /** Tells the source that no more is wanted. */
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
        this.#tell();
      }
    } catch (error) {
      this.#ended = true;
      this.#failure = { error };
      this.#tell();
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
    const settle = (settled: { result: Result } | { error: unknown }) => {
      slot.settled = settled;
      this.#working--;
      if ('result' in settled) this.#held += this.limits.size(settled.result);
      void this.#pull();
    };
    const done = this.work(item).then(
      (result) => settle({ result }),
      (error: unknown) => settle({ error }),
    );
    const slot: Slot<Item, Result> = { item, settled: undefined, done };
    this.#slots.push(slot);
  }

  #tell(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }
}
