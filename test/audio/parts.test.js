// Parts of files: a part of a FLAC file without decoding the rest, and one channel of a call.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { audioOf, loadInput } from '../../dist/audio/input.js';
import { AudioStore } from '../../dist/audio/store.js';
import { AudioPool, describeCorpus, EmotionModel, loadAudio, readCorpus } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { decodeAudio } from '../support/decode.js';
import { refused } from '../support/refused.js';
import { sameSamples } from '../support/samples.js';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('audio: parts of files');
const frames = join(fixtures, 'audio', 'frames.flac');
const rate = 16000;
let dir;
let pool;
test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-parts-'));
  pool = new AudioPool({ threads: 1 });
  await writeTinyPredictor(join(dir, 'predictor'));
});
test.after(async () => {
  await pool.close();
  rmSync(dir, { recursive: true, force: true });
});

/** 16-bit PCM of two channels, 16 kHz. */
function stereo(left, right) {
  const data = Buffer.alloc(4 * left.length);
  left.forEach((value, i) => {
    data.writeInt16LE(Math.round(32767 * value), 4 * i);
    data.writeInt16LE(Math.round(32767 * right[i]), 4 * i + 2);
  });
  const head = Buffer.alloc(44);
  head.write('RIFF\0\0\0\0WAVEfmt ', 'latin1');
  head.writeUInt32LE(36 + data.length, 4);
  head.writeUInt32LE(16, 16);
  for (const [value, at] of [
    [1, 20],
    [2, 22],
    [4, 32],
    [16, 34],
  ])
    head.writeUInt16LE(value, at);
  head.writeUInt32LE(rate, 24);
  head.writeUInt32LE(4 * rate, 28);
  head.write('data', 36, 'latin1');
  head.writeUInt32LE(data.length, 40);
  return Buffer.concat([head, data]);
}

const tone = (hertz, seconds = 1.2) =>
  Array.from({ length: seconds * rate }, (_, i) => 0.3 * Math.sin((2 * Math.PI * hertz * i) / rate));

function writeCall(name = 'call.wav') {
  const path = join(dir, name);
  writeFileSync(path, stereo(tone(200), tone(1700)));
  return path;
}

test('a part of a FLAC file is that part of the whole, wherever it starts and ends', async () => {
  const whole = await loadAudio(frames);
  assert.is(whole.length, 8 * rate);
  for (let start = 0; start < 127_000; start += 4321) {
    for (const length of [1, 575, 5000]) {
      const end = Math.min(start + length, whole.length);
      const part = await loadAudio(frames, { startSeconds: start / rate, endSeconds: end / rate });
      sameSamples(part, whole.slice(start, end), `${start} to ${end}`);
    }
    sameSamples(await loadAudio(frames, { startSeconds: start / rate }), whole.slice(start));
  }
});

test('a FLAC file that ends in silence is whole, in chunks too; what is cut off its last frame is missed', async () => {
  const path = join(fixtures, 'audio', 'silent-end.flac');
  const { channels } = await decodeAudio(path);
  assert.is(channels[0].length, 9923);
  assert.ok(channels[0].subarray(5000).every((value) => value === 0));
  assert.ok(channels[0].subarray(0, 4000).some((value) => value !== 0));
  const bytes = readFileSync(path);
  async function* chunks(size) {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  }
  const whole = await loadAudio(path);
  for (const size of [1, 13, 1000]) sameSamples(await loadInput(pool, chunks(size), {}, 'x'), whole, `by ${size}`);
  for (const missing of [1, 12, 13, 14]) {
    const cut = join(dir, 'cut.flac');
    writeFileSync(cut, bytes.subarray(0, bytes.length - missing));
    await refused(loadAudio(cut), 'ERR_AUDIO', /cut\.flac is not a valid FLAC file: it is damaged or cut short/);
  }
});

test('what lies before a part of a FLAC file, and after it, is not decoded', async () => {
  const whole = await loadAudio(frames);
  const bytes = readFileSync(frames);
  const damaged = Buffer.from(bytes);
  for (const at of [12_000, 52_000]) damaged.fill(0, at, at + 2000);
  const path = join(dir, 'damaged.flac');
  writeFileSync(path, damaged);
  const part = await loadAudio(path, { startSeconds: 4, endSeconds: 5 });
  sameSamples(part, whole.slice(4 * rate, 5 * rate));
  await refused(loadAudio(path), 'ERR_AUDIO', /damaged\.flac/);
  await refused(loadAudio(path, { startSeconds: 7 }), 'ERR_AUDIO', /damaged\.flac/);
});

