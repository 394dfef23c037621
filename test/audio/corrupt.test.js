// Audio that cannot be read ends the work or is left out, as asked; what is left out is listed with its reason, never lost.
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkAudio, parseConfig, readCorpus, Trainer } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { refused } from '../support/refused.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('audio: corrupt files');
const voice = join(fixtures, 'audio', 'voice.wav');
let dir;
let manifest;
let damaged;
test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-corrupt-'));
  manifest = writeTinyCorpus(join(dir, 'corpus'));
  // The header is as it should be; a sample is not.
  damaged = join(dir, 'corpus', 's2_3.wav');
  writeFileSync(damaged, notFinite(readFileSync(damaged)));
  const flac = readFileSync(join(fixtures, 'audio', 'voice.flac')).fill(0, 12_000, 12_400);
  writeFileSync(join(dir, 'damaged.flac'), flac);
  await writeTinyPredictor(join(dir, 'predictor'));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

/** A 16-bit file as one of floats, of which one in the middle is NaN. */
function notFinite(wav) {
  const samples = new Int16Array(wav.buffer.slice(wav.byteOffset + 44, wav.byteOffset + wav.length));
  const floats = Float32Array.from(samples, (value) => value / 32768);
  floats[floats.length >> 1] = Number.NaN;
  const head = Buffer.from(wav.subarray(0, 44));
  head.writeUInt16LE(3, 20);
  head.writeUInt32LE(4 * 16000, 28);
  head.writeUInt16LE(4, 32);
  head.writeUInt16LE(32, 34);
  head.writeUInt32LE(floats.byteLength, 40);
  return Buffer.concat([head, Buffer.from(floats.buffer)]);
}

test('checkAudio finds what headers do not show', async () => {
  const seen = [];
  const corpus = await readCorpus(manifest);
  const { unreadable, sampleCounts } = await checkAudio(corpus, { onProgress: (...progress) => seen.push(progress) });
  assert.equal(
    unreadable.map(({ id, file, code }) => ({ id, file, code })),
    [{ id: 's2_3', file: damaged, code: 'ERR_NOT_FINITE' }],
  );
  assert.match(unreadable[0].reason, /Sample \d+ of .*s2_3\.wav is NaN/);
  assert.is(sampleCounts.size, 23);
  assert.equal(seen.at(-1), [24, 24]);
  const stop = AbortSignal.abort();
  await refused(checkAudio(corpus, { signal: stop }), 'ERR_ABORTED', /stopped/);
});

test('emoframe corpus --decode lists it; without, only headers are read', async () => {
  const [plain, decoded] = await Promise.all(
    [[], ['--decode']].map((words) => emoframe(['corpus', manifest, '--json', ...words])),
  );
  assert.equal(JSON.parse(plain.stdout).problems, []);
  const { problems } = JSON.parse(decoded.stdout);
  assert.equal(
    problems.map(({ file }) => file),
    [damaged],
  );
  assert.match(problems[0].reason, /is NaN/);
});

test('a run ends at it, or leaves it out, lists it, and still does so when the file is mended', async () => {
  const config = join(dir, 'config.json');
  writeFileSync(config, JSON.stringify(tinyConfig));
  const out = join(dir, 'skipping');
  const words = ['run', manifest, '--config', config, '--folds', 's3', '--json'];
  const failed = await emoframe([...words, '--out', join(dir, 'failing')]);
  assert.is(failed.code, 1);
  assert.match(failed.stderr, /emoframe: Sample \d+ of [^\n]*s2_3\.wav is NaN[^\n]* \(ERR_NOT_FINITE\)\n/);

  const ran = await emoframe([...words, '--out', out, '--on-corrupt', 'skip']);
  assert.is(ran.code, 0, ran.stderr);
  assert.match(ran.stderr, /1 of 24 utterances cannot be read and are skipped; see [^\n]*skipped\.json\./);
  const { skipped } = JSON.parse(ran.stdout);
  assert.equal(skipped, JSON.parse(readFileSync(join(out, 'skipped.json'))));
  assert.equal(
    skipped.map(({ id, file, code }) => [id, file, code]),
    [['s2_3', damaged, 'ERR_NOT_FINITE']],
  );
  const ids = JSON.parse(readFileSync(join(out, 'corpus.json'))).utterances.map(({ id }) => id);
  assert.is(ids.length, 23);
  assert.not.ok(ids.includes('s2_3'));

  const broken = readFileSync(damaged);
  copyFileSync(join(dir, 'corpus', 's2_4.wav'), damaged);
  try {
    const again = await emoframe([...words, '--out', out, '--on-corrupt', 'skip', '--resume']);
    assert.is(again.code, 0, again.stderr);
    assert.match(again.stderr, /1 of 24 utterances cannot be read/);
    assert.equal(JSON.parse(again.stdout).skipped, skipped);
  } finally {
    writeFileSync(damaged, broken);
  }
});

