import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseConfig, parseHubertConfig, readConfig } from '../../dist/index.js';

test('the defaults are the paper', () => {
  const config = parseConfig();
  for (const stage of [config.tapt, config.pretrain]) {
    assert.is(stage.updates, 20000);
    assert.is(stage.warmupUpdates, 4000);
    assert.is(stage.batchSeconds, 350);
    assert.equal([stage.minSeconds, stage.maxSeconds], [1, 15.6]);
    assert.equal(stage.mask, { probability: 0.8, length: 10, minimumSpans: 2 });
    assert.equal(stage.optimizer, {
      learningRate: 5e-4,
      beta1: 0.9,
      beta2: 0.98,
      epsilon: 1e-6,
      weightDecay: 0.01,
      clipNorm: 10,
    });
    assert.equal([stage.dimension, stage.temperature, stage.trainFeatureEncoder], [256, 0.1, false]);
    assert.equal([stage.featurePenalty, stage.featureGradientScale], [10, 0.1]);
  }
  for (const stage of [config.finetune, config.align]) {
    assert.equal([stage.epochs, stage.batchSize, stage.maxSeconds], [40, 64, 6]);
    assert.equal([stage.optimizer.learningRate, stage.optimizer.weightDecay], [1e-4, 1e-5]);
    assert.equal([stage.mask.probability, stage.mask.length], [0.08, 10]);
  }
  assert.equal([config.finetune.pooling, config.align.pooling], ['mean', 'attention']);
  assert.equal([config.tapt.layer, config.tapt.kmeans.clusters], [9, 500]);
  assert.equal([config.cluster.layer, config.cluster.kmeans.clusters, config.cluster.kmeans.restarts], [9, 50, 20]);
  assert.equal([config.mfcc.kmeans.clusters, config.mfcc.trainFeatureEncoder], [100, true]);
  assert.is(config.pretrain.startFrom, 'pretrained');
  assert.is(config.protocol, 'inductive');
  assert.is(config.folds.scheme, 'customary');
});

test('a config is merged over the preset', () => {
  const config = parseConfig({ cluster: { kmeans: { clusters: 7 } } }, 'demo');
  const demo = parseConfig({}, 'demo');
  assert.is(config.cluster.kmeans.clusters, 7);
  assert.is(config.cluster.layer, demo.cluster.layer);
  assert.is(config.cluster.kmeans.restarts, demo.cluster.kmeans.restarts);
  assert.equal(config.model, demo.model);
});

test('a config with dimensions learns values, by the one objective and the selection that can', () => {
  const plain = parseConfig();
  assert.equal([plain.dimensions, plain.align.objective, plain.finetune.selection], [null, 'both', 'validation-ua']);
  const config = parseConfig({ dimensions: ['arousal', 'valence'] });
  assert.is(config.align.objective, 'attention');
  assert.equal([config.finetune.selection, config.align.selection], ['validation-ccc', 'validation-ccc']);
  const demo = parseConfig({ dimensions: ['arousal'], align: { selection: 'validation-ccc' } }, 'demo');
  assert.equal([demo.finetune.selection, demo.align.selection], ['average', 'validation-ccc']);
  assert.equal(parseConfig(JSON.parse(JSON.stringify(config))), config);
});

test('the demo is a model that can be built', () => {
  const { shape } = parseHubertConfig(parseConfig({}, 'demo').model);
  assert.equal([shape.hiddenSize, shape.layers, shape.groupNorm], [128, 4, true]);
});

const refusals = [
  [{ clusters: 3 }, "There is no field 'clusters'."],
  [{ finetune: { optimizer: { lr: 1 } } }, "There is no field 'finetune.optimizer.lr'."],
  [{ cluster: { kmeans: { clusters: -3 } } }, 'cluster.kmeans.clusters but received -3 of type number.'],
  [{ tapt: { updates: 1.5 } }, 'Expected an integer for tapt.updates but received 1.5 of type number.'],
  [{ tapt: { updates: '5' } }, 'Expected a number for tapt.updates but received "5" of type string.'],
  [{ precision: 'fp8' }, `Expected one of 'fp32', 'tf32', 'bf16' for precision but received "fp8" of type string.`],
  [{ labels: ['ang'] }, 'Expected at least 2 items for labels but received ["ang"].'],
  [{ pretrain: { maxSeconds: 400 } }, 'Expected minSeconds <= maxSeconds <= batchSeconds for pretrain.maxSeconds.'],
  [{ memory: { passSeconds: 10 } }, 'for memory.passSeconds.'],
  [{ align: null }, 'for align but received null.'],
  [{ finetune: { head: { projector: 1.5 } } }, "Expected a positive integer or 'hidden' for finetune.head.projector"],
  [{ align: { head: { dense: [{ width: 8, norm: true }] } } }, "'relu' for align.head.dense.0.activation"],
  [{ finetune: { selection: 'validation-ccc' } }, "'average' without dimensions for finetune.selection."],
  [{ dimensions: ['valence', 'valence'] }, 'Expected names that differ from each other for dimensions.'],
  [{ dimensions: ['valence'], align: { objective: 'both' } }, "Expected 'attention' with dimensions"],
  [{ dimensions: ['valence'], labels: ['a', 'b'] }, 'Expected null with dimensions'],
  [{ dimensions: ['valence'], finetune: { selection: 'validation-ua' } }, 'with dimensions for finetune.selection.'],
  [{ dimensions: ['valence'], align: { batchSize: 1 } }, 'for align.batchSize.'],
  [{ dimensions: ['valence'], align: { concatenate: { share: 1 } } }, 'for align.concatenate.share.'],
  [{ align: { members: 3 } }, "Expected 1, or selection 'average', which combines several members for align.members."],
];
for (const [input, sentence] of refusals) {
  test(`refused: ${JSON.stringify(input)}`, () => {
    assert.throws(
      () => parseConfig(input),
      (error) => error.code === 'ERR_CONFIG' && error.message.includes(sentence),
    );
  });
}

test('a file may name its preset; errors name the file', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'emoframe-'));
  const write = (text) => {
    const file = join(dir, 'config.json');
    writeFileSync(file, text);
    return file;
  };
  try {
    assert.is((await readConfig(write('{"preset": "demo", "seed": 5}'))).model.hidden_size, 128);
    for (const text of ['{"seed": -1}', '{"preset": "none"}', '{', '[]']) {
      const file = write(text);
      await readConfig(file).then(
        () => assert.unreachable(text),
        (error) => assert.is(error.code, 'ERR_CONFIG', error.message),
      );
    }
    await readConfig(join(dir, 'missing.json')).then(
      () => assert.unreachable(),
      (error) => assert.match(error.message, /missing\.json/),
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test.run();
