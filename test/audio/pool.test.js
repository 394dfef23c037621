import * as assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import { AudioStore, measureSeconds } from '../../dist/audio/store.js';
import { wavFile } from '../../dist/audio/wavFile.js';
import { AudioPool, loadAudio, mfcc } from '../../dist/index.js';

const fixtures = new URL('../fixtures/audio/', import.meta.url).pathname;
const voice = `${fixtures}voice.wav`;
const flac = `${fixtures}voice.flac`;
const stereo = `${fixtures}stereo48k.wav`;

const pooling = suite('audio: pool');

pooling('many loads over few threads give what loading here gives', async () => {
  await withPool(new AudioPool({ threads: 2 }), async (pool) => {
    const paths = Array.from({ length: 12 }, (_, i) => [voice, flac, stereo][i % 3]);
    const loaded = await Promise.all(paths.map((path) => pool.load(path)));
    for (const [i, path] of paths.entries()) assert.deepEqual(loaded[i], await loadAudio(path));
    const range = { startSeconds: 0.1, endSeconds: 0.2 };
    assert.deepEqual(await pool.load(voice, range), await loadAudio(voice, range));
  });
});

pooling('mfcc in a thread is mfcc here', async () => {
  await withPool(new AudioPool({ threads: 1 }), async (pool) => {
    const result = await pool.mfcc(voice, { endSeconds: 1 });
    const samples = await loadAudio(voice, { endSeconds: 1 });
    assert.deepEqual(result, { ...mfcc(samples), sampleCount: 16000 });
  });
});

pooling('errors keep their code, words and file on the way between threads', async () => {
  await withPool(new AudioPool({ threads: 1 }), async (pool) => {
    for (const path of [`${fixtures}missing.wav`, `${fixtures}voice.aiff`]) {
      const here = await loadAudio(path).catch((error) => error);
      const there = await pool.load(path).catch((error) => error);
      assert.equal(there.name, 'EmoframeError');
      assert.ok(there instanceof here.constructor);
      for (const field of ['code', 'message', 'file']) assert.equal(there[field], here[field]);
    }
    // And the thread goes on.
    assert.equal((await pool.load(voice)).length, 19200);
  });
});

pooling('an abort ends what waits and what runs, and only that', async () => {
  await withPool(new AudioPool({ threads: 1 }), async (pool) => {
    const controller = new AbortController();
    const running = pool.load(voice, {}, controller.signal);
    const waiting = pool.load(flac, {}, controller.signal);
    const other = pool.load(stereo);
    controller.abort();
    await assert.rejects(running, { code: 'ERR_ABORTED' });
    await assert.rejects(waiting, { code: 'ERR_ABORTED' });
    assert.equal((await other).length, 4000);
    await assert.rejects(pool.load(voice, {}, controller.signal), { code: 'ERR_ABORTED' });
  });
});

pooling('close fails what is under way and every later call', async () => {
  const pool = new AudioPool({ threads: 1 });
  const calls = [pool.load(voice), pool.load(voice)].map((call) => assert.rejects(call, { code: 'ERR_DISPOSED' }));
  await pool.close();
  await Promise.all(calls);
  await assert.rejects(pool.load(voice), { code: 'ERR_DISPOSED' });
  await pool.close();
});

pooling('a pool that is closed at any time leaves no file open', async () => {
  const open = () => readdirSync('/proc/self/fd').length;
  await withPool(new AudioPool({ threads: 1 }), (pool) => pool.load(voice));
  const before = open();
  for (const milliseconds of [0, 0, 10, 20, 40, 60, 80, 100, 120, 150, 200, 250]) {
    const pool = new AudioPool({ threads: 2 });
    const loads = [voice, flac, stereo].map((path) => pool.load(path).catch(({ code }) => code));
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    await pool.close();
    await Promise.all(loads);
  }
  assert.equal(open(), before);
});

