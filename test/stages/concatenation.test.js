import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { AudioStore } from '../../dist/audio/store.js';
import { AudioPool, parseConfig, Trainer } from '../../dist/index.js';
import { JoinedAudio, withConcatenations } from '../../dist/stages/concatenation.js';
import { drawJoined } from '../../dist/stages/concatenationPlan.js';
import { refusal, refused } from '../support/refused.js';
import { makeToyCorpus, toyConfig } from '../support/toyCorpus.js';
import { encodeWav } from '../support/wav.js';

const test = suite('concatenation');
const rate = 16000;
const patterns = ['neutral-emotional', 'emotional-neutral', 'neutral-emotional-neutral', 'same'];
const settings = { share: 2, patterns, pauseSeconds: 0 };
const maxSamples = 4 * rate;
const optionsOf = (more = {}) => ({ settings: { ...settings, ...more }, neutral: 'neutral', maxSamples, seed: 5 });

/** Two speakers, three labels, lengths of 1 to 2 seconds that no other has. */
const candidates = ['v', 'w'].flatMap((speaker) =>
  ['angry', 'neutral', 'sad'].flatMap((label, l) =>
    Array.from({ length: 4 }, (_, n) => ({
      utterance: { id: `${speaker}-${label}-${n}`, audio: `/${speaker}${label}${n}.wav`, label, speaker },
      samples: rate + 3001 * n + 701 * l + (speaker === 'v' ? 0 : 97),
    })),
  ),
);
const lengthOf = new Map(candidates.map(({ utterance, samples }) => [utterance.id, samples]));
const drawn = (more) => drawJoined(candidates, new Set(), optionsOf(more));

/** Where each part begins, in samples. */
function offsetsOf({ parts, pauses }) {
  let offset = 0;
  return parts.map(({ count }, i) => {
    const at = offset;
    offset += count + (pauses[i] ?? 0);
    return at;
  });
}

function patternOf({ parts }) {
  const labels = parts.map(({ utterance }) => (utterance.label === 'neutral' ? 'neutral' : 'emotional'));
  return new Set(labels).size === 1 ? 'same' : labels.join('-');
}

test('ids name the parts, speakers are one, segments are the emotional parts to the sample', async () => {
  const joined = await drawn();
  assert.equal([...new Set(joined.map(patternOf))].sort(), [...patterns].sort());
  assert.is(new Set(joined.map(({ utterance }) => utterance.id)).size, joined.length);
  for (const made of joined) {
    const { utterance, parts, samples } = made;
    assert.is(utterance.id, parts.map((part) => part.utterance.id).join(' + '));
    assert.ok(new Set(parts.map((part) => part.utterance.id)).size === parts.length, 'nothing is joined to itself');
    for (const part of parts) assert.is(part.utterance.speaker, utterance.speaker);
    const labels = new Set(parts.map((part) => part.utterance.label));
    labels.delete(utterance.label);
    assert.ok(labels.size === 0 || (labels.size === 1 && labels.has('neutral')), utterance.id);
    const offsets = offsetsOf(made);
    assert.is(samples, offsets.at(-1) + parts.at(-1).count);
    const expected = parts.flatMap(({ utterance: { label }, count }, i) =>
      label === 'neutral' ? [] : [{ start: offsets[i] / rate, end: (offsets[i] + count) / rate, label }],
    );
    assert.equal(utterance.segments, expected);
  }
});

test('each label has as many as its utterances times the share, and every utterance its turn', async () => {
  const joined = await drawn({ share: 1.5 });
  for (const label of ['angry', 'neutral', 'sad'])
    assert.is(joined.filter(({ utterance }) => utterance.label === label).length, 12, label);
  const single = await drawn({ share: 1, patterns: ['emotional-neutral'] });
  assert.equal(
    single.map(({ parts }) => parts[0].utterance.id).sort(),
    candidates.filter(({ utterance }) => utterance.label !== 'neutral').map(({ utterance }) => utterance.id),
  );
});

