// MP3, Opus and Vorbis: what comes out is what their own tools decode, sample for sample in number; what is damaged, cut short
// or of another kind is an error.
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeFile, probeAudio } from '../../dist/audio/decode.js';
import { loadInput } from '../../dist/audio/input.js';
import { measureSeconds } from '../../dist/audio/store.js';
import { AudioPool, loadAudio } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { decodeAudio } from '../support/decode.js';
import { splitPages, withChecksum } from '../support/oggPages.js';
import { refused } from '../support/refused.js';
import { sameSamples } from '../support/samples.js';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('audio: compressed');
const fixture = (name) => join(fixtures, 'audio', name);
const files = {
  'short.mp3': { format: 'mp3', sampleRate: 16000, channelCount: 1, sampleCount: 6400 },
  'short.opus': { format: 'opus', sampleRate: 48000, channelCount: 1, sampleCount: 19200 },
  'short.ogg': { format: 'vorbis', sampleRate: 16000, channelCount: 1, sampleCount: 6400 },
  'stereo.opus': { format: 'opus', sampleRate: 48000, channelCount: 2, sampleCount: 12000 },
};
let dir;
let pool;
let printed;
const print = console.error;
test.before(() => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-compressed-'));
  pool = new AudioPool({ threads: 1, cache: { dir: join(dir, 'cache') } });
  printed = [];
  console.error = (...words) => printed.push(words);
});
test.after(async () => {
  console.error = print;
  await pool.close();
  rmSync(dir, { recursive: true, force: true });
});

function write(name, bytes) {
  const path = join(dir, name);
  writeFileSync(path, bytes);
  return path;
}

async function* chunks(bytes, size) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

for (const name of [...Object.keys(files), 'untagged.mp3']) {
  test(`${name}: every sample that its own tool decodes, and no other`, async () => {
    const [found, expected] = await Promise.all([decodeAudio(fixture(name)), decodeAudio(fixture(`${name}.flac`))]);
    assert.is(found.sampleRate, expected.sampleRate);
    assert.is(found.channels.length, expected.channels.length);
    for (const [c, channel] of found.channels.entries()) {
      assert.is(channel.length, expected.channels[c].length);
      const difference = Math.max(...channel.map((value, i) => Math.abs(value - expected.channels[c][i])));
      // The tools write 16 bits.
      assert.ok(difference < 3 / 32768, `channel ${c} differs by ${difference}`);
    }
  });

  test(`${name}: bytes and streams of them give the bits that the file gives; a part is that of the whole`, async () => {
    const bytes = readFileSync(fixture(name));
    const expected = await loadAudio(fixture(name));
    const load = (input) => loadInput(pool, input, {}, 'upload');
    sameSamples(await load(bytes), expected);
    for (const size of [1, 997]) sameSamples(await load(chunks(bytes, size)), expected, `chunks of ${size}`);
    sameSamples(await pool.load(fixture(name)), expected);
    sameSamples(await pool.load(fixture(name)), expected, 'from the cache');
    const { channels, sampleRate } = await decodeAudio(fixture(name));
    const part = [];
    for await (const block of decodeFile(fixture(name), { startSeconds: 0.1, endSeconds: 0.2 })) part.push(block);
    const joined = part.flatMap((block) => [...block.channels.at(-1)]);
    sameSamples(Float32Array.from(joined), channels.at(-1).slice(0.1 * sampleRate, 0.2 * sampleRate));
    await refused(loadAudio(fixture(name), { startSeconds: 5 }), 'ERR_AUDIO_RANGE', new RegExp(name));
  });
}

test('headers give rate, channels and the exact length, without decoding', async () => {
  for (const [name, expected] of Object.entries(files)) {
    const { format, sampleRate, channelCount, sampleCount } = await probeAudio(fixture(name));
    assert.equal({ format, sampleRate, channelCount, sampleCount }, expected, name);
    const never = { measure: () => assert.unreachable('it was decoded') };
    assert.is(await measureSeconds({ audio: fixture(name) }, never), expected.sampleCount / expected.sampleRate);
  }
  assert.is((await probeAudio(fixture('untagged.mp3'))).sampleCount, undefined);
  const { channels } = await decodeAudio(fixture('untagged.mp3'));
  assert.is(await measureSeconds({ audio: fixture('untagged.mp3') }, pool), channels[0].length / 16000);
});

test('the name does not matter, and tags around an MP3 are no sound', async () => {
  const bytes = readFileSync(fixture('short.mp3'));
  const id3 = Buffer.concat([Buffer.from('ID3\x04\0\0\0\0\x02\x05', 'latin1'), Buffer.alloc(2 * 128 + 5, 0xff)]);
  const tagged = write('tagged.wav', Buffer.concat([id3, bytes, Buffer.from('TAG'.padEnd(128, ' '), 'latin1')]));
  sameSamples(await loadAudio(tagged), await loadAudio(fixture('short.mp3')));
  await refused(loadAudio(write('tags.mp3', id3)), 'ERR_AUDIO', /tags\.mp3 is not a valid MP3 file: there is no frame/);
  await refused(loadAudio(write('tag.mp3', id3.subarray(0, 100))), 'ERR_AUDIO', /ends inside its tags/);
});

