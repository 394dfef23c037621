import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, evaluateModel, readCorpus } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { refused } from '../support/refused.js';
import { generator, speechLike, writeWav } from '../support/syntheticRun.js';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('evaluation of a model on a corpus');
const root = mkdtempSync(join(tmpdir(), 'emoframe-score-'));
const names = ['ang', 'neu', 'fea', 'hap', 'ang', 'neu', 'hap', 'neu'];
const manifest = join(root, 'corpus.jsonl');
let predictor;
let model;
let corpus;

test.before(async () => {
  predictor = await writeTinyPredictor(join(root, 'predictor'), { clusters: false });
  const random = generator(4);
  const rows = names.map((label, i) => {
    const audio = `${i}.wav`;
    const seconds = 1 + i / 8;
    writeWav(join(root, audio), speechLike(seconds, random));
    const segments = i < 4 ? [{ start: 0.2, end: 0.9, label: label === 'neu' ? 'ang' : label }] : undefined;
    return { id: `u${i}`, audio, label, segments };
  });
  writeFileSync(manifest, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  corpus = await readCorpus(manifest);
  model = await EmotionModel.load(predictor);
});
test.after(async () => {
  await model?.dispose();
  rmSync(root, { recursive: true, force: true });
});

/** The classes of the corpus, and where the model has them. */
const shared = { ang: 0, hap: 1, neu: 2 };

test('scores are those of the predictions, restricted to what both have', async () => {
  const rows = [];
  const found = await evaluateModel(model, corpus, { bootstrapSamples: 50, onRow: (row) => void rows.push(row) });
  assert.equal(found.map.classes, { ang: ['angry'], hap: ['happy'], neu: ['neutral'] });
  assert.equal(found.map.unknownToCorpus, ['sad']);
  assert.equal(found.leftOut, { fea: 1 });
  assert.is(found.utterances, 7);
  let right = 0;
  for (const [i, { id, audio, label }] of corpus.utterances.entries()) {
    if (label === 'fea') continue;
    const { probabilities } = await model.predict(audio);
    const values = Object.keys(shared).map((name) => probabilities[model.labels[shared[name]]]);
    const sum = values.reduce((a, b) => a + b, 0);
    const row = rows.find((candidate) => candidate.id === id);
    row.probabilities.forEach((p, c) => {
      assert.ok(Math.abs(p - values[c] / sum) < 1e-5);
    });
    const best = Object.keys(shared)[values.indexOf(Math.max(...values))];
    assert.is(row.predicted, best, String(i));
    if (best === label) right++;
  }
  assert.is(found.wa, right / 7);
  assert.is(
    found.confusion.flat().reduce((a, b) => a + b),
    7,
  );
  assert.ok(found.intervals.wa[0] <= found.wa && found.wa <= found.intervals.wa[1]);
});

test('frames are scored where their truth is known', async () => {
  const rows = [];
  const found = await evaluateModel(model, corpus, { bootstrapSamples: 50, onRow: (row) => void rows.push(row) });
  assert.is(rows.filter(({ truth }) => truth !== undefined).length, 3);
  const known = rows.filter(({ truth }) => truth !== undefined);
  const pairs = known.flatMap(({ truth, path }) => truth.map((actual, t) => actual === path[t]));
  assert.is(found.frameAccuracy, pairs.filter(Boolean).length / pairs.length);
  for (const { posteriors } of known)
    for (const frame of posteriors) assert.ok(Math.abs(frame.reduce((a, b) => a + b) - 1) < 1e-5);
});

test('time outside of segments is neutral where no utterance is', async () => {
  const rows = [];
  const utterances = corpus.utterances.filter(({ label }) => label !== 'neu');
  const onRow = (row) => void rows.push(row);
  const found = await evaluateModel(model, { ...corpus, utterances }, { bootstrapSamples: 50, onRow });
  assert.is(found.neutral, 'neutral');
  assert.equal(found.labels, ['ang', 'hap', 'neutral']);
  const timed = rows.filter(({ truth }) => truth !== undefined);
  assert.ok(timed.length > 0 && timed.every(({ truth }) => truth.includes(2)));
  assert.ok(timed.some(({ path }) => path.includes(2)));
  for (const { predicted, probabilities } of rows) {
    assert.is.not(predicted, 'neutral');
    assert.is(probabilities[2], 0);
    assert.ok(Math.abs(probabilities[0] + probabilities[1] - 1) < 1e-6);
  }
});

test('all outputs may compete', async () => {
  const found = await evaluateModel(model, corpus, { outputs: 'all', bootstrapSamples: 50 });
  assert.equal(found.labels, ['ang', 'hap', 'neu', 'sad']);
  assert.equal(found.absent, [3]);
});

test('a mapping may be stated, and nothing to score is an error', async () => {
  const { map } = await evaluateModel(model, corpus, { map: { sad: 'fea' }, bootstrapSamples: 50 });
  assert.equal(map.classes.fea, ['sad']);
  await refused(evaluateModel(model, { ...corpus, utterances: [] }), 'ERR_CORPUS', /no labelled utterance/);
  await refused(evaluateModel(model, corpus, { map: { joy: 'hap' } }), 'ERR_ARGUMENT', /joy/);
});

test('the command prints the mapping and the scores', async () => {
  const file = join(root, 'predictions.jsonl');
  const { code, stdout, stderr } = await emoframe(['evaluate', manifest, '--model', predictor, '--predictions', file]);
  assert.is(code, 0, stderr);
  assert.match(stdout, /ang +angry/);
  assert.match(stdout, /left out +fea 1/);
  assert.match(stdout, /UA +\d+\.\d %/);
  assert.match(stdout, /frame accuracy/);
  assert.is(readFileSync(file, 'utf8').trim().split('\n').length, 7);
  const json = await emoframe(['evaluate', manifest, '--model', predictor, '--json', '--map', 'sad=fea']);
  assert.is(JSON.parse(json.stdout).utterances, 8);
});

test('a regression is scored by the values that the corpus has', async () => {
  const form = join(fixtures, 'forms', 'audeering');
  const regression = await EmotionModel.load(form);
  try {
    const [first, ...others] = regression.labels;
    const predictions = [];
    for (const { audio } of corpus.utterances) predictions.push((await regression.predict(audio)).values);
    // The first dimension is predicted exactly, under another name; of the last, the corpus knows nothing.
    const utterances = corpus.utterances.map((utterance, i) => ({
      ...utterance,
      values: { activation: predictions[i][first], [others[0]]: (i * 7) % 5 },
    }));
    const found = await evaluateModel(regression, { ...corpus, utterances }, { bootstrapSamples: 20 });
    assert.is(found.task, 'regression');
    assert.equal(Object.keys(found.dimensions).sort(), ['activation', others[0]].sort());
    assert.is(found.dimensions.activation.output, 'arousal');
    assert.ok(Math.abs(found.dimensions.activation.ccc - 1) < 1e-5);
    assert.ok(found.dimensions[others[0]].ccc < 0.5);
    await refused(evaluateModel(regression, corpus), 'ERR_CORPUS', /no values of dimensions/);
  } finally {
    await regression.dispose();
  }
});

test('the command says which of its two uses an option is for', async () => {
  for (const [words, pattern] of [
    [['--model', predictor, '--folds', 's1'], /--out with --folds/],
    [['--model', predictor, '--out', join(root, 'run'), '--map', 'a=b'], /no --map with --out/],
    [[], /Expected --model, or --out/],
    [['--model', predictor, '--map', 'ang'], /anger=ang/],
  ]) {
    const { code, stderr } = await emoframe(['evaluate', manifest, ...words]);
    assert.is(code, 2, stderr);
    assert.match(stderr, pattern);
  }
});

test.run();
