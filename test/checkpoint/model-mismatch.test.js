// A config and weights that are not of one model, and configs that would ask for any amount of memory.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encoderShapes } from '../../dist/checkpoint/shapes.js';
import { Engine, loadPretrained, parseHubertConfig } from '../../dist/index.js';
import { FIXTURES, FORMS } from '../support/parity.js';
import { refused } from '../support/refused.js';
import { writeTinyPredictor } from '../support/tinyPredictor.js';

let scratch;
test.before.each(() => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-mismatch-'));
});
test.after.each(() => rmSync(scratch, { recursive: true, force: true }));

function spoiled(change, file = 'config.json', source = join(FIXTURES, 'base')) {
  const directory = join(scratch, 'model');
  cpSync(source, directory, { recursive: true });
  const path = join(directory, file);
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path)), ...change }));
  return directory;
}

for (const form of FORMS) {
  test(`${form}: the shapes that a config promises are those of the engine's model`, async () => {
    const engine = Engine.create({ threads: 1 });
    try {
      const { config } = await loadPretrained(join(FIXTURES, form));
      const model = await engine.createModel({ config, precision: 'fp32' });
      const engineShapes = model.tensors().map(({ name, shape }) => `${name} [${shape}]`);
      const promised = [...encoderShapes(config.shape)].map(([name, shape]) => `${name} [${shape}]`);
      assert.equal(promised.sort(), engineShapes.sort());
    } finally {
      engine.dispose();
    }
  });
}

test('a config of another size is refused with the tensor and the file', async () => {
  const error = await refused(
    loadPretrained(spoiled({ intermediate_size: 40 })),
    'ERR_TENSOR',
    /intermediate_dense\.weight in .*model\.safetensors has shape \[48, (\d+)\] where its config\.json asks for \[40, \1\]/,
  );
  assert.match(error.tensor, /intermediate_dense/);
  assert.match(error.file, /model\.safetensors$/);
});

test('a config of far more layers than the weights is refused before memory is asked for', () =>
  refused(
    loadPretrained(spoiled({ num_hidden_layers: 1000 })),
    'ERR_TENSOR',
    /holds \d+ weights where .* describes \d+/,
  ));

test('labels that are not as many as the outputs of their head are refused', async () => {
  const source = await writeTinyPredictor(join(scratch, 'predictor'));
  const directory = spoiled({ labels: ['a', 'b', 'c'] }, 'emoframe.json', source);
  const error = await refused(loadPretrained(directory), 'ERR_TENSOR', /emoframe\.json names 3 labels.* has 4 rows/);
  assert.is(error.tensor, 'classifier.weight');
});

const limits = [
  ['hidden_size', { hidden_size: 2 ** 21 }],
  ['num_hidden_layers', { num_hidden_layers: 1001 }],
  ['layer_norm_eps', { layer_norm_eps: 1e-320 }],
  ['hidden_dropout', { hidden_dropout: 1 - 2 ** -40 }],
  ['conv_stride', { conv_stride: [4096, 4096, 2, 2, 2, 2, 2] }],
];
for (const [field, change] of limits) {
  test(`${field} beyond what the engine can do names the file and the field`, () => {
    assert.throws(
      () => parseHubertConfig(change, 'here/config.json'),
      (error) => error.code === 'ERR_MODEL_CONFIG' && error.message.startsWith(`here/config.json: ${field}`),
    );
  });
}

test('convolutions need as many kernels and strides as there are of them', () => {
  for (const change of [{ conv_kernel: [10, 3, 3] }, { conv_stride: [5, 2] }, { conv_dim: [512] }])
    assert.throws(
      () => parseHubertConfig(change, 'here/config.json'),
      (error) => error.code === 'ERR_MODEL_CONFIG' && /differ in length/.test(error.message),
    );
});

const large = 2 ** 20;
const sizes = (count) => new Array(count).fill(large);

test('weights whose number overflows are refused, not wrapped around to a small block', async () => {
  const engine = Engine.create({ threads: 1 });
  try {
    const four = { conv_dim: sizes(4), conv_kernel: sizes(4), conv_stride: [1, 1, 1, 1] };
    const spec = { config: parseHubertConfig(four), precision: 'fp32' };
    await refused(
      engine.createModel(spec),
      'ERR_MODEL_CONFIG',
      /conv_layers\.1\.conv\.weight .*\[1048576, 1048576, 1048576\]/,
    );
  } finally {
    engine.dispose();
  }
});

test('a model larger than any memory is ERR_OUT_OF_MEMORY, and the engine goes on', async () => {
  const engine = Engine.create({ threads: 1 });
  try {
    const wide = { hidden_size: large, intermediate_size: large, num_attention_heads: 8, num_hidden_layers: 8 };
    const config = parseHubertConfig({ ...wide, num_conv_pos_embeddings: 2, num_conv_pos_embedding_groups: large });
    await refused(
      engine.createModel({ config, precision: 'fp32' }),
      'ERR_OUT_OF_MEMORY',
      /Could not allocate \d+ bytes/,
    );
    const { config: tiny } = await loadPretrained(join(FIXTURES, 'base'));
    assert.ok(await engine.createModel({ config: tiny, precision: 'fp32' }));
  } finally {
    engine.dispose();
  }
});

test.run();
