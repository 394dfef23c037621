import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine, loadPretrained } from '../../dist/index.js';
import {
  assertAllBelow,
  FIXTURES,
  FORMS,
  norm,
  pack,
  readData,
  readTensors,
  relativeError,
} from '../support/parity.js';
import { refused } from '../support/refused.js';

const test = suite('alignment');
const engine = Engine.create({ device: 'cpu', threads: 2 });
test.after(() => engine.dispose());
const { utterances, classes } = await readData();
const SOURCES = ['features', 'hidden', 'layers'];

/** What scripts/oracle/alignment.py made its golden values with. */
const head = {
  classes: 4,
  neutral: 2,
  source: 'features',
  layer: 0,
  chunkFrames: 10,
  contextFrames: 4,
  width: 10,
  halfWidths: [3, 1],
  dropout: 0.1,
  scale: 0.05,
  switchingCost: 1.5,
};
const melBands = { features: { large: 40 }, hidden: { base: 24 }, layers: { base: 40 } };
const layers = { hidden: { base: 2, large: 'output' }, layers: { base: 2, large: 1 } };

async function load(form, source, precision = 'fp32') {
  const golden = await readTensors(`${form}.alignment-${source}`);
  const { config, tensors } = await loadPretrained(join(FIXTURES, form));
  const alignment = { ...head, source, layer: layers[source]?.[form] ?? 0, melBands: melBands[source][form] ?? 0 };
  const model = await engine.createModel({ config, precision, alignment });
  const weights = [...golden.values()]
    .filter(({ name }) => name.startsWith('weight/'))
    .map((tensor) => ({ ...tensor, name: tensor.name.slice('weight/'.length) }));
  await model.importTensors([...tensors.values(), ...weights]);
  return { model, golden };
}

const step = (golden) => ({
  objective: 'alignment',
  labels: classes,
  frameLabels: Int32Array.from(golden.get('frameLabels').data),
  denominator: 3,
  featurePenalty: 0,
  featureGradientScale: 1,
  seed: 1,
  step: 0,
  dropout: false,
});

for (const form of FORMS) {
  for (const source of SOURCES) {
    test(`${form}, ${source}: the input, frame logits, occupancies and utterance logits are PyTorch's`, async () => {
      const { model, golden } = await load(form, source);
      const input = await model.alignmentInput(pack(model, utterances));
      const { alignment, logits, offsets } = await model.classify(pack(model, utterances));
      assert.is(logits.length, 0, 'a classifier that there is not');
      assert.is(offsets.at(-1) * 4, alignment.frameLogits.length);
      assertAllBelow(
        [
          ['input', relativeError(input.hidden, golden.get('input').data)],
          ...['frameLogits', 'occupancies', 'logits'].map((name) => [
            name,
            relativeError(alignment[name], golden.get(name).data),
          ]),
        ],
        1e-5,
        'results',
      );
      const { neutral, scale, switchingCost } = head;
      const [{ data: bias }] = await model.exportTensors(['alignment.utterance_bias']);
      const again = await engine.align(alignment.frameLogits, offsets, { neutral, scale, switchingCost, bias });
      assert.equal(again.logits, alignment.logits, 'aligned apart from the pass');
      assert.equal(again.occupancies, alignment.occupancies, 'aligned apart from the pass');
      model.dispose();
    });

    test(`${form}, ${source}: loss and the gradient of every parameter are PyTorch's`, async () => {
      const { model, golden } = await load(form, source);
      // Into what is weighted by layer no gradient goes: without this the encoder's gradient would only be zeros.
      const result = await model.trainStep(pack(model, utterances), step(golden));
      const expected = golden.get('loss').data[0];
      assert.ok(Math.abs(result.lossSum / 3 - expected) < 1e-5 * expected, `loss ${result.lossSum / 3}, ${expected}`);
      assert.is(result.count, 3);
      const gradients = await model.exportGradients();
      const whole = Math.sqrt(gradients.reduce((sum, { data }) => sum + norm(data) ** 2, 0));
      const errors = gradients.map(({ name, shape, data }) => {
        const its = golden.get(`gradient/${name}`);
        // A key bias shifts all scores of a row alike, so that its gradient is rounding only.
        if (!its || name.endsWith('k_proj.bias')) return [name, norm(data) / whole];
        assert.equal(shape, its.shape, name);
        return [name, relativeError(data, its.data)];
      });
      assertAllBelow(errors, 2e-4, 'gradients');
      const found = new Set(gradients.map(({ name }) => name));
      for (const name of golden.keys())
        if (name.startsWith('gradient/'))
          assert.ok(found.has(name.slice('gradient/'.length)), `${name} is no parameter`);
      model.dispose();
    });
  }

  test(`${form}: in bf16 frame logits are near and the gradient points where PyTorch's does`, async () => {
    for (const source of SOURCES) {
      const { model, golden } = await load(form, source, 'bf16');
      const { alignment } = await model.classify(pack(model, utterances));
      const error = relativeError(alignment.frameLogits, golden.get('frameLogits').data);
      assert.ok(error < 0.05, `${source}: frame logits are off by ${error}`);
      await model.trainStep(pack(model, utterances), step(golden));
      let dot = 0;
      let own = 0;
      let theirs = 0;
      for (const { name, data } of await model.exportGradients()) {
        const expected = golden.get(`gradient/${name}`)?.data;
        data.forEach((value, i) => {
          dot += value * (expected?.[i] ?? 0);
          own += value ** 2;
          theirs += (expected?.[i] ?? 0) ** 2;
        });
      }
      const cosine = dot / Math.sqrt(own * theirs);
      assert.ok(cosine > 0.99, `${source}: cosine ${cosine}`);
      model.dispose();
    }
  });
}

