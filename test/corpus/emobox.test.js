import * as assert from 'node:assert/strict';
import { rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import { describeCorpus, makeFolds, readCorpus } from '../../dist/index.js';
import { plant, scratch, silence } from '../support/datasetTree.js';
import { refused } from '../support/refused.js';

const test = suite('EmoBox');
const root = scratch(test, 'emobox');
const fold = { scheme: 'customary', validation: { by: 'random', fraction: 0.3 }, seed: 1 };
const silent = ({ audio: _, ...utterance }) => utterance;

const row = (set, key, wav, emo, more = {}) => ({
  key: `${set}-${key}`,
  dataset: set,
  wav: `downloads/${set}/${wav}`,
  type: 'raw',
  sample_rate: 16000,
  num_frame: 3200.0,
  task: 'category',
  length: 0.2,
  emo,
  channel: 1,
  ...more,
});
const jsonl = (rows) => `${rows.map((value) => JSON.stringify(value)).join('\n')}\n`;

/** A set's metadata as it lies in `data/SET`. `folds`: a list of `{train, test, valid?}`, each of them rows. */
function metadata(home, set, rows, map, folds) {
  const files = { [`data/${set}/${set}.jsonl`]: jsonl(rows), [`data/${set}/label_map.json`]: JSON.stringify(map) };
  for (const [i, parts] of folds.entries()) {
    for (const [part, list] of Object.entries(parts)) {
      files[`data/${set}/fold_${i + 1}/${set}_${part}_fold_${i + 1}.jsonl`] = jsonl(list);
    }
  }
  return plant(home, files);
}

const emodb = [
  '03a01Wa anger',
  '03a02Nb neutral',
  '08a01Wa anger',
  '08a02Fb happy',
  '09a05Nb neutral',
  '09a05Fb happy',
].map((line) => {
  const [name, emo] = line.split(' ');
  return row('emodb', name, `wav/${name}.wav`, emo);
});
// The real map has a capital that the rows do not have.
const emodbMap = { anger: 'Angry', happy: 'Happy', Neutral: 'Neutral' };

function plantEmodb(name) {
  const home = metadata(join(root, name), 'emodb', emodb, emodbMap, [
    { train: emodb.slice(0, 4), test: emodb.slice(4) },
    { train: emodb.slice(2), test: emodb.slice(0, 2) },
  ]);
  plant(
    home,
    emodb.map(({ wav }) => wav),
  );
  // Lists of an older form that lie beside those of the folds.
  return plant(home, {
    'data/emodb/fold_1/emodb_test_fold1.jsonl': jsonl([{ key: 'emodb-old', audio: 'x.wav', label: 'y' }]),
    'data/emodb/fold_1/emodb_test2_fold_1.jsonl': jsonl([emodb[0]]),
    'data/emodb/corpus.cfg': '',
  });
}

test('a set: labels by its map, and every fold as it is given', async () => {
  const home = plantEmodb('emodb');
  const corpus = await readCorpus(join(home, 'data/emodb'));
  assert.deepEqual([corpus.dataset, corpus.name, corpus.problems], ['emobox', 'emodb', []]);
  assert.deepEqual(silent(corpus.utterances[0]), { id: 'emodb-03a01Wa', label: 'Angry', speaker: '03' });
  assert.deepEqual(corpus.customary, { scheme: 'given' });
  assert.equal(corpus.utterances[0].audio, join(home, 'downloads/emodb/wav/03a01Wa.wav'));
  const { labels, folds } = await describeCorpus(corpus);
  assert.deepEqual([labels, folds], [{ Angry: 2, Happy: 2, Neutral: 2 }, "the dataset's own 2"]);
  const made = makeFolds(corpus, fold);
  assert.deepEqual(
    made.map(({ name, train, validation, test: held }) => [name, [...train, ...validation].sort(), held]),
    [
      ['fold_1', emodb.slice(0, 4), ['emodb-09a05Fb', 'emodb-09a05Nb']],
      ['fold_2', emodb.slice(2), ['emodb-03a01Wa', 'emodb-03a02Nb']],
    ].map(([name, rows, held]) => [name, rows.map(({ key }) => key).sort(), held]),
  );
  assert.ok(made.every(({ validation }) => validation.length > 0));
});

test('the folder of one set alone is recognised from above; of several, one must be given', async () => {
  const home = plantEmodb('above');
  assert.equal((await readCorpus(home)).utterances.length, 6);
  metadata(home, 'savee', [row('savee', 'DC-a01', 'DC_a01.wav', 'a')], { a: 'Angry' }, [{ train: [], test: [] }]);
  await refused(readCorpus(home), 'ERR_CORPUS', /metadata of 2 sets.*data\/emodb, data\/savee/);
});

test('who speaks is read from the names of the audio; folds that share speakers are taken, and reported', async () => {
  const turns = ['Ses01F_impro04/Ses01F_impro04_M000', 'Ses02M_impro01/Ses02M_impro01_F001'].map((name) =>
    row('iemocap', name.split('/')[1], `Session${name[4]}/sentences/wav/${name}.wav`, 'neu'),
  );
  const home = metadata(join(root, 'iemocap'), 'iemocap', turns, {}, [
    { train: turns.slice(1), test: turns.slice(0, 1) },
  ]);
  plant(
    home,
    turns.map(({ wav }) => wav),
  );
  const corpus = await readCorpus(home);
  assert.deepEqual(
    corpus.utterances.map(({ speaker, session }) => [speaker, session]),
    [
      ['Ses01M', 'Session1'],
      ['Ses02F', 'Session2'],
    ],
  );
  assert.deepEqual(corpus.customary, { scheme: 'given' });

  const shared = metadata(join(root, 'shared'), 'emodb', emodb, emodbMap, [
    { train: emodb.slice(0, 3), test: emodb.slice(3) },
  ]);
  plant(
    shared,
    emodb.map(({ wav }) => wav),
  );
  const leaking = await readCorpus(shared);
  assert.deepEqual(leaking.customary, { scheme: 'given', allowSharedSpeakers: true });
  assert.equal((await describeCorpus(leaking)).folds, "the dataset's own 1, with speakers on both sides");
  assert.equal(makeFolds(leaking, fold)[0].test.length, 3);
  assert.throws(() => makeFolds(leaking, { ...fold, scheme: 'given' }), {
    code: 'ERR_FOLDS',
    message: /Speaker 08 is in both training \(emodb-08a01Wa\)/,
  });
});

test('a fold without one of its lists is not made, and rows that are none are reported', async () => {
  const home = plantEmodb('incomplete');
  rmSync(join(home, 'data/emodb/fold_2/emodb_test_fold_2.jsonl'));
  const broken = plant(home, {
    'data/emodb/fold_1/emodb_train_fold_1.jsonl': `${jsonl(emodb.slice(0, 4))}{"key":\n{}\n`,
  });
  const { folds, problems } = await readCorpus(broken);
  assert.deepEqual(
    folds.map(({ name, train }) => [name, train.length]),
    [['fold_1', 4]],
  );
  assert.deepEqual(
    problems.map(({ row }) => row),
    [5, 6, undefined],
  );
  assert.match(problems[2].reason, /fold_2 has no list of its test part/);
});

test('the dataset’s own validation is kept; a scheme leaves utterances out of its folds', async () => {
  const rows = ['joy', 'anger', 'fear', 'joy', 'anger', 'joy'].map((emo, i) => row('meld', `${i}`, `${i}.wav`, emo));
  const [train, valid, held] = [rows.slice(0, 3), rows.slice(3, 5), rows.slice(5)];
  const home = metadata(join(root, 'valid'), 'meld', rows, { joy: 'Happy', anger: 'Angry', fear: 'Fear' }, [
    { train, valid, test: held },
  ]);
  plant(
    home,
    rows.map(({ wav }) => wav),
  );
  const corpus = await readCorpus(join(home, 'data/meld'), { labels: 'Happy,Angry' });
  assert.deepEqual(corpus.leftOut, { Fear: 1 });
  assert.deepEqual(makeFolds(corpus, fold), [
    { name: 'fold_1', train: ['meld-0', 'meld-1'], validation: ['meld-3', 'meld-4'], test: ['meld-5'] },
  ]);
});

test('a part of a long file; a map under its other name; no map; a set whose whole list is missing', async () => {
  const long = [0, 1, 2].map((i) =>
    row('pavoque', `m${i}`, 'pavoque-poker.wav', 'poker', { start_time: i / 16, end_time: (i + 1) / 16 }),
  );
  long.push(row('pavoque', 'm3', 'pavoque-poker.wav', 'poker', { start_time: 2, end_time: 1 }));
  const home = metadata(join(root, 'pavoque'), 'pavoque', long, { poker: 'Poker' }, [{ train: long, test: long }]);
  plant(home, ['downloads/pavoque/pavoque-poker.wav']);
  const { utterances, problems } = await readCorpus(home);
  assert.deepEqual(silent(utterances[1]), {
    id: 'pavoque-m1',
    label: 'Poker',
    startSeconds: 0.0625,
    endSeconds: 0.125,
  });
  assert.equal(problems.length, 1);
  assert.match(problems[0].reason, /start_time/);
  plant(home, { 'data/pavoque/label_dict.json': '{"poker":"Deadpan"}' });
  for (const [remove, label] of [
    ['label_map.json', 'Deadpan'],
    ['label_dict.json', 'poker'],
    ['pavoque.jsonl', 'poker'],
  ]) {
    rmSync(join(home, 'data/pavoque', remove));
    const corpus = await readCorpus(home);
    assert.deepEqual([corpus.utterances.length, corpus.utterances[0].label], [3, label]);
    assert.deepEqual(
      corpus.problems.map(({ reason }) => reason.includes('already')),
      remove === 'pavoque.jsonl' ? [false, false] : [false],
    );
  }
});

test('audio elsewhere: the folder of downloads, or the dataset itself; video that was converted', async () => {
  const rows = [row('iemocap', 'a', 'Session1/a.wav', 'neu'), row('iemocap', 'b', 'Session1/b.mp4', 'ang')];
  const home = metadata(join(root, 'elsewhere'), 'iemocap', rows, {}, [{ train: rows, test: rows }]);
  await refused(
    readCorpus(home),
    'ERR_CORPUS',
    /no utterance of emobox.*no audio file .*downloads\/iemocap\/Session1\/a\.wav/,
  );
  const audio = join(root, 'audio');
  plant(audio, ['downloads/iemocap/Session1/a.wav', 'downloads/iemocap/Session1/b.wav']);
  for (const audioRoot of ['.', 'downloads', 'downloads/iemocap'].map((path) => join(audio, path))) {
    const { utterances, problems } = await readCorpus(home, { audioRoot });
    assert.deepEqual(problems, []);
    assert.deepEqual(
      utterances.map(({ audio: path }) => path),
      ['a', 'b'].map((name) => join(audio, `downloads/iemocap/Session1/${name}.wav`)),
    );
  }
  symlinkSync(join(audio, 'downloads'), join(home, 'downloads'));
  assert.equal((await readCorpus(home)).utterances.length, 2);
  rmSync(join(audio, 'downloads/iemocap/Session1/b.wav'));
  const [problem] = (await readCorpus(home)).problems;
  assert.equal(problem.row, 2);
  assert.match(problem.reason, /b\.mp4 is not in a supported audio format: convert it to WAV \(ffmpeg/);
});

test('a path cannot leave the folder, and a row that is no row is reported with its line', async () => {
  const good = row('set', 'good', 'good.wav', 'a');
  const rows = [
    good,
    { ...good, key: 'up', wav: '../../../../etc/voice.wav' },
    { ...good, key: 'absolute', wav: join(root, 'outside.wav') },
    { ...good, key: undefined },
    { ...good, key: 'silent', wav: undefined },
    { ...good, key: 'plain', emo: '' },
    good,
  ];
  plant(root, { 'outside.wav': silence });
  const home = metadata(join(root, 'strange'), 'set', rows, { a: 'A' }, [{ train: [good], test: [good] }]);
  plant(home, { 'downloads/set/good.wav': silence });
  const { utterances, problems } = await readCorpus(home);
  assert.deepEqual(utterances.map(silent), [{ id: 'set-good', label: 'A' }]);
  assert.deepEqual(
    problems.map(({ row: line }) => line),
    [2, 3, 4, 5, 6, 7],
  );
  for (const [i, pattern] of [/outside/, /outside/, /"key"/, /"wav"/, /"emo"/, /already/].entries()) {
    assert.match(problems[i].reason, pattern);
  }
});

test.run();
