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

/** A promise whose failure is heard where it is awaited, or by nobody. */
function awaitedLater<Result>(promise: Promise<Result>): Promise<Result> {
  promise.catch(() => undefined);
  return promise;
}
