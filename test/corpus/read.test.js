import * as assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { describeCorpus, readCorpus } from '../../dist/index.js';
import { asOrdinaryUser } from '../support/ordinaryUser.js';
import { refused } from '../support/refused.js';

const fixtures = new URL('../fixtures/audio/', import.meta.url).pathname;
const test = suite('corpus: reading');
let folder;
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'emoframe-corpus-'));
  mkdirSync(join(folder, 'wav with space'));
  for (const name of ['a', 'b', 'c']) copyFileSync(`${fixtures}voice.wav`, join(folder, `${name}.wav`));
  copyFileSync(`${fixtures}voice.flac`, join(folder, 'wav with space', 'd.flac'));
  writeFileSync(join(folder, 'broken.wav'), 'RIFF');
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

function manifest(name, text) {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function jsonl(name, rows) {
  return manifest(name, rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'));
}

test('JSONL: every field, numbers as labels, unknown fields ignored, ids made from paths', async () => {
  const segments = [{ start: 0.2, end: 0.5, label: 'ang' }];
  const path = jsonl('full.jsonl', [
    {
      audio: 'a.wav',
      id: 'one',
      label: 'ang',
      speaker: 'F1',
      session: 'S1',
      split: 'train',
      start: 0.1,
      end: 1,
      segments,
      mood: 'x',
    },
    '',
    { audio: join(folder, 'wav with space/d.flac'), label: 3, speaker: null, session: '' },
    { audio: 'b.wav', start: 0.5 },
  ]);
  const { name, utterances, problems } = await readCorpus(path);
  assert.equal(name, 'full');
  assert.deepEqual(problems, []);
  assert.deepEqual(utterances, [
    {
      id: 'one',
      audio: join(folder, 'a.wav'),
      label: 'ang',
      speaker: 'F1',
      session: 'S1',
      split: 'train',
      startSeconds: 0.1,
      endSeconds: 1,
      segments,
    },
    { id: 'wav with space/d', audio: join(folder, 'wav with space/d.flac'), label: '3' },
    { id: 'b@0.5-end', audio: join(folder, 'b.wav'), startSeconds: 0.5 },
  ]);
});

test('CSV: quotes, JSON in a cell, empty cells, a byte-order mark and Windows line ends', async () => {
  const path = manifest(
    'full.csv',
    '\ufeffaudio,label,start,end,segments,note\r\n' +
      'a.wav,ang,,1.0,"[{""start"":0,""end"":0.5,""label"":""ang""}]","line one\r\nline two"\r\n' +
      '\r\n' +
      '"wav with space/d.flac",neu,,,,\r\n' +
      'c.wav,hap\r\n',
  );
  const { utterances, problems } = await readCorpus(path);
  assert.deepEqual(utterances, [
    {
      id: 'a@0-1',
      audio: join(folder, 'a.wav'),
      label: 'ang',
      endSeconds: 1,
      segments: [{ start: 0, end: 0.5, label: 'ang' }],
    },
    { id: 'wav with space/d', audio: join(folder, 'wav with space/d.flac'), label: 'neu' },
  ]);
  assert.equal(problems.length, 1);
  assert.equal(problems[0].row, 6);
  assert.match(problems[0].reason, /expected 6 fields/);
});

test('HFLEA lists: white space or commas, labels stay text, paths may hold spaces', async () => {
  const expected = [
    { id: 'Ses01F_impro01_F000', audio: join(folder, 'a.wav'), label: '0' },
    { id: 'Ses01F_impro01_F001', audio: join(folder, 'wav with space/d.flac'), label: '3' },
  ];
  const spaced = manifest(
    'session1_train.scp',
    'Ses01F_impro01_F000 a.wav 0\nSes01F_impro01_F001\twav with space/d.flac\t3\nlonely a.wav\n',
  );
  const commas = manifest(
    'session1_test.scp',
    'Ses01F_impro01_F000, a.wav, 0\nSes01F_impro01_F001,wav with space/d.flac,3\nlonely,a.wav\n',
  );
  for (const path of [spaced, commas]) {
    const { utterances, problems } = await readCorpus(path);
    assert.deepEqual(utterances, expected);
    assert.deepEqual(problems, [
      { file: path, row: 3, reason: 'expected three fields: wav_name, wav_path, wav_label' },
    ]);
  }
});

test('the three lists of an HFLEA fold are one corpus with given splits', async () => {
  const fold = join(folder, 'fold');
  mkdirSync(fold);
  writeFileSync(join(fold, 'session01_train.scp'), 'one ../a.wav 0\n');
  writeFileSync(join(fold, 'session01_valid.scp'), 'two ../b.wav 1\none ../c.wav 1\n');
  await assert.rejects(readCorpus(fold), { code: 'ERR_CORPUS', message: /\*train\.scp/ });
  writeFileSync(join(fold, 'session01_test.scp'), 'three ../c.wav 2\n');
  const { name, utterances, problems } = await readCorpus(fold);
  assert.equal(name, 'fold');
  assert.deepEqual(utterances, [
    { id: 'one', audio: join(folder, 'a.wav'), label: '0', split: 'train' },
    { id: 'two', audio: join(folder, 'b.wav'), label: '1', split: 'validation' },
    { id: 'three', audio: join(folder, 'c.wav'), label: '2', split: 'test' },
  ]);
  assert.deepEqual(problems, [
    {
      file: join(fold, 'session01_valid.scp'),
      row: 2,
      reason: 'the id "one" is already used by line 1 of session01_train.scp',
    },
  ]);
});

test('every bad row is listed with its line and reason, and left out', async () => {
  const bad = [
    [{ label: 'ang' }, /"audio" is missing/],
    ['{"audio": "a.wav"', /not JSON/],
    ['[1, 2]', /not a JSON object/],
    [{ audio: 'missing.wav' }, /no audio file .*missing\.wav/],
    [{ audio: '.' }, /no audio file/],
    [{ audio: 'a.wav', id: 'good' }, /"good" is already used by line 1 of bad\.jsonl/],
    [{ audio: 'a.wav', start: 2, end: 1 }, /"end" \(1\) is not after "start" \(2\)/],
    [{ audio: 'a.wav', start: -1 }, /expected seconds.*"start".*-1/],
    [{ audio: 'a.wav', end: 'soon' }, /expected seconds.*"end".*soon/],
    [{ audio: 'a.wav', split: 'dev' }, /train, validation or test.*"dev"/],
    [{ audio: 'a.wav', label: { emotion: 'ang' } }, /expected text for "label"/],
    [{ audio: 'a.wav', segments: 'x' }, /"segments" is not JSON/],
    [{ audio: 'a.wav', segments: {} }, /expected a list/],
    [{ audio: 'a.wav', segments: [{ start: 0, end: 1 }] }, /segment 1 lacks/],
    [{ audio: 'a.wav', segments: [{ start: 1, end: 0.5, label: 'x' }] }, /segment 1 ends \(0\.5\) before/],
    [
      {
        audio: 'a.wav',
        segments: [
          { start: 0.5, end: 1, label: 'x' },
          { start: 0, end: 0.4, label: 'y' },
        ],
      },
      /segment 2 starts \(0\) before/,
    ],
    [
      { audio: 'a.wav', start: 0.5, end: 1, segments: [{ start: 0, end: 0.8, label: 'x' }] },
      /segment 1 ends \(0\.8\) after the utterance/,
    ],
  ];
  const path = jsonl('bad.jsonl', [{ audio: 'a.wav', id: 'good' }, ...bad.map(([row]) => row)]);
  const { utterances, problems } = await readCorpus(path);
  assert.deepEqual(utterances, [{ id: 'good', audio: join(folder, 'a.wav') }]);
  assert.equal(problems.length, bad.length);
  for (const [i, [, reason]] of bad.entries()) {
    assert.equal(problems[i].file, path);
    assert.equal(problems[i].row, i + 2);
    assert.match(problems[i].reason, reason);
  }
});

test('a broken quote in CSV ends the reading and says so', async () => {
  const path = manifest('quote.csv', 'audio,label\na.wav,ang\n"b.wav,neu\nc.wav,neu\n');
  const { utterances, problems } = await readCorpus(path);
  assert.equal(utterances.length, 1);
  assert.equal(problems.length, 1);
  assert.match(problems[0].reason, /nothing after it was read/);
});

test('a manifest without a usable row is an error with the first reasons', async () => {
  const path = jsonl(
    'none.jsonl',
    Array.from({ length: 8 }, () => ({ audio: 'missing.wav' })),
  );
  await assert.rejects(readCorpus(path), (error) => {
    assert.equal(error.code, 'ERR_CORPUS');
    assert.match(error.message, /none\.jsonl.*line 1: .*line 5: .*and 3 more/);
    return true;
  });
  await assert.rejects(readCorpus(manifest('empty.jsonl', '\n')), { code: 'ERR_CORPUS', message: /has no rows/ });
  await assert.rejects(readCorpus(manifest('empty.csv', 'audio\n')), { code: 'ERR_CORPUS', message: /has no rows/ });
  await assert.rejects(readCorpus(manifest('no-audio.csv', 'path,label\na.wav,x\n')), {
    code: 'ERR_CORPUS',
    message: /"audio", but reads: path, label/,
  });
});

test('a folder holds a manifest, or the error says what is recognised', async () => {
  const corpus = join(folder, 'speech');
  mkdirSync(corpus);
  await assert.rejects(readCorpus(corpus), { code: 'ERR_CORPUS', message: /manifest\.jsonl.*manifest\.csv/ });
  writeFileSync(join(corpus, 'manifest.csv'), 'audio\n../a.wav\n');
  assert.deepEqual(await readCorpus(corpus), {
    name: 'speech',
    utterances: [{ id: '../a', audio: join(folder, 'a.wav') }],
    problems: [],
  });
  await assert.rejects(readCorpus(join(folder, 'a.wav')), { code: 'ERR_CORPUS', message: /\.jsonl or \.csv/ });
  await assert.rejects(readCorpus(join(folder, 'nothing.csv')), { code: 'ERR_FILE_NOT_FOUND' });
});

test('a line without end is refused before it fills the memory', async () => {
  const path = manifest('endless.jsonl', `{"audio":"${'x'.repeat(5_000_000)}"}`);
  await assert.rejects(readCorpus(path), { code: 'ERR_CORPUS', message: /Line 1 of .*this is not a manifest/ });
});

test('an abort ends the reading', async () => {
  await assert.rejects(readCorpus(jsonl('abort.jsonl', [{ audio: 'a.wav' }]), { signal: AbortSignal.abort() }), {
    code: 'ERR_ABORTED',
  });
});

test('a description counts labels, speakers and sessions, and measures the audio', async () => {
  const path = jsonl('describe.jsonl', [
    { audio: 'a.wav', label: 'neu', speaker: 'F1', session: 'S1' },
    { audio: 'b.wav', label: 'ang', speaker: 'M1', session: 'S1', start: 0.2, end: 0.7 },
    { audio: 'wav with space/d.flac', label: 'neu', speaker: 'F2', session: 'S2' },
    { audio: 'c.wav', segments: [{ start: 0, end: 9, label: 'ang' }] },
    { audio: 'broken.wav', label: 'hap' },
    { audio: 'missing.wav' },
  ]);
  const { seconds, problems, ...counts } = await describeCorpus(await readCorpus(path));
  assert.deepEqual(counts, {
    dataset: 'describe',
    utterances: 5,
    labels: { neu: 2, ang: 1, hap: 1 },
    unlabelled: 1,
    values: {},
    speakers: { F1: 1, F2: 1, M1: 1 },
    sessions: { S1: 2, S2: 1 },
    leftOut: {},
    folds: 'a session at a time',
  });
  assert.ok(Math.abs(seconds - (1.2 + 0.5 + 1.2 + 1.2)) < 1e-9);
  assert.deepEqual(
    problems.map(({ file }) => file),
    [path, join(folder, 'c.wav'), join(folder, 'broken.wav')],
  );
  assert.match(problems[1].reason, /ends at 9 s/);
});

test('values of dimensions: from JSON and CSV, summarised, and refused where one is no number', async () => {
  const path = jsonl('values.jsonl', [
    { audio: 'a.wav', values: { arousal: 0.25, valence: 0.5 } },
    { audio: 'b.wav', values: { arousal: 0.75 } },
    { audio: 'c.wav', values: { arousal: 'high' } },
    { audio: 'c.wav', values: [0.5] },
    { audio: 'c.wav' },
  ]);
  const corpus = await readCorpus(path);
  assert.deepEqual(
    corpus.utterances.map(({ values }) => values),
    [{ arousal: 0.25, valence: 0.5 }, { arousal: 0.75 }, undefined],
  );
  assert.deepEqual(
    corpus.problems.map(({ row, reason }) => [row, reason]),
    [
      [3, 'expected a number for "arousal" of "values" but received "high"'],
      [4, 'expected {dimension: number} for "values"'],
    ],
  );
  const { values } = await describeCorpus(corpus);
  assert.deepEqual(values, {
    arousal: { utterances: 2, mean: 0.5, deviation: 0.25 },
    valence: { utterances: 1, mean: 0.5, deviation: 0 },
  });
  const csv = manifest('values.csv', 'audio,values\na.wav,"{""arousal"": 0.25}"\nb.wav,\nc.wav,high\n');
  const { utterances, problems } = await readCorpus(csv);
  assert.deepEqual(
    utterances.map((utterance) => utterance.values),
    [{ arousal: 0.25 }, undefined],
  );
  assert.equal(problems[0].reason, '"values" is not JSON: "high"');
});

test('what the user may not read is told as that, and not as what is not there', async () => {
  const closed = join(folder, 'closed');
  mkdirSync(closed);
  copyFileSync(join(folder, 'a.wav'), join(closed, 'a.wav'));
  writeFileSync(join(closed, 'manifest.jsonl'), '{"audio": "a.wav"}');
  const file = jsonl('reaching.jsonl', [{ audio: 'closed/a.wav' }, { audio: 'a.wav' }]);
  chmodSync(folder, 0o755);
  chmodSync(closed, 0);
  try {
    await asOrdinaryUser(async () => {
      for (const path of [closed, join(closed, 'manifest.jsonl')]) {
        const error = await refused(readCorpus(path), 'ERR_READ', /closed.*permission denied/);
        assert.equal(error.file, path);
      }
      const { utterances, problems } = await readCorpus(file);
      assert.equal(utterances.length, 1);
      assert.match(problems[0].reason, /closed\/a\.wav cannot be reached: permission denied/);
    });
  } finally {
    chmodSync(closed, 0o755);
  }
});

test.run();
