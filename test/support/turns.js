// How long work keeps the event loop from everything else, in processor time of this thread, so that a busy machine does not matter.
import { LoopWatch } from '../slow/loopWatch.js';

/** Runs async work, and gives the most milliseconds that it held the event loop at once. */
export async function longestTurn(work) {
  const watch = new LoopWatch();
  watch.start();
  const wait = () => new Promise((resolve) => setTimeout(resolve, 3));
  try {
    await wait();
    await work();
    await wait();
  } finally {
    // Stops the clock whatever became of the work.
    watch.result = watch.stop();
  }
  return watch.result.busy.max;
}
