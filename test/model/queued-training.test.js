// An update may be queued whole. What fails in it takes along what was queued behind it, and nothing else.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { makeEngine, noise } from '../support/busyEngine.js';
import { refused } from '../support/refused.js';

const test = suite('queued training');
const optimizer = { learningRate: 1e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0.01, clipNorm: 1 };
const optionsOf = (label, step) => ({
  objective: 'classification',
  labels: Int32Array.of(label),
  denominator: 2,
  featurePenalty: 0,
  featureGradientScale: 1,
  seed: 1,
  step,
  dropout: true,
});
let engine;
let model;
let batches;
test.before.each(async () => {
  ({ engine, model } = await makeEngine());
  batches = Array.from({ length: 4 }, (_, i) => ({ ...noise(model, 0.5 + 0.2 * i, i + 1), names: [`utterance-${i}`] }));
});
test.after.each(() => engine.dispose());

const pass = (index, options = {}) => model.trainStep(batches[index], { ...optionsOf(index % 3, index), ...options });
const update = (step) => model.optimizerStep({ ...optimizer, step });
const weights = async () => (await model.exportTensors()).map(({ data }) => data);
/** A label that there is not: its pass is refused when its turn comes. */
const bad = { labels: Int32Array.of(7) };

test('updates that are queued give the bits of updates that are waited for', async () => {
  const waited = [];
  for (const step of [1, 2]) {
    for (const index of [2 * step - 2, 2 * step - 1]) waited.push(await pass(index));
    waited.push(await update(step));
  }
  const expected = await weights();
  await model.initialize(1);
  await model.importMoments(
    (await model.storedMoments()).map(({ name, m, v }) => {
      const none = { ...m, read: async () => new Float32Array(m.shape.reduce((size, side) => size * side, 1)) };
      return { name, m: none, v: { ...v, read: none.read } };
    }),
  );
  assert.equal(await Promise.all([pass(0), pass(1), update(1), pass(2), pass(3), update(2)]), waited);
  assert.equal(await weights(), expected);
});

test('a pass that fails takes along what is queued behind it, which fails by the same error', async () => {
  const before = await weights();
  const queued = [pass(0), pass(1, bad), pass(2), update(1), pass(3), update(2)];
  // Of no update.
  const states = model.encode(batches[0], 'output');
  assert.is((await queued[0]).count, 1);
  for (const promise of queued.slice(1)) await refused(promise, 'ERR_LABEL', /utterance-1/);
  assert.ok((await states).hidden.length > 0);
  assert.equal(await weights(), before);

  // The first pass's gradients are still there, and what is asked for from now on is done.
  const first = await model.exportGradients();
  await model.clearGradients();
  await pass(0);
  assert.equal(await model.exportGradients(), first);
  await Promise.all([pass(1), update(1)]);
  assert.not.equal(await weights(), before);
});

test('so does one whose arguments are refused', async () => {
  const before = await weights();
  const queued = [pass(0), pass(1, { labels: undefined }), update(1)];
  await queued[0];
  for (const promise of queued.slice(1)) await refused(promise, 'ERR_ARGUMENT', /labels/);
  assert.equal(await weights(), before);
});

test('a loss that is not finite leaves weights as they are, though the update was queued', async () => {
  const name = 'encoder.layer_norm.weight';
  const [norm] = await model.exportTensors([name]);
  await model.importTensors([{ ...norm, data: norm.data.map(() => 3e38) }], { allowMissing: true });
  const before = await weights();
  const queued = [pass(0), pass(1), update(1)];
  for (const promise of queued) await refused(promise, 'ERR_NOT_FINITE', /utterance-0/);
  assert.equal(await weights(), before);
  await model.importTensors([norm], { allowMissing: true });
  await Promise.all([pass(0), update(1)]);
});

test('whoever awaits the last alone gets the error, and nothing goes unhandled', async () => {
  const unhandled = [];
  const note = (error) => unhandled.push(error);
  process.on('unhandledRejection', note);
  try {
    pass(0, bad);
    pass(1);
    await refused(update(1), 'ERR_LABEL', /utterance-0/);
    // One that nothing is queued behind is for its caller to handle, as ever.
    pass(0, bad);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(
      unhandled.map(({ code }) => code),
      ['ERR_LABEL'],
    );
  } finally {
    process.off('unhandledRejection', note);
  }
});

test('clearing the gradients begins anew: what is queued behind that is done', async () => {
  const queued = [pass(0, bad), pass(1), model.clearGradients(), pass(2), update(1)];
  await refused(queued[0], 'ERR_LABEL', /utterance-0/);
  await refused(queued[1], 'ERR_LABEL', /utterance-0/);
  await Promise.all(queued.slice(2));
});

test('a failure is of its model alone', async () => {
  const other = await engine.createModel({
    config: model.config,
    precision: 'fp32',
    classifier: { classes: 3, pooling: 'mean' },
  });
  await other.initialize(2);
  const failing = refused(pass(0, bad), 'ERR_LABEL', /utterance-0/);
  const [{ count }] = await Promise.all([
    other.trainStep(batches[1], optionsOf(1, 1)),
    other.optimizerStep({ ...optimizer, step: 1 }),
  ]);
  assert.is(count, 1);
  await failing;
});

test.run();
