import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { scoreTable } from '../../dist/cli/scoreTable.js';
import { emoframe } from '../support/cli.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';

const test = suite('command line: run');
let dir;
let manifest;
let config;
test.before(() => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-run-'));
  manifest = writeTinyCorpus(join(dir, 'corpus'));
  config = join(dir, 'config.json');
  writeFileSync(config, JSON.stringify(tinyConfig));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

test('scores stand side by side: shares in percent, lift in times, and what is not known not at all', () => {
  const scores = { wa: 0.75, ua: 0.7, frameAccuracy: 0.761, posteriorOnEmotion: 0.8, lift: 1.624, eder: null };
  const table = scoreTable({ ...scores, baseline: { ...scores, wa: 0.5, lift: null } });
  assert.equal(
    table.map((line) => line.trim().split(/\s{2,}/)),
    [
      ['%', 'stage 1b', 'stage 4'],
      ['WA', '50.0', '75.0'],
      ['UA', '70.0', '70.0'],
      ['frame accuracy', '76.1', '76.1'],
      ['posterior on emotion', '80.0', '80.0'],
      ['lift over share of time', '–', '1.62 ×'],
    ],
  );
});

test('Ctrl-C stops a run; --resume takes it to its scores, report and predictor', async () => {
  const out = join(dir, 'run');
  const words = ['run', manifest, '--config', config, '--out', out, '--folds', 's3'];
  let pressed = false;
  const stopped = await emoframe(words, {
    onStderr: (text, child) => {
      if (pressed || !text.includes('finetune')) return;
      pressed = true;
      child.kill('SIGINT');
    },
  });
  assert.is(stopped.code, 1, stopped.stderr);
  assert.match(stopped.stderr, /\nemoframe: [^\n]* \(ERR_ABORTED\)\n/);
  assert.is(stopped.stdout, '');
  assert.not.ok(existsSync(join(out, 'summary.json')));

  const again = await emoframe(words);
  assert.is(again.code, 1);
  assert.match(again.stderr, '(ERR_RUN_EXISTS)');

  const resumed = await emoframe([...words, '--resume', '--json']);
  assert.is(resumed.code, 0, resumed.stderr);
  assert.not.match(resumed.stderr, 'mfcc');
  const summary = JSON.parse(resumed.stdout);
  assert.equal(summary, JSON.parse(readFileSync(join(out, 'summary.json'))));
  assert.equal(summary.labels, ['angry', 'neutral']);
  for (const key of [
    'wa',
    'ua',
    'eder',
    'frameAccuracy',
    'frameUa',
    'attentionOnEmotion',
    'posteriorOnEmotion',
    'lift',
  ]) {
    assert.type(summary[key], 'number', key);
    assert.type(summary.baseline[key], 'number', `baseline ${key}`);
  }
  const page = readFileSync(join(out, 'report.html'), 'utf8');
  assert.is([...page.matchAll(/<article class="utterance"/g)].length, 8);

  const predictor = join(out, 'folds', 's3', 'predictor');
  const predicted = await emoframe(['predict', join(dir, 'corpus', 's3_0.wav'), '--model', predictor, '--json']);
  assert.is(predicted.code, 0, predicted.stderr);
  const [prediction] = JSON.parse(predicted.stdout);
  const rows = readFileSync(join(out, 'folds', 's3', 'evaluate', 'predictions.jsonl'), 'utf8')
    .trim()
    .split('\n');
  const row = rows.map((line) => JSON.parse(line)).find(({ audio }) => audio.endsWith('s3_0.wav'));
  assert.is(prediction.label, row.predicted);
  assert.equal(
    prediction.frames.map(({ cluster }) => cluster),
    row.clusters,
  );
  for (const [i, { posterior }] of prediction.frames.entries()) {
    for (const [c, value] of posterior.entries()) assert.ok(Math.abs(value - row.posteriors[i][c]) < 1e-4);
  }

  const report = await emoframe(['report', out]);
  assert.is(report.stdout, `${join(out, 'report.html')}\n`);
});

test('sweep prints how good other layers and numbers of clusters are, and leaves the run as it is', async () => {
  // The run of the test before.
  const out = join(dir, 'run');
  const clusters = join(out, 'folds', 's3', 'cluster', 'done.json');
  const before = readFileSync(clusters, 'utf8');
  const words = [
    'sweep',
    manifest,
    '--config',
    config,
    '--out',
    out,
    '--folds',
    's3',
    '--layers',
    '1,2',
    '--clusters',
    '2,3',
  ];
  const { code, stdout, stderr } = await emoframe(words);
  assert.is(code, 0, stderr);
  const rows = stdout.trimEnd().split('\n');
  assert.equal(
    rows.map((row) =>
      /^ *s3 +layer (\d) +K (\d) +inertia per frame \d+\.\d{3} +purity (0|1)\.\d{3} +NMI (0|1)\.\d{3}$/
        .exec(row)
        ?.slice(1, 3),
    ),
    [
      ['1', '2'],
      ['1', '3'],
      ['2', '2'],
      ['2', '3'],
    ],
    stdout,
  );
  assert.is(readFileSync(clusters, 'utf8'), before);
});

test('a stage that lacks the one before it says so', async () => {
  const { code, stderr } = await emoframe(['cluster', manifest, '--config', config, '--out', join(dir, 'stages')]);
  assert.is(code, 1);
  assert.match(stderr, /emoframe: [^\n]*finetune[^\n]* \(ERR_STAGE\)\n/);
});

test('a wrong setting is refused with its field and file', async () => {
  const wrong = join(dir, 'wrong.json');
  writeFileSync(wrong, JSON.stringify({ cluster: { kmeans: { clusters: -3 } } }));
  const { code, stderr } = await emoframe(['run', manifest, '--config', wrong, '--out', join(dir, 'wrong')]);
  assert.is(code, 1);
  assert.match(stderr, /wrong\.json[^\n]*cluster\.kmeans\.clusters[^\n]*-3[^\n]* \(ERR_CONFIG\)\n/);
});

test.run();
