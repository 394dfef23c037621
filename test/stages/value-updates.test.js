// Updates of a regression: its loss is of all utterances of an update together, however many passes they take.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine, packSamples, parseHubertConfig, valueMetrics } from '../../dist/index.js';
import { runTrainingLoop } from '../../dist/stages/trainingLoop.js';
import { trainOn, updateOf } from '../../dist/stages/update.js';
import { generator } from '../support/syntheticRun.js';
import { tinyConfig } from '../support/tinyCorpus.js';

const test = suite('updates of values');
const optimizer = { learningRate: 1e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0.01, clipNorm: 0 };
const common = { objective: 'regression', denominator: 1, featurePenalty: 0, featureGradientScale: 1 };
const off = {
  hidden_dropout: 0,
  attention_dropout: 0,
  activation_dropout: 0,
  feat_proj_dropout: 0,
  final_dropout: 0,
  layerdrop: 0,
};
let engine;
test.before(() => {
  engine = Engine.create({ threads: 1 });
});
test.after(() => engine.dispose());

async function makeModel(dropout) {
  const config = parseHubertConfig({ ...tinyConfig.model, ...dropout }, 'the tiny config');
  const classifier = {
    classes: 2,
    task: 'regression',
    pooling: 'mean',
    dense: [{ width: 8, activation: 'tanh' }],
    frames: { window: 50, hop: 5 },
  };
  const model = await engine.createModel({ config, precision: 'fp32', classifier });
  await model.initialize(1);
  return model;
}

/** Utterances of an update, the same for the same seed. */
function utterances(seed) {
  const random = generator(seed);
  return Array.from({ length: 6 }, (_, n) => ({
    samples: Float32Array.from({ length: 5000 + 1600 * n }, (_, i) => Math.sin(i * (0.05 + 0.1 * n)) * random()),
    values: [random(), random()],
  }));
}

/** An update of passes that have so many utterances each. */
function updateWith(model, step, sizes) {
  const all = utterances(step + 1);
  let first = 0;
  const passes = sizes.map((size) => {
    const own = all.slice(first, first + size);
    first += size;
    return {
      frames: size,
      batch: packSamples(
        own.map(({ samples }) => samples),
        model.geometry.stride,
      ),
      labels: new Int32Array(),
      targets: Float32Array.from(own.flatMap(({ values }) => values)),
    };
  });
  return updateOf({ seed: 1, step }, passes, common, { ...optimizer, step: step + 1 });
}

const weights = async (model) => (await model.exportTensors()).map(({ name, data }) => [name, data]);

test('the loss is 1 - CCC of all utterances, and its gradient is the same in one pass and in several', async () => {
  const model = await makeModel(off);
  const all = utterances(1);
  const batch = packSamples(
    all.map(({ samples }) => samples),
    model.geometry.stride,
  );
  const { logits } = await model.classify(batch);
  const cccs = [0, 1].map((dimension) => {
    const truth = all.map(({ values }) => values[dimension]);
    return valueMetrics(
      truth,
      all.map((_, n) => logits[2 * n + dimension]),
    ).ccc;
  });
  const expected = 1 - (cccs[0] + cccs[1]) / 2;
  let whole;
  for (const sizes of [[6], [2, 4], [1, 3, 2]]) {
    await model.initialize(1);
    const { passes } = updateWith(model, 0, sizes);
    let gradients;
    const optimizerStep = model.optimizerStep.bind(model);
    model.optimizerStep = (options) => {
      gradients = model.exportGradients();
      return optimizerStep(options);
    };
    const { loss } = await trainOn(model, { passes, optimizer: { ...optimizer, learningRate: 1e-9, step: 1 } });
    model.optimizerStep = optimizerStep;
    assert.ok(Math.abs(loss - expected) < 1e-5, `${sizes}: ${loss} is not ${expected}`);
    const found = await gradients;
    whole ??= found;
    let [difference, size] = [0, 0];
    for (const [index, { data }] of whole.entries())
      for (const [i, value] of data.entries()) {
        difference += (found[index].data[i] - value) ** 2;
        size += value ** 2;
      }
    assert.ok(size > 0 && Math.sqrt(difference / size) < 1e-4, `${sizes}: off by ${Math.sqrt(difference / size)}`);
  }
  model.dispose();
});

test('with dropout, both rounds of a pass draw the same', async () => {
  const model = await makeModel({ ...off, hidden_dropout: 0.3, final_dropout: 0.3 });
  const [{ batch, options }] = updateWith(model, 0, [6]).passes;
  const first = await model.trainOutputs(batch, options);
  assert.equal(await model.trainOutputs(batch, options), first);
  assert.not.equal(await model.trainOutputs(batch, { ...options, step: 5 }), first);
  const { lossSum } = await model.trainStep(batch, options);
  const cccs = [0, 1].map((dimension) => {
    const of = (values) => values.filter((_, i) => i % 2 === dimension);
    return valueMetrics(of(options.targets), of(first)).ccc;
  });
  assert.ok(Math.abs(lossSum - (1 - (cccs[0] + cccs[1]) / 2)) < 1e-5);
  model.dispose();
});

test('an update of two rounds is not queued behind another, so that a GPU has the bits of a CPU', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'emoframe-value-updates-'));
  const trained = async (device) => {
    const model = await makeModel({});
    const context = {
      stage: 'finetune',
      config: { checkpoint: { everyUpdates: 100, everySeconds: 3600 }, logEvery: 1, memory: {} },
      engine: { device, graphs: () => engine.graphs(), peakFlops: () => undefined },
      paths: { stage: () => ({ checkpoint: join(dir, device) }) },
      report: { log: () => {}, progress: () => {}, continueFrom: async () => {}, sync: async () => {} },
    };
    const prepare = async (step) => updateWith(model, step, step % 3 === 1 ? [6] : [3, 3]);
    await runTrainingLoop({ context, model, updates: 6, state: {}, prepare, metricsOf: ({ loss }) => ({ loss }) });
    const found = await weights(model);
    model.dispose();
    return found;
  };
  assert.equal(await trained('cuda:0'), await trained('cpu'));
  rmSync(dir, { recursive: true });
});

test.run();