test('a part of a FLAC file that does not say its length, and one outside it', async () => {
  const whole = await loadAudio(frames);
  const bytes = readFileSync(frames);
  bytes.writeUInt8(bytes[21] & 0xf0, 21);
  bytes.writeUInt32BE(0, 22);
  const path = join(dir, 'streamed.flac');
  writeFileSync(path, bytes);
  const part = await loadAudio(path, { startSeconds: 6, endSeconds: 6.5 });
  sameSamples(part, whole.slice(6 * rate, 6.5 * rate));
  await refused(loadAudio(path, { startSeconds: 7.5, endSeconds: 8.5 }), 'ERR_AUDIO_RANGE', /8\.000 seconds/);
});

test('a channel is that channel alone, of a part too; none is the mean', async () => {
  const call = writeCall();
  const { channels } = await decodeAudio(call);
  sameSamples(await loadAudio(call, { channel: 1 }), channels[0]);
  sameSamples(await pool.load(call, { channel: 2 }), channels[1]);
  sameSamples(
    await loadInput(pool, { path: call, channel: 2, startSeconds: 0.5, endSeconds: 1 }, {}, 'x'),
    channels[1].slice(8000, 16000),
  );
  const store = new AudioStore(pool, { bytes: 1e6 });
  const [left, right] = await Promise.all([1, 2].map((channel) => store.get({ audio: call, channel })));
  sameSamples(left, channels[0]);
  sameSamples(right, channels[1]);
  sameSamples(
    await store.get({ audio: call }),
    Float32Array.from(left, (value, i) => (value + right[i]) / 2),
  );
});

test('a channel that a file lacks, and a part that is none, are refused', async () => {
  const call = writeCall();
  for (const channel of [0, 3, 1.5]) {
    await refused(loadAudio(call, { channel }), 'ERR_AUDIO_RANGE', /channel from 1 to 2.*call\.wav.*received/);
  }
  const load = async (input) => loadInput(pool, audioOf(input), {}, 'x');
  await refused(load({ path: call, channel: 'left' }), 'ERR_ARGUMENT', /Expected a number for channel/);
  await refused(load({ path: call, start: 1 }), 'ERR_ARGUMENT', /no option 'start'/);
  await refused(load({ file: call }), 'ERR_ARGUMENT', /Expected a path/);
});

test("a manifest's channel is the one that is read, and names the row", async () => {
  writeCall();
  const rows = [1, '2', undefined, 0, 'left'].map((channel) => JSON.stringify({ audio: 'call.wav', channel }));
  rows.push(JSON.stringify({ audio: 'call.wav', channel: 2, start: 0.5, end: 1 }));
  rows.push(JSON.stringify({ id: 'third', audio: 'call.wav', channel: 3 }));
  writeFileSync(join(dir, 'manifest.jsonl'), rows.join('\n'));
  const corpus = await readCorpus(dir);
  assert.equal(
    corpus.utterances.map(({ id, channel }) => [id, channel]),
    [
      ['call#1', 1],
      ['call#2', 2],
      ['call', undefined],
      ['call@0.5-1#2', 2],
      ['third', 3],
    ],
  );
  assert.equal(
    corpus.problems.map(({ row }) => row),
    [4, 5],
  );
  assert.match(corpus.problems[1].reason, /"channel" but received "left"/);
  const { problems, seconds } = await describeCorpus(corpus, { pool });
  assert.match(problems.at(-1).reason, /channel from 1 to 2/);
  assert.is(Number(seconds.toFixed(3)), 3 * 1.2 + 0.5);
});

test('predict --channels split gives each channel a timeline of its own', async () => {
  const call = writeCall();
  const predictor = join(dir, 'predictor');
  const { code, stdout, stderr } = await emoframe([
    ...['predict', call, join(fixtures, 'audio', 'voice.wav')],
    ...['--model', predictor, '--channels', 'split', '--json'],
  ]);
  assert.is(code, 0, stderr);
  const found = JSON.parse(stdout);
  assert.equal(
    found.map(({ id, channel }) => [id, channel]),
    [
      ['call#1', 1],
      ['call#2', 2],
      ['voice#1', 1],
    ],
  );
  const model = await EmotionModel.load(predictor);
  try {
    const alone = await model.predict({ path: call, channel: 2 });
    assert.is(alone.id, 'call#2');
    assert.is(alone.channel, 2);
    assert.equal(found[1].segments, JSON.parse(JSON.stringify(alone.segments)));
    assert.not.equal(found[0].probabilities, found[1].probabilities);
  } finally {
    await model.dispose();
  }
});

test.run();
