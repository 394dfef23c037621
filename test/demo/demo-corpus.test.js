import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { makeDemoCorpus } from '../../dist/demo/corpus.js';
import { loadAudio } from '../../dist/index.js';

const test = suite('demo corpus');
const RATE = 16000;
let root;
let made;
let rows;
const audio = new Map();

test.before(async () => {
  root = await mkdtemp(join(tmpdir(), 'emoframe-demo-'));
  // The smallest there is: one round of the four emotions a voice.
  made = await makeDemoCorpus(join(root, 'a'), { seed: 7, minutes: 0.1 });
  rows = (await readFile(made.manifest, 'utf8')).trimEnd().split('\n').map(JSON.parse);
  for (const row of rows) audio.set(row.id, await loadAudio(join(root, 'a', row.audio)));
});
test.after(() => rm(root, { recursive: true, force: true }));

function level(samples, startSeconds, endSeconds) {
  const part = samples.subarray(Math.round(startSeconds * RATE), Math.round(endSeconds * RATE));
  return 10 * Math.log10(part.reduce((sum, value) => sum + value * value, 0) / part.length + 1e-12);
}
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const labelled = (label) => rows.filter((row) => row.label === label);

/** Fundamental frequency by autocorrelation: the median over voiced 50 ms windows. */
function pitch(samples) {
  const window = 800;
  const found = [];
  for (let start = 0; start + 2 * window < samples.length; start += 400) {
    let best = 0.6;
    let bestLag = 0;
    for (let lag = 40; lag < 230; lag++) {
      let cross = 0;
      let a = 1e-9;
      let b = 1e-9;
      for (let i = start; i < start + window; i += 2) {
        cross += samples[i] * samples[i + lag];
        a += samples[i] ** 2;
        b += samples[i + lag] ** 2;
      }
      const value = cross / Math.sqrt(a * b);
      if (value > best + 0.02) [best, bestLag] = [value, lag];
    }
    if (bestLag > 0) found.push(RATE / bestLag);
  }
  found.sort((x, y) => x - y);
  return found[found.length >> 1];
}

/** The emotional segment, and the neutral rest as one. */
function parts(row) {
  const samples = audio.get(row.id);
  const [{ start, end }] = row.segments;
  const [first, last] = [Math.round(start * RATE), Math.round(end * RATE)];
  const rest = new Float32Array(samples.length - (last - first));
  rest.set(samples.subarray(0, first));
  rest.set(samples.subarray(last), first);
  return { emotional: samples.subarray(first, last), rest };
}

