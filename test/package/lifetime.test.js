import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { makeEngine, noise } from '../support/busyEngine.js';
import { refused } from '../support/refused.js';
import { collectAll, threads } from '../support/usage.js';

const test = suite('lifetime');
/** Waits for the number of threads to come back to what it was; they end a moment after they are asked to. */
async function threadsBackTo(before) {
  for (let tries = 0; threads() > before && tries < 200; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return threads();
}

test('many calls at once keep their order, and each gives what it gives alone', async () => {
  const { engine, model } = await makeEngine({ threads: 2 });
  const batches = Array.from({ length: 12 }, (_, n) => noise(model, 0.5 + 0.2 * (n % 5), n + 1));
  const alone = [];
  for (const batch of batches) alone.push((await model.encode(batch, 'output')).hidden);
  const order = [];
  const together = await Promise.all(
    batches.map(async (batch, n) => {
      const { hidden } = await model.encode(batch, 'output');
      order.push(n);
      return hidden;
    }),
  );
  engine.dispose();
  assert.equal(order, [...batches.keys()]);
  for (const [n, hidden] of together.entries()) assert.equal(hidden, alone[n], `call ${n}`);
});

test('disposing of an engine ends the call in hand and refuses those that wait', async () => {
  const before = threads();
  const { engine, model } = await makeEngine({ threads: 2 });
  // Long enough to be still in hand when its engine goes.
  const first = model.encode(noise(model, 200), 'output');
  const second = model.encode(noise(model, 1), 'output');
  await new Promise((resolve) => setTimeout(resolve, 20));
  engine.dispose();
  const inHand = await first.then(
    ({ hidden }) => hidden.length,
    (error) => error.code,
  );
  // The thread may not have begun it yet.
  assert.ok(inHand === 9999 * 16 || inHand === 'ERR_DISPOSED', `${inHand}`);
  await refused(second, 'ERR_DISPOSED', /disposed of before this work began/);
  await refused(model.exportTensors(), 'ERR_DISPOSED', /create another/);
  engine.dispose();
  const after = await threadsBackTo(before);
  assert.ok(after <= before, `${after} threads after ${before}`);
});

test('a model lives on when nothing but itself refers to its engine', async () => {
  const { model } = await makeEngine();
  await collectAll();
  const { hidden } = await model.encode(noise(model, 1), 'output');
  assert.is(hidden.length, 49 * 16);
});

test('what is dropped without being disposed of is collected, its thread too', async () => {
  const before = threads();
  const use = async () => {
    const { model } = await makeEngine({ threads: 2 });
    await model.encode(noise(model, 1), 'output');
  };
  for (let n = 0; n < 3; n++) await use();
  for (let tries = 0; threads() > before && tries < 50; tries++) await collectAll();
  const after = await threadsBackTo(before);
  assert.ok(after <= before, `${after} threads after ${before}`);
});

test('engines and models leave nothing on the heap', async () => {
  const grow = async (rounds) => {
    for (let n = 0; n < rounds; n++) (await makeEngine()).engine.dispose();
    await collectAll();
    return process.memoryUsage().heapUsed;
  };
  const before = await grow(20);
  const after = await grow(100);
  // Two classes an engine, as they once were left behind, are 1.8 MB.
  assert.ok(after - before < 500_000, `${after - before} bytes in 100 rounds`);
});

const points = Float32Array.from({ length: 400_000 }, (_, i) => Math.sin(i * i));
/** Without an end this would go on for hours. */
const endless = {
  clusters: 64,
  restarts: 20,
  algorithm: 'lloyd',
  batchSize: 100,
  maxIterations: 1e6,
  tolerance: 0,
  seed: 1,
};

test('k-means ends when its engine is disposed of', async () => {
  const { engine } = await makeEngine();
  const work = engine.kmeans(points, 8, endless);
  await new Promise((resolve) => setTimeout(resolve, 50));
  engine.dispose();
  await refused(work, 'ERR_ABORTED', /stopped/);
});

test('k-means says how far it is, and ends when it is told to', async () => {
  const { engine } = await makeEngine();
  const controller = new AbortController();
  const late = setTimeout(() => controller.abort(), 120_000);
  const reported = [];
  const onProgress = (iterations) => {
    reported.push(iterations);
    if (iterations > 0) controller.abort();
  };
  const work = engine.kmeans(points, 8, endless, { signal: controller.signal, onProgress });
  await refused(work, 'ERR_ABORTED', /stopped/);
  clearTimeout(late);
  engine.dispose();
  assert.is(reported.length, 1, reported.join());
  assert.ok(reported[0] > 0);
});

test('the memory of a model that is dropped comes back to its engine', async () => {
  const { engine, model } = await makeEngine();
  const { config, spec } = model;
  const before = await engine.memory();
  await (async () => {
    const other = await engine.createModel({ ...spec, config });
    await other.initialize(2);
    assert.ok((await engine.memory()).held > 1.9 * before.held);
  })();
  for (let tries = 0; tries < 20 && (await engine.memory()).held > before.held; tries++) await collectAll();
  assert.is((await engine.memory()).held, before.held);
  assert.ok(model.tensors().length > 0);
  engine.dispose();
});

test.run();