test('the head starts as PyTorch starts linear layers and convolutions, without bias or preference', async () => {
  const { config } = await loadPretrained(join(FIXTURES, 'base'));
  const model = await engine.createModel({
    config,
    precision: 'fp32',
    alignment: { ...head, source: 'layers', layer: 2, width: 64 },
  });
  await model.initialize(5);
  const tensors = new Map(
    (await model.exportTensors()).map(({ name, data }) => [name.replace('alignment.', ''), data]),
  );
  const largest = (name) => tensors.get(name).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const fanIns = { projection: 32, 'blocks.0.conv': 64 * 7, 'blocks.1.conv': 64 * 3, output: 64 };
  for (const [name, fanIn] of Object.entries(fanIns)) {
    const bound = 1 / Math.sqrt(fanIn);
    for (const part of ['weight', 'bias']) {
      const most = largest(`${name}.${part}`);
      // Of four numbers the largest may be small.
      assert.ok(most <= bound && most > (name === 'output' ? 0.1 : 0.9) * bound, `${name}.${part}`);
    }
  }
  for (const name of ['blocks.0.norm', 'blocks.1.norm', 'norm']) {
    assert.ok(
      tensors.get(`${name}.weight`).every((value) => value === 1),
      name,
    );
    assert.is(largest(`${name}.bias`), 0, name);
  }
  assert.ok(
    tensors.get('input_factor').every((value) => value === 1),
    'factors of columns',
  );
  assert.is(largest('input_mean') + largest('utterance_bias') + largest('layer_weights'), 0);
  model.dispose();
});

test('a group of tensors is updated at a rate of its own', async () => {
  const { model, golden } = await load('base', 'hidden');
  const before = new Map((await model.exportTensors()).map(({ name, data }) => [name, data]));
  await model.trainStep(pack(model, utterances), step(golden));
  const { gradientNorm } = await model.optimizerStep({
    learningRate: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0.01,
    clipNorm: 1,
    step: 1,
    groups: [
      { prefix: 'encoder.layers.1.', learningRate: 0 },
      { prefix: 'encoder.', learningRate: 1e-5 },
    ],
  });
  assert.ok(gradientNorm > 0);
  const moved = (name, after) =>
    Math.sqrt(after.reduce((sum, x, i) => sum + (x - before.get(name)[i]) ** 2, 0) / after.length);
  for (const { name, data } of await model.exportTensors()) {
    if (name.startsWith('encoder.layers.1.')) assert.is(moved(name, data), 0, name);
    else if (name === 'encoder.layers.0.attention.q_proj.weight') assert.ok(moved(name, data) < 2e-5, name);
    else if (name === 'alignment.projection.weight') assert.ok(moved(name, data) > 5e-4, name);
  }
  model.dispose();
});

