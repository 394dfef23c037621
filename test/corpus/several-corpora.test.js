import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { makeFolds, parseConfig, readCorpora } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { plant, plantIemocap, scratch } from '../support/datasetTree.js';
import { refused } from '../support/refused.js';
import { generator, speechLike } from '../support/syntheticRun.js';
import { tinyConfig } from '../support/tinyCorpus.js';
import { encodeWav } from '../support/wav.js';

const test = suite('several corpora, and the protocol of ZED');
const root = scratch(test, 'corpora');
const random = generator(3);
const sound = (seconds) =>
  encodeWav(
    Int16Array.from(speechLike(seconds, random), (sample) => Math.round(32767 * Math.min(Math.max(sample, -1), 1))),
  );
const speech = (paths) => Object.fromEntries(paths.map((path) => [path, sound(0.8 + 0.4 * random())]));
const at = (name) => join(root, name);

// Each dataset as its own release lays it out, with its own words for the same emotions.
test.before(() => {
  const turns = ['neu', 'exc', 'hap', 'ang', 'sad', 'neu', 'fru', 'xxx'];
  const dialogue = (name) => turns.map((emotion, n) => [`${name}_F00${n}`, emotion]);
  plantIemocap(at('IEMOCAP'), {
    Ses01F_impro01: dialogue('Ses01F_impro01'),
    Ses02F_impro02: dialogue('Ses02F_impro02'),
  });
  for (const session of [1, 2]) {
    const name = `Ses0${session}F_impro0${session}`;
    plant(at('IEMOCAP'), speech(turns.map((_, n) => `Session${session}/sentences/wav/${name}/${name}_F00${n}.wav`)));
  }
  const actors = (actor) =>
    ['01', '02', '03', '04', '05'].map((emotion) => `Actor_${actor}/03-01-${emotion}-01-01-01-${actor}.wav`);
  plant(at('RAVDESS'), speech(['01', '02'].flatMap(actors)));
  const esd = (speaker) =>
    [
      ['Angry', 351],
      ['Happy', 701],
      ['Neutral', 1],
      ['Sad', 1051],
      ['Surprise', 1401],
    ].map(([emotion, n]) => `${speaker}/${emotion}/${speaker}_${String(n).padStart(6, '0')}.wav`);
  plant(at('ESD'), speech([...esd('0001'), ...esd('0011')]));
  plant(
    at('JL'),
    speech(['angry', 'excited', 'happy', 'neutral', 'sad', 'anxious'].map((emotion) => `female1_${emotion}_10a_1.wav`)),
  );
  plant(
    at('EmoV'),
    speech(['bea_Amused/amused_1-15_0001.wav', 'bea_Neutral/neutral_1-28_0001.wav', 'bea_Angry/anger_1-28_0001.wav']),
  );
  const events = { a: ['angry', 0.2, 0.6], h: ['happy', 0, 0.5], s: ['sad', 0.3, 0.75], b: ['angry', 0.1, 0.7] };
  plant(at('ZED'), Object.fromEntries(Object.keys(events).map((id) => [`${id}.wav`, sound(0.8)])));
  const entry = ([id, [emo, start, end]]) => [
    id,
    { wav: `datafolder/${id}.wav`, duration: 0.8, emotion: [{ emo, start, end }] },
  ];
  plant(at('ZED'), { 'ZED.json': JSON.stringify(Object.fromEntries(Object.entries(events).map(entry))) });
});

const sources = (...names) => names.map((path) => ({ path: at(path) }));
const zed = { test: { path: '' } };
test.before(() => {
  zed.test = { path: at('ZED') };
});
const labelsOf = ({ utterances }, start) =>
  utterances.filter(({ id }) => id.startsWith(start)).map(({ id, label }) => [id.slice(start.length), label]);