test('the same seed draws the same, another seed others', async () => {
  assert.equal(await drawn(), await drawn());
  const ids = async (seed) =>
    (await drawJoined(candidates, new Set(), { ...optionsOf(), seed })).map(({ utterance }) => utterance.id);
  assert.not.equal(await ids(5), await ids(6));
});

test('emotional parts are whole; neutral ones are cut at the side away from the seam until all fits', async () => {
  const limit = Math.floor(2.2 * rate);
  const joined = await drawJoined(candidates, new Set(), { ...optionsOf(), maxSamples: limit });
  assert.ok(joined.length > 0);
  let cuts = 0;
  for (const { utterance, parts, samples } of joined) {
    assert.ok(samples <= limit, utterance.id);
    for (const [i, { utterance: part, start, count }] of parts.entries()) {
      const length = lengthOf.get(part.id);
      if (part.label !== 'neutral') assert.equal([start, count], [0, length]);
      assert.ok(count >= rate / 2);
      if (count < length) cuts++;
      assert.is(start, i === 0 ? length - count : 0);
    }
  }
  assert.ok(cuts > 0, 'some had to be cut');
});

test('a pause is silence that belongs to no emotion', async () => {
  const joined = await drawn({ pauseSeconds: 0.3 });
  const pauses = joined.flatMap((made) => made.pauses);
  assert.ok(Math.max(...pauses) <= 0.3 * rate && new Set(pauses).size > joined.length / 2);
  for (const made of joined) {
    const offsets = offsetsOf(made);
    const emotional = made.parts.flatMap(({ utterance }, i) => (utterance.label === 'neutral' ? [] : [offsets[i]]));
    assert.equal(
      made.utterance.segments.map(({ start }) => start * rate),
      emotional,
    );
  }
});

test('segments that a part has are moved with it', async () => {
  const speaker = 'v';
  const own = [
    {
      utterance: {
        id: 'a',
        audio: '/a.wav',
        label: 'angry',
        speaker,
        segments: [
          { start: 0.25, end: 0.5, label: 'angry' },
          // Rounded a little past the end, as manifests may have it.
          { start: 0.75, end: 1.01, label: 'angry' },
        ],
      },
      samples: rate,
    },
    { utterance: { id: 'n', audio: '/n.wav', label: 'neutral', speaker, segments: [] }, samples: 2 * rate },
  ];
  const options = { ...optionsOf({ share: 1, patterns: ['neutral-emotional'] }), maxSamples: 1.75 * rate };
  const [{ utterance, parts }] = await drawJoined(own, new Set(), options);
  assert.equal(parts[0], { utterance: own[1].utterance, start: 1.25 * rate, count: 0.75 * rate });
  assert.equal(utterance.segments, [
    { start: 1, end: 1.25, label: 'angry' },
    { start: 1.5, end: 1.75, label: 'angry' },
  ]);
});

test('an id that the corpus has is not given twice', async () => {
  const [{ utterance }] = await drawn();
  const others = await drawJoined(candidates, new Set([utterance.id]), optionsOf());
  assert.not.ok(others.some((made) => made.utterance.id === utterance.id));
});

