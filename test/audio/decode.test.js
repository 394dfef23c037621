import * as assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { probeAudio } from '../../dist/audio/decode.js';
import { channelsOf } from '../../dist/audio/wasmDecoder.js';
import { loadAudio } from '../../dist/index.js';
import { decodeAudio } from '../support/decode.js';

const fixtures = new URL('../fixtures/audio/', import.meta.url).pathname;
const test = suite('audio: decoding');
let folder;
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'emoframe-decode-'));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** A WAV file by hand: `data` is the bytes of its samples. */
function wav({ tag = 1, bits, channels = 1, rate = 16000, data, extra = Buffer.alloc(0), declared = data.length }) {
  const fmt = Buffer.alloc(16);
  fmt.writeUInt16LE(tag, 0);
  fmt.writeUInt16LE(channels, 2);
  fmt.writeUInt32LE(rate, 4);
  fmt.writeUInt32LE((rate * channels * bits) / 8, 8);
  fmt.writeUInt16LE((channels * bits) / 8, 12);
  fmt.writeUInt16LE(bits, 14);
  const head = Buffer.alloc(8);
  head.write('data');
  head.writeUInt32LE(declared, 4);
  const size = Buffer.from('RIFF\0\0\0\0WAVEfmt \x10\0\0\0', 'latin1');
  return Buffer.concat([size, fmt, extra, head, data]);
}

function write(name, bytes) {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** A FLAC frame of 16 samples, its checksums right, whose contents no decoder knows: a reserved kind of subframe. */
function reservedFrame() {
  const checksum = (bytes, bits, polynomial) => {
    let sum = 0;
    for (const byte of bytes) {
      sum ^= byte << (bits - 8);
      for (let i = 0; i < 8; i++) sum = (sum << 1) ^ (sum >> (bits - 1) ? polynomial | (1 << bits) : 0);
    }
    return sum;
  };
  // Fixed blocks; a one-byte block size, 16 kHz; mono of 16 bits; frame 0; 16 - 1.
  const header = [0xff, 0xf8, 0x65, 0x08, 0, 15];
  const frame = [...header, checksum(header, 8, 0x07), 0x04, ...new Array(40).fill(0x55)];
  const sum = checksum(frame, 16, 0x8005);
  return Buffer.from([...frame, sum >> 8, sum & 0xff]);
}

/** Fails unless the promise rejects with `code` and names `path`. */
async function rejects(promise, code, path, words = /./) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.name, 'EmoframeError', error.stack);
    assert.equal(error.code, code, error.message);
    if (path !== undefined) assert.ok(error.message.includes(path), error.message);
    assert.match(error.message, words);
    return true;
  });
}

test('integers of every width come out scaled by 2^(1 - bits), to the bit', async () => {
  const cases = [
    { bits: 8, bytes: [0, 1, 128, 255], expected: [-1, -127 / 128, 0, 127 / 128] },
    { bits: 16, bytes: [0, 0x80, 0xff, 0x7f, 1, 0, 0xff, 0xff], expected: [-1, 32767 / 32768, 2 ** -15, -(2 ** -15)] },
    {
      bits: 24,
      bytes: [0, 0, 0x80, 0xff, 0xff, 0x7f, 1, 0, 0, 0xff, 0xff, 0xff],
      expected: [-1, 8388607 / 8388608, 2 ** -23, -(2 ** -23)],
    },
    { bits: 32, bytes: [0, 0, 0, 0x80, 0, 0, 0, 0x40, 0, 1, 0, 0], expected: [-1, 0.5, 2 ** -23] },
  ];
  for (const { bits, bytes, expected } of cases) {
    const { channels, sampleRate } = await decodeAudio(write('a.wav', wav({ bits, data: Buffer.from(bytes) })));
    assert.equal(sampleRate, 16000);
    assert.deepEqual(channels, [Float32Array.from(expected)], `${bits} bits`);
  }
});

test('floats of 32 and 64 bits come out as they are, beyond full scale too', async () => {
  const values = [0.25, -1.5, 0.1];
  for (const Type of [Float32Array, Float64Array]) {
    const data = Buffer.from(Type.from(values).buffer);
    const { channels } = await decodeAudio(write('f.wav', wav({ tag: 3, bits: Type.BYTES_PER_ELEMENT * 8, data })));
    assert.deepEqual(channels, [Float32Array.from(values)]);
  }
});

