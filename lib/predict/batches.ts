import { unlessAborted } from '../errors.js';
import type { ReadAhead } from './readAhead.js';

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
    const next = slot?.settled;
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
