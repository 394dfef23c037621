import * as assert from 'node:assert/strict';
import { join } from 'node:path';
import { suite } from 'uvu';
import { describeCorpus, makeFolds, readCorpus } from '../../dist/index.js';
import { plant, scratch, silence } from '../support/datasetTree.js';
import { refused } from '../support/refused.js';

const test = suite('datasets: with annotation files');
const root = scratch(test, 'annotated');
const fold = { scheme: 'customary', validation: { by: 'random', fraction: 0.3 }, seed: 1 };
const silent = ({ audio: _, ...utterance }) => utterance;
const reasons = ({ problems }) => problems.map(({ row, reason }) => [row, reason]);

/** Mean ratings from 1 to `highest` as values from 0 to 1. */
const scaled = (highest, ratings) =>
  Object.fromEntries(Object.entries(ratings).map(([name, rating]) => [name, (rating - 1) / (highest - 1)]));

test('MSP-IMPROV: speaker, session and ratings; annotators’ lines are not utterances', async () => {
  const clips = ['S01A-F01-P-FM01', 'S01A-M01-S-FM01', 'S20H-F06-R-R001', 'S08N-M06-T-MF02'];
  const home = plant(
    join(root, 'msp-improv'),
    clips.map((clip) => `session${clip[6]}/${clip.slice(0, 4)}/${clip[9]}/MSP-IMPROV-${clip}.wav`),
  );
  plant(home, {
    'Evalution.txt': [
      'UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:3.200000; V:3.000000; D:2.800000 ; N:3.600000;',
      'session1-annotator1; Neutral; Neutral,Other; A:3.000000; V:3.000000; D:3.000000; N:4.000000;',
      '',
      'UTD-IMPROV-S01A-M01-S-FM01.avi; X; A:2.0; V:NaN; D:NaN ; N:NaN;',
      'UTD-IMPROV-S20H-F06-R-R001.avi; H; A:4.0; V:4.5; D:3.0 ; N:2.0;',
      'UTD-IMPROV-S08N-M06-T-MF02.avi; A; A:4.0; V:1.5; D:4.0 ; N:2.0;',
      'UTD-IMPROV-S09N-M06-T-MF02.avi; S; A:4.0; V:1.5; D:4.0 ; N:2.0;',
      'UTD-IMPROV-S09N-M06-T-MF02.avi; Q; A:4.0;',
    ].join('\r\n'),
  });
  const corpus = await readCorpus(home);
  assert.equal(corpus.dataset, 'msp-improv');
  assert.deepEqual(corpus.utterances.map(silent), [
    {
      id: 'MSP-IMPROV-S01A-F01-P-FM01',
      label: 'neutral',
      speaker: 'F01',
      session: 'session1',
      values: scaled(5, { arousal: 3.2, valence: 3, dominance: 2.8 }),
    },
    {
      id: 'MSP-IMPROV-S08N-M06-T-MF02',
      label: 'angry',
      speaker: 'M06',
      session: 'session6',
      values: scaled(5, { arousal: 4, valence: 1.5, dominance: 4 }),
    },
    {
      id: 'MSP-IMPROV-S20H-F06-R-R001',
      label: 'happy',
      speaker: 'F06',
      session: 'session6',
      values: scaled(5, { arousal: 4, valence: 4.5, dominance: 3 }),
    },
  ]);
  assert.deepEqual(corpus.leftOut, { 'no-agreement': 1 });
  assert.deepEqual(reasons(corpus), [
    [7, 'there is no audio file MSP-IMPROV-S09N-M06-T-MF02.wav'],
    [8, 'a line that is not "UTD-IMPROV-name.avi; emotion; A:…; V:…; D:…; N:…;"'],
  ]);
  const kept = await readCorpus(home, { others: 'pretrain' });
  const unheard = kept.utterances.find(({ id }) => id === 'MSP-IMPROV-S01A-M01-S-FM01');
  assert.deepEqual([unheard.label, unheard.values], [undefined, { arousal: 0.25 }]);
});