let dir;
let corpus;
test.before(() => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-concatenation-'));
  corpus = makeToyCorpus(join(dir, 'audio'));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

test('the sound is that of the parts, at the level of the first, with faded seams and silent pauses', async () => {
  const tone = (name, level, length) => {
    const audio = join(dir, `${name}.wav`);
    writeFileSync(audio, encodeWav(Int16Array.from({ length }, (_, i) => level * (i % 2 === 0 ? 1 : -1))));
    return { id: name, audio, label: name === 'loud' ? 'angry' : 'neutral', speaker: 'v' };
  };
  const [quiet, loud] = [tone('quiet', 2000, 9000), tone('loud', 8000, 8000)];
  const parts = [
    { utterance: quiet, start: 1000, count: 8000 },
    { utterance: loud, start: 0, count: 8000 },
  ];
  const utterance = { id: 'quiet + loud', audio: loud.audio, label: 'angry', speaker: 'v' };
  const made = { utterance, parts, pauses: [160], samples: 16160 };
  const pool = new AudioPool();
  try {
    const store = new AudioStore(pool, { bytes: 2 ** 20 });
    const source = { get: (one, signal) => store.get(one, signal), mfcc: (one) => pool.mfcc(one.audio) };
    const audio = new JoinedAudio(source, [made], { fadeSeconds: 0.005, matchLevels: true });
    const samples = await audio.get(utterance);
    assert.is(samples.length, 16160);
    const near = (index, value) => assert.ok(Math.abs(samples[index] - value) < 1e-6, `${index}: ${samples[index]}`);
    near(0, 2000 / 32768);
    near(7918, 2000 / 32768);
    near(7999, (-2000 / 32768) * (0.5 / 80));
    assert.ok(samples.subarray(8000, 8160).every((sample) => sample === 0));
    near(8160, (2000 / 32768) * (0.5 / 80));
    near(8240, 2000 / 32768);
    near(16159, -2000 / 32768);
    assert.equal(await audio.get(utterance), samples);
    assert.ok((await audio.mfcc(utterance)).frames > 90);
    assert.is(await audio.get(quiet), await source.get(quiet));
    const untouched = await new JoinedAudio(source, [made], { fadeSeconds: 0, matchLevels: false }).get(utterance);
    assert.ok(Math.abs(untouched[8160] - 8000 / 32768) < 1e-6 && Math.abs(untouched[7999] + 2000 / 32768) < 1e-6);
  } finally {
    await pool.close();
  }
});

/** What the function needs of a stage, over the toy corpus: session s1 trains but for two, s2 tests. */
function contextOf(align, labels = ['happy', 'neutral']) {
  const ids = (session) => corpus.utterances.filter((one) => one.session === session).map(({ id }) => id);
  const loaded = [];
  const notes = [];
  const [s1, test] = [ids('s1'), ids('s2')];
  const context = {
    fold: { name: 's2', train: s1.slice(2), validation: s1.slice(0, 2), test },
    seed: 3,
    config: parseConfig({ align }),
    utterances: new Map(corpus.utterances.map((one) => [one.id, one])),
    labels,
    neutral: 'neutral',
    sampleCounts: new Map(),
    audio: {
      get: async ({ id }) => {
        loaded.push(id);
        return new Float32Array(1.5 * rate);
      },
    },
    report: { progress: () => {}, note: async (message, name, numbers) => notes.push({ message, name, numbers }) },
  };
  return { context, loaded, notes };
}

test('off, the stage is given what it was given', async () => {
  const { context, loaded } = contextOf({});
  assert.is(await withConcatenations(context), context);
  assert.equal(loaded, []);
});

test('on, only training utterances are read and joined, and nothing else of the stage changes', async () => {
  const { context, loaded, notes } = contextOf({ maxSeconds: 4, concatenate: { share: 1 } });
  const counted = context.sampleCounts;
  const extended = await withConcatenations(context);
  const added = extended.fold.train.slice(context.fold.train.length);
  assert.is(added.length, 10);
  assert.equal(notes[0].numbers, { joined: 10, utterances: 10 });
  assert.equal(extended.fold.train.slice(0, 10), context.fold.train);
  assert.equal([extended.fold.validation, extended.fold.test], [context.fold.validation, context.fold.test]);
  for (const id of added) {
    assert.ok(
      id.split(' + ').every((part) => context.fold.train.includes(part)),
      id,
    );
    assert.is(extended.sampleCounts.get(id), (await extended.audio.get(extended.utterances.get(id))).length);
    assert.not.ok(context.utterances.has(id) || counted.has(id), 'other folds are unchanged');
  }
  assert.ok(loaded.every((id) => context.fold.train.includes(id)));
});

test('a neutral utterance with an emotion somewhere is no neutral part', async () => {
  const { context } = contextOf({ maxSeconds: 4, concatenate: { share: 1 } });
  const mixed = context.fold.train.find((id) => id.includes('neutral'));
  const segments = [{ start: 0.2, end: 0.4, label: 'happy' }];
  context.utterances = new Map(
    [...context.utterances].map(([id, one]) => [id, id === mixed ? { ...one, segments } : one]),
  );
  const { fold } = await withConcatenations(context);
  const joined = fold.train.slice(context.fold.train.length);
  assert.ok(joined.length > 0 && !joined.some((id) => id.split(' + ').includes(mixed)));
});

test('what cannot be joined is refused, with what to change', async () => {
  const join = (align, labels) => withConcatenations(contextOf(align, labels).context);
  const share = { concatenate: { share: 1 } };
  await refused(join({ ...share, maxSeconds: 1.6 }), 'ERR_CORPUS', /nothing of 'happy'.*maxSeconds \(1\.6\)/);
  await refused(join(share, ['happy', 'sad']), 'ERR_CONFIG', /no label 'neutral' among happy, sad/);
  const { context } = contextOf(share);
  context.utterances = new Map([...context.utterances].map(([id, { speaker: _, ...one }]) => [id, one]));
  await refused(withConcatenations(context), 'ERR_CORPUS', /has a speaker/);
  assert.throws(() => parseConfig({ align: { concatenate: { patterns: [] } } }), /concatenate\.patterns/);
});

const out = (name) => join(dir, name);
const concatenating = parseConfig({
  ...toyConfig,
  align: { ...toyConfig.align, epochs: 2, maxSeconds: 4, concatenate: { share: 1, pauseSeconds: 0.1 } },
});
async function run(name, more, call = {}) {
  const trainer = await Trainer.open({ corpus, out: out(name), config: concatenating, threads: 1, ...more });
  try {
    for (const stage of trainer.stages.filter((one) => one !== 'evaluate'))
      await trainer[stage]({ folds: ['s2'], ...call });
  } finally {
    await trainer.dispose();
  }
}

/** What the stage left, by file. */
function digests(name, stage) {
  const folder = join(out(name), 'folds', 's2', stage);
  return Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name !== 'done.json')
      .map((entry) => join(entry.parentPath, entry.name))
      .map((file) => [file.slice(folder.length), createHash('sha256').update(readFileSync(file)).digest('hex')]),
  );
}

