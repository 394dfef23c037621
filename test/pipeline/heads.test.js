// Heads of other forms than the published one, through the stages that train them and those that read them.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, parseConfig, readSafetensors, Trainer } from '../../dist/index.js';
import { makeToyCorpus, toyConfig } from '../support/toyCorpus.js';

const test = suite('pipeline: heads');
const short = { updates: 2 };
const config = parseConfig({
  ...toyConfig,
  mfcc: { ...toyConfig.mfcc, ...short },
  tapt: { ...toyConfig.tapt, ...short },
  pretrain: { ...toyConfig.pretrain, ...short },
  finetune: { ...toyConfig.finetune, epochs: 2, pooling: 'sum', head: { projector: 8 } },
  align: {
    ...toyConfig.align,
    epochs: 2,
    members: 1,
    pooling: 'max',
    head: { source: 'layers', dense: [{ width: 'hidden', norm: true, activation: 'relu' }] },
    network: { ...toyConfig.align.network, epochs: 1, averageEpochs: 1 },
  },
});
let dir;
const foldFile = (...path) => join(dir, 'run', 'folds', 's2', ...path);
const json = (...path) => JSON.parse(readFileSync(foldFile(...path), 'utf8'));

test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-heads-'));
  const corpus = makeToyCorpus(join(dir, 'audio'), 4);
  const trainer = await Trainer.open({ corpus, out: join(dir, 'run'), config, threads: 1 });
  await trainer.run({ folds: ['s2'] }).finally(() => trainer.dispose());
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

test('each stage trains and saves the head that its settings describe', async () => {
  const finetuned = json('finetune', 'model', 'emoframe.json');
  assert.equal([finetuned.pooling, finetuned.layers], ['sum', { projector: 8 }]);
  const { tensors } = await readSafetensors(foldFile('finetune', 'model', 'head.safetensors'));
  assert.equal([...tensors.keys()].sort(), [
    'classifier.bias',
    'classifier.weight',
    'projector.bias',
    'projector.weight',
  ]);
  const aligned = json('align', 'model', 'emoframe.json');
  const layers = { source: 'layers', dense: [{ width: 32, norm: true, activation: 'relu' }] };
  assert.equal([aligned.pooling, aligned.layers], ['max', layers]);
  assert.is(json('align', 'metrics.json').members, undefined, 'a mean over members is told, one alone is not');
  const head = await readSafetensors(foldFile('align', 'model', 'head.safetensors'));
  const weights = head.tensors.get('layer_weights').data;
  assert.is(weights.length, 3);
  assert.ok(new Set(weights).size > 1, 'the weights of layers are learned');
  // Beside the alignment network it stays as it is.
  const both = await readSafetensors(foldFile('timeline', 'model', 'head.safetensors'));
  assert.equal(json('timeline', 'model', 'emoframe.json').layers, layers);
  for (const [name, { data }] of head.tensors) assert.equal(both.tensors.get(name).data, data, name);
  // The network beside it begins with weights of its own: from zeros it would learn none.
  for (const [name, { data }] of both.tensors)
    if (/^alignment\..*weight$/.test(name)) assert.ok(new Set(data).size > 1, name);
});

test('the predictor says of test utterances what the evaluation said', async () => {
  const rows = readFileSync(foldFile('evaluate', 'predictions.jsonl'), 'utf8').trim().split('\n').map(JSON.parse);
  const predictor = await EmotionModel.load(foldFile('predictor'), { threads: 1 });
  try {
    for (const row of rows.slice(0, 2)) {
      assert.is(row.timeline, 'alignment');
      const found = await predictor.predict(row.audio);
      for (const [index, label] of row.labels.entries())
        assert.ok(Math.abs(found.probabilities[label] - row.probabilities[index]) < 1e-4, row.id);
    }
  } finally {
    await predictor.dispose();
  }
});

test.run();