for (const name of Object.keys(files)) {
  test(`${name}: cut anywhere it is an error that names the file`, async () => {
    const bytes = readFileSync(fixture(name));
    for (let i = 1; i < 16; i++) {
      const path = write(`cut.${name}`, bytes.subarray(0, Math.floor((i * bytes.length) / 16)));
      await refused(loadAudio(path), 'ERR_AUDIO', new RegExp(`cut\\.${name} is not a valid`));
    }
    const last = write(`cut.${name}`, bytes.subarray(0, bytes.length - 1));
    await refused(loadAudio(last), 'ERR_AUDIO', /cut short|damaged/);
  });
}

for (const name of ['short.opus', 'short.ogg', 'stereo.opus']) {
  test(`${name}: a flipped bit, a missing page and one page twice are errors`, async () => {
    const bytes = readFileSync(fixture(name));
    for (let i = 0; i < 12; i++) {
      const flipped = Buffer.from(bytes);
      flipped[Math.floor(((i + 0.5) * bytes.length) / 12)] ^= 4;
      await refused(loadAudio(write(`flipped.${name}`, flipped)), 'ERR_AUDIO', /page \d+ is damaged|first page/);
    }
    const pages = splitPages(bytes);
    const without = Buffer.concat(pages.filter((_, i) => i !== 1));
    await refused(loadAudio(write(`missing.${name}`, without)), 'ERR_AUDIO', /page 2 is missing/);
    const twice = Buffer.concat([...pages.slice(0, 2), ...pages.slice(1)]);
    await refused(loadAudio(write(`twice.${name}`, twice)), 'ERR_AUDIO', /page 3 is missing/);
  });
}

test('an MP3 with a hole between frames, and one with a frame too many', async () => {
  const bytes = readFileSync(fixture('short.mp3'));
  const hole = Buffer.from(bytes).fill(0x55, 288 * 6, 288 * 6 + 4);
  await refused(loadAudio(write('hole.mp3', hole)), 'ERR_AUDIO', /there is no frame after frame 5/);
  const more = Buffer.concat([bytes, bytes.subarray(288 * 6, 288 * 7)]);
  await refused(loadAudio(write('more.mp3', more)), 'ERR_AUDIO', /more than the \d+ frames that its header promises/);
});

test('what is neither, is refused by name: chained streams, other codecs in Ogg, MPEG layer 2', async () => {
  const opus = readFileSync(fixture('short.opus'));
  const chained = write('chained.opus', Buffer.concat([opus, readFileSync(fixture('stereo.opus'))]));
  await refused(loadAudio(chained), 'ERR_AUDIO_FORMAT', /chained\.opus holds more than one Ogg stream/);
  const speex = Buffer.from(splitPages(opus)[0]);
  speex.write('Speex   ', speex.length - 19, 'latin1');
  await refused(loadAudio(write('speech.spx', withChecksum(speex))), 'ERR_AUDIO_FORMAT', /neither Opus nor Vorbis/);
  const layer2 = Buffer.concat([Buffer.from('ID3\x04\0\0\0\0\0\0', 'latin1'), Buffer.from([0xff, 0xfd, 0x84, 0x04])]);
  await refused(loadAudio(write('layer2.mp3', layer2)), 'ERR_AUDIO_FORMAT', /layer 2; only layer 3 of MPEG audio/);
  const surround = Buffer.from(splitPages(opus)[0]);
  surround[surround.length - 1] = 255;
  await refused(
    loadAudio(write('ambisonic.opus', Buffer.concat([withChecksum(surround), opus.subarray(surround.length)]))),
    'ERR_AUDIO_FORMAT',
    /mapping 255/,
  );
});

test("Opus: the header's gain is applied", async () => {
  const bytes = readFileSync(fixture('short.opus'));
  const first = Buffer.from(splitPages(bytes)[0]);
  // -6.0206 dB, in 1/256 dB.
  first.writeInt16LE(-1541, first.length - 3);
  const path = write('quiet.opus', Buffer.concat([withChecksum(first), bytes.subarray(first.length)]));
  const [quiet, loud] = await Promise.all([loadAudio(path), loadAudio(fixture('short.opus'))]);
  assert.is(quiet.length, loud.length);
  assert.ok(quiet.every((value, i) => Math.abs(2 * value - loud[i]) < 1e-4));
});

test('folders are searched for them', async () => {
  const predictor = await writeTinyPredictor(join(dir, 'predictor'), { clusters: false });
  const folder = mkdtempSync(join(dir, 'folder-'));
  for (const name of Object.keys(files)) copyFileSync(fixture(name), join(folder, name.replace('short', name)));
  const { code, stdout, stderr } = await emoframe(['predict', folder, '--model', predictor, '--format', 'jsonl']);
  assert.is(code, 0, stderr);
  assert.is(stdout.trim().split('\n').length, 4);
});

test('decoders print nothing', () => assert.equal(printed, []));

test.run();