test('a real run: the test session unheard, earlier stages as without it, the same bits after a stop', async () => {
  const hidden = corpus.utterances.filter(({ session }) => session === 's2');
  for (const { audio } of hidden) renameSync(audio, `${audio}.hidden`);
  try {
    await run('whole');
    const stop = new AbortController();
    const onProgress = ({ stage, done, message }) => {
      if (stage === 'align' && done === 2 && message === undefined) stop.abort();
    };
    const error = await refusal(run('stopped', {}, { onProgress, signal: stop.signal }));
    assert.is(error.code, 'ERR_ABORTED');
    assert.ok(existsSync(join(out('stopped'), 'folds', 's2', 'align', 'checkpoint')));
    await run('stopped', { resume: true });
    const plain = parseConfig({ ...toyConfig, align: { ...toyConfig.align, epochs: 2, maxSeconds: 4 } });
    await run('plain', { config: plain });
  } finally {
    for (const { audio } of hidden) renameSync(`${audio}.hidden`, audio);
  }
  for (const stage of ['align', 'timeline']) {
    const utterances = (name) =>
      JSON.parse(readFileSync(join(out(name), 'folds', 's2', stage, 'metrics.json'))).utterances;
    assert.is(utterances('whole'), 2 * utterances('plain'), stage);
    assert.equal(digests('stopped', stage), digests('whole', stage), stage);
    assert.not.equal(digests('whole', stage), digests('plain', stage), stage);
  }
  for (const stage of ['mfcc', 'tapt', 'finetune', 'cluster', 'pretrain'])
    assert.equal(digests('whole', stage), digests('plain', stage), stage);
  const rows = readFileSync(join(out('stopped'), 'log.jsonl'), 'utf8').split('\n');
  const logged = rows.filter((row) => row.includes('"concatenation":{"joined"')).map((row) => JSON.parse(row).stage);
  assert.equal(logged, ['align', 'timeline'], 'the log says it once a stage');
});

test.run();
