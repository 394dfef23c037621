import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Encoder, readNpy } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { writeWav } from '../support/syntheticRun.js';
import { writeTinyCorpus } from '../support/tinyCorpus.js';
import { fixtures, labels, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('command line: audio');
const voice = join(fixtures, 'audio', 'voice.wav');
const stereo = join(fixtures, 'audio', 'stereo48k.flac');
const model = join(fixtures, 'encode', 'base');
let dir;
test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-cli-'));
  await writeTinyPredictor(join(dir, 'predictor'));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

test('encode writes OUT/NAME.npy, float32 [frames, channels], of the asked layer', async () => {
  const out = join(dir, 'features', 'deep');
  const { code, stdout, stderr } = await emoframe([
    'encode',
    voice,
    stereo,
    '--model',
    model,
    '--layer',
    '1',
    '--out',
    out,
  ]);
  assert.is(code, 0, stderr);
  assert.equal(readdirSync(out).sort(), ['stereo48k.npy', 'voice.npy']);
  assert.match(stdout, 'voice.npy  [59, 16]');
  const encoder = await Encoder.load(model);
  const expected = await encoder.encode(voice, { layer: 1 });
  await encoder.dispose();
  const { data, shape } = await readNpy(join(out, 'voice.npy'));
  assert.equal(shape, [expected.frames, expected.dimension]);
  assert.instance(data, Float32Array);
  assert.equal(data, expected.hidden);
});

test('encode writes the output of the model unless given a layer, into the working directory, and --json says what it did', async () => {
  const { code, stdout } = await emoframe(['encode', voice, '--model', model, '--json'], { cwd: dir });
  assert.is(code, 0);
  assert.equal(JSON.parse(stdout), [
    { audio: voice, out: 'voice.npy', layer: 'output', frames: 59, dimension: 16, windows: null },
  ]);
  assert.ok(existsSync(join(dir, 'voice.npy')));
});

test('encode goes on where it was stopped, or stops, where a file exists that it would replace', async () => {
  const out = join(dir, 'again');
  const [first, second] = ['voice.npy', 'stereo48k.npy'].map((name) => join(out, name));
  const encode = (...words) =>
    emoframe(['encode', voice, stereo, '--model', model, '--threads', '1', '--out', out, ...words]);
  mkdirSync(out);
  writeFileSync(first, 'of somebody else');
  const refusal = await encode('--on-existing', 'fail');
  assert.is(refusal.code, 1);
  assert.match(refusal.stderr, `${first} exists already: choose another --out, or give --on-existing skip`);
  assert.not.ok(existsSync(second));
  const resumed = await encode('--on-existing', 'skip', '--json');
  assert.is(resumed.code, 0, resumed.stderr);
  const [kept, { frames }] = JSON.parse(resumed.stdout);
  assert.equal(kept, { audio: voice, out: first, existing: true });
  assert.is(readFileSync(first, 'utf8'), 'of somebody else');
  assert.equal((await readNpy(second)).shape, [frames, 16]);
  assert.match((await encode('--on-existing', 'fail')).stderr, `${first} and 1 more exist already`);
  assert.is((await encode()).code, 0);
  assert.equal((await readNpy(first)).shape, [59, 16]);
});

test('encode refuses a layer that the model lacks before it writes anything', async () => {
  const out = join(dir, 'none');
  const { code, stderr } = await emoframe(['encode', voice, '--model', model, '--layer', '3', '--out', out]);
  assert.is(code, 2);
  assert.match(stderr, 'Expected 0 to 2 for --layer with this model but received 3');
  assert.not.ok(existsSync(out));
});

test('predict shows the emotion and a timeline as text', async () => {
  const { code, stdout } = await emoframe([
    'predict',
    voice,
    '--model',
    join(dir, 'predictor'),
    '--switching-cost',
    '0',
  ]);
  assert.is(code, 0);
  const [first, bar, segment] = stdout.split('\n');
  assert.match(first, new RegExp(`^voice {2}(${labels.join('|')}) `));
  assert.match(bar, /^ {2}\|[AHNS]{60}\| {2}1\.20 s$/);
  assert.match(segment, /^ +0\.00 – +\d\.\d\d s {2}[AHNS] \w+ {2}[01]\.\d\d$/);
});

test('predict gives every frame as JSON, and a line a file as JSONL', async () => {
  const json = await emoframe(['predict', voice, stereo, '--model', join(dir, 'predictor'), '--json']);
  assert.is(json.code, 0);
  const all = JSON.parse(json.stdout);
  assert.equal(
    all.map(({ id }) => id),
    ['voice', 'stereo48k'],
  );
  assert.equal(Object.keys(all[0].frames[0]).sort(), ['attention', 'cluster', 'posterior', 'time']);
  const jsonl = await emoframe(['predict', voice, stereo, '--model', join(dir, 'predictor'), '--format', 'jsonl']);
  const lines = jsonl.stdout.trim().split('\n');
  assert.equal(
    lines.map((line) => JSON.parse(line)),
    all,
  );
  const without = await emoframe(['predict', voice, '--model', join(dir, 'predictor'), '--json', '--no-clusters']);
  assert.not.ok('cluster' in JSON.parse(without.stdout)[0].frames[0]);
});

test('predict says which file is too short, and what a model without classifier needs', async () => {
  const short = join(dir, 'short.wav');
  writeWav(short, new Float32Array(100));
  const tooShort = await emoframe(['predict', short, '--model', join(dir, 'predictor')]);
  assert.is(tooShort.code, 1);
  assert.match(tooShort.stderr, /short\.wav[^\n]*\(ERR_AUDIO_SHORT\)/);
  const headless = await emoframe(['predict', voice, '--model', model]);
  assert.is(headless.code, 1);
  assert.match(headless.stderr, /emoframe run[^\n]*\(ERR_HEAD\)/);
});

test('corpus counts, and lists every bad row with its line', async () => {
  const manifest = writeTinyCorpus(join(dir, 'corpus'));
  writeFileSync(manifest, '{"audio": "missing.wav", "label": "angry"}\nnot json\n', { flag: 'a' });
  const { code, stdout } = await emoframe(['corpus', manifest, '--json']);
  assert.is(code, 0);
  const reported = JSON.parse(stdout);
  assert.equal(Object.keys(reported).slice(0, 7), [
    'dataset',
    'utterances',
    'labels',
    'speakers',
    'sessions',
    'seconds',
    'problems',
  ]);
  assert.is(reported.labels.neutral, 12);
  assert.is(Object.keys(reported.speakers).length, 6);
  assert.is(Object.keys(reported.sessions).length, 3);
  assert.ok(reported.seconds > 24 * 1.1 && reported.seconds < 24 * 1.4);
  assert.is(reported.problems.length, 2);
  assert.ok(reported.problems.some(({ row }) => row === 26));
  const text = await emoframe(['corpus', manifest]);
  assert.match(text.stdout, /neutral +12 +\d/);
  assert.match(text.stderr, /manifest\.jsonl:26: /);
});

test.run();
