// Lists of items that are worked on in groups, or a few at a time.
import { yieldWhenDue } from './yield.js';

/** Items that are worked on without a break: under a millisecond. */
const partLength = 1 << 11;

/** A long list in parts, between which others get their turn on this thread. `start`: where in the list a part begins. */
export async function* partsOf<Item>(items: readonly Item[]): AsyncGenerator<{ start: number; part: Item[] }> {
  for (let start = 0; start < items.length; start += partLength) {
    await yieldWhenDue();
    yield { start, part: items.slice(start, start + partLength) };
  }
}

/**
 * Groups neighbours so that no group holds more than `capacity`; an item that is larger by itself stands alone.
 *
 * @example
 * groupBy([4, 4, 4], (seconds) => seconds, 8); // [[4, 4], [4]]
 */
export function groupBy<Item>(items: readonly Item[], size: (item: Item) => number, capacity: number): Item[][] {
  const groups: Item[][] = [];
  let group: Item[] | undefined;
  let room = 0;
  for (const item of items) {
    const needed = size(item);
    if (group === undefined || needed > room) {
      group = [];
      groups.push(group);
      room = capacity;
    }
    group.push(item);
    room -= needed;
  }
  return groups;
}

/**
 * Applies `work` to each item, a few at a time, and gives the results in order. After a failure no more is begun, and the
 * error is thrown when all that was begun has ended.
 */
export async function mapLimited<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
  limit = 4,
): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  const failures: unknown[] = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length && failures.length === 0) {
      const index = next++;
      try {
        results[index] = await work(items[index]!);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
  return results;
}

/**
 * The largest of any number of values; minus infinity of none. A call takes some hundred thousand arguments, so that of longer lists
 * `Math.max` is a RangeError; the same holds for the arguments of `push`.
 */
export function largestOf(values: Iterable<number>): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of values) largest = Math.max(largest, value);
  return largest;
}

/** The smallest of any number of values; infinity of none. */
export function smallestOf(values: Iterable<number>): number {
  let smallest = Number.POSITIVE_INFINITY;
  for (const value of values) smallest = Math.min(smallest, value);
  return smallest;
}