const podcast = [
  ['MSP-PODCAST_0001_0008.wav', 'N', '4.2', '4.0', '3.8', '127', 'Female', 'Train'],
  ['MSP-PODCAST_0002_0033.wav', 'A', '6.2', '1.0', '5.8', 'Unknown', 'Male', 'Train'],
  ['MSP-PODCAST_0003_0001.wav', 'H', '5.0', '6.0', '4.0', '8', 'Male', 'Development'],
  ['MSP-PODCAST_0004_0001.wav', 'C', '5.0', '2.0', '4.0', '9', 'Male', 'Test1'],
  ['MSP-PODCAST_0005_0001.wav', 'S', '5.0', '2.0', '4.0', '10', 'Male', 'Test2'],
  ['MSP-PODCAST_0006_0001.wav', 'X', '5.0', '2.0', '4.0', '11', 'Male', 'Train'],
  ['MSP-PODCAST_0007_0001.wav', 'S', '5.0', '2.0', '4.0', '11', 'Male', 'Train'],
  ['MSP-PODCAST_0008_0001.wav', 'constructor', '5.0', '2.0', '4.0', '11', 'Male', 'Train'],
  ['../../../MSP-PODCAST_0001_0008.wav', 'N', '5.0', '2.0', '4.0', '11', 'Male', 'Later'],
];
const columns = ['FileName', 'EmoClass', 'EmoAct', 'EmoVal', 'EmoDom', 'SpkrID', 'Gender', 'Split_Set'];
const podcastAudio = podcast.slice(0, 6).map(([name]) => `Audios/${name}`);
const asJson = Object.fromEntries(
  podcast.map(([name, ...values]) => [name, Object.fromEntries(columns.slice(1).map((key, i) => [key, values[i]]))]),
);
const podcastFiles = {
  csv: { 'Labels/labels_consensus.csv': [columns, ...podcast].map((row) => row.join(',')).join('\n') },
  json: { 'Labels/labels_concensus.json': JSON.stringify(asJson) },
};
for (const [kind, labels] of Object.entries(podcastFiles)) {
  test(`MSP-Podcast (${kind}): its splits, speakers where they are known; later test sets are counted`, async () => {
    const home = plant(plant(join(root, `msp-podcast-${kind}`), podcastAudio), labels);
    const corpus = await readCorpus(home);
    assert.equal(corpus.dataset, 'msp-podcast');
    assert.deepEqual(corpus.utterances.map(silent), [
      {
        id: 'MSP-PODCAST_0001_0008',
        label: 'neutral',
        split: 'train',
        speaker: '127',
        values: scaled(7, { valence: 4, arousal: 4.2, dominance: 3.8 }),
      },
      {
        id: 'MSP-PODCAST_0002_0033',
        label: 'angry',
        split: 'train',
        values: scaled(7, { valence: 1, arousal: 6.2, dominance: 5.8 }),
      },
      {
        id: 'MSP-PODCAST_0003_0001',
        label: 'happy',
        split: 'validation',
        speaker: '8',
        values: scaled(7, { valence: 6, arousal: 5, dominance: 4 }),
      },
      {
        id: 'MSP-PODCAST_0004_0001',
        label: 'contempt',
        split: 'test',
        speaker: '9',
        values: scaled(7, { valence: 2, arousal: 5, dominance: 4 }),
      },
    ]);
    assert.deepEqual(corpus.leftOut, { Test2: 1, 'no-agreement': 1 });
    assert.deepEqual(corpus.customary, { scheme: 'given' });
    assert.deepEqual(
      corpus.problems.map(({ reason }) => reason),
      [
        'there is no audio file MSP-PODCAST_0007_0001.wav',
        'MSP-PODCAST_0008_0001.wav has the emotion "constructor", which is not known',
        '../../../MSP-PODCAST_0001_0008.wav is of the split "Later", which is not known',
      ],
    );
    assert.deepEqual(corpus.problems[0].row, kind === 'csv' ? 8 : undefined);
    assert.deepEqual(makeFolds(corpus, fold)[0].test, ['MSP-PODCAST_0004_0001']);
  });
}

const meldColumns =
  'Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n';
