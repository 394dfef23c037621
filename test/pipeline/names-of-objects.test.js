// Labels, dimensions, ids, speakers and sessions may be called as what every JavaScript object inherits.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { z } from 'zod';
import { scoreTable } from '../../dist/cli/scoreTable.js';
import { namedFiles } from '../../dist/corpus/datasets/namedFiles.js';
import { hasValues } from '../../dist/corpus/values.js';
import {
  describeCorpus,
  EmotionModel,
  evaluateModel,
  exportModel,
  parseConfig,
  readCorpus,
  Trainer,
  writeReport,
} from '../../dist/index.js';
import { byName } from '../../dist/issues.js';
import { mapDimensions } from '../../dist/score/labelMap.js';
import { generator, speechLike, writeWav } from '../support/syntheticRun.js';
import { tinyConfig } from '../support/tinyCorpus.js';

const test = suite('names that every object has');
const inherited = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf'];
let dir;
let manifest;
test.before(() => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-names-'));
  const random = generator(11);
  const rows = [];
  for (const [s, session] of ['s1', 'constructor', '__proto__'].entries()) {
    for (let n = 0; n < 5; n++) {
      const audio = `${s}_${n}.wav`;
      writeWav(join(dir, audio), speechLike(1.1, random));
      // As own properties, which a literal's __proto__ would not be.
      const values = Object.fromEntries(inherited.slice(0, 2).map((name, k) => [name, (n + k) / 5]));
      const id = s === 2 ? inherited[n] : `${s}_${n}`;
      rows.push({
        audio,
        id,
        label: inherited[n],
        session,
        speaker: s === 2 ? inherited[n] : `${inherited[n]}${s}`,
        values,
      });
    }
  }
  manifest = join(dir, 'manifest.jsonl');
  writeFileSync(manifest, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
});
test.after(async () => {
  for (const model of loaded) await model.dispose();
  rmSync(dir, { recursive: true, force: true });
});

const loaded = [];
const opened = (model) => {
  loaded.push(model);
  return model;
};

const json = (...path) => JSON.parse(readFileSync(join(...path), 'utf8'));
const own = (object) => {
  assert.is(Object.getPrototypeOf(object), Object.prototype);
  return Object.keys(object);
};
const sorted = (names) => [...names].sort();

async function all(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}

async function trained(name, config) {
  const trainer = await Trainer.open({ corpus: await readCorpus(manifest), out: join(dir, name), config, threads: 1 });
  try {
    return await trainer.run({ folds: ['__proto__'] });
  } finally {
    await trainer.dispose();
  }
}

test('a corpus of them is counted', async () => {
  const { labels, speakers, sessions, values } = await describeCorpus(await readCorpus(manifest));
  assert.equal(sorted(own(labels)), sorted(inherited));
  for (const name of inherited) assert.is(labels[name], 3, name);
  for (const name of inherited) assert.is(speakers[name], 1, name);
  assert.equal(sorted(own(sessions)), ['__proto__', 'constructor', 's1']);
  assert.equal(sorted(own(values)), ['__proto__', 'constructor']);
  assert.ok(Math.abs(values[inherited[0]].mean - 0.4) < 1e-9);
});