test('a trainer reports what it leaves out, and can be stopped while it looks', async () => {
  const corpus = await readCorpus(manifest);
  const config = parseConfig({ ...tinyConfig, audio: { onCorrupt: 'skip' } });
  const options = { corpus, config, threads: 1 };
  const stop = new AbortController();
  const stopped = Trainer.open({
    ...options,
    out: join(dir, 'stopped'),
    signal: stop.signal,
    onAudioCheck: () => stop.abort(),
  });
  await refused(stopped, 'ERR_ABORTED', /stopped/);
  assert.not.ok(existsSync(join(dir, 'stopped', 'config.json')));
  const trainer = await Trainer.open({ ...options, out: join(dir, 'stopped') });
  try {
    assert.equal(
      trainer.skipped.map(({ id }) => id),
      ['s2_3'],
    );
    assert.not.ok(trainer.folds.some((fold) => [...fold.train, ...fold.validation, ...fold.test].includes('s2_3')));
  } finally {
    await trainer.dispose();
  }
});

test('predict --on-corrupt skip gives the reason in its place, in every format, and counts', async () => {
  const files = [voice, join(dir, 'damaged.flac'), join(dir, 'missing.wav')];
  const words = ['predict', ...files, '--model', join(dir, 'predictor')];
  const failed = await emoframe(words);
  assert.is(failed.code, 1);
  assert.match(failed.stderr, /damaged\.flac[^\n]*\(ERR_AUDIO\)\n/);
  for (const format of ['json', 'jsonl', 'text']) {
    const { code, stdout, stderr } = await emoframe([...words, '--on-corrupt', 'skip', '--format', format]);
    assert.is(code, 0, stderr);
    assert.match(stderr, '2 of 3 audio inputs could not be read and were skipped');
    if (format === 'text') {
      assert.match(stdout, /^damaged {2}skipped: [^\n]*damaged\.flac[^\n]*\(ERR_AUDIO\)$/m);
      assert.match(stdout, /^missing {2}skipped: .*\(ERR_FILE_NOT_FOUND\)$/m);
      continue;
    }
    const found =
      format === 'json'
        ? JSON.parse(stdout)
        : stdout
            .trim()
            .split('\n')
            .map((line) => JSON.parse(line));
    assert.equal(
      found.map(({ id, error }) => [id, error?.code, error?.file]),
      [
        ['voice', undefined, undefined],
        ['damaged', 'ERR_AUDIO', files[1]],
        ['missing', 'ERR_FILE_NOT_FOUND', files[2]],
      ],
    );
  }
});

test('channels of a file that cannot be read are reported once; nothing left is a failure', async () => {
  const words = ['predict', join(dir, 'missing.wav'), '--model', join(dir, 'predictor'), '--json'];
  const { code, stdout, stderr } = await emoframe([...words, '--channels', 'split', '--on-corrupt', 'skip']);
  assert.is(code, 1);
  assert.match(stderr, '1 of 1 audio inputs');
  assert.match(stderr, '(ERR_FILE_NOT_FOUND)');
  assert.equal(
    JSON.parse(stdout).map(({ id }) => id),
    ['missing'],
  );
});

test('encode --on-corrupt skip writes the others, and lists it', async () => {
  const files = [join(dir, 'damaged.flac'), voice];
  const out = join(dir, 'features');
  const model = join(fixtures, 'encode', 'base');
  const words = ['encode', ...files, '--model', model, '--out', out, '--json', '--on-corrupt'];
  assert.is((await emoframe([...words, 'fail'])).code, 1);
  const { code, stdout, stderr } = await emoframe([...words, 'skip']);
  assert.is(code, 0, stderr);
  assert.match(stderr, '1 of 2 audio inputs');
  const [first, second] = JSON.parse(stdout);
  assert.equal([first.audio, first.error.code], [files[0], 'ERR_AUDIO']);
  assert.equal(second.out, join(out, 'voice.npy'));
  assert.ok(existsSync(second.out));
  assert.not.ok(existsSync(join(out, 'damaged.npy')));
});

test.run();