test('five datasets train and ZED is tested, in one scheme whatever each calls its emotions', async () => {
  const corpus = await readCorpora(sources('IEMOCAP', 'RAVDESS', 'ESD', 'JL', 'EmoV'), zed);
  assert.is(corpus.name, 'iemocap+ravdess+esd+jl-corpus+emov-db, tested on zed');
  assert.is(corpus.labels, 'common-4');
  assert.equal(corpus.problems, []);
  assert.equal(labelsOf(corpus, 'iemocap/Ses01F_impro01_'), [
    ['F000', 'neutral'],
    ['F001', 'happy'],
    ['F002', 'happy'],
    ['F003', 'angry'],
    ['F004', 'sad'],
    ['F005', 'neutral'],
  ]);
  assert.equal(
    labelsOf(corpus, 'ravdess/').map(([, label]) => label),
    ['neutral', 'neutral', 'happy', 'happy', 'sad', 'sad', 'angry', 'angry'],
  );
  assert.equal(labelsOf(corpus, 'jl-corpus/female1_'), [
    ['angry_10a_1', 'angry'],
    ['excited_10a_1', 'happy'],
    ['happy_10a_1', 'happy'],
    ['neutral_10a_1', 'neutral'],
    ['sad_10a_1', 'sad'],
  ]);
  assert.equal(
    labelsOf(corpus, 'emov-db/bea_').map(([, label]) => label),
    ['happy', 'angry', 'neutral'],
  );
  assert.equal(corpus.leftOut, { xxx: 2, fru: 2, calm: 2, surprised: 2, anxious: 1 });
  assert.is(new Set(corpus.utterances.map(({ id }) => id)).size, corpus.utterances.length);
  const esd = corpus.utterances.find(({ id }) => id === 'esd/0011_000351');
  assert.equal([esd.speaker, esd.split], ['esd/0011', 'train']);
  const { session } = corpus.utterances.find(({ id }) => id.startsWith('iemocap/Ses02'));
  assert.is(session, 'iemocap/Session2');
  const tested = corpus.utterances.filter(({ split }) => split === 'test');
  assert.equal(
    tested.map(({ id, segments: [{ start, end, label }] }) => [id, start, end, label]),
    [
      ['zed/a', 0.2, 0.6, 'angry'],
      ['zed/b', 0.1, 0.7, 'angry'],
      ['zed/h', 0, 0.5, 'happy'],
      ['zed/s', 0.3, 0.75, 'sad'],
    ],
  );
  const [fold, ...others] = makeFolds(corpus, { ...parseConfig().folds, seed: 1 });
  assert.equal(others, []);
  assert.equal(fold.test, ['zed/a', 'zed/b', 'zed/h', 'zed/s']);
  assert.ok(fold.validation.length > 0);
  assert.is(fold.train.length + fold.validation.length + 4, corpus.utterances.length);
});

test('a part of a dataset is taken by its name, and other labels can stay to pretrain on', async () => {
  const corpus = await readCorpora([{ path: at('ESD'), dataset: 'esd-english' }, ...sources('JL')], {
    others: 'pretrain',
    ...zed,
  });
  assert.ok(corpus.utterances.every(({ id }) => !id.includes('0001_')));
  const unlabelled = corpus.utterances.filter(({ label }) => label === undefined).map(({ id }) => id);
  assert.equal(unlabelled, ['esd-english/0011_001401', 'jl-corpus/female1_anxious_10a_1']);
});

test('without a corpus to test on, speakers are tested in groups', async () => {
  const corpus = await readCorpora(sources('RAVDESS', 'ESD'));
  assert.equal(corpus.customary, { scheme: 'speakers', count: 5 });
  assert.ok(corpus.utterances.every(({ split }) => split === undefined));
  const [fold] = makeFolds(corpus, { ...parseConfig().folds, scheme: 'speakers', count: 4, seed: 1 });
  assert.is(new Set(fold.test.map((id) => id.split('/')[0])).size, 1);
});

test('conflicts are refused with the corpus, the label and what to write', async () => {
  const plain = 'angry,happy,neutral,sad';
  await refused(
    readCorpora(sources('ESD', 'IEMOCAP'), { labels: plain, ...zed }),
    'ERR_CORPUS',
    /IEMOCAP has no label of the class angry .* but has ang, .* write angry=angry\+ang/,
  );
  // EmoV-DB has nothing sad, by whatever name.
  await readCorpora(sources('ESD', 'EmoV'), { labels: 'angry,happy=happy+amused,neutral,sad', ...zed });
  await refused(
    readCorpora(sources('ESD', 'EmoV'), { labels: plain, ...zed }),
    'ERR_CORPUS',
    /EmoV has no label of the class happy .* but has amused/,
  );
  await refused(
    readCorpora(sources('EmoV'), zed),
    'ERR_CORPUS',
    /ZED is tested on the label sad, which no training corpus has/,
  );
  await refused(readCorpora(sources('ESD', 'ZED'), zed), 'ERR_CORPUS', /wav is in .*ZED and in .*ZED/);
  await refused(
    readCorpora(sources('ESD'), { labels: 'bored,calm', ...zed }),
    'ERR_CORPUS',
    /No utterance of .*ESD has a label/,
  );
  await refused(readCorpora([], zed), 'ERR_ARGUMENT', /./);
});