test('a model that is only run says the same, and its memory can be planned', async () => {
  for (const source of SOURCES) {
    const { model } = await load('large', source);
    const work = { frames: 104, utterances: 3, storedFrames: 0, longestStoredFrames: 0 };
    const trained = await model.plan({ ...work, objective: 'alignment' });
    const run = await model.plan(work);
    assert.ok(trained.gradients > 0 && trained.activations > run.activations && run.activations > 0, source);
    const { alignment } = await model.classify(pack(model, utterances));
    await model.packForInference();
    const packed = await model.classify(pack(model, utterances));
    await refused(model.exportTensors(), 'ERR_INTERNAL', /loaded for inference only/);
    assert.ok(relativeError(packed.alignment.frameLogits, alignment.frameLogits) < 1e-5, source);
    model.dispose();
  }
});

test('mel bands are stored with features: a pass over those says and trains the same', async () => {
  for (const [form, source] of [
    ['large', 'features'],
    ['base', 'hidden'],
    ['base', 'layers'],
  ]) {
    const { model, golden } = await load(form, source);
    model.freeze(['feature_extractor']);
    const batch = pack(model, utterances);
    const keys = ['a', 'b', 'c'];
    const classified = await model.classify(batch);
    const { lossSum } = await model.trainStep(batch, step(golden));
    const gradients = await model.exportGradients();
    await model.clearGradients();
    await model.storeFeatures(keys, batch);
    const columns = model.config.shape.convDim.at(-1) + melBands[source][form];
    assert.is(model.featureBytes(), classified.offsets.at(-1) * columns * 4, source);
    const stored = await model.classify({ features: keys });
    assert.equal(stored.alignment.frameLogits, classified.alignment.frameLogits, source);
    assert.equal((await model.alignmentInput({ features: keys })).hidden, (await model.alignmentInput(batch)).hidden);
    assert.is((await model.trainStep({ features: keys }, step(golden))).lossSum, lossSum, source);
    assert.equal(await model.exportGradients(), gradients, source);
    model.dispose();
  }
});

test('a window that starts where a frame does gives what the whole does', async () => {
  const { model } = await load('large', 'features');
  const [samples] = utterances;
  const { alignment: whole } = await model.classify(pack(model, [samples]));
  const first = 3;
  const reach = 4;
  const { alignment: part } = await model.classify(pack(model, [samples.subarray(first * 320)]));
  const error = relativeError(part.frameLogits.subarray(reach * 4), whole.frameLogits.subarray((first + reach) * 4));
  assert.ok(error < 1e-6, `off by ${error}`);
  model.dispose();
});

test('what does not fit is refused by name', async () => {
  const { config } = await loadPretrained(join(FIXTURES, 'base'));
  const made = (alignment) => engine.createModel({ config, precision: 'fp32', alignment: { ...head, ...alignment } });
  await refused(made({ source: 'elsewhere' }), 'ERR_ARGUMENT', /features, hidden or layers/);
  await refused(made({ source: 'hidden', layer: 9 }), 'ERR_MODEL_CONFIG', /layer must be from 0 to 3/);
  await refused(made({ neutral: 4 }), 'ERR_MODEL_CONFIG', /neutral/);
  await refused(made({ melBands: -1 }), 'ERR_MODEL_CONFIG', /melBands must not be negative/);
  await refused(made({ melBands: 300 }), 'ERR_MODEL_CONFIG', /melBands are 300, so many/);
  const faster = { ...config, shape: { ...config.shape, convStride: [5, 2, 2, 2, 2, 2, 1] } };
  const unfit = engine.createModel({ config: faster, precision: 'fp32', alignment: { ...head, melBands: 40 } });
  await refused(unfit, 'ERR_MODEL_CONFIG', /400 samples every 320, but this model's are \d+ every 160/);
  const options = { neutral: 2, scale: 0.1, switchingCost: 4, bias: new Float32Array(4) };
  await refused(engine.align(new Float32Array(12), Int32Array.of(0, 4), options), 'ERR_ARGUMENT', /12 logits of 4/);
});

test.run();
