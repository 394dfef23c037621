// Many calls of one model at once: they take turns, and each ends as soon as it is not wanted any more, wherever it waits.
import { getEventListeners } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { wavFile } from '../../dist/audio/wavFile.js';
import { EmotionModel, Encoder } from '../../dist/index.js';
import { Turns } from '../../dist/predict/turns.js';
import { writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('many calls');
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-many-'));
const sound = (seconds) => new Float32Array(16_000 * seconds).map((_, i) => 0.1 * Math.sin(i / 9 + Math.sin(i / 4001)));
const [short, long] = [sound(8), sound(70)];
const file = join(scratch, 'voice.wav');
const warnings = [];
const keepWarning = (warning) => warnings.push(warning);

test.before(async () => {
  process.on('warning', keepWarning);
  await writeTinyPredictor(join(scratch, 'model'));
  writeFileSync(
    file,
    wavFile(
      new Int16Array(32_000).map((_, i) => 3000 * Math.sin(i / 9)),
      16_000,
    ),
  );
});
test.after(() => {
  process.off('warning', keepWarning);
  rmSync(scratch, { recursive: true, force: true });
});

const load = (options) => EmotionModel.load(join(scratch, 'model'), { threads: 1, ...options });
const rounds = async (count) => {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
};

/** A stream that sends a little and then nothing; `left`: whether it was given up. */
function stalled() {
  const stream = {
    left: false,
    [Symbol.asyncIterator]: () => ({
      sent: false,
      next() {
        const value = this.sent ? undefined : new Float32Array(1600);
        this.sent = true;
        return value === undefined ? new Promise(() => undefined) : Promise.resolve({ value, done: false });
      },
      async return() {
        stream.left = true;
        return { value: undefined, done: true };
      },
    }),
  };
  return stream;
}

async function drained(iteration) {
  for await (const _ of iteration);
}

/** Calls of every kind, far more than are computed at a time. */
function callsOf(model, encoder, signal) {
  const options = { signal };
  const streams = Array.from({ length: 4 }, stalled);
  const node = new PassThrough();
  node.write(wavFile(new Int16Array(1600), 16_000).subarray(0, 100));
  const calls = [
    ...Array.from({ length: 15 }, () => model.predict(short, options)),
    ...Array.from({ length: 5 }, () => model.predict(file, options)),
    ...Array.from({ length: 5 }, () => encoder.encode(short, options)),
    model.predict(long, options),
    encoder.encode(long, options),
    drained(model.predictMany(Array(20).fill(short), options)),
    drained(model.predictMany(Array(20).fill(file), { ...options, onError: 'yield' })),
    drained(model.stream(long, options)),
    drained(model.stream(file, { ...options, normalizeBy: 'whole' })),
    model.predict(streams[0], options),
    drained(model.stream(streams[1], options)),
    drained(model.predictMany([short, streams[2]], options)),
    encoder.encode(streams[3], options),
    model.predict(node, options),
  ];
  const codes = Array(calls.length);
  for (const [i, call] of calls.entries()) {
    call.then(
      () => {
        codes[i] = 'done';
      },
      ({ code }) => {
        codes[i] = code;
      },
    );
  }
  return { codes, streams, node, first: calls[0] };
}

function checkEnded({ codes, streams, node }, code) {
  const wrong = [...codes].flatMap((found, i) => (found === code || found === 'done' ? [] : [`${i}: ${found}`]));
  assert.equal(wrong, []);
  assert.ok(codes.filter((found) => found === code).length >= codes.length - 10, codes.join(' '));
  assert.ok(node.destroyed);
  for (const { left } of streams) assert.ok(left);
}

test('an abort ends every call at once, and the model goes on', async () => {
  const [model, encoder] = [await load(), await Encoder.load(join(scratch, 'model'), { threads: 1 })];
  try {
    const controller = new AbortController();
    const calls = callsOf(model, encoder, controller.signal);
    const other = model.predict(short);
    await calls.first;
    assert.ok(getEventListeners(controller.signal, 'abort').length <= 1);
    controller.abort();
    // Nothing is computed in that time: the event loop only goes round.
    await rounds(3);
    checkEnded(calls, 'ERR_ABORTED');
    assert.is(getEventListeners(controller.signal, 'abort').length, 0);
    assert.type((await other).label, 'string');
    assert.type((await model.predict(short)).label, 'string');
    assert.ok((await encoder.encode(short)).frames > 0);
  } finally {
    await model.dispose();
    await encoder.dispose();
  }
});

test('a disposal ends every call at once', async () => {
  const [model, encoder] = [await load(), await Encoder.load(join(scratch, 'model'), { threads: 1 })];
  const { signal } = new AbortController();
  const calls = callsOf(model, encoder, signal);
  await calls.first;
  const disposals = [model.dispose(), encoder.dispose()];
  await rounds(3);
  checkEnded(calls, 'ERR_DISPOSED');
  assert.is(getEventListeners(signal, 'abort').length, 0);
  await Promise.all(disposals);
  for (const call of [() => model.predict(short), () => drained(model.stream(short)), () => encoder.encode(short)]) {
    assert.is(await call().catch(({ code }) => code), 'ERR_DISPOSED');
  }
});

test('a signal has no listener left after calls that ended by themselves, and Node warns of none', async () => {
  const model = await load({ clusters: false });
  try {
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 20 }, () => model.predict(short, { signal })));
    await drained(model.predictMany(Array(20).fill(file), { signal }));
    for await (const _ of model.predictMany(Array(20).fill(file), { signal })) break;
    for await (const _ of model.stream(long, { signal })) break;
    await model.predict(stalled(), { signal, idleSeconds: 0.01 }).catch(() => undefined);
    assert.is(getEventListeners(signal, 'abort').length, 0);
    await rounds(2);
    assert.equal(
      warnings.filter(({ name }) => name === 'MaxListenersExceededWarning'),
      [],
    );
  } finally {
    await model.dispose();
  }
});

