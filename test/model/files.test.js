import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine, loadPretrained, savePretrained } from '../../dist/index.js';
import { FIXTURES, FORMS, loadModel, pack, readData } from '../support/parity.js';

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
  const cases = [
    [without, name],
    [[...without, { name, shape: [1], data: new Float32Array(1) }], name],
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

test.run();
