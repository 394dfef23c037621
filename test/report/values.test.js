// The page of a run that learned values of dimensions.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { writeReport } from '../../dist/index.js';
import { refused } from '../support/refused.js';
import { writeSyntheticRegression } from '../support/syntheticRun.js';

const test = suite('report of values');
let dir;
test.before(() => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-report-values-'));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

const count = (page, pattern) => [...page.matchAll(pattern)].length;

test('the page has the concordance of each dimension for both stages, and its intervals', async () => {
  const page = readFileSync(await writeReport(writeSyntheticRegression(join(dir, 'plain'))), 'utf8');
  assert.match(page, 'CCC 0.612 with the ratings of held-out utterances');
  for (const name of ['arousal', 'valence', 'mean'])
    assert.match(page, `<tr><td>${name}</td><td>0.612 <small>0.431</small></td>`);
  assert.is(count(page, /<td>0\.562 to 0\.662<\/td>/g), 3);
  assert.is(count(page, /<figure class="chart scatter">/g), 2);
  assert.is(count(page, /<circle class="dot tone2"/g), 40);
  assert.not.match(page, /NaN|undefined|confusion/i);
});

test('a curve for each dimension, from the least error to the largest, over the dashed line of the truth', async () => {
  const run = writeSyntheticRegression(join(dir, 'curves'));
  const page = readFileSync(await writeReport(run, { utterances: 4 }), 'utf8');
  assert.is(count(page, /<article class="utterance"/g), 4);
  assert.is(count(page, /<div class="lane curve e\d"/g), 8);
  // The error grows with the number of the utterance.
  assert.equal(
    [...page.matchAll(/<h3 title="s1_(\d+)">/g)].map(([, n]) => Number(n)),
    [2, 7, 12, 17],
  );
  const { labels, utterances } = JSON.parse(/id="timeline-data">(.*?)<\/script>/s.exec(page)[1]);
  assert.equal(labels, ['arousal', 'valence']);
  const [{ target, values }] = utterances;
  const [, level, points] =
    /<div class="lane curve e0"><svg[^>]*><line class="level" x1="0" x2="1000" y1="([\d.]+)"[^>]*\/><polyline class="faint"[^>]*\/><polyline points="([^"]+)"/.exec(
      page,
    );
  const heights = points.split(' ').map((point) => Number(point.split(',')[1]));
  assert.is(heights.length, 59);
  const row = JSON.parse(
    readFileSync(join(run, 'folds', 's1', 'evaluate', 'predictions.jsonl'), 'utf8').split('\n')[2],
  );
  const baseline = JSON.parse(
    readFileSync(join(run, 'folds', 's1', 'evaluate', 'baseline.jsonl'), 'utf8').split('\n')[2],
  );
  const all = [...row.frameValues, ...baseline.frameValues].flat();
  const [lowest, highest] = [Math.min(0, ...all), Math.max(1, ...all)];
  const y = (value) => 98 - (96 * (value - lowest)) / (highest - lowest);
  assert.ok(Math.abs(Number(level) - y(target[0])) < 0.3);
  for (const [t, height] of heights.entries()) assert.ok(Math.abs(height - y(values[t][0])) < 0.6, `frame ${t}`);
});

test('several folds are listed, and a damaged row is named', async () => {
  const run = writeSyntheticRegression(join(dir, 'folds'), { folds: ['s1', 's2'], utterances: 6 });
  const page = readFileSync(await writeReport(run), 'utf8');
  assert.match(page, '<b>12</b> test utterances');
  for (const fold of ['s1', 's2']) assert.match(page, `<td>${fold}</td><td>0.612 <small>0.431</small></td>`);
  const file = join(run, 'folds', 's2', 'evaluate', 'predictions.jsonl');
  writeFileSync(file, '{"id": "a"}\n');
  const error = await refused(writeReport(run), 'ERR_RUN_INCOMPLETE', /line 1 is not a prediction: audio/);
  assert.is(error.file, file);
});

test.run();
