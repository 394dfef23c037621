// Decoded audio kept between runs: a hit gives the bits of decoding, and nothing else than the same content, part and version
// is a hit. What is damaged is reported and made again; the folder stays within its bound and belongs to the cache alone.
import { execFile } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { AudioPool, describeAudioCache, loadAudio, trimAudioCache } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { refused } from '../support/refused.js';
import { sameSamples } from '../support/samples.js';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('audio: cache');
const fixture = (name) => join(fixtures, 'audio', name);
const root = new URL('../..', import.meta.url).pathname;
let dir;
test.before(() => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-cache-'));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

/** Runs `work` with a pool over a cache; gives its warnings. */
async function withCache(name, work, bytes) {
  const warnings = [];
  const cache = { dir: join(dir, name), ...(bytes !== undefined && { bytes }) };
  const pool = new AudioPool({ threads: 1, cache, onWarning: (message) => warnings.push(message) });
  try {
    await work(pool, cache.dir);
  } finally {
    await pool.close();
  }
  return warnings;
}

const entriesOf = (cache) =>
  readdirSync(join(cache, 'samples'), { recursive: true })
    .map((name) => join(cache, 'samples', name))
    .filter((path) => statSync(path).isFile());

/** Changes an entry so that it is whole and holds something else: who reads it gives itself away. */
function mark(path) {
  const bytes = readFileSync(path);
  bytes.writeFloatLE(0.4242, bytes.length - 4);
  bytes.writeUInt32LE(crc32(bytes.subarray(56)), 12);
  writeFileSync(path, bytes);
}
const isMarked = (samples) => Math.abs(samples.at(-1) - 0.4242) < 1e-6;

function copy(name, as) {
  const path = join(dir, as);
  copyFileSync(fixture(name), path);
  return path;
}

test('a hit has the bits of decoding, whole, a part, a channel', async () => {
  const warnings = await withCache('bits', async (pool, cache) => {
    const wanted = [
      ['voice.flac', {}],
      ['voice.flac', { startSeconds: 0.3, endSeconds: 0.8 }],
      ['stereo48k.flac', {}],
      ['stereo48k.flac', { channel: 2 }],
      ['stereo48k.wav', { startSeconds: 0.1 }],
    ];
    for (let round = 0; round < 2; round++) {
      for (const [name, range] of wanted) {
        sameSamples(await pool.load(fixture(name), range), await loadAudio(fixture(name), range), `${name} ${round}`);
      }
      assert.is(entriesOf(cache).length, wanted.length);
    }
    assert.is(await pool.measure(fixture('voice.flac')), 19200);
    assert.is((await pool.mfcc(fixture('voice.flac'))).sampleCount, 19200);
    assert.is(entriesOf(cache).length, wanted.length);
    for (const path of entriesOf(cache)) mark(path);
    for (const [name, range] of wanted) assert.ok(isMarked(await pool.load(fixture(name), range)), 'was decoded again');
  });
  assert.equal(warnings, []);
});

test('content decides, not the name or the times: a copy is a hit, a changed file is none', async () => {
  await withCache('content', async (pool, cache) => {
    const path = copy('voice.flac', 'one.flac');
    await pool.load(path);
    assert.is(entriesOf(cache).length, 1);
    mark(entriesOf(cache)[0]);
    assert.ok(isMarked(await pool.load(copy('voice.flac', 'two.flac'))));
    // The name, the size and the time of change stay, the bytes do not.
    const { atime, mtime, size } = statSync(path);
    const whole = readFileSync(path);
    const other = Buffer.concat([readFileSync(fixture('stereo48k.flac')), Buffer.alloc(size)]).subarray(0, size);
    writeFileSync(path, other);
    utimesSync(path, atime, mtime);
    sameSamples(await pool.load(path), await loadAudio(fixture('stereo48k.flac')));
    writeFileSync(path, whole);
    utimesSync(path, atime, mtime);
    assert.ok(isMarked(await pool.load(path)));
  });
});

test('what is remembered of a file that lies still is used, and no more than that', async () => {
  await withCache('still', async (pool, cache) => {
    // One that was written just now may change again unseen.
    await pool.load(copy('voice.flac', 'fresh.flac'));
    assert.throws(() => readdirSync(join(cache, 'files')), /ENOENT/);
    const path = fixture('voice.flac');
    await pool.load(path);
    const names = readdirSync(join(cache, 'files'), { recursive: true });
    const file = join(
      cache,
      'files',
      names.find((name) => name.length > 60),
    );
    // It is believed: with another content's hash, another entry is looked for, and made.
    const [identity] = readFileSync(file, 'latin1').split('\n');
    writeFileSync(file, `${identity}\n${'0'.repeat(64)}\n`);
    await pool.load(path);
    assert.is(entriesOf(cache).length, 2);
    writeFileSync(file, 'nonsense');
    sameSamples(await pool.load(path), await loadAudio(path));
    assert.is(entriesOf(cache).length, 2);
  });
});

test('a WAV file of 16 kHz is read as it is', async () => {
  await withCache('plain', async (pool, cache) => {
    sameSamples(await pool.load(fixture('voice.wav')), await loadAudio(fixture('voice.wav')));
    assert.equal(readdirSync(cache), ['CACHEDIR.TAG']);
  });
});

test('a damaged entry is reported and made again', async () => {
  const path = fixture('voice.flac');
  const expected = await loadAudio(path);
  const damages = {
    flipped: (entry) => writeFileSync(entry, flipped(readFileSync(entry), 5000)),
    'flipped in its header': (entry) => writeFileSync(entry, flipped(readFileSync(entry), 17)),
    short: (entry) => truncateSync(entry, 30_001),
    'short by whole samples': (entry) => truncateSync(entry, 40_056),
    empty: (entry) => truncateSync(entry, 0),
    'of another key': (entry) => writeFileSync(entry, flipped(readFileSync(entry), 30)),
    'of zeros': (entry) => writeFileSync(entry, Buffer.alloc(statSync(entry).size)),
  };
  const warnings = await withCache('damaged', async (pool, cache) => {
    await pool.load(path);
    for (const [name, damage] of Object.entries(damages)) {
      damage(entriesOf(cache)[0]);
      sameSamples(await pool.load(path), expected, name);
      sameSamples(await pool.load(path), expected, name);
      assert.is(entriesOf(cache).length, 1);
    }
  });
  assert.is(warnings.length, Object.keys(damages).length);
  for (const message of warnings) assert.match(message, /cached audio of .*voice\.flac is damaged.*decoded again/);
});

function flipped(bytes, at) {
  bytes[at] ^= 0x10;
  return bytes;
}

test('another version does not use what this one wrote', async () => {
  const elsewhere = join(dir, 'elsewhere');
  mkdirSync(elsewhere);
  cpSync(join(root, 'dist'), join(elsewhere, 'dist'), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(elsewhere, 'node_modules'));
  const description = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  writeFileSync(join(elsewhere, 'package.json'), JSON.stringify({ ...description, version: '99.0.0' }));
  await withCache('versions', async (pool, cache) => {
    await pool.load(fixture('voice.flac'));
    const script = `
      import { AudioPool } from ${JSON.stringify(join(elsewhere, 'dist', 'audio', 'pool.js'))};
      const pool = new AudioPool({ threads: 1, cache: { dir: ${JSON.stringify(cache)} } });
      console.log((await pool.load(${JSON.stringify(fixture('voice.flac'))})).at(-1));
      await pool.close();`;
    mark(entriesOf(cache)[0]);
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    assert.not.ok(isMarked([Number(stdout)]));
    assert.is(entriesOf(cache).length, 2);
  });
});

test('the bound holds; what was not used for longest goes first', async () => {
  const bytes = 3 * (56 + 4 * 1600);
  await withCache(
    'bounded',
    async (pool, cache) => {
      const load = (i) => pool.load(fixture('voice.flac'), { startSeconds: i / 10, endSeconds: (i + 1) / 10 });
      for (let i = 0; i < 8; i++) {
        await load(i);
        assert.ok((await describeAudioCache(cache)).bytes <= bytes);
        for (const path of entriesOf(cache)) utimesSync(path, new Date(), new Date(Date.now() - 1e7 + 1000 * i));
        // Used again and again.
        if (i > 0) await load(0);
      }
      const left = entriesOf(cache).length;
      assert.ok(left >= 1 && left <= 3, `${left}`);
      for (const path of entriesOf(cache)) mark(path);
      assert.ok(isMarked(await load(0)));
    },
    bytes,
  );
});

test('an audio larger than the bound is not kept', async () => {
  await withCache(
    'tiny',
    async (pool, cache) => {
      assert.is((await pool.load(fixture('voice.flac'))).length, 19200);
      assert.is((await describeAudioCache(cache)).entries, 0);
    },
    1000,
  );
});

test('processes that fill one cache at once give the same bits and leave whole entries', async () => {
  const cache = join(dir, 'shared');
  const script = `
    import { createHash } from 'node:crypto';
    import { AudioPool } from ${JSON.stringify(join(root, 'dist', 'audio', 'pool.js'))};
    const pool = new AudioPool({ threads: 2, cache: { dir: ${JSON.stringify(cache)} }, onWarning: console.log });
    const hash = createHash('sha256');
    const starts = Array.from({ length: 12 }, (_, i) => i / 20);
    const load = (startSeconds) => pool.load(${JSON.stringify(fixture('voice.flac'))}, { startSeconds });
    for (const samples of await Promise.all(starts.map(load))) hash.update(samples);
    console.log(hash.digest('hex'));
    await pool.close();`;
  const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  const outputs = (await Promise.all([run(), run()])).map(({ stdout }) => stdout);
  outputs.push((await run()).stdout);
  assert.match(outputs[0], /^[0-9a-f]{64}\n$/);
  assert.is(new Set(outputs).size, 1);
  const names = entriesOf(cache);
  assert.is(names.length, 12);
  assert.ok(names.every((path) => /\/[0-9a-f]{64}$/.test(path)));
});

test('a cache that cannot be written to is reported once, and work goes on', async () => {
  const path = fixture('voice.flac');
  mkdirSync(join(dir, 'unwritable'));
  copyFileSync(join(dir, 'plain', 'CACHEDIR.TAG'), join(dir, 'unwritable', 'CACHEDIR.TAG'));
  writeFileSync(join(dir, 'unwritable', 'samples'), 'a file where a folder should be');
  const warnings = await withCache('unwritable', async (pool) => {
    for (const startSeconds of [0, 0.1, 0.2]) {
      sameSamples(await pool.load(path, { startSeconds }), await loadAudio(path, { startSeconds }));
    }
  });
  assert.is(warnings.filter((message) => message.includes('cannot be written to')).length, 1, warnings.join('\n'));
});

test('a folder that holds something else is left alone', async () => {
  const foreign = join(dir, 'thesis');
  mkdirSync(foreign);
  writeFileSync(join(foreign, 'thesis.tex'), '');
  await withCache('thesis', (pool) => refused(pool.load(fixture('voice.flac')), 'ERR_AUDIO_CACHE', /something else/));
  await refused(trimAudioCache(foreign, 0), 'ERR_AUDIO_CACHE', /thesis is not an audio cache of emoframe/);
  await refused(describeAudioCache(join(dir, 'nowhere')), 'ERR_AUDIO_CACHE', /is not an audio cache/);
  assert.equal(readdirSync(foreign), ['thesis.tex']);
  const pool = () => new AudioPool({ cache: { dir: '', bytes: -1 } });
  assert.throws(pool, (error) => error.code === 'ERR_ARGUMENT' && /dir.*bytes/.test(error.message));
});

test('predict fills it and gives the same answer from it; emoframe cache counts and clears it', async () => {
  const predictor = await writeTinyPredictor(join(dir, 'predictor'));
  const cache = join(dir, 'program');
  const words = ['predict', fixture('stereo48k.flac'), '--model', predictor, '--json'];
  const env = { EMOFRAME_AUDIO_CACHE: cache };
  const first = await emoframe([...words, '--audio-cache', cache]);
  assert.is(first.code, 0, first.stderr);
  const [plain, again] = await Promise.all([emoframe(words), emoframe(words, { env })]);
  assert.equal(first.stdout, plain.stdout);
  assert.equal(again.stdout, plain.stdout);
  const counted = await emoframe(['cache', cache, '--json']);
  assert.equal(JSON.parse(counted.stdout), { dir: cache, entries: 1, bytes: 56 + 4 * 4000 });
  assert.match((await emoframe(['cache', '--limit-gib', '1'], { env })).stdout, '1 entries, 0.00 GiB');
  assert.match((await emoframe(['cache', cache, '--clear'])).stdout, '0 entries');
  assert.is((await emoframe(['cache'], { env: { EMOFRAME_AUDIO_CACHE: '' } })).code, 2);
});

test.run();
