// The loop of all training: on a GPU the next update is queued while one is computed. Here it is the CPU that is given two.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { runTrainingLoop } from '../../dist/stages/trainingLoop.js';
import { makeEngine, noise } from '../support/busyEngine.js';
import { refused } from '../support/refused.js';

const test = suite('training loop');
const updates = 9;
const optimizer = { learningRate: 1e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0.01, clipNorm: 1 };
let dir;
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'emoframe-training-loop-'));
});
test.after(() => rm(dir, { recursive: true, force: true }));

/** Trains to the end, or to what stops it; gives the weights, what was logged and how far the engine was ahead of the log. */
async function train(name, device, { abortAt, badAt, slowAt, everyUpdates = 4 } = {}) {
  const { engine, model } = await makeEngine();
  const controller = new AbortController();
  const logged = [];
  const prepared = [];
  let queued = 0;
  let ahead = 0;
  const context = {
    stage: 'finetune',
    config: { checkpoint: { everyUpdates, everySeconds: 3600 }, logEvery: 1, memory: {} },
    engine: { device, graphs: () => engine.graphs(), peakFlops: () => undefined },
    paths: { stage: () => ({ checkpoint: join(dir, name) }) },
    signal: controller.signal,
    report: {
      log: (step, _, { loss, gradientNorm }) => logged.push([step, loss, gradientNorm]),
      progress: (done) => done === abortAt && controller.abort(),
      continueFrom: async () => {},
      sync: async () => {},
      warn: assert.unreachable,
    },
  };
  const optimizerStep = model.optimizerStep.bind(model);
  model.optimizerStep = (options) => {
    ahead = Math.max(ahead, ++queued - logged.length);
    return optimizerStep(options);
  };
  const weights = async () => (await model.exportTensors()).map(({ data }) => data);
  const error = await runTrainingLoop({
    context,
    model,
    updates,
    state: {},
    prepare: async (step) => {
      prepared.push(step);
      if (step === slowAt) await new Promise((resolve) => setTimeout(resolve, 200));
      const passes = [0, 1].map((index) => ({
        frames: 1,
        batch: noise(model, 0.3 + 0.1 * ((step + index) % 3), 2 * step + index),
        options: {
          objective: 'classification',
          labels: Int32Array.of(step === badAt && index === 0 ? 7 : (step + index) % 3),
          denominator: 2,
          featurePenalty: 0,
          featureGradientScale: 1,
          seed: 1,
          step: 2 * step + index,
          dropout: true,
        },
      }));
      return { passes, optimizer: { ...optimizer, step: step + 1 } };
    },
    metricsOf: ({ loss, gradientNorm }) => ({ loss, gradientNorm }),
    // As a soup's next member does: weights change between two updates.
    epoch: {
      updates: 3,
      end: async (step) => {
        const tensors = await model.exportTensors();
        if (step === 3) await model.importTensors(tensors.map((t) => ({ ...t, data: t.data.map((x) => x / 2) })));
      },
    },
  }).then(
    () => undefined,
    (reason) => reason,
  );
  const found = { error, weights: await weights(), logged, ahead, prepared };
  engine.dispose();
  return found;
}

test('two updates at a time give the bits of one at a time', async () => {
  const one = await train('one', 'cpu');
  const two = await train('two', 'cuda:0');
  assert.equal([one.error, two.error], [undefined, undefined]);
  assert.equal([one.ahead, two.ahead], [1, 2]);
  assert.is(one.logged.length, updates);
  for (const { prepared } of [one, two]) assert.equal(prepared, [...Array(updates).keys()], 'each is prepared once');
  assert.equal(two.logged, one.logged);
  assert.equal(two.weights, one.weights);
});

test('a stop finishes and logs what was queued, and a resumed run goes on to the same bits', async () => {
  const whole = await train('whole', 'cpu');
  const stopped = await train('stopped', 'cuda:0', { abortAt: 4 });
  assert.is(stopped.error.code, 'ERR_ABORTED');
  const resumed = await train('stopped', 'cuda:0');
  assert.is(resumed.error, undefined);
  assert.equal([...stopped.logged, ...resumed.logged], whole.logged);
  assert.equal(resumed.weights, whole.weights);
});

test('an update that fails is not made, nor is the one that was queued behind it', async () => {
  for (const slowAt of [undefined, 6]) {
    const name = `failed ${slowAt}`;
    const failed = await train(name, 'cuda:0', { badAt: 5, slowAt, everyUpdates: 5 });
    await refused(Promise.reject(failed.error), 'ERR_LABEL', /label/i);
    assert.is(failed.logged.length, 5);
    const stopped = await train(`${name}, stopped`, 'cpu', { abortAt: 5, everyUpdates: 5 });
    assert.equal(failed.weights, stopped.weights);
  }
});

test.run();
