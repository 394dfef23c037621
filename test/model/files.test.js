import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine, loadPretrained, savePretrained } from '../../dist/index.js';
import { initialTensors } from '../../dist/model/initialize.js';
import { FIXTURES, FORMS, loadModel, pack, readData } from '../support/parity.js';
import { refused } from '../support/refused.js';

const test = suite('model files');
const engine = Engine.create({ device: 'cpu', threads: 2 });
let root;
test.before(async () => {
  root = await mkdtemp(join(tmpdir(), 'emoframe-model-'));
});
test.after(async () => {
  engine.dispose();
  await rm(root, { recursive: true, force: true });
});

const same = (a, b) =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));

for (const form of FORMS) {
  test(`${form}: a model that is loaded, saved and loaded has the same tensors, under transformers' names`, async () => {
    const source = await loadPretrained(join(FIXTURES, form));
    const model = await loadModel(engine, form);
    const exported = await model.exportTensors();
    assert.equal(exported.map(({ name }) => name).sort(), [...source.tensors.keys()].sort());
    const directory = join(root, form);
    const tensors = new Map(exported.map((tensor) => [tensor.name, tensor]));
    await savePretrained(directory, { config: source.config, tensors, normalize: source.normalize });
    const saved = await loadPretrained(directory);
    assert.equal(saved.config.shape, source.config.shape);
    assert.is(saved.normalize, form === 'large');
    for (const [name, { shape, data }] of source.tensors) {
      assert.equal(saved.tensors.get(name).shape, shape, name);
      assert.ok(same(saved.tensors.get(name).data, data), name);
    }
    const again = await engine.createModel({ config: saved.config, precision: 'fp32' });
    await again.importTensors(saved.tensors.values());
    const { utterances } = await readData();
    const layer = model.config.shape.layers;
    const [a, b] = [
      await model.encode(pack(model, utterances), layer),
      await again.encode(pack(again, utterances), layer),
    ];
    assert.ok(same(a.hidden, b.hidden));
    model.dispose();
    again.dispose();
  });
}

test('a tensor that is missing, unknown or of another shape is refused by name', async () => {
  const { config, tensors } = await loadPretrained(join(FIXTURES, 'base'));
  const model = await engine.createModel({ config, precision: 'fp32' });
  const name = 'encoder.layers.1.attention.k_proj.weight';
  const without = [...tensors.values()].filter((tensor) => tensor.name !== name);
  const wide = 'encoder.layers.1.feed_forward.intermediate_dense.weight';
  const reshaped = (which, change) =>
    [...tensors.values()].map((tensor) =>
      tensor.name === which ? { ...tensor, shape: change(tensor.shape) } : tensor,
    );
  const cases = [
    [without, name],
    [[...without, { name, shape: [1], data: new Float32Array(1) }], name],
    // With as many elements as it should have.
    [reshaped(name, (shape) => [shape[0] * shape[1]]), name],
    [reshaped(wide, (shape) => [...shape].reverse()), wide],
    [[...tensors.values(), { name: 'lm_head.weight', shape: [1], data: new Float32Array(1) }], 'lm_head.weight'],
  ];
  for (const [given, tensor] of cases) {
    try {
      await model.importTensors(given);
      assert.unreachable();
    } catch (error) {
      assert.is(error.code, 'ERR_TENSOR');
      assert.is(error.tensor, tensor);
      assert.match(error.message, tensor);
    }
  }
  await model.importTensors(without, { allowMissing: ['encoder.layers.1.'] });
  model.dispose();
});

test('a fresh linear layer is normal, of the deviation that transformers has', async () => {
  const [{ read }] = initialTensors([{ name: 'encoder.layers.0.attention.k_proj.weight', shape: [200, 500] }], 1);
  const values = await read();
  // Of 50 000 numbers each: those at even and those at odd places are drawn in another way.
  for (const first of [0, 1]) {
    const drawn = values.filter((_, i) => i % 2 === first).map((value) => value / 0.02);
    const mean = (of) => drawn.reduce((sum, value) => sum + of(value), 0) / drawn.length;
    const near = (actual, expected, error) =>
      assert.ok(Math.abs(actual - expected) < error, `${actual}, not ${expected}`);
    near(
      mean((value) => value),
      0,
      0.02,
    );
    near(
      mean((value) => value ** 2),
      1,
      0.03,
    );
    near(
      mean((value) => value ** 4),
      3,
      0.25,
    );
    for (const [bound, share] of [
      [0.5, 0.6171],
      [1, 0.3173],
      [2, 0.0455],
    ]) {
      near(
        mean((value) => (Math.abs(value) > bound ? 1 : 0)),
        share,
        0.01,
      );
    }
  }
});

test('a fresh model is a function of its seed', async () => {
  const { config } = await loadPretrained(join(FIXTURES, 'base'));
  const make = async (seed) => {
    const model = await engine.createModel({
      config,
      precision: 'fp32',
      maskedPrediction: { clusters: 7 },
      classifier: { classes: 4, pooling: 'attention' },
    });
    await model.initialize(seed);
    const tensors = await model.exportTensors();
    model.dispose();
    return tensors;
  };
  const [a, b, c] = [await make(1), await make(1), await make(2)];
  a.forEach(({ name, data }, index) => {
    assert.ok(same(data, b[index].data), name);
    assert.ok(data.every(Number.isFinite), name);
  });
  const random = a.filter(({ name, data }, index) => !name.endsWith('bias') && !same(data, c[index].data));
  assert.ok(random.some(({ name }) => name === 'label_embs_concat') && random.length > 20);
});

test('fresh magnitudes of the positional convolution are the norms of its directions', async () => {
  const model = await loadModel(engine, 'base');
  await model.initialize(3);
  const tensors = new Map((await model.exportTensors()).map((tensor) => [tensor.name, tensor]));
  const name = 'encoder.pos_conv_embed.conv.parametrizations.weight.original';
  const [magnitudes, { shape, data }] = [tensors.get(`${name}0`).data, tensors.get(`${name}1`)];
  const taps = shape[2];
  for (const [tap, magnitude] of magnitudes.entries()) {
    const squares = data.reduce((sum, value, i) => (i % taps === tap ? sum + value ** 2 : sum), 0);
    assert.ok(Math.abs(magnitude / Math.sqrt(squares) - 1) < 1e-5, `tap ${tap}: ${magnitude}, ${Math.sqrt(squares)}`);
  }
  model.dispose();
});

test('tensors may be missing where any of the prefixes allows it, and one that there is not cannot be exported', async () => {
  const model = await loadModel(engine, 'base');
  const rest = ['encoder.', 'feature_', 'masked_spec_embed'];
  await model.importTensors([], { allowMissing: rest });
  await refused(model.importTensors([], { allowMissing: rest.slice(0, 2) }), 'ERR_TENSOR', /masked_spec_embed/);
  await refused(model.exportTensors(['encoder.none']), 'ERR_TENSOR', /no tensor named encoder\.none/);
  model.dispose();
});

test.run();