const meldRow = (dialogue, number, speaker, emotion) =>
  `1,"Oh my God, he\u0092s ""lost"" it.",${speaker},${emotion},negative,${dialogue},${number},8,21,"00:16:16,059","00:16:21,731"\n`;

test('MELD: the same names in three splits, clips that are broken, video that is not converted', async () => {
  const home = plant(join(root, 'MELD.Raw'), [
    'train/train_splits/dia0_utt0.wav',
    'train/train_splits/dia0_utt1.wav',
    'dev_splits_complete/dia0_utt0.flac',
    'output_repeated_splits_test/dia0_utt0.wav',
    'output_repeated_splits_test/._dia0_utt1.wav',
    'output_repeated_splits_test/final_videos_testdia0_utt1.wav',
  ]);
  plant(home, {
    'train/train_sent_emo.csv': Buffer.from(
      meldColumns +
        meldRow(0, 0, 'Chandler', 'neutral') +
        meldRow(0, 1, ' Joey ', 'surprise') +
        meldRow(125, 3, 'Phoebe', 'neutral') +
        meldRow(0, 2, 'Phoebe', 'contempt'),
      'latin1',
    ),
    'dev_sent_emo.csv': meldColumns + meldRow(0, 0, 'Joey', 'joy') + meldRow(110, 7, 'Ross', 'neutral'),
    'test_sent_emo.csv': meldColumns + meldRow(0, 0, 'Chandler', 'anger') + meldRow(0, 1, 'Ross', 'fear'),
    'output_repeated_splits_test/dia0_utt1.mp4': 'video',
    'train/train_splits/dia0_utt0.mp4': 'video',
    'train/train_splits/dia0_utt0.npy': 'features',
  });
  const corpus = await readCorpus(home);
  assert.equal(corpus.dataset, 'meld');
  assert.deepEqual(corpus.utterances.map(silent), [
    { id: 'dev_dia0_utt0', label: 'joy', split: 'validation', speaker: 'Joey' },
    { id: 'test_dia0_utt0', label: 'anger', split: 'test', speaker: 'Chandler' },
    { id: 'train_dia0_utt0', label: 'neutral', split: 'train', speaker: 'Chandler' },
    { id: 'train_dia0_utt1', label: 'surprise', split: 'train', speaker: 'Joey' },
  ]);
  assert.deepEqual(
    corpus.utterances.map(({ audio }) => audio),
    [
      'dev_splits_complete/dia0_utt0.flac',
      'output_repeated_splits_test/dia0_utt0.wav',
      'train/train_splits/dia0_utt0.wav',
      'train/train_splits/dia0_utt1.wav',
    ].map((path) => join(home, path)),
  );
  const found = corpus.problems.map(({ file, row, reason }) => [file.slice(home.length + 1), row, reason]);
  assert.deepEqual(found.slice(0, 1).flat().slice(0, 2), ['dev_sent_emo.csv', 3]);
  assert.match(found[0][2], /no dia110_utt7\.wav in a folder of the dev split \(the release has none/);
  assert.match(found[1][2], /dia0_utt1\.mp4 is not in a supported audio format.*ffmpeg -i dia0_utt1\.mp4/);
  assert.match(found[2][2], /no dia125_utt3\.wav.*\(the release has none/);
  assert.match(found[3][2], /emotion "contempt"/);
  // Chandler is in two of the parts.
  assert.deepEqual(corpus.customary, { scheme: 'given', allowSharedSpeakers: true });
  const [{ train, validation, test: held }] = makeFolds(corpus, fold);
  assert.deepEqual(
    [train, validation, held],
    [['train_dia0_utt0', 'train_dia0_utt1'], ['dev_dia0_utt0'], ['test_dia0_utt0']],
  );
});

test('MELD: audio that was converted into another folder is found by split', async () => {
  const home = plant(join(root, 'meld-csv'), {
    'train_sent_emo.csv': meldColumns + meldRow(3, 1, 'Ross', 'sadness'),
    'test_sent_emo.csv': meldColumns + meldRow(3, 1, 'Rachel', 'joy'),
    'train_splits/dia3_utt1.mp4': 'video',
  });
  const audioRoot = plant(join(root, 'meld-audio'), ['train/dia3_utt1.wav', 'test/dia3_utt1.wav']);
  const { utterances } = await readCorpus(home, { audioRoot });
  assert.deepEqual(
    utterances.map(({ id, audio }) => [id, audio]),
    [
      ['test_dia3_utt1', join(audioRoot, 'test/dia3_utt1.wav')],
      ['train_dia3_utt1', join(audioRoot, 'train/dia3_utt1.wav')],
    ],
  );
  await refused(readCorpus(home), 'ERR_CORPUS', /no utterance of meld.*ffmpeg -i dia3_utt1\.mp4/);
});

test('MELD: a table without its columns is an error that names it', async () => {
  const home = plant(join(root, 'meld-bad'), { 'train_sent_emo.csv': 'a,b\n1,2\n' });
  const { file } = await refused(readCorpus(home), 'ERR_CORPUS', /"Speaker", "Emotion", "Dialogue_ID"/);
  assert.equal(file, join(home, 'train_sent_emo.csv'));
});

const event = (emo, start, end) => ({ emo, start, end });

test('ZED: the one emotion of an utterance and its bounds are frame-level truth', async () => {
  const home = plant(join(root, 'ZED'), ['wav/a.wav', 'wav/b.wav', 'wav/c.wav', 'wav/d.wav']);
  const entry = (name, emotion, duration = 0.2) => ({ wav: `datafolder/wav/${name}.wav`, duration, emotion });
  plant(home, {
    'ZED.json': JSON.stringify({
      a: entry('a', [event('angry', 0.05, 0.15)]),
      b: entry('b', [event('h', 0, 0.2)]),
      c: entry('c', [event('neutral', 0, 0.2)]),
      late: entry('d', [event('sad', 0, 3)]),
      two: entry('d', [event('sad', 0, 0.1), event('happy', 0.1, 0.2)]),
      wide: entry('d', [event('sad', 0, 0.15), event('sad', 0.1, 0.2)]),
      lost: entry('e', [event('sad', 0, 0.1)]),
      out: { ...entry('d', []), wav: '../../etc/d.wav' },
      root: { ...entry('d', []), wav: '/etc/d.wav' },
      backwards: entry('d', [event('sad', 0.1, 0)]),
      odd: 7,
    }),
  });
  const corpus = await readCorpus(home);
  assert.equal(corpus.dataset, 'zed');
  assert.deepEqual(corpus.utterances.map(silent), [
    { id: 'a', label: 'angry', split: 'test', segments: [{ start: 0.05, end: 0.15, label: 'angry' }] },
    { id: 'b', label: 'happy', split: 'test', segments: [{ start: 0, end: 0.2, label: 'happy' }] },
    { id: 'c', label: 'neutral', split: 'test', segments: [] },
  ]);
  const patterns = [
    /^late: .*ends \(3\) after/,
    /^two: .*more than one emotion: sad, happy/,
    /^wide: its emotions overlap/,
    /^lost: there is no audio file e\.wav/,
    /^out: .*outside/,
    /^root: .*outside/,
    /^backwards: .*no bounds/,
    /^odd: it is not \{wav/,
  ];
  assert.equal(corpus.problems.length, patterns.length);
  for (const [i, pattern] of patterns.entries()) assert.match(corpus.problems[i].reason, pattern);
  assert.deepEqual((await describeCorpus(corpus)).labels, { angry: 1, happy: 1, neutral: 1 });
  assert.throws(() => makeFolds(corpus, fold), { code: 'ERR_FOLDS', message: /"split" is "train"/ });
});

test('an annotation file that is not what it should be is an error that names it', async () => {
  for (const [name, text, reason] of [
    ['ZED.json', '[1]', /not a JSON object/],
    ['ZED.json', '{"a"', /not valid JSON/],
    ['labels_consensus.json', 'null', /not a JSON object/],
  ]) {
    const home = plant(join(root, `not-${name}-${text.length}`), { [name]: text, 'a.wav': silence });
    const { file } = await refused(readCorpus(home), 'ERR_CORPUS', reason);
    assert.equal(file, join(home, name));
  }
});

test.run();
