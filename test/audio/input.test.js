import { createReadStream, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { Readable } from 'node:stream';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { audioOf, loadInput, streamInput } from '../../dist/audio/input.js';
import { AudioPool, loadAudio } from '../../dist/index.js';
import { decodeAudio } from '../support/decode.js';
import { refused } from '../support/refused.js';
import { sameSamples } from '../support/samples.js';
import { fixtures } from '../support/tinyPredictor.js';
import { longestTurn } from '../support/turns.js';

const test = suite('audio: inputs');
const file = (name) => join(fixtures, 'audio', name);
let pool;
test.before(() => {
  pool = new AudioPool({ threads: 1 });
});
test.after(() => pool.close());
const load = async (input, options = {}) => loadInput(pool, audioOf(input), options, 'upload');

/** Bytes in chunks of sizes that fit nothing. */
async function* chunks(bytes, size) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const names = readdirSync(file('')).filter((name) => !['.npy', '.aiff'].includes(extname(name)));

for (const name of names) {
  test(`${name}: bytes and streams of them give the bits that the file gives`, async () => {
    const expected = await loadAudio(file(name));
    const bytes = await readFile(file(name));
    const around = Buffer.concat([Buffer.alloc(3), bytes, Buffer.alloc(5)]);
    assert.ok(expected.length > 0);
    for (const [way, input] of Object.entries({
      'a path': file(name),
      'a whole part of the file': { path: file(name), startSeconds: 0 },
      bytes,
      'bytes within others': new Uint8Array(around.buffer, around.byteOffset + 3, bytes.length),
      'a Node stream': createReadStream(file(name), { highWaterMark: 1000 }),
      'a web stream': Readable.toWeb(createReadStream(file(name))),
      'chunks of 1': chunks(bytes, 1),
      'chunks of 1009': chunks(bytes, 1009),
      'chunks of 7919': chunks(bytes, 7919),
    }))
      sameSamples(await load(input), expected, way);
  });
}

test('a header cut anywhere is put together', async () => {
  const bytes = await readFile(file('voice.wav'));
  assert.equal(await load(chunks(bytes.subarray(0, 44 + 1000), 1)).catch((error) => error.code), 'ERR_AUDIO');
  async function* cut() {
    yield* chunks(bytes.subarray(0, 100), 1);
    yield bytes.subarray(100);
  }
  assert.equal(await load(cut()), await loadAudio(file('voice.wav')));
});

test('a WAV of unknown size goes to its end, and of a size that is known to that, in a stream as in bytes', async () => {
  const expected = await loadAudio(file('voice.wav'));
  const bytes = Buffer.from(await readFile(file('voice.wav')));
  for (const size of [0xffffffff, 0x7ffff000, 0x80000000]) {
    bytes.writeUInt32LE(size, bytes.indexOf('data') + 4);
    assert.equal(await load(chunks(bytes, 4096)), expected);
    assert.equal(await load(bytes), expected);
  }
  bytes.writeUInt32LE(2000, bytes.indexOf('data') + 4);
  assert.equal(await load(chunks(bytes, 4096)), expected.slice(0, 1000));
  assert.equal(await load(bytes), expected.slice(0, 1000));
});

test('raw samples are read as their format says, whatever the chunks', async () => {
  const { channels, sampleRate } = await decodeAudio(file('stereo48k.wav'));
  const frames = channels[0].length;
  const integers = Int16Array.from({ length: 2 * frames }, (_, i) => Math.round(channels[i % 2][i >> 1] * 32768));
  const floats = Float32Array.from(integers, (value) => value / 32768);
  const mono = Float32Array.from({ length: frames }, (_, i) => (floats[2 * i] + floats[2 * i + 1]) / 2);
  const expected = await load(mono, { sampleRate });
  for (const [encoding, samples] of [
    ['s16le', integers],
    ['f32le', floats],
  ]) {
    const bytes = new Uint8Array(samples.buffer);
    const format = { encoding, sampleRate, channels: 2 };
    assert.equal(await load(bytes, { format }), expected, encoding);
    for (const size of [1, 3, 1001]) {
      const part = size === 1 ? bytes.subarray(0, 4000) : bytes;
      const found = await load(chunks(part, size), { format });
      assert.is(found.length, Math.ceil(part.length / (bytes.length / frames) / 3));
      if (size > 1) assert.equal(found, expected, `${encoding} by ${size}`);
    }
  }
});

test('samples are taken at their rate, alone or in a stream', async () => {
  const { channels } = await decodeAudio(file('stereo48k.wav'));
  const mono = channels[0].map((value, i) => (value + channels[1][i]) / 2);
  const expected = await loadAudio(file('stereo48k.wav'));
  assert.equal(await load(mono, { sampleRate: 48000 }), expected);
  assert.equal(await load(chunks(mono, 777), { sampleRate: 48000 }), expected);
  const speech = await loadAudio(file('voice.wav'));
  assert.is(await load(speech), speech, 'what needs no change is not copied');
  assert.equal(await load(chunks(speech, 4097)), speech);
});

test('a stream is decoded while it comes', async () => {
  const bytes = await readFile(file('voice.wav'));
  let sent = 0;
  async function* slow() {
    for (let at = 0; at < bytes.length; at += 4000) {
      sent = at;
      yield bytes.subarray(at, at + 4000);
    }
  }
  for await (const samples of streamInput(slow(), {}, 'call')) {
    assert.ok(samples.length > 0);
    assert.ok(sent <= 8000, `${sent} bytes were taken before the first samples came`);
    break;
  }
});

test('what is no audio says what is taken', async () => {
  for (const [input, pattern] of [
    [undefined, /received nothing/],
    [7, /received 7 of type number/],
    [{ file: 'a.wav' }, /received Object/],
    [[1, 2], /received Array/],
    [new Float64Array(4), /received Float64Array/],
  ])
    await refused(load(input), 'ERR_ARGUMENT', pattern);
  await refused(load(Readable.from(['RIFF', 'text'])), 'ERR_ARGUMENT', /chunks of bytes .*upload.*string/);
  await refused(load(Readable.from([new Float32Array(4), Buffer.alloc(4)])), 'ERR_ARGUMENT', /received Uint8Array/);
  await refused(load(Readable.from([])), 'ERR_AUDIO', /upload is empty/);
  await refused(load(Buffer.from('hello, this is text')), 'ERR_AUDIO_FORMAT', /upload is neither WAV/);
  await refused(load(new Float32Array(100), { sampleRate: 10 }), 'ERR_AUDIO_FORMAT', /sample rate of 10 Hz/);
  await refused(load(Float32Array.of(0, Number.NaN)), 'ERR_NOT_FINITE', /Sample 1 of upload/);
  const format = { encoding: 's16le', sampleRate: 16000, channels: 1 };
  await refused(load(Buffer.alloc(1), { format }), 'ERR_AUDIO', /no samples/);
});

test('cut and damaged streams are errors, and a stream that fails is reported with its reason', async () => {
  const wav = await readFile(file('voice.wav'));
  const flac = await readFile(file('voice.flac'));
  await refused(
    load(chunks(wav.subarray(0, 20000), 999)),
    'ERR_AUDIO',
    /cut short: its header promises 38400 bytes .* 19956 were found/,
  );
  await refused(load(chunks(wav.subarray(0, 30), 7)), 'ERR_AUDIO', /WAV/);
  await refused(load(chunks(flac.subarray(0, 12000), 999)), 'ERR_AUDIO', /FLAC/);
  async function* failing() {
    yield wav.subarray(0, 5000);
    throw new Error('socket hang up');
  }
  const error = await refused(load(failing()), 'ERR_AUDIO', /upload cannot be read: socket hang up/);
  assert.is(error.cause.message, 'socket hang up');
});

test('an abort ends the wait for a stream, and ends the stream', async () => {
  const controller = new AbortController();
  const stream = new Readable({ read() {} });
  stream.push((await readFile(file('voice.wav'))).subarray(0, 5000));
  setTimeout(() => controller.abort(), 20);
  await refused(load(stream, { signal: controller.signal }), 'ERR_ABORTED', /stopped/);
  assert.ok(stream.destroyed);
});

test('a chunk of minutes leaves the event loop free, and is the same audio', async () => {
  const sampleRate = 24_000;
  const samples = new Float32Array(60 * sampleRate).map((_, i) => 0.2 * Math.sin(i / 9 + Math.sin(i / 4001)));
  const expected = await load(chunks(samples, 50_001), { sampleRate });
  let found;
  const turn = await longestTurn(async () => {
    found = await load(chunks(samples, samples.length), { sampleRate });
  });
  assert.is(turn < 60, true, `${turn} ms`);
  sameSamples(found, expected);
});

test.run();