test('the first of many results comes early, with clusters too', async () => {
  const model = await load();
  try {
    await model.predict(short);
    const start = performance.now();
    const times = await Promise.all(
      Array.from({ length: 40 }, () => model.predict(short).then(() => performance.now() - start)),
    );
    assert.ok(Math.min(...times) < Math.max(...times) / 2, times.map(Math.round).join(' '));
    // Whoever asked first is answered first.
    assert.equal(
      [...times].sort((a, b) => a - b),
      times,
    );
  } finally {
    await model.dispose();
  }
});

test('an abort from within the last progress report is heard, of long audio and of a batch', async () => {
  const model = await load({ clusters: false });
  try {
    for (const input of [long, short, file]) {
      const controller = new AbortController();
      const abort = ({ doneSeconds, totalSeconds }) => doneSeconds === totalSeconds && controller.abort();
      const call = model.predict(input, { signal: controller.signal, onProgress: abort });
      assert.is(
        await call.then(
          () => 'done',
          ({ code }) => code,
        ),
        'ERR_ABORTED',
      );
    }
  } finally {
    await model.dispose();
  }
});

test('a stream that gives nothing is given up, and one that is too long is not held', async () => {
  const model = await load({ clusters: false });
  const codeOf = (call) =>
    call.then(
      () => 'done',
      ({ code, message }) => `${code} ${message}`,
    );
  try {
    for (const call of [(...args) => model.predict(...args), (...args) => drained(model.stream(...args))]) {
      const stream = stalled();
      assert.match(
        await codeOf(call(stream, { idleSeconds: 0.05, id: 'call' })),
        /^ERR_AUDIO Nothing has come of call for 0.05 s/,
      );
      assert.ok(stream.left);
      let sent = 0;
      const endless = (async function* () {
        for (;;) {
          sent++;
          yield new Float32Array(16_000);
        }
      })();
      assert.match(
        await codeOf(call(endless, { maxSeconds: 12 })),
        /^ERR_AUDIO_LIMIT audio is longer than the 12 seconds/,
      );
      assert.ok(sent < 20, `${sent} seconds were taken`);
      assert.match(await codeOf(call(long, { maxSeconds: 60 })), /^ERR_AUDIO_LIMIT/);
      assert.match(await codeOf(call(file, { maxSeconds: 1 })), /^ERR_AUDIO_LIMIT/);
      assert.is(await codeOf(call(file, { maxSeconds: 2 })), 'done');
    }
  } finally {
    await model.dispose();
  }
});

test('turns are taken in order, two at a time, and none is lost with work that fails or is given up', async () => {
  const turns = new Turns();
  const log = [];
  const ends = [];
  const take = (name, signal) =>
    turns
      .take(() => {
        log.push(name);
        return new Promise((resolve, reject) => ends.push({ resolve: () => resolve(name), reject }));
      }, signal)
      .catch((error) => error.code ?? error.message);
  const controller = new AbortController();
  const [a, b, c, d, e] = ['a', 'b', 'c', 'd', 'e'].map((name) =>
    take(name, 'bc'.includes(name) ? controller.signal : undefined),
  );
  await rounds(1);
  assert.equal(log, ['a', 'b']);
  controller.abort();
  assert.is(await b, 'ERR_ABORTED', 'the engine has it, but nobody waits for it');
  assert.is(await c, 'ERR_ABORTED');
  ends[0].reject(new Error('failed'));
  assert.is(await a, 'failed');
  await rounds(1);
  assert.equal(log, ['a', 'b', 'd']);
  ends[1].resolve();
  await rounds(1);
  assert.equal(log, ['a', 'b', 'd', 'e']);
  ends[2].resolve();
  ends[3].resolve();
  assert.equal([await d, await e], ['d', 'e']);
});

test.run();
