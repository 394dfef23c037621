import * as assert from 'node:assert/strict';
import { rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import { describeCorpus, makeFolds, readCorpus } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { plant, plantIemocap, scratch, silence, turn } from '../support/datasetTree.js';
import { refused } from '../support/refused.js';

const test = suite('datasets: recognised by their layout');
const root = scratch(test, 'datasets');
const fold = { scheme: 'customary', validation: { by: 'speaker', fraction: 0.5 }, seed: 1 };

/** Utterances without their audio, which is checked to lie below `home`. */
function without(utterances, home) {
  return utterances.map(({ audio, ...utterance }) => {
    assert.ok(audio.startsWith(home), audio);
    return utterance;
  });
}

const dialogues = {
  Ses01F_impro01: [
    ['Ses01F_impro01_F000', 'neu'],
    ['Ses01F_impro01_M000', 'exc', '4.0000, 4.5000, 3.0000'],
    ['Ses01F_impro01_F001', 'xxx'],
  ],
  Ses01M_script01_1b: [
    ['Ses01M_script01_1b_F000', 'ang'],
    ['Ses01M_script01_1b_M000', 'hap'],
    ['Ses01M_script01_1b_M001', 'oth'],
  ],
  Ses02F_impro02: [
    ['Ses02F_impro02_F000', 'sad'],
    ['Ses02F_impro02_M000', 'fru'],
    ['Ses02F_impro02_M001', 'neu'],
    ['Ses02F_impro02_M002', 'ang'],
  ],
};

/** With what lies in a real copy, and must not be read. */
function realIemocap(name) {
  const home = plantIemocap(join(root, name, 'IEMOCAP_full_release'), dialogues);
  plant(home, {
    'Session1/dialog/EmoEvaluation/._Ses01F_impro01.txt': '\0\0Mac OS X',
    'Session1/dialog/EmoEvaluation/Categorical/Ses01F_impro01_e2_cat.txt': 'Ses01F_impro01_F000 :Neutral; ()',
    'Session1/dialog/EmoEvaluation/Self-evaluation/Ses01F_impro01_f1.txt': turn('Ses01F_impro01_F000', 'ang'),
    'Session1/dialog/wav/Ses01F_impro01.wav': silence,
    'Session1/sentences/wav/Ses01F_impro01/._Ses01F_impro01_F000.wav': 'not audio',
    'README.txt': '',
  });
  return home;
}

test('IEMOCAP: the speaker is who speaks the turn, exc joins hap, ratings are kept', async () => {
  const home = realIemocap('iemocap');
  const corpus = await readCorpus(home);
  assert.equal(corpus.dataset, 'iemocap');
  assert.equal(corpus.labels, 'iemocap-4');
  assert.deepEqual(corpus.problems, []);
  assert.deepEqual(corpus.leftOut, { xxx: 1, oth: 1, fru: 1 });
  const values = { arousal: 0.5, dominance: 0.625, valence: 0.375 };
  const [one, two] = [
    { speaker: 'Ses01F', session: 'Session1' },
    { speaker: 'Ses01M', session: 'Session1' },
  ];
  assert.deepEqual(without(corpus.utterances, home).slice(0, 4), [
    { id: 'Ses01F_impro01_F000', label: 'neu', ...one, values },
    {
      id: 'Ses01F_impro01_M000',
      label: 'hap',
      ...two,
      values: { arousal: 0.875, dominance: 0.5, valence: 0.75 },
    },
    { id: 'Ses01M_script01_1b_F000', label: 'ang', ...one, values },
    { id: 'Ses01M_script01_1b_M000', label: 'hap', ...two, values },
  ]);
  assert.equal(corpus.utterances[0].audio, join(home, 'Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav'));
  const description = await describeCorpus(corpus);
  assert.deepEqual(
    [description.utterances, description.labels, description.sessions, description.folds],
    [7, { ang: 2, hap: 2, neu: 2, sad: 1 }, { Session1: 4, Session2: 3 }, 'a session at a time'],
  );
  assert.ok(Math.abs(description.seconds - 7 * 0.2) < 1e-9);
  assert.deepEqual(
    makeFolds(corpus, fold).map(({ name }) => name),
    ['Session1', 'Session2'],
  );
});

test('a folder that holds the dataset, or a link to it, is recognised too', async () => {
  const home = realIemocap('outer');
  assert.equal((await readCorpus(join(root, 'outer'))).utterances.length, 7);
  symlinkSync(home, join(root, 'link'));
  symlinkSync(home, join(home, 'loop'));
  assert.equal((await readCorpus(join(root, 'link'))).utterances.length, 7);
});

test('links that lead to each other many times over do not multiply what there is', async () => {
  const home = realIemocap('links');
  // Each of these folders has two links to the next: a million ways to the last.
  for (let i = 0; i < 20; i++) {
    const from = plant(join(home, 'maze', `${i}`), { 'note.txt': '' });
    for (const name of ['a', 'b']) symlinkSync(join(home, 'maze', `${i + 1}`), join(from, name));
  }
  plant(join(home, 'maze', '20'), ['Ses09.wav']);
  assert.equal((await readCorpus(home)).utterances.length, 7);
});

test('IEMOCAP: what is wrong is reported with file and line, and left out', async () => {
  const home = realIemocap('broken');
  const evaluation = join(home, 'Session2/dialog/EmoEvaluation/Ses02M_impro03.txt');
  plant(home, {
    'Session2/dialog/EmoEvaluation/Ses02M_impro03.txt': [
      '[1 - 2]\tSes02M_impro03_F000\tneu',
      '[1 - 2]\tSes01M_impro03_F000\tneu\t[1, 1, 1]',
      '[1 - 2]\tSes02M_impro03_F001\tjoy\t[1, 1, 1]',
      '[1 - 2]\tSes02M_impro03_F002\tneu\t[1, 1, 1]',
      '[1 - 2]\tSes02F_impro02_F000\tneu\t[1, 1, 1]',
    ].join('\r\n'),
    'Session2/sentences/wav/Ses02M_impro03/Ses02M_impro03_F002.m4a': 'ftyp',
  });
  const { utterances, problems } = await readCorpus(home);
  assert.equal(utterances.length, 7);
  assert.deepEqual(
    problems.map(({ file, row }) => [file, row]),
    [1, 2, 3, 4, 5].map((row) => [evaluation, row]),
  );
  const reasons = [
    /not "\[start - end\]/,
    /lies in Session2/,
    /emotion "joy"/,
    /ffmpeg -i Ses02M_impro03_F002\.m4a/,
    /already/,
  ];
  for (const [i, reason] of reasons.entries()) assert.match(problems[i].reason, reason);
});

test('label schemes: named, every label, classes of labels, and the rest to pretrain on', async () => {
  const home = realIemocap('schemes');
  const counts = async (options) => {
    const { labels, unlabelled } = await describeCorpus(await readCorpus(home, options));
    return unlabelled === 0 ? labels : { ...labels, unlabelled };
  };
  assert.deepEqual(await counts({ labels: 'iemocap-5' }), { ang: 2, neu: 2, exc: 1, hap: 1, sad: 1 });
  assert.deepEqual(await counts({ labels: 'iemocap-6' }), { ang: 2, neu: 2, exc: 1, fru: 1, hap: 1, sad: 1 });
  const all = { ang: 2, neu: 2, exc: 1, fru: 1, hap: 1, oth: 1, sad: 1 };
  assert.deepEqual(await counts({ labels: 'all' }), all);
  assert.deepEqual(await counts({ labels: 'all', others: 'pretrain' }), { ...all, unlabelled: 1 });
  assert.deepEqual(await counts({ labels: 'bad = ang+fru+sad, neu' }), { bad: 4, neu: 2 });
  for (const [labels, reason] of [
    ['iemocap-7', /one of all, iemocap-4, iemocap-5, iemocap-6, or at least 2 classes.*"iemocap-7"/],
    ['ang,neu,ang', /class ang is there twice/],
    ['a=ang+neu,b=ang', /label ang is in two classes/],
    ['a=b=c,d', /"a=b=c" is not a class/],
    ['a=ang+,neu', /lacks a label/],
    ['ang,,neu', /"" is not a class/],
  ]) {
    await refused(readCorpus(home, { labels }), 'ERR_ARGUMENT', reason);
  }
  await refused(readCorpus(home, { labels: 'joy,grief' }), 'ERR_CORPUS', /labels are ang, exc, fru, hap, neu/);
  await refused(readCorpus(home, { others: 'drop' }), 'ERR_ARGUMENT', /'leave-out', 'pretrain'/);
});

test('a label scheme applies to a manifest too, and its unlabelled rows stay', async () => {
  const home = plant(join(root, 'manifest'), ['a.wav', 'b.wav', 'c.wav', 'd.wav']);
  const segments = [{ start: 0, end: 0.1, label: 'exc' }];
  const rows = [{ label: 'hap', segments }, { label: 'neu' }, { label: 'fru' }, {}];
  const lines = rows.map((row, i) => JSON.stringify({ audio: `${'abcd'[i]}.wav`, ...row }));
  plant(home, { 'manifest.jsonl': lines.join('\n') });
  const corpus = await readCorpus(home, { labels: 'hap=hap+exc,neu' });
  assert.deepEqual(without(corpus.utterances, home), [
    { id: 'a', label: 'hap', segments: [{ start: 0, end: 0.1, label: 'hap' }] },
    { id: 'b', label: 'neu' },
    { id: 'd' },
  ]);
  assert.deepEqual(corpus.leftOut, { fru: 1 });
  // Where a segment is of no class, what the frames are is not known.
  const [first] = (await readCorpus(home, { labels: 'hap,neu' })).utterances;
  assert.deepEqual([first.label, first.segments], ['hap', undefined]);
});

test('RAVDESS: seven numbers a name; songs are a corpus of their own, videos and songs are counted', async () => {
  const home = plant(join(root, 'ravdess'), [
    'Audio_Speech_Actors_01-24/Actor_01/03-01-01-01-01-01-01.wav',
    'Audio_Speech_Actors_01-24/Actor_01/03-01-02-01-01-01-01.wav',
    'Audio_Speech_Actors_01-24/Actor_02/03-01-08-02-02-02-02.wav',
    'Audio_Speech_Actors_01-24/Actor_02/03-01-09-02-02-02-02.wav',
    'Audio_Song_Actors_01-24/Actor_01/03-02-03-01-01-01-01.wav',
    'Audio_Song_Actors_01-24/Actor_01/01-02-03-01-01-01-01.wav',
  ]);
  const { utterances, problems, leftOut, customary } = await readCorpus(home);
  assert.deepEqual(without(utterances, home), [
    { id: '03-01-01-01-01-01-01', label: 'neutral', speaker: 'Actor_01' },
    { id: '03-01-02-01-01-01-01', label: 'calm', speaker: 'Actor_01' },
    { id: '03-01-08-02-02-02-02', label: 'surprised', speaker: 'Actor_02' },
  ]);
  assert.deepEqual(leftOut, { song: 1, 'video with sound': 1 });
  assert.deepEqual(customary, { scheme: 'speakers', count: 6 });
  assert.equal(problems.length, 1);
  assert.match(problems[0].file, /03-01-09-/);
  const seven = await readCorpus(home, { labels: 'ravdess-7' });
  assert.deepEqual(
    seven.utterances.map(({ label }) => label),
    ['neutral', 'neutral', 'surprised'],
  );
  const songs = await readCorpus(home, { dataset: 'ravdess-song' });
  assert.deepEqual([songs.utterances.length, songs.leftOut], [1, { speech: 3, 'video with sound': 1 }]);
});

/** Each of the others: its files, what they are, and how it is customarily tested. */
const named = {
  'crema-d': {
    files: ['AudioWAV/1001_DFA_ANG_XX.wav', 'AudioWAV/1040_ITH_SAD_X.wav', 'AudioWAV/1091_IEO_NEU_LO.wav'],
    utterances: [
      { id: '1001_DFA_ANG_XX', label: 'angry', speaker: '1001' },
      { id: '1040_ITH_SAD_X', label: 'sad', speaker: '1040' },
      { id: '1091_IEO_NEU_LO', label: 'neutral', speaker: '1091' },
    ],
    customary: { scheme: 'speakers', count: 5 },
  },
  'emo-db': {
    files: ['wav/03a01Fa.wav', 'wav/16b10Td.wav', 'wav/08b09Lb.wav'],
    utterances: [
      { id: '03a01Fa', label: 'happy', speaker: '03' },
      { id: '08b09Lb', label: 'bored', speaker: '08' },
      { id: '16b10Td', label: 'sad', speaker: '16' },
    ],
    customary: { scheme: 'speaker' },
  },
  tess: {
    files: ['OAF_neutral/OA_bite_neutral.wav', 'YAF_pleasant_surprised/YAF_back_ps.wav', 'OAF_Fear/OAF_back_fear.wav'],
    utterances: [
      { id: 'OAF_back_fear', label: 'fearful', speaker: 'OAF' },
      { id: 'OAF_bite_neutral', label: 'neutral', speaker: 'OAF' },
      { id: 'YAF_back_ps', label: 'surprised', speaker: 'YAF' },
    ],
    customary: { scheme: 'speaker' },
  },
  savee: {
    files: ['AudioData/DC/sa01.wav', 'AudioData/KL/su15.wav', 'ALL/JE_n23.wav'],
    utterances: [
      { id: 'DC_sa01', label: 'sad', speaker: 'DC' },
      { id: 'JE_n23', label: 'neutral', speaker: 'JE' },
      { id: 'KL_su15', label: 'surprised', speaker: 'KL' },
    ],
    customary: { scheme: 'speaker' },
  },
  esd: {
    files: ['0001/Angry/0001_000351.wav', '0011/Surprise/0011_001401.wav'],
    utterances: [
      { id: '0001_000351', label: 'angry', speaker: '0001' },
      { id: '0011_001401', label: 'surprised', speaker: '0011' },
    ],
    customary: { scheme: 'speakers', count: 5 },
  },
  'jl-corpus': {
    files: ['JL(wav+txt)/female1_angry_10a_1.wav', 'JL(wav+txt)/male2_encouraging_9b_2.wav'],
    utterances: [
      { id: 'female1_angry_10a_1', label: 'angry', speaker: 'female1' },
      { id: 'male2_encouraging_9b_2', label: 'encouraging', speaker: 'male2' },
    ],
    customary: { scheme: 'speaker' },
  },
  'emov-db': {
    files: [
      'bea_Amused/amused_57-84_0057.wav',
      'sam_Disgusted/Disgust_169_196_0183.wav',
      'josh/sleepiness_113_140_0113.wav',
      'jenie_Amused/amused_57-84_0057.wav',
    ],
    utterances: [
      { id: 'bea_amused_57-84_0057', label: 'amused', speaker: 'bea' },
      { id: 'jenie_amused_57-84_0057', label: 'amused', speaker: 'jenie' },
      { id: 'josh_sleepiness_113_140_0113', label: 'sleepy', speaker: 'josh' },
      { id: 'sam_Disgust_169_196_0183', label: 'disgust', speaker: 'sam' },
    ],
    customary: { scheme: 'speaker' },
  },
};
for (const [name, { files, utterances, customary }] of Object.entries(named)) {
  test(`${name} is known by the names of its files; others among them are reported`, async () => {
    const home = plant(join(root, name), [...files, 'stray.wav', '.hidden/also.wav']);
    const corpus = await readCorpus(home);
    assert.equal(corpus.dataset, name);
    assert.deepEqual(without(corpus.utterances, home), utterances);
    assert.deepEqual(corpus.customary, customary);
    assert.equal(corpus.problems.length, 1);
    assert.equal(corpus.problems[0].file, join(home, 'stray.wav'));
  });
}

test('a copy within a copy, as some downloads have it, is reported and not counted twice', async () => {
  const file = 'OAF_angry/OAF_back_angry.wav';
  const home = plant(join(root, 'twice'), [
    file,
    `TESS Toronto emotional speech set data/${file}`,
    'YAF_sad/YAF_gun_sad.wav',
  ]);
  const { utterances, problems } = await readCorpus(home);
  assert.equal(utterances.length, 2);
  assert.equal(problems.length, 1);
  assert.match(problems[0].reason, /id "OAF_back_angry" is already used by .*OAF_angry\/OAF_back_angry\.wav/);
});

test('a lossy copy of a file is counted and not read; alone it is audio like any other', async () => {
  const home = plant(join(root, 'lossy'), ['AudioWAV/1001_DFA_ANG_XX.wav', 'AudioWAV/1002_DFA_SAD_XX.wav']);
  plant(home, { 'AudioMP3/1001_DFA_ANG_XX.mp3': 'ID3', 'AudioMP3/1003_DFA_SAD_XX.mp3': 'ID3' });
  const { utterances, problems, leftOut } = await readCorpus(home);
  assert.deepEqual(
    utterances.map(({ audio }) => audio.slice(home.length + 1)),
    ['AudioWAV/1001_DFA_ANG_XX.wav', 'AudioWAV/1002_DFA_SAD_XX.wav', 'AudioMP3/1003_DFA_SAD_XX.mp3'],
  );
  assert.deepEqual([problems, leftOut], [[], { 'lossy copy': 1 }]);
});

test('ESD: the release has a split, in which voices are shared; languages can be asked for', async () => {
  const parts = { train: '000371', evaluation: '000351', test: '000361' };
  const files = ['0002/Angry', '0012/Sad'].flatMap((folder) =>
    Object.entries(parts).map(([part, number]) => `${folder}/${part}/${folder.slice(0, 4)}_${number}.wav`),
  );
  const home = plant(join(root, 'esd-release'), files);
  const corpus = await readCorpus(home);
  assert.deepEqual(corpus.customary, { scheme: 'given', allowSharedSpeakers: true });
  const [{ train, validation, test: held }] = makeFolds(corpus, fold);
  assert.deepEqual(
    [train, validation, held],
    [
      ['0002_000371', '0012_000371'],
      ['0002_000351', '0012_000351'],
      ['0002_000361', '0012_000361'],
    ],
  );
  assert.throws(() => makeFolds(corpus, { ...fold, scheme: 'given' }), {
    code: 'ERR_FOLDS',
    message: /Speaker 0002 is in both training/,
  });
  const english = await readCorpus(home, { dataset: 'esd-english' });
  assert.deepEqual([english.utterances.length, english.leftOut], [3, { Mandarin: 3 }]);
});

test('two datasets in one folder, or a few files of one among many, are refused with what was found', async () => {
  const both = plant(join(root, 'both'), [...named.tess.files, ...named['crema-d'].files]);
  await refused(readCorpus(both), 'ERR_CORPUS', /crema-d \(50\.0 %\), tess \(50\.0 %\).*--dataset/);
  assert.equal((await readCorpus(both, { dataset: 'tess' })).utterances.length, 3);
  const mixed = plant(realIemocap('mixed'), named.savee.files);
  await refused(readCorpus(mixed), 'ERR_CORPUS', /like several datasets: iemocap, savee/);
  const few = plant(join(root, 'few'), ['wav/03a01Fa.wav', 'a.wav', 'b.wav']);
  await refused(readCorpus(few), 'ERR_CORPUS', /3 audio files, of which only some.*emo-db \(33\.3 %\)/);
  const none = plant(join(root, 'none'), ['a.wav']);
  await refused(readCorpus(none), 'ERR_CORPUS', /not a known corpus.*manifest\.jsonl.*EmoEvaluation.*bea_Amused/);
  await refused(
    readCorpus(none, { dataset: 'tess' }),
    'ERR_CORPUS',
    /no utterance of tess.*a\.wav: its name does not follow/,
  );
  await refused(readCorpus(none, { dataset: 'tes' }), 'ERR_ARGUMENT', /one of iemocap, .*"tes"/);
});

test('a manifest in the folder of a dataset is what counts', async () => {
  const home = realIemocap('with-manifest');
  plant(home, { 'manifest.csv': 'audio,label\nSession1/dialog/wav/Ses01F_impro01.wav,x\n' });
  assert.deepEqual(
    (await readCorpus(home)).utterances.map(({ label }) => label),
    ['x'],
  );
  rmSync(join(home, 'manifest.csv'));
  assert.equal((await readCorpus(home)).dataset, 'iemocap');
});

test('emoframe corpus prints a table and every problem; --json has them for machines', async () => {
  const home = realIemocap('cli');
  plant(home, { 'Session2/dialog/EmoEvaluation/Ses02M_impro09.txt': turn('Ses02M_impro09_F000', 'neu') });
  const { code, stdout, stderr } = await emoframe(['corpus', home, '--labels', 'ang,hap=hap+exc,neu']);
  assert.equal(code, 0);
  for (const line of [
    /corpus +iemocap\n/,
    /utterances +6\n/,
    /label scheme +ang,hap=hap\+exc,neu\n/,
    /left out +xxx 1, oth 1, sad 1, fru 1\n/,
    /folds +a session at a time\n/,
    /problems +1\n/,
    /hap +2 +33\.3 %/,
    /Session1 +4 +66\.7 %/,
    /Ses01F +2 /,
    /arousal +6 +0\.5\d\d ± 0\.\d{3}\n/,
  ]) {
    assert.match(stdout, line);
  }
  assert.match(stderr, /Ses02M_impro09\.txt:1: there is no audio file Ses02M_impro09_F000\.wav/);
  const json = JSON.parse((await emoframe(['corpus', home, '--json'])).stdout);
  assert.deepEqual(Object.keys(json).slice(0, 7), [
    ...['dataset', 'utterances', 'labels', 'speakers', 'sessions', 'seconds', 'problems'],
  ]);
  assert.deepEqual([json.dataset, json.utterances, json.problems.length], ['iemocap', 7, 1]);
  assert.deepEqual(Object.keys(json.problems[0]), ['file', 'row', 'reason']);
  const wrong = await emoframe(['corpus', home, '--dataset', 'iemocop']);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /Expected one of iemocap, .* for --dataset but received iemocop/);
});

test('audio apart from a manifest; apart from a dataset that is its audio it is refused', async () => {
  const home = plant(join(root, 'apart'), { 'manifest.csv': 'audio,label\nwav/a.wav,x\n' });
  const audioRoot = plant(join(root, 'apart-audio'), ['wav/a.wav']);
  const { utterances } = await readCorpus(home, { audioRoot });
  assert.deepEqual(utterances, [{ id: 'wav/a', audio: join(audioRoot, 'wav/a.wav'), label: 'x' }]);
  const tess = plant(join(root, 'apart-tess'), named.tess.files);
  await refused(
    readCorpus(tess, { audioRoot }),
    'ERR_ARGUMENT',
    /no audioRoot for tess.*give that folder as the corpus/,
  );
});

test('an abort ends the reading of a folder', async () => {
  await refused(readCorpus(realIemocap('abort'), { signal: AbortSignal.abort() }), 'ERR_ABORTED', /stopped/);
});

test.run();
