import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { writeReport } from '../../dist/index.js';
import { extremesOf } from '../../dist/report/lanes.js';
import { refused } from '../support/refused.js';
import { writeSyntheticRun } from '../support/syntheticRun.js';

const test = suite('report');
let dir;
test.before(() => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-report-'));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

const count = (page, pattern) => [...page.matchAll(pattern)].length;

test('the page shows both stages, and shows a dozen utterances of every emotion, right and wrong', async () => {
  const run = writeSyntheticRun(join(dir, 'plain'));
  const page = readFileSync(await writeReport(run), 'utf8');
  assert.match(page, '78\u2009% of held-out utterances');
  assert.match(page, /stage 4: 78\.0/);
  assert.match(page, /stage 1b: 63\.0/);
  assert.match(page, /95 % interval: 72\.0\u2009% to 83\.0/);
  assert.is(count(page, /<article class="utterance"/g), 12);
  assert.ok(count(page, /verdict right/g) >= 4);
  assert.ok(count(page, /verdict wrong/g) >= 2);
  for (let label = 0; label < 4; label++) {
    const chip = new RegExp(`<p><span class="chip e${label}">`, 'g');
    assert.is(count(page, chip), 3, `utterances of label ${label}`);
  }
  assert.is(count(page, /class="sound"/g), 12);
  for (const stage of ['Stage 1a', 'Stage 1b', 'Stage 2', 'Stage 3', 'Stage 4']) assert.match(page, stage);
});

test('charts are of losses, inertia and shares of what is right, and of no speed', async () => {
  const page = readFileSync(await writeReport(writeSyntheticRun(join(dir, 'charts'))), 'utf8');
  const titles = [...page.matchAll(/<figure class="chart"><figcaption>([^<]*)/g)].map(([, title]) => title);
  assert.equal([...new Set(titles)].sort(), ['accuracy', 'inertia', 'loss']);
  const drawn = [...page.matchAll(/<span class="key tone\d">([^<]*)/g)].map(([, name]) => name);
  assert.equal([...new Set(drawn)].sort(), ['accuracy', 'validation UA']);
});

/** What the page's script reads of its first utterance, and the points of the line over that one's sound. */
function firstUtterance(page) {
  const { labels, utterances } = JSON.parse(/id="timeline-data">(.*?)<\/script>/s.exec(page)[1]);
  const points = /<polyline class="over" points="([^"]+)"/.exec(page)[1].split(' ');
  return { labels, data: utterances[0], heights: points.map((point) => Number(point.split(',')[1])) };
}

test('over the sound lies the attention, or the emotional posterior where an alignment network says when', async () => {
  for (const objective of [undefined, 'attention', 'both', 'forward-backward']) {
    const run = writeSyntheticRun(join(dir, `line-${objective}`), { objective, utterances: 16 });
    const page = readFileSync(await writeReport(run), 'utf8');
    const { labels, data, heights } = firstUtterance(page);
    const neutral = labels.indexOf('neutral');
    if (objective === 'both' || objective === 'forward-backward') {
      assert.is(count(page, /<em>emotional<\/em>/g), 12, objective);
      assert.not.ok('attention' in data);
      for (const [frame, posterior] of data.posteriors.entries()) {
        assert.ok(Math.abs(data.emotional[frame] - (100 - posterior[neutral])) <= 1);
        // From 98 at the foot to 2, of 100.
        assert.ok(Math.abs(heights[frame] - (98 - 0.96 * data.emotional[frame])) < 0.6);
      }
      assert.match(page, /posterior of stage 4 that a frame is emotional/);
    } else {
      assert.is(count(page, /<em>attention<\/em>/g), 12, objective);
      assert.not.ok('emotional' in data);
      const highest = Math.max(...data.attention, 2);
      for (const [frame, attention] of data.attention.entries())
        assert.ok(Math.abs(heights[frame] - (98 - (96 * attention) / highest)) < 0.6);
      assert.match(page, /the line is the attention of stage 4/);
    }
  }
});

test('stage 4 is called what it was trained for', async () => {
  for (const [objective, titles, words] of [
    [undefined, ['fine-tuning with attention'], 'pseudo-labels and attention.'],
    [
      'forward-backward',
      ['the alignment network, which says when an emotion occurs'],
      'pseudo-labels and a network that sees only',
    ],
    [
      'both',
      ['fine-tuning with attention', 'the alignment network, which says when an emotion occurs'],
      'pseudo-labels, attention, and a network',
    ],
  ]) {
    const run = writeSyntheticRun(join(dir, `title-${objective}`), { objective, utterances: 16 });
    const page = readFileSync(await writeReport(run), 'utf8');
    assert.equal(
      [...page.matchAll(/<h3>Stage 4(?:, second part)?: (.*?)<\/h3>/g)].map(([, title]) => title),
      titles,
    );
    assert.match(page, `stage 4 adds pretraining on frame-level ${words}`);
  }
});

test('lift is given in times, on a scale that ends where all of the posterior lies on emotion', async () => {
  const page = readFileSync(
    await writeReport(writeSyntheticRun(join(dir, 'lift'), { objective: 'both', utterances: 16 })),
    'utf8',
  );
  const [row] = /<b>Lift<\/b>.*?<\/div>/s.exec(page);
  assert.match(row, /data-name="stage 1b">1\.15\u2009×/);
  assert.match(row, /data-name="stage 4">1\.42\u2009×/);
  assert.match(row, /data-name="change">\+0\.27</);
  assert.match(row, /x1="44\.00%" x2="44\.00%" y1="4" y2="26"><title>chance: 1\.00\u2009×</);
  assert.match(row, /cx="62\.40%" cy="15" r="7"><title>stage 4: 1\.42/);
  // A run that did not measure it has no such line.
  const before = readFileSync(
    await writeReport(writeSyntheticRun(join(dir, 'unmeasured'), { utterances: 16 })),
    'utf8',
  );
  assert.not.match(before, '<b>Lift</b>');
});