test('channels are kept apart, and mixed by their mean', async () => {
  const data = Buffer.from(Int16Array.from([16384, -16384, 8192, 16384, 0, 0]).buffer);
  const path = write('stereo.wav', wav({ bits: 16, channels: 2, data }));
  const { channels } = await decodeAudio(path);
  assert.deepEqual(channels, [Float32Array.of(0.5, 0.25, 0), Float32Array.of(-0.5, 0.5, 0)]);
  assert.deepEqual(await loadAudio(path), Float32Array.of(0, 0.375, 0));
});

test("sox's 16-bit, 24-bit extensible and float files of one sound agree", async () => {
  const [whole] = (await decodeAudio(join(fixtures, 'voice.wav'))).channels;
  for (const name of ['pcm24.wav', 'float32.wav', 'piped.wav']) {
    const [part] = (await decodeAudio(join(fixtures, name))).channels;
    assert.deepEqual(part, whole.slice(0, 1600), name);
  }
});

test('a FLAC file equals its WAV to the bit: 16 bits mono, 24 bits stereo', async () => {
  for (const name of ['voice', 'stereo48k']) {
    const wavFile = await decodeAudio(join(fixtures, `${name}.wav`));
    const flacFile = await decodeAudio(join(fixtures, `${name}.flac`));
    assert.equal(flacFile.sampleRate, wavFile.sampleRate);
    assert.deepEqual(flacFile.channels, wavFile.channels, name);
  }
});

test('many FLAC files at once do not disturb each other', async () => {
  const names = ['voice', 'stereo48k', 'voice', 'stereo48k'];
  const all = await Promise.all(names.map((name) => decodeAudio(join(fixtures, `${name}.flac`))));
  for (const [i, name] of names.entries()) {
    assert.deepEqual(all[i], await decodeAudio(join(fixtures, `${name}.wav`)), name);
  }
});

test('a file is recognised by its content, not by its name', async () => {
  const path = write('really-flac.wav', readFileSync(join(fixtures, 'voice.flac')));
  assert.equal((await probeAudio(path)).format, 'flac');
  assert.equal((await loadAudio(path)).length, 19200);
});

test('the header alone gives rate, channels and length', async () => {
  for (const format of ['wav', 'flac']) {
    const { sampleRate, channelCount, sampleCount } = await probeAudio(join(fixtures, `stereo48k.${format}`));
    assert.deepEqual(
      { sampleRate, channelCount, sampleCount },
      { sampleRate: 48000, channelCount: 2, sampleCount: 12000 },
    );
  }
});

test('a range is that part of the whole', async () => {
  for (const name of ['voice.wav', 'voice.flac']) {
    const path = join(fixtures, name);
    const whole = await loadAudio(path);
    const part = await loadAudio(path, { startSeconds: 0.25, endSeconds: 0.5 });
    assert.deepEqual(part, whole.slice(4000, 8000), name);
    assert.deepEqual(await loadAudio(path, { startSeconds: 1.1 }), whole.slice(17600), name);
    // Rounded ends may pass the file's a little.
    assert.equal((await loadAudio(path, { startSeconds: 1, endSeconds: 1.25 })).length, 3200);
    await rejects(loadAudio(path, { startSeconds: 1, endSeconds: 1.5 }), 'ERR_AUDIO_RANGE', path, /1\.200 seconds/);
    await rejects(loadAudio(path, { startSeconds: 2 }), 'ERR_AUDIO_RANGE', path);
    await rejects(loadAudio(path, { startSeconds: 0.5, endSeconds: 0.5 }), 'ERR_AUDIO_RANGE', path);
    await rejects(loadAudio(path, { startSeconds: Number.NaN }), 'ERR_AUDIO_RANGE', path);
  }
});

test('a chunk of odd size before the samples is stepped over', async () => {
  const list = Buffer.from('LIST\x03\0\0\0abc\0', 'latin1');
  const path = write('odd.wav', wav({ bits: 16, data: Buffer.from([0, 0x40]), extra: list }));
  assert.deepEqual((await decodeAudio(path)).channels, [Float32Array.of(0.5)]);
});

test('other formats are refused, saying what is supported', async () => {
  const mu = write('mulaw.wav', wav({ tag: 7, bits: 8, data: Buffer.alloc(10) }));
  await rejects(loadAudio(mu), 'ERR_AUDIO_FORMAT', mu, /PCM of 8, 16, 24 or 32/);
  const aiff = join(fixtures, 'voice.aiff');
  await rejects(loadAudio(aiff), 'ERR_AUDIO_FORMAT', aiff, /WAV.*FLAC/);
  const text = write('notes.wav', 'not audio at all');
  await rejects(loadAudio(text), 'ERR_AUDIO_FORMAT', text);
  const slow = write('slow.wav', wav({ bits: 16, rate: 10, data: Buffer.alloc(10) }));
  await rejects(loadAudio(slow), 'ERR_AUDIO_FORMAT', slow, /sample rate of 10 Hz/);
});