test('a run on such labels has them in its scores, report, predictor, predictions and exports', async () => {
  const summary = await trained('classes', parseConfig({ ...tinyConfig, neutralLabel: '__proto__' }));
  const { labels } = summary;
  assert.equal(sorted(labels), sorted(inherited));
  assert.is(summary.utterances, 5);
  const page = readFileSync(await writeReport(join(dir, 'classes')), 'utf8');
  for (const name of inherited) {
    assert.match(page, `<th scope="col">${name}</th>`);
    assert.match(page, `<h3 title="${name}">`);
  }

  const predictor = join(dir, 'classes', 'folds', '__proto__', 'predictor');
  const model = opened(await EmotionModel.load(predictor, { threads: 1 }));
  assert.equal(model.labels, labels);
  const prediction = await model.predict(join(dir, '0_1.wav'));
  const [many] = await all(model.predictMany([{ id: '__proto__', audio: join(dir, '0_1.wav') }]));
  assert.is(many.id, '__proto__');
  for (const { probabilities } of [prediction, many, JSON.parse(JSON.stringify(prediction))]) {
    assert.equal(own(probabilities), labels);
    const sum = labels.reduce((total, name) => total + probabilities[name], 0);
    assert.ok(Math.abs(sum - 1) < 1e-5, String(sum));
  }

  const rows = [];
  const corpus = await readCorpus(manifest);
  const scores = await evaluateModel(model, corpus, { onRow: (row) => rows.push(row), bootstrapSamples: 10 });
  assert.equal(sorted(scores.labels), sorted(inherited));
  assert.is(scores.utterances, 15);
  for (const name of inherited) assert.equal(scores.map.classes[name], [name]);
  assert.equal(sorted(new Set(rows.map(({ label }) => label))), sorted(inherited));
  const swapped = Object.fromEntries([
    ['__proto__', 'constructor'],
    ['constructor', '__proto__'],
  ]);
  const mapped = await evaluateModel(model, corpus, { map: swapped, bootstrapSamples: 10 });
  assert.equal(mapped.map.classes[inherited[0]], ['constructor']);
  assert.equal(mapped.map.classes.constructor, ['__proto__']);

  await exportModel(predictor, { format: 'hf', out: join(dir, 'hf') });
  const card = readFileSync(join(dir, 'hf', 'README.md'), 'utf8');
  const cells = (line) => line.split(' | ').map((cell) => cell.replace(/^\| | \|$/g, ''));
  const table = card.split('\n').filter((line) => line.startsWith('| '));
  assert.equal(cells(table[0]), ['part', 'utterances', 'speakers', ...sorted(inherited).map((name) => `\`${name}\``)]);
  assert.equal(cells(table.find((line) => line.startsWith('| held out'))), [
    'held out',
    '5',
    '5',
    '1',
    '1',
    '1',
    '1',
    '1',
  ]);
  assert.not.match(card, 'native code');
  assert.equal(json(dir, 'hf', 'emoframe.json').labels, labels);

  const baseline = join(dir, 'classes', 'folds', '__proto__', 'finetune', 'model');
  await exportModel(baseline, {
    format: 'hf',
    architecture: 'HubertForSequenceClassification',
    out: join(dir, 'whole'),
  });
  const { id2label, label2id } = json(dir, 'whole', 'config.json');
  assert.equal(Object.values(id2label), labels);
  assert.equal(own(label2id), labels);
  const again = opened(await EmotionModel.load(join(dir, 'whole'), { clusters: false, threads: 1 }));
  assert.equal(again.labels, labels);

  await exportModel(predictor, { format: 'onnx', out: join(dir, 'onnx') });
  assert.ok(readFileSync(join(dir, 'onnx', 'model.onnx')).includes(JSON.stringify(labels).slice(1, -1)));
});

test('so has a regression on such dimensions', async () => {
  const dimensions = ['constructor', '__proto__'];
  const summary = await trained('values', parseConfig({ ...tinyConfig, dimensions }));
  assert.equal(own(summary.values), dimensions);
  for (const name of dimensions) assert.type(summary.values[name].ccc, 'number');
  const table = scoreTable(summary);
  for (const name of dimensions)
    assert.ok(
      table.some((line) => line.startsWith(`CCC of ${name}`) && line.includes(summary.values[name].ccc.toFixed(3))),
    );
  const page = readFileSync(await writeReport(join(dir, 'values')), 'utf8');
  for (const name of dimensions) assert.match(page, `<tr><td>${name}</td><td>${summary.values[name].ccc.toFixed(3)} `);

  const predictor = join(dir, 'values', 'folds', '__proto__', 'predictor');
  const model = opened(await EmotionModel.load(predictor, { threads: 1 }));
  const { values } = await model.predict(join(dir, '0_1.wav'));
  assert.equal(own(values), dimensions);
  const scores = await evaluateModel(model, await readCorpus(manifest), { bootstrapSamples: 10 });
  assert.equal(sorted(own(scores.dimensions)), sorted(dimensions));
  await exportModel(predictor, { format: 'hf', out: join(dir, 'hf-values') });
  const card = readFileSync(join(dir, 'hf-values', 'README.md'), 'utf8');
  for (const name of dimensions) assert.match(card, new RegExp(`^\\| \`${name}\` \\| -?\\d\\.\\d{3} \\|`, 'm'));
});

test('what an object inherits is nothing that it was given', () => {
  assert.not(hasValues({ values: { arousal: 1 } }, ['constructor']));
  assert.ok(hasValues({ values: Object.fromEntries([['__proto__', 0]]) }, ['__proto__']));
  assert.equal(mapDimensions(['toString', 'arousal'], ['arousal', 'valueOf']), { arousal: 'arousal' });
  assert.throws(() => parseConfig(JSON.parse('{"__proto__": {"seed": 7}}')), /There is no field '__proto__'/);
  assert.throws(() => parseConfig({ constructor: 1 }), /There is no field 'constructor'/);
  assert.is({}.seed, undefined);
  const { named } = namedFiles({
    pattern: /^(\w+)$/,
    read: (label) => ({ id: label, label }),
    emotions: { a: 'angry' },
  });
  assert.equal([named('a.wav').label, named('constructor.wav').label], ['angry', 'constructor']);
  // zod's own record would pass over it.
  const found = byName(z.number()).safeParse(JSON.parse('{"__proto__": "x"}'));
  assert.equal(
    found.error?.issues.map(({ path }) => path),
    [['__proto__']],
  );
  assert.ok(byName(z.number()).safeParse(JSON.parse('{"__proto__": 1, "constructor": 2}')).success);
});

test.run();
