// Long work on the event loop's thread, done a few milliseconds at a time, so that timers, requests and whatever else the
// process serves do not wait for it.
const sliceMilliseconds = 4;

/** When the work of this turn began; all work that shares a turn shares its time. */
let began: number | undefined;

/**
 * Between two steps of long work: goes on at once while this turn of the event loop has time left, and else in the next one.
 *
 * @example
 * for (const utterance of utterances) {
 *   await yieldWhenDue();
 *   count(utterance);
 * }
 */
export async function yieldWhenDue(): Promise<void> {
  if (began === undefined) {
    began = performance.now();
    setImmediate(() => {
      began = undefined;
    });
  } else if (performance.now() - began >= sliceMilliseconds) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