pooling('a thread stops with what was aborted, and is there for others', async () => {
  const long = join(mkdtempSync(join(tmpdir(), 'emoframe-long-')), 'long.wav');
  writeFileSync(long, wavFile(new Int16Array(96_000 * 240), 96_000));
  try {
    await withPool(new AudioPool({ threads: 1 }), async (pool) => {
      await pool.load(voice);
      const start = performance.now();
      await pool.load(long);
      const whole = performance.now() - start;
      const controller = new AbortController();
      const load = pool.load(long, {}, controller.signal);
      setTimeout(() => controller.abort(), whole / 20);
      await assert.rejects(load, { code: 'ERR_ABORTED' });
      const aborted = performance.now();
      assert.equal((await pool.load(voice)).length, 19200);
      assert.ok(performance.now() - aborted < whole / 2, 'the next waited for what was aborted');
    });
  } finally {
    rmSync(join(long, '..'), { recursive: true });
  }
});

pooling('longer audio than asked for is refused, by its header or while it is decoded', async () => {
  const bytes = readFileSync(flac);
  // Without a length in the header.
  bytes.writeUInt32BE(0, 22);
  const folder = mkdtempSync(join(tmpdir(), 'emoframe-limit-'));
  const streamed = join(folder, 'streamed.flac');
  writeFileSync(streamed, bytes);
  const dir = join(folder, 'cache');
  try {
    for (const options of [{ threads: 1 }, { threads: 1, cache: { dir } }]) {
      await withPool(new AudioPool(options), async (pool) => {
        for (const path of [voice, flac, streamed, flac]) {
          const refusal = {
            code: 'ERR_AUDIO_LIMIT',
            message: /longer than the 1 seconds that are allowed .*maxSeconds/,
          };
          await assert.rejects(pool.load(path, {}, undefined, 1), refusal);
          await assert.rejects(loadAudio(path, {}, { maxSeconds: 1 }), refusal);
          assert.equal((await pool.load(path, {}, undefined, 1.2)).length, 19200);
          assert.equal((await pool.load(path, { startSeconds: 0.4 }, undefined, 0.8)).length, 12800);
        }
      });
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

pooling('loading here stops on request', async () => {
  await assert.rejects(loadAudio(voice, {}, { signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' });
  const controller = new AbortController();
  const load = loadAudio(voice, {}, { signal: controller.signal });
  controller.abort();
  await assert.rejects(load, { code: 'ERR_ABORTED' });
});

pooling('threads must be a positive integer', () => {
  for (const threads of [0, -1, 1.5]) {
    assert.throws(() => new AudioPool({ threads }), { code: 'ERR_ARGUMENT', message: /Expected positive integer/ });
  }
});

/** Runs a module's text in a process of its own. */
function runModule(source, env = {}) {
  const modules = new URL('../../dist/audio/', import.meta.url).href;
  const text = source.replaceAll('DIST/', modules);
  const options = { timeout: 20000, env: { ...process.env, ...env } };
  return promisify(execFile)(process.execPath, ['--input-type=module', '-e', text], options);
}

pooling('an idle pool does not keep the process alive', async () => {
  const { stdout } = await runModule(`
    import { AudioPool } from 'DIST/pool.js';
    const pool = new AudioPool({ threads: 2 });
    console.log(String((await pool.load(${JSON.stringify(voice)})).length));
  `);
  assert.equal(stdout, '19200\n');
});

pooling('a thread that dies is an error that names the file, and the next load gets a new thread', async () => {
  // NODE_OPTIONS reach the threads: this module makes them exit when they are asked for a file called crash.wav.
  const crash = `data:text/javascript,${encodeURIComponent(`
    import files from 'node:fs/promises';
    import { syncBuiltinESMExports } from 'node:module';
    import { isMainThread } from 'node:worker_threads';
    const { stat } = files;
    files.stat = (path, ...rest) => (!isMainThread && path === 'crash.wav' ? process.exit(3) : stat(path, ...rest));
    syncBuiltinESMExports();
  `)}`;
  const { stdout } = await runModule(
    `
    import { AudioPool } from 'DIST/pool.js';
    const pool = new AudioPool({ threads: 1 });
    const results = await Promise.allSettled([pool.load('crash.wav'), pool.load(${JSON.stringify(voice)})]);
    const { code, file, message } = results[0].reason;
    console.log(JSON.stringify({ code, file, message, length: results[1].value?.length }));
    await pool.close();
  `,
    { NODE_OPTIONS: `--import ${crash}` },
  );
  const { code, file, message, length } = JSON.parse(stdout);
  assert.equal(code, 'ERR_AUDIO_WORKER');
  assert.equal(file, 'crash.wav');
  assert.match(message, /exit code 3/);
  assert.equal(length, 19200);
});

const storing = suite('audio: store');
let folder;
storing.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'emoframe-store-'));
});
storing.after(() => rmSync(folder, { recursive: true, force: true }));

/** A pool that counts its loads. */
class CountingPool extends AudioPool {
  loads = [];
  load(path, ...rest) {
    this.loads.push(path);
    return super.load(path, ...rest);
  }
  measure(path, ...rest) {
    this.loads.push(path);
    return super.measure(path, ...rest);
  }
}

function copies(count) {
  return Array.from({ length: count }, (_, i) => {
    const audio = join(folder, `${i}.wav`);
    copyFileSync(voice, audio);
    return { id: String(i), audio };
  });
}

storing('calls for one utterance share one load, and later ones need none', async () => {
  await withPool(new CountingPool({ threads: 2 }), async (pool) => {
    const [a] = copies(1);
    const store = new AudioStore(pool, { bytes: 1e6 });
    const [first, second] = await Promise.all([store.get(a), store.get(a)]);
    assert.equal(first, second);
    assert.equal(await store.get(a), first);
    assert.equal(pool.loads.length, 1);
    // Another part of the same file is another entry.
    assert.equal((await store.get({ ...a, endSeconds: 0.5 })).length, 8000);
    assert.equal(store.bytes, (19200 + 8000) * 4);
  });
});

storing('the budget holds: the least recently used goes first, what does not fit is not kept', async () => {
  await withPool(new CountingPool({ threads: 1 }), async (pool) => {
    const [a, b, c] = copies(3);
    const store = new AudioStore(pool, { bytes: 2 * 19200 * 4 });
    await store.get(a);
    await store.get(b);
    await store.get(a);
    await store.get(c);
    assert.equal(store.bytes, 2 * 19200 * 4);
    pool.loads.length = 0;
    await store.get(a);
    await store.get(c);
    assert.deepEqual(pool.loads, []);
    await store.get(b);
    assert.deepEqual(pool.loads, [b.audio]);
    const small = new AudioStore(pool, { bytes: 0 });
    await small.get(a);
    await small.get(a);
    assert.equal(small.bytes, 0);
  });
});

storing('a failed load is tried again, and one abort does not spoil the load for others', async () => {
  await withPool(new AudioPool({ threads: 1 }), async (pool) => {
    const late = { audio: join(folder, 'late.wav') };
    const store = new AudioStore(pool, { bytes: 1e6 });
    await assert.rejects(store.get(late), { code: 'ERR_FILE_NOT_FOUND' });
    await assert.rejects(measureSeconds(late, pool), { code: 'ERR_FILE_NOT_FOUND' });
    copyFileSync(voice, late.audio);
    const controller = new AbortController();
    const aborted = store.get(late, controller.signal);
    const other = store.get(late);
    controller.abort();
    await assert.rejects(aborted, { code: 'ERR_ABORTED' });
    assert.equal((await other).length, 19200);
    assert.equal(await measureSeconds(late, pool), 1.2);
  });
});

storing('seconds come from the header, of a range too, without a load', async () => {
  await withPool(new CountingPool({ threads: 1 }), async (pool) => {
    assert.equal(await measureSeconds({ audio: voice }, pool), 1.2);
    assert.equal(await measureSeconds({ audio: flac, startSeconds: 0.5 }, pool), 0.7);
    assert.equal(await measureSeconds({ audio: stereo, endSeconds: 0.3 }, pool), 0.25);
    await assert.rejects(measureSeconds({ audio: voice, startSeconds: 5 }, pool), { code: 'ERR_AUDIO_RANGE' });
    assert.deepEqual(pool.loads, []);
    // Only where the header does not say, the file is decoded.
    const bytes = readFileSync(flac);
    bytes.writeUInt32BE(0, 22);
    const streamed = join(folder, 'streamed.flac');
    writeFileSync(streamed, bytes);
    assert.equal(await measureSeconds({ audio: streamed }, pool), 1.2);
    assert.deepEqual(pool.loads, [streamed]);
  });
});

async function withPool(pool, work) {
  try {
    await work(pool);
  } finally {
    await pool.close();
  }
}

pooling.run();
storing.run();