test('five sessions of two voices, each voice with every emotion equally often', () => {
  const counts = new Map();
  for (const row of rows) {
    const key = `${row.session} ${row.speaker} ${row.label}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  assert.is(new Set(rows.map((row) => row.session)).size, 5);
  assert.is(new Set(rows.map((row) => row.speaker)).size, 10);
  assert.equal([...new Set(rows.map((row) => row.label))].sort(), ['angry', 'happy', 'neutral', 'sad']);
  assert.is(counts.size, 40, 'every voice in one session only, with all four emotions');
  assert.is(new Set(counts.values()).size, 1, 'equally often');
  assert.is(made.utterances, rows.length);
});

test('words say nothing about the label: the emotions of a voice share their phrases', () => {
  const phrases = (row) => row.text.split(', ').sort().join('|');
  for (const speaker of new Set(rows.map((row) => row.speaker))) {
    const own = rows.filter((row) => row.speaker === speaker);
    const sets = ['angry', 'happy', 'neutral', 'sad'].map((label) =>
      own
        .filter((row) => row.label === label)
        .map(phrases)
        .sort(),
    );
    for (const set of sets) assert.equal(set, sets[0], speaker);
  }
});

test('utterances are 2 to 8 s at 16 kHz, and last as long as the summary says', async () => {
  let seconds = 0;
  for (const row of rows) {
    const length = audio.get(row.id).length / RATE;
    assert.ok(length >= 2 && length <= 8, `${row.id}: ${length} s`);
    seconds += length;
    const header = (await readFile(join(root, 'a', row.audio))).subarray(0, 44);
    assert.is(header.readUInt32LE(24), RATE);
    assert.is(header.readUInt16LE(34), 16);
  }
  assert.ok(Math.abs(seconds - made.seconds) < 1e-6);
});

test('an emotional segment starts and ends where a phrase does, and is part of its utterance', () => {
  for (const row of rows) {
    if (row.label === 'neutral') {
      assert.equal(row.segments, []);
      continue;
    }
    assert.is(row.segments.length, 1);
    const [{ start, end, label }] = row.segments;
    const samples = audio.get(row.id);
    const length = samples.length / RATE;
    assert.is(label, row.label);
    assert.ok(start > 0 && end < length);
    const share = (end - start) / length;
    assert.ok(share > 0.15 && share < 0.8, `${row.id}: emotion in ${share} of it`);
    // A pause of at least 40 ms lies before and after; speech begins at once inside.
    const before = level(samples, start - 0.04, start - 0.002);
    const after = level(samples, end + 0.002, end + 0.04);
    const inside = level(samples, start, end);
    assert.ok(inside - before > 10, `${row.id}: ${inside} dB inside, ${before} dB before`);
    assert.ok(inside - after > 10, `${row.id}: ${inside} dB inside, ${after} dB after`);
    const onset = level(samples, start, start + 0.06);
    const offset = level(samples, end - 0.12, end);
    assert.ok(onset - before > 3, `${row.id}: onset ${onset} dB, before it ${before} dB`);
    assert.ok(offset - after > 1, `${row.id}: offset ${offset} dB, after it ${after} dB`);
  }
});

test('prosody inside the segment differs from the rest as the emotion says, and only moderately', () => {
  const louder = (row) => {
    const { emotional, rest } = parts(row);
    return level(emotional, 0, emotional.length / RATE) - level(rest, 0, rest.length / RATE);
  };
  const higher = (row) => {
    const { emotional, rest } = parts(row);
    return 12 * Math.log2(pitch(emotional) / pitch(rest));
  };
  const loudness = Object.fromEntries(
    ['angry', 'happy', 'sad'].map((label) => [label, mean(labelled(label).map(louder))]),
  );
  const semitones = Object.fromEntries(
    ['angry', 'happy', 'sad'].map((label) => [label, mean(labelled(label).map(higher))]),
  );
  assert.ok(loudness.angry > loudness.happy && loudness.happy > loudness.sad, JSON.stringify(loudness));
  assert.ok(loudness.angry < 9 && loudness.sad > -9, JSON.stringify(loudness));
  assert.ok(semitones.angry > 0.8 && semitones.happy > 0.8 && semitones.sad < -0.8, JSON.stringify(semitones));
  assert.ok(semitones.happy < 7 && semitones.sad > -7, JSON.stringify(semitones));
});

test('neither overall level nor voice pitch gives the label away', () => {
  const spread = labelled('neutral').map((row) => level(audio.get(row.id), 0, audio.get(row.id).length / RATE));
  assert.ok(Math.max(...spread) - Math.min(...spread) > 4, 'recording gain differs between utterances');
  const voices = [...new Set(rows.map((row) => row.speaker))];
  const pitches = voices.map((speaker) =>
    pitch(audio.get(rows.find((row) => row.speaker === speaker && row.label === 'neutral').id)),
  );
  assert.ok(Math.max(...pitches) / Math.min(...pitches) > 1.5, `voices lie apart: ${pitches.map(Math.round)}`);
});

async function digest(name) {
  const hash = createHash('sha256');
  hash.update(await readFile(join(root, name, 'manifest.jsonl')));
  for (const file of (await readdir(join(root, name, 'audio'))).sort()) {
    hash.update(file).update(await readFile(join(root, name, 'audio', file)));
  }
  return hash.digest('hex');
}

test('a finished corpus is kept as it is', async () => {
  const file = join(root, 'a', rows[0].audio);
  const { mtimeMs } = await stat(file);
  assert.equal(await makeDemoCorpus(join(root, 'a'), { seed: 7, minutes: 0.1 }), made);
  assert.is((await stat(file)).mtimeMs, mtimeMs);
});

test('one with a file missing is made again, to the same bytes with any number of threads; another seed gives others', async () => {
  const before = await digest('a');
  await rm(join(root, 'a', rows[0].audio));
  await makeDemoCorpus(join(root, 'a'), { seed: 7, minutes: 0.1, threads: 1 });
  assert.is(await digest('a'), before);
  const files = await readdir(join(root, 'a', 'audio'));
  await makeDemoCorpus(join(root, 'a'), { seed: 8, minutes: 0.1 });
  assert.is.not(await digest('a'), before);
  assert.is((await readdir(join(root, 'a', 'audio'))).length, files.length, 'nothing is left of the corpus replaced');
});

test('progress counts up to the whole, and an abort stops it', async () => {
  const controller = new AbortController();
  const seen = [];
  const onProgress = (done, total) => {
    seen.push(done);
    assert.is(total, 60);
    if (seen.length === 2) controller.abort();
  };
  try {
    await makeDemoCorpus(join(root, 'c'), { seed: 1, minutes: 1, onProgress, signal: controller.signal });
    assert.unreachable();
  } catch (error) {
    assert.is(error.code, 'ERR_ABORTED');
  }
  assert.ok(seen[1] > seen[0] && seen[0] > 0);
  const stamp = JSON.parse(await readFile(join(root, 'c', 'demo.json'), 'utf8'));
  assert.is(stamp.utterances, undefined, 'not marked as finished');
});

test("a folder with somebody else's files is refused by name, and they stay", async () => {
  const folder = join(root, 'theirs');
  for (const name of ['manifest.jsonl', 'demo.json', 'audio']) {
    await mkdir(folder);
    await writeFile(join(folder, name), 'mine');
    const error = await makeDemoCorpus(folder, { seed: 1, minutes: 0.1 }).catch((refusal) => refusal);
    assert.is(error.code, 'ERR_RUN_EXISTS');
    assert.match(error.message, new RegExp(`contains ${name}`));
    assert.is(await readFile(join(folder, name), 'utf8'), 'mine');
    await rm(folder, { recursive: true });
  }
});

test('options are checked, and a missing synthesiser is refused with its remedy', async () => {
  for (const bad of [
    { seed: -1 },
    { seed: 1.5 },
    { seed: 1, minutes: 0 },
    { seed: 1, minutes: NaN },
    { seed: 1, threads: 0 },
  ]) {
    try {
      await makeDemoCorpus(join(root, 'd'), bad);
      assert.unreachable();
    } catch (error) {
      assert.is(error.code, 'ERR_ARGUMENT', JSON.stringify(bad));
    }
  }
  const hook = `export async function resolve(name, context, next) {
    if (name.startsWith('@echogarden/')) throw new Error('not installed');
    return next(name, context);
  }`;
  const script = `import { register } from 'node:module';
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hook)}));
    const { Synthesizer } = await import(${JSON.stringify(new URL('../../dist/demo/synthesizer.js', import.meta.url).href)});
    await Synthesizer.create('en-us').catch((error) => console.log(error.code, error.message));`;
  const path = join(root, 'absent.mjs');
  await writeFile(path, script);
  const { stdout } = await promisify(execFile)(process.execPath, [path]);
  assert.match(stdout, /^ERR_DEMO .*npm install/);
});

test.run();