test('the page needs nothing from outside', async () => {
  const page = readFileSync(await writeReport(writeSyntheticRun(join(dir, 'alone'))), 'utf8');
  assert.not.match(page, /(src|href)="(?!data:)/);
  assert.not.match(page, /url\(|@import|fetch\(|https?:/);
  assert.not.match(page, /<audio/);
});

test('text from a corpus is shown, never run', async () => {
  const evil = '</script><img src=x onerror="alert(1)">\'&';
  const run = writeSyntheticRun(join(dir, 'evil'), { name: evil, id: (n) => `${evil}${n}` });
  const config = JSON.parse(readFileSync(join(run, 'config.json'), 'utf8'));
  writeFileSync(join(run, 'config.json'), JSON.stringify({ ...config, note: evil }));
  const page = readFileSync(await writeReport(run), 'utf8');
  assert.not.match(page, '<img');
  assert.is(count(page, /<script/g), 2);
  assert.is(count(page, /<\/script>/g), 2);
  assert.match(page, '&#60;/script&#62;&#60;img src=x onerror=&#34;alert(1)&#34;&#62;&#39;&#38;');
});

test('sound can be put into the page as WAV that holds the utterance', async () => {
  const page = readFileSync(await writeReport(writeSyntheticRun(join(dir, 'loud')), { embedAudio: true }), 'utf8');
  assert.is(count(page, /<audio/g), 12);
  const [, base64] = /<audio[^>]*src="data:audio\/wav;base64,([^"]+)"/.exec(page);
  const wav = Buffer.from(base64, 'base64');
  assert.is(wav.toString('latin1', 0, 4), 'RIFF');
  const { seconds } = JSON.parse(/id="timeline-data">(.*?)<\/script>/s.exec(page)[1]).utterances[0];
  assert.is(wav.readUInt32LE(40), 2 * Math.round(16000 * seconds));
});

test('audio that is gone leaves a page that says so', async () => {
  const run = writeSyntheticRun(join(dir, 'gone'));
  rmSync(join(run, 'audio'), { recursive: true });
  const page = readFileSync(await writeReport(run), 'utf8');
  assert.is(count(page, /audio not found/g), 12);
});

test('several folds share the page', async () => {
  const run = writeSyntheticRun(join(dir, 'folds'), { folds: ['s1', 's2', 's3'], utterances: 12 });
  const page = readFileSync(await writeReport(run), 'utf8');
  assert.match(page, '<b>36</b> test utterances');
  assert.match(page, '<b>3</b> folds');
  for (const fold of ['s1', 's2', 's3']) assert.match(page, `<td>${fold}</td>`);
});

test('a run that was not evaluated is refused with what to do', async () => {
  try {
    await writeReport(join(dir, 'nothing'));
    assert.unreachable();
  } catch (error) {
    assert.is(error.code, 'ERR_RUN_INCOMPLETE');
    assert.match(error.message, '--resume');
  }
});

test('a file of the run that is damaged or missing is named, with what is wrong in it', async () => {
  for (const [file, change, reason] of [
    ['summary.json', '{"wa":', /summary\.json cannot be used \(it is not .*JSON/],
    ['summary.json', '[]', /summary\.json cannot be used \(.*expected object/],
    ['summary.json', { labels: 'angry' }, /summary\.json cannot be used \(labels: .*expected array/],
    ['config.json', { config: { align: { objective: 'loss' } } }, /config\.json cannot be used \(.*config\.seed/],
    ['corpus.json', { utterances: Array(150_000).fill({}) }, /utterances\.0\.id: .*; and many more\)/],
    ['corpus.json', null, /corpus\.json cannot be used \(it is missing\)/],
    ['folds/session5/evaluate/baseline.jsonl', null, /baseline\.jsonl cannot be used \(it is missing\)/],
    [
      'folds/session5/evaluate/predictions.jsonl',
      '\n{"id":',
      /predictions\.jsonl .*line 2 is not a prediction: .*JSON/,
    ],
    ['folds/session5/evaluate/predictions.jsonl', '{"id": 7}', /line 1 is not a prediction: id: .*expected string/],
  ]) {
    const run = writeSyntheticRun(join(dir, 'damaged'), { utterances: 4 });
    const path = join(run, file);
    if (change === null) rmSync(path);
    else if (typeof change === 'string') writeFileSync(path, change);
    else writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change }));
    const error = await refused(writeReport(run), 'ERR_RUN_INCOMPLETE', reason);
    assert.is(error.file, path);
    rmSync(run, { recursive: true });
  }
});

test('a waveform keeps its peaks, scaled to the loudest', () => {
  const samples = new Float32Array(1000);
  samples[10] = 0.5;
  samples[990] = -0.25;
  const extremes = extremesOf(samples, 100);
  assert.is(extremes.length, 100);
  assert.equal(extremes[1], [0, 1]);
  assert.equal(extremes[99], [-0.5, 0]);
});

test.run();
