// Engines and models come and go without leaving anything: memory, heap and threads stay level over many of them, whether
// they are disposed of, dropped for the garbage collector, or cut off by the end of their worker thread at any moment.
//
//   node test/slow/lifetime.js [--rounds N]     (default 60; each of three kinds)
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { digest, makeEngine, noise, trainAndEncode } from '../support/busyEngine.js';
import { generator } from '../support/syntheticRun.js';
import { usageAtRest } from '../support/usage.js';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '60' } } });
const rounds = Number(values.rounds);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const short = { seconds: 1.5 };
const kinds = {
  /** Half of them with work in the queue, which is refused. */
  'disposed of': async (round) => {
    const { engine, model } = await makeEngine({ threads: 2 });
    const work = Array.from({ length: 3 }, () => model.encode(noise(model, short.seconds), 'output'));
    if (round % 2 === 0) await work[0];
    engine.dispose();
    const ends = await Promise.allSettled(work);
    const others = ends.filter(({ status, reason }) => status === 'rejected' && reason.code !== 'ERR_DISPOSED');
    if (others.length > 0) throw others[0].reason;
  },
  dropped: async () => {
    const { model } = await makeEngine({ threads: 2 });
    await model.encode(noise(model, short.seconds), 'output');
  },
  'cut off with their worker thread': async (round) => {
    const url = new URL('../support/engineWorker.js', import.meta.url);
    const worker = new Worker(url, { workerData: { busy: true } });
    const failed = new Promise((_, reject) => worker.once('error', reject));
    // Before, while and after the addon is loaded and the model made.
    await Promise.race([pause(400 * random()), failed]);
    await Promise.race([worker.terminate(), failed]);
    if (round % 5 === 0 && digest(await trainAndEncode(main)) !== expected) throw new Error('The main engine erred.');
  },
};

const random = generator(5);
const main = { engine: undefined, model: undefined };
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
let passed = 0;
let failed = 0;
let expected;
for (const [name, once] of Object.entries(kinds)) {
  // Weights move in training, so each digest needs a model of its own: made here, outside what is measured.
  const reference = await makeEngine();
  expected = digest(await trainAndEncode(reference));
  reference.engine.dispose();
  for (let round = 0; round < 10; round++) await run(once, round);
  const before = await usageAtRest();
  for (let round = 0; round < rounds; round++) await run(once, round);
  // The allowance is for what is not of ours: a class left behind at each round would add 18 KB to the heap, and a model here
  // has 100 KB of weights.
  const allowed = { heap: 300e3 + 3e3 * rounds, external: 300e3 + 3e3 * rounds, resident: 60e6, threads: 0 };
  let after = await usageAtRest();
  const level = () => Object.entries(allowed).every(([what, most]) => after[what] - before[what] <= most);
  // On a machine that has other work, the last engine's thread takes its time to end.
  for (let looks = 1; !level() && looks < 20; looks++) {
    await pause(100);
    after = await usageAtRest();
  }
  const ok = level();
  console.log(
    `${ok ? 'ok    ' : 'FAILED'} ${rounds} ${name}: resident ${megabytes(before.resident)} -> ${megabytes(after.resident)}, ` +
      `heap ${megabytes(before.heap)} -> ${megabytes(after.heap)}, ` +
      `external ${megabytes(before.external)} -> ${megabytes(after.external)}, threads ${before.threads} -> ${after.threads}`,
  );
  if (ok) passed++;
  else failed++;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function run(once, round) {
  Object.assign(main, await makeEngine());
  try {
    await once(round);
  } finally {
    main.engine.dispose();
  }
}
