import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, exportModel, parseConfig, Trainer, valueMetrics, writeReport } from '../../dist/index.js';
import { refusal } from '../support/refused.js';
import { makeToyValues, toyConfig } from '../support/toyCorpus.js';

const test = suite('pipeline: values of dimensions');
const dimensions = ['arousal', 'valence'];
const fineTuning = {
  epochs: 24,
  batchSize: 8,
  maxSeconds: 2,
  schedule: 'linear',
  warmupUpdates: 4,
  optimizer: { learningRate: 3e-3, clipNorm: 1 },
  head: {
    source: 'layers',
    projector: 16,
    dense: [{ width: 'hidden', norm: false, activation: 'tanh' }],
  },
};
const config = parseConfig({
  ...toyConfig,
  dimensions,
  mfcc: { ...toyConfig.mfcc, updates: 4 },
  tapt: { ...toyConfig.tapt, updates: 2 },
  finetune: fineTuning,
  pretrain: { ...toyConfig.pretrain, updates: 2 },
  align: {
    ...fineTuning,
    pooling: 'attentive-stats',
    selection: 'average',
    averageEpochs: 3,
    network: { maxSeconds: 2 },
  },
  // An update takes two passes.
  memory: { passSeconds: 5 },
});
let dir;
let corpus;
let summary;
const out = (name) => join(dir, name);
const foldFile = (name, ...path) => join(out(name), 'folds', 's2', ...path);
const rowsOf = (name, which) =>
  readFileSync(foldFile(name, 'evaluate', `${which}.jsonl`), 'utf8')
    .trim()
    .split('\n')
    .map(JSON.parse);

async function run(name, { signal, onProgress, ...more } = {}) {
  const trainer = await Trainer.open({ corpus, out: out(name), config, threads: 1, ...more });
  try {
    return await trainer.run({ folds: ['s2'], signal, onProgress });
  } finally {
    await trainer.dispose();
  }
}

test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-regression-'));
  corpus = makeToyValues(join(dir, 'audio'), 24);
  summary = await run('whole');
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

test('values are learned, by heads with layers of their own', () => {
  assert.ok(summary.ccc > 0.5, `ccc ${summary.ccc}`);
  assert.ok(summary.baseline.ccc > 0.5, `baseline ${summary.baseline.ccc}`);
  assert.equal(summary.dimensions, dimensions);
  assert.is(summary.utterances, 24);
  const [low, high] = summary.intervals.values.arousal;
  assert.ok(low < summary.values.arousal.ccc && summary.values.arousal.ccc < high);
  assert.equal(JSON.parse(readFileSync(join(out('whole'), 'summary.json'))), JSON.parse(JSON.stringify(summary)));
});

test('rows hold true and predicted values, from which scores follow', () => {
  for (const [which, scores] of [
    ['predictions', summary],
    ['baseline', summary.baseline],
  ]) {
    const rows = rowsOf('whole', which);
    const given = new Map(corpus.utterances.map(({ id, values }) => [id, values]));
    for (const row of rows) {
      assert.equal(row.target, given.get(row.id));
      assert.is(row.frameValues.length, row.attention.length);
      assert.ok(row.frameValues.every((frame) => frame.length === 2 && frame.every(Number.isFinite)));
    }
    for (const name of dimensions) {
      const of = (kind) => rows.map((row) => row[kind][name]);
      assert.equal(valueMetrics(of('target'), of('values')), scores.values[name]);
    }
  }
});

test('the log has the CCC of each epoch; a head is saved as what it is', () => {
  const log = readFileSync(join(out('whole'), 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map(JSON.parse);
  const epochs = log.filter(({ stage, validationCcc }) => stage === 'finetune' && validationCcc !== undefined);
  assert.is(epochs.length, fineTuning.epochs);
  for (const row of epochs) {
    assert.ok(Math.abs(row.validationCcc - (row['validationCcc/arousal'] + row['validationCcc/valence']) / 2) < 1e-12);
    assert.ok(Math.abs(row.validationLoss - (1 - row.validationCcc)) < 1e-12);
  }
  const { validation } = JSON.parse(readFileSync(foldFile('whole', 'finetune', 'metrics.json')));
  assert.is(validation.ccc, Math.max(...epochs.map((row) => row.validationCcc)));
  const { task, labels, pooling, layers } = JSON.parse(readFileSync(foldFile('whole', 'predictor', 'emoframe.json')));
  assert.equal([task, labels, pooling], ['regression', dimensions, 'attentive-stats']);
  assert.equal(layers, {
    source: 'layers',
    projector: 16,
    dense: [{ width: 32, norm: false, activation: 'tanh' }],
  });
});

test('the predictor has the values that the evaluation had', async () => {
  const [row] = rowsOf('whole', 'predictions');
  const predictor = await EmotionModel.load(foldFile('whole', 'predictor'), { threads: 1 });
  try {
    const { values } = await predictor.predict(row.audio);
    for (const name of dimensions) assert.ok(Math.abs(values[name] - row.values[name]) < 1e-4, name);
  } finally {
    await predictor.dispose();
  }
});

test('report and model card have the scores', async () => {
  const page = readFileSync(await writeReport(out('whole')), 'utf8');
  const score = summary.values.valence.ccc.toFixed(3);
  for (const part of [score, 'Predicted and true values', 'Values over time', 'validation CCC/arousal'])
    assert.ok(page.includes(part), part);
  assert.is(page.match(/class="dot tone2"/g).length, 2 * 24);
  const card = join(dir, 'card');
  await exportModel(foldFile('whole', 'predictor'), { out: card, format: 'hf' });
  assert.match(readFileSync(join(card, 'README.md'), 'utf8'), new RegExp(`valence.*${score}`));
});

test('the same seed gives the same bits, also when the run is stopped and resumed', async () => {
  let resume = false;
  for (const [stage, at] of [
    ['finetune', 5],
    ['align', 20],
  ]) {
    const controller = new AbortController();
    const onProgress = (event) => {
      if (event.stage === stage && event.message === undefined && event.done === at) controller.abort();
    };
    const error = await refusal(run('resumed', { resume, signal: controller.signal, onProgress }));
    assert.is(error.code, 'ERR_ABORTED', error.message);
    assert.ok(existsSync(foldFile('resumed', stage, 'checkpoint', `step-${at}`)), stage);
    resume = true;
  }
  const repeated = await run('resumed', { resume });
  assert.equal({ ...repeated, seconds: 0 }, { ...summary, seconds: 0 });
  const digest = (file) => createHash('sha256').update(readFileSync(file)).digest('hex');
  for (const stage of ['finetune', 'align'])
    for (const file of ['model.safetensors', 'head.safetensors'])
      assert.is(digest(foldFile('resumed', stage, 'model', file)), digest(foldFile('whole', stage, 'model', file)));
});

test('a corpus without the values is refused before anything runs', async () => {
  const asked = parseConfig({ ...config, dimensions: ['arousal', 'dominance'] });
  const error = await refusal(run('refused', { config: asked }));
  assert.is(error.code, 'ERR_CORPUS');
  assert.match(
    error.message,
    /at least 2 utterances with values of arousal, dominance; toy values has values of arousal, valence/,
  );
  assert.not.ok(existsSync(out('refused')));
});

test.run();
