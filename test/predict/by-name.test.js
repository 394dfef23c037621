// Models that are named as on the Hub, against a server on the loopback (test/support/hubServer.js).
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EmotionModel, Encoder } from '../../dist/index.js';
import { emoframe } from '../support/cli.js';
import { filesOf, startHub } from '../support/hubServer.js';
import { keeper } from '../support/kept.js';
import { refused } from '../support/refused.js';
import { fixtures, writeTinyPredictor } from '../support/tinyPredictor.js';

const test = suite('models by name');
const keep = keeper(test);
const voice = join(fixtures, 'audio', 'voice.wav');
const commit = 'c'.repeat(40);
let hub;
let scratch;
let predictor;
let options;

test.before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-named-'));
  predictor = await writeTinyPredictor(join(scratch, 'predictor'));
  hub = await startHub({
    'who/emotions': { revisions: { main: commit, v1: commit }, commits: { [commit]: filesOf(predictor) } },
  });
  options = { endpoint: hub.url, cacheDir: join(scratch, 'cache'), token: 'hf_x' };
});
test.after(async () => {
  await hub.close();
  rmSync(scratch, { recursive: true, force: true });
});

test('a model of the Hub is downloaded, tells how far it is, and says what it says as a directory', async () => {
  const here = keep(await EmotionModel.load(predictor));
  const events = [];
  const named = keep(
    await EmotionModel.load('who/emotions', { ...options, onDownload: (event) => events.push(event) }),
  );
  assert.equal(await named.predict(voice), await here.predict(voice));
  assert.is(events.at(-1).name, 'who/emotions');
  assert.is(events.at(-1).doneBytes, events.at(-1).totalBytes);
  assert.is(hub.requests[0].headers.authorization, 'Bearer hf_x');
});

test('offline it comes from the cache, for encoding too, and a model that is not there is refused', async () => {
  const asked = hub.requests.length;
  const offline = { ...options, offline: true };
  const named = keep(await EmotionModel.load('who/emotions', offline));
  assert.ok(named.labels.includes((await named.predict(voice)).label));
  const encoder = keep(await Encoder.load('who/emotions', offline));
  assert.is((await encoder.encode(voice)).frames, 59);
  await refused(
    EmotionModel.load('who/nothing', offline),
    'ERR_HUB',
    /no file or directory who\/nothing here.*offline/,
  );
  assert.is(hub.requests.length, asked);
});

test('a directory of that name here comes before the Hub, and has no revision', async () => {
  const back = process.cwd();
  const base = join(scratch, 'here');
  mkdirSync(join(base, 'who'), { recursive: true });
  symlinkSync(predictor, join(base, 'who', 'emotions'));
  const asked = hub.requests.length;
  process.chdir(base);
  try {
    keep(await EmotionModel.load('who/emotions', options));
    await refused(EmotionModel.load('who/emotions', { ...options, revision: 'v1' }), 'ERR_ARGUMENT', /has a revision/);
  } finally {
    process.chdir(back);
  }
  assert.is(hub.requests.length, asked);
});

test('a download can be stopped, and wrong options are refused before it begins', async () => {
  await refused(
    EmotionModel.load('who/emotions', { ...options, cacheDir: join(scratch, 'new'), signal: AbortSignal.abort() }),
    'ERR_ABORTED',
    /stopped/,
  );
  const asked = hub.requests.length;
  await refused(EmotionModel.load('who/emotions', { ...options, revison: 'v1' }), 'ERR_ARGUMENT', /revison/);
  await refused(EmotionModel.load('who/emotions', { ...options, precision: 'tf32' }), 'ERR_DEVICE_UNSUPPORTED', /tf32/);
  assert.is(hub.requests.length, asked);
});

test('a task that is asked for is checked', async () => {
  const model = keep(await EmotionModel.load(predictor, { task: 'classification' }));
  assert.is(model.task, 'classification');
  await refused(
    EmotionModel.load(predictor, { task: 'regression' }),
    'ERR_HEAD',
    /gives one of angry, .*classification/,
  );
});

test('predict takes a name, shows the download, and runs offline from then on', async () => {
  const env = { HF_ENDPOINT: hub.url, HF_HOME: join(scratch, 'home') };
  const words = ['predict', voice, '--model', 'who/emotions', '--threads', '1', '--format', 'jsonl'];
  const first = await emoframe(words, { env });
  assert.is(first.code, 0, first.stderr);
  assert.match(first.stderr, /download who\/emotions {2}.*MiB/);
  const offline = await emoframe(words, { env: { ...env, HF_ENDPOINT: 'http://127.0.0.1:9', HF_HUB_OFFLINE: '1' } });
  assert.is(offline.code, 0, offline.stderr);
  assert.is(offline.stdout, first.stdout);
});

test.run();