test('damaged, cut and empty WAV files are errors that name the file', async () => {
  const good = readFileSync(join(fixtures, 'voice.wav'));
  const cases = {
    'empty.wav': Buffer.alloc(0),
    'header-only.wav': good.subarray(0, 30),
    'no-data.wav': good.subarray(0, 36),
    'cut.wav': good.subarray(0, 20000),
    'no-samples.wav': wav({ bits: 16, data: Buffer.alloc(0) }),
    'no-channels.wav': wav({ bits: 16, channels: 0, data: Buffer.alloc(8) }),
  };
  for (const [name, bytes] of Object.entries(cases)) {
    const path = write(name, bytes);
    await rejects(loadAudio(path), 'ERR_AUDIO', path);
  }
  await rejects(loadAudio(write('cut.wav', cases['cut.wav'])), 'ERR_AUDIO', undefined, /38400 bytes.*19956 were found/);
});

test('damaged and cut FLAC files are errors that name the file, and say it once', async () => {
  const good = readFileSync(join(fixtures, 'voice.flac'));
  const flipped = Buffer.from(good);
  for (let i = 0; i < 40; i++) flipped[10000 + i] ^= 0xff;
  const cases = {
    'head.flac': good.subarray(0, 20),
    'cut.flac': good.subarray(0, 12000),
    'flipped.flac': flipped,
    'no-frames.flac': good.subarray(0, 42),
    'reserved.flac': Buffer.concat([good.subarray(0, 4), Buffer.from([0x80]), good.subarray(5, 42), reservedFrame()]),
  };
  const printed = [];
  const print = console.error;
  console.error = (...words) => printed.push(words);
  try {
    for (const [name, bytes] of Object.entries(cases)) {
      const path = write(name, bytes);
      await rejects(loadAudio(path), 'ERR_AUDIO', path);
    }
  } finally {
    console.error = print;
  }
  assert.deepEqual(printed, []);
  await rejects(loadAudio(join(folder, 'reserved.flac')), 'ERR_AUDIO', undefined, /FLAC__STREAM_DECODER_ERROR/);
  // The decoder still works after them.
  assert.equal((await loadAudio(join(fixtures, 'voice.flac'))).length, 19200);
});

test('a FLAC file that does not say its length is read to its end', async () => {
  const flac = Buffer.from(readFileSync(join(fixtures, 'voice.flac')));
  flac.writeUInt32BE(0, 22);
  const path = write('streamed.flac', flac);
  assert.equal((await probeAudio(path)).sampleCount, undefined);
  assert.deepEqual(await loadAudio(path), await loadAudio(join(fixtures, 'voice.wav')));
});

test('a header that promises more than memory is refused before it is believed', async () => {
  const flac = Buffer.from(readFileSync(join(fixtures, 'voice.flac')));
  flac.writeUInt32BE(0xffffffff, 22);
  const path = write('huge.flac', flac);
  await rejects(loadAudio(path), 'ERR_AUDIO_LIMIT', path);
});

test('NaN and infinity are errors that say where', async () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 1e300]) {
    const data = Buffer.from(Float64Array.of(0, 0.5, bad).buffer);
    const path = write('bad.wav', wav({ tag: 3, bits: 64, data }));
    await rejects(loadAudio(path), 'ERR_NOT_FINITE', path, /Sample 2/);
    // What is not asked for is not judged.
    assert.equal((await loadAudio(path, { endSeconds: 2 / 16000 })).length, 2);
  }
});

test('missing files and folders are named', async () => {
  const missing = join(folder, 'missing.wav');
  await rejects(loadAudio(missing), 'ERR_FILE_NOT_FOUND', missing);
  await rejects(loadAudio(folder), 'ERR_AUDIO', folder);
});

test('a folder is no audio, and the error has its path', async () => {
  await assert.rejects(loadAudio(folder), { code: 'ERR_AUDIO', file: folder });
});

test('a part of a compressed file without samples has no channels', async () => {
  const answer = { channelData: [new Float32Array(8)], samplesDecoded: 0, errors: [] };
  assert.deepEqual(await channelsOf(() => answer, assert.fail), []);
});

test.run();