test('speakers of one dataset stay one across its folders, and manifests may share theirs', async () => {
  const part = (name, actor) =>
    plant(at(name), speech(['01', '05'].map((emotion) => `Actor_${actor}/03-01-${emotion}-02-02-01-${actor}.wav`)));
  part('R1', '01');
  part('R2', '01');
  const corpus = await readCorpora(sources('R1'), { labels: 'all', test: { path: at('R2') } });
  assert.equal(
    corpus.utterances.map(({ id, speaker }) => [id.split('/')[0], speaker]),
    ['ravdess', 'ravdess', 'ravdess-2', 'ravdess-2'].map((name) => [name, 'ravdess/Actor_01']),
  );
  assert.throws(
    () => makeFolds(corpus, { ...parseConfig().folds, seed: 1 }),
    (error) => error.code === 'ERR_FOLDS' && /Actor_01 is in both training/.test(error.message),
  );
});

test('one command trains on them, joined ones beside the real, and scores ZED', async () => {
  const config = at('config.json');
  const align = { ...tinyConfig.align, maxSeconds: 4 };
  writeFileSync(config, JSON.stringify({ ...tinyConfig, align }));
  const corpora = [at('IEMOCAP'), at('RAVDESS'), `esd-english=${at('ESD')}`, '--test', at('ZED')];
  const described = await emoframe(['corpus', ...corpora, '--json']);
  assert.is(described.code, 0, described.stderr);
  const { dataset, labels, folds } = JSON.parse(described.stdout);
  assert.is(dataset, 'iemocap+ravdess+esd-english, tested on zed');
  assert.equal(labels, { happy: 8, angry: 7, neutral: 7, sad: 6 });
  assert.is(folds, '24 utterances to train on, 4 to test on');

  const out = at('run');
  const ran = await emoframe(['run', ...corpora, '--preset', 'sed', '--config', config, '--out', out, '--json']);
  assert.is(ran.code, 0, ran.stderr);
  const summary = JSON.parse(ran.stdout);
  assert.equal(summary.labels, ['angry', 'happy', 'neutral', 'sad']);
  assert.equal(
    summary.folds.map(({ name }) => name),
    ['given'],
  );
  assert.ok(summary.eder >= 0 && summary.eder <= 1);
  const read = (...path) => readFileSync(join(out, ...path), 'utf8');
  const rows = read('folds', 'given', 'evaluate', 'predictions.jsonl')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(
    rows.map(({ id }) => id),
    ['zed/a', 'zed/b', 'zed/h', 'zed/s'],
  );
  const rates = rows.map(({ seconds, errorSeconds: { missed, falseAlarm, confusion }, truth, path }) => {
    const rate = (missed + falseAlarm + confusion) / seconds;
    // By frames it is the same but for their length, and for what lies behind the last one.
    const frames = path.filter((label, i) => label !== truth[i]).length / truth.length;
    assert.ok(Math.abs(rate - frames) < 0.1, `${rate} by the second, ${frames} by frames`);
    return rate;
  });
  const mean = rates.reduce((sum, rate) => sum + rate, 0) / 4;
  assert.ok(Math.abs(summary.meanEder - mean) < 1e-12);
  const { config: recorded } = JSON.parse(read('config.json'));
  assert.equal([recorded.align.truth, recorded.align.concatenate.share], ['use', 3]);
  const [{ train }] = JSON.parse(read('folds.json'));
  const { utterances } = JSON.parse(read('folds', 'given', 'align', 'metrics.json'));
  assert.ok(utterances > 2 * train.length, `${utterances} of ${train.length}`);

  const other = at('by-session.json');
  writeFileSync(other, JSON.stringify({ folds: { scheme: 'session' } }));
  const wrong = await emoframe(['run', ...corpora, '--config', other, '--out', at('wrong')]);
  assert.is(wrong.code, 2);
  assert.match(wrong.stderr, /Expected folds\.scheme customary or given with --test, but .* has session/);
});

test.run();
