// Models of the Hugging Face Hub, against a server on the loopback that speaks its routes (test/support/hubServer.js).
import { execFile } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CachedModel } from '../../dist/hub/cache.js';
import { HubClient } from '../../dist/hub/client.js';
import { locateModel } from '../../dist/hub/download.js';
import { fetchFile } from '../../dist/hub/fetchFile.js';
import { readSettings } from '../../dist/hub/settings.js';
import { downloadModel, loadPretrained } from '../../dist/index.js';
import { mutateJson } from '../slow/fuzz/mutate.js';
import { Random } from '../slow/fuzz/random.js';
import { emoframe } from '../support/cli.js';
import { filesOf, startHub } from '../support/hubServer.js';
import { asOrdinaryUser } from '../support/ordinaryUser.js';
import { refused } from '../support/refused.js';
import { fixtures } from '../support/tinyPredictor.js';

const test = suite('hub');
const old = '1'.repeat(40);
const now = '2'.repeat(40);
const base = filesOf(join(fixtures, 'encode', 'base'));
const large = filesOf(join(fixtures, 'encode', 'large'));
const parts = filesOf(join(fixtures, 'kinds', 'sharded_safetensors'));
const formOf = (name) => filesOf(join(fixtures, 'forms', name));
const weights = base['model.safetensors'];
const mine = 'hf_secret';
/** As transformers 5 saves a processor. */
function withProcessor({ 'preprocessor_config.json': _, ...files }) {
  const processor = { feature_extractor: { do_normalize: false }, processor_class: 'Wav2Vec2Processor' };
  return { ...files, 'processor_config.json': Buffer.from(JSON.stringify(processor)) };
}
// What the machine's own environment says must not matter.
const names = Object.keys(process.env).filter((name) => /^(?:HF_|HUGGING|TRANSFORMERS_|XDG_CACHE)/.test(name));
let hub;
let scratch;
let cacheDir;

test.before(() => {
  for (const name of names) delete process.env[name];
});
test.before.each(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-hub-'));
  cacheDir = join(scratch, 'hub');
  process.env.HF_HOME = scratch;
  hub = await startHub({
    'who/base': {
      revisions: { main: now, 'refs/pr/1': old },
      commits: {
        [now]: { ...base, 'README.md': Buffer.from('# A model'), 'tf_model.h5': Buffer.alloc(64) },
        [old]: large,
      },
    },
    'who/parts': { revisions: { main: now }, commits: { [now]: parts } },
    'who/private': { revisions: { main: now }, commits: { [now]: base }, token: mine },
    'who/gated': { revisions: { main: now }, commits: { [now]: base }, gated: true },
    ...Object.fromEntries(
      ['speechbrain', 'emotion2vec', 'odyssey'].map((name) => [
        `who/${name}`,
        { revisions: { main: now }, commits: { [now]: { ...formOf(name), 'README.md': Buffer.from('# A model') } } },
      ]),
    ),
    'who/processor': { revisions: { main: now }, commits: { [now]: withProcessor(formOf('wav2vec2')) } },
    'who/dataset': {
      revisions: { main: now },
      commits: { [now]: { 'hubert.pt': Buffer.alloc(8), 'config.json': base['config.json'] } },
    },
  });
});
test.after.each(async () => {
  await hub.close();
  rmSync(scratch, { recursive: true, force: true });
  for (const name of ['HF_HOME', 'HF_HUB_OFFLINE', 'HF_TOKEN', 'HF_ENDPOINT', 'HF_HUB_CACHE']) delete process.env[name];
});

const download = (name, options = {}) => downloadModel(name, { endpoint: hub.url, ...options });
const snapshot = (name, commit) => join(cacheDir, `models--${name.replace('/', '--')}`, 'snapshots', commit);
const requested = (pattern) => hub.requests.filter(({ path }) => pattern.test(path));
/** Every file in the cache, and what it points to. */
const inCache = () =>
  readdirSync(cacheDir, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory());

test('a model is downloaded, into the layout that the tools of the Hub share, and read', async () => {
  const events = [];
  const directory = await download('who/base', { onProgress: (event) => events.push(event) });
  assert.is(directory, snapshot('who/base', now));
  assert.equal(
    (await loadPretrained(directory)).tensors.size,
    (await loadPretrained(join(fixtures, 'encode', 'base'))).tensors.size,
  );
  assert.equal(readdirSync(directory).sort(), ['config.json', 'model.safetensors', 'preprocessor_config.json']);
  assert.is(readFileSync(join(cacheDir, 'models--who--base', 'refs', 'main'), 'utf8'), now);
  const link = readlinkSync(join(directory, 'model.safetensors'));
  assert.match(link, /^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
  assert.match(readlinkSync(join(directory, 'config.json')), /^\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/);
  const total = Object.values(base).reduce((sum, { length }) => sum + length, 0);
  assert.equal(events.at(-1), { name: 'who/base', file: 'model.safetensors', doneBytes: total, totalBytes: total });
  assert.equal(requested(/README|tf_model/), []);
});

test('what is in the cache is not downloaded again', async () => {
  const directory = await download('who/base');
  const before = hub.requests.length;
  assert.is(await download('who/base'), directory);
  assert.equal(
    hub.requests.slice(before).filter(({ path }) => !path.startsWith('/api/')),
    [],
  );
  // A commit never changes: nothing has to be asked for.
  assert.is(await download('who/base', { revision: now }), directory);
  assert.is(hub.requests.length, before + requested(/^\/api\//).length / 2);
});

test('a revision is a directory of its own, and shares what is the same', async () => {
  const main = await download('who/base');
  const other = await download('who/base', { revision: 'refs/pr/1' });
  assert.is(other, snapshot('who/base', old));
  assert.is((await loadPretrained(other)).config.shape.stableLayerNorm, true);
  assert.is((await loadPretrained(main)).config.shape.stableLayerNorm, false);
  await refused(download('who/base', { revision: 'none' }), 'ERR_HUB', /no model who\/base with a revision none/);
});

test('weights in parts come with their index last', async () => {
  const directory = await download('who/parts');
  assert.ok((await loadPretrained(directory)).tensors.size > 20);
  const order = requested(/resolve/).map(({ path }) => path.split('/').at(-1));
  assert.ok(order.indexOf('model-00002-of-00002.safetensors') > order.indexOf('model.safetensors.index.json'));
});

test('models of other programs come with all of their files, and serve offline', async () => {
  for (const [name, weightsFile, needed] of [
    ['speechbrain', 'wav2vec2.ckpt', 'label_encoder.txt'],
    ['emotion2vec', 'model.pt', 'config.yaml'],
    ['odyssey', 'model.safetensors', 'config.json'],
  ]) {
    const directory = await download(`who/${name}`);
    assert.equal(readdirSync(directory).sort(), Object.keys(formOf(name)).sort());
    // The weights come last, so that what has them is whole.
    const asked = requested(new RegExp(`who/${name}.*resolve|cdn:/who/${name}`)).map(({ path }) => path);
    assert.ok(asked.at(-1).endsWith(weightsFile), asked.join());
    const warnings = [];
    const offline = { offline: true, onWarning: (message) => warnings.push(message) };
    assert.is(await download(`who/${name}`, offline), directory);
    assert.equal(warnings, []);
    rmSync(join(directory, needed));
    await refused(download(`who/${name}`, offline), 'ERR_HUB', /incomplete there/);
  }
});

test("a processor's file of transformers 5 is downloaded and says how audio is normalised", async () => {
  const directory = await download('who/processor');
  assert.is((await loadPretrained(directory)).normalize, false);
  const before = hub.requests.length;
  assert.is(await download('who/processor', { revision: now }), directory);
  assert.is(hub.requests.length, before);
});

test('a broken connection is taken up where it broke', async () => {
  hub.faults.cutAfter = [5000, 7000];
  const directory = await download('who/base');
  assert.ok(readFileSync(join(directory, 'model.safetensors')).equals(weights));
  const ranges = requested(/^cdn:/).map(({ headers }) => headers.range);
  assert.equal(ranges, [undefined, `bytes=5000-${weights.length - 1}`, `bytes=12000-${weights.length - 1}`]);
});

/** What `downloadModel` does for one file, without its pauses. */
async function fetchWeights(signal) {
  const settings = await readSettings({ endpoint: hub.url });
  const client = new HubClient('who/base', settings, signal);
  const { files, commit } = await client.describe();
  const file = files.find(({ path }) => path === 'model.safetensors');
  const blob = new CachedModel(cacheDir, 'who/base').blob(file.hash);
  return { file, blob, work: fetchFile(client, file, commit, blob, { pauses: [0, 0], ...(signal && { signal }) }) };
}

test('a network that fails for good leaves what came, and the next download goes on there', async () => {
  hub.faults.cutAfter = [4000, 0, 0, 0];
  const { blob, work } = await fetchWeights();
  await refused(work, 'ERR_DOWNLOAD', /who\/base from http.*Try again/);
  assert.is(existsSync(blob), false);
  assert.is(readFileSync(`${blob}.incomplete`).length, 4000);
  const directory = await download('who/base');
  assert.is(requested(/^cdn:/).at(-1).headers.range, `bytes=4000-${weights.length - 1}`);
  assert.ok(readFileSync(join(directory, 'model.safetensors')).equals(weights));
});

test('a download that is stopped leaves what came, and no file in its place', async () => {
  const stop = new AbortController();
  let seen = 0;
  hub.faults.cutAfter = [9000];
  const work = download('who/base', {
    signal: stop.signal,
    onProgress: ({ file, doneBytes }) => {
      seen = doneBytes;
      if (file === 'model.safetensors' && doneBytes > 8000) stop.abort();
    },
  });
  await refused(work, 'ERR_ABORTED', /stopped/);
  assert.ok(seen > 8000);
  assert.equal(readdirSync(snapshot('who/base', now)).includes('model.safetensors'), false);
});

test('damaged leftovers are found by their hash, and the file is fetched anew', async () => {
  const { blob, work } = await fetchWeights();
  await work;
  rmSync(blob);
  writeFileSync(`${blob}.incomplete`, Buffer.alloc(3000, 7));
  const directory = await download('who/base');
  assert.ok(readFileSync(join(directory, 'model.safetensors')).equals(weights));
  writeFileSync(`${blob}.incomplete`, Buffer.alloc(weights.length + 5));
  rmSync(blob);
  await download('who/base');
  assert.ok(readFileSync(blob).equals(weights));
});

test('bytes that are not those that the Hub lists never take their place', async () => {
  hub.faults.change = (bytes) => {
    const changed = Buffer.from(bytes);
    changed[changed.length - 1] ^= 1;
    return changed;
  };
  await refused(download('who/base'), 'ERR_DOWNLOAD', /model\.safetensors of who\/base arrived twice with other bytes/);
  assert.equal(
    inCache().filter(({ name }) => /^[0-9a-f]{64}/.test(name)),
    [],
  );
  hub.faults.change = (bytes) => Buffer.concat([bytes, bytes]);
  await refused((await fetchWeights()).work, 'ERR_DOWNLOAD', /more than the \d+ bytes/);
});

test('a private model is shown to the right token alone; it is never sent to another host', async () => {
  await refused(download('who/private'), 'ERR_HUB', /no such model, or it is private or gated.*HF_TOKEN/);
  process.env.HF_TOKEN = mine;
  await download('who/private');
  assert.ok(requested(/^cdn:/).length > 0);
  for (const { path, headers } of hub.requests) {
    if (path.startsWith('cdn:')) assert.is(headers.authorization, undefined);
  }
  delete process.env.HF_TOKEN;
  rmSync(cacheDir, { recursive: true });
  writeFileSync(join(scratch, 'token'), `${mine}\n`);
  await download('who/private');
  await refused(download('who/gated', { token: mine }), 'ERR_HUB', /accept its conditions at http.*who\/gated/);
  await refused(download('who/private', { token: 'secret' }), 'ERR_ARGUMENT', /begins with hf_/);
});

test('the token goes to no other host that an answer leads to, and a list without end is stopped', async () => {
  hub.faults.direct = true;
  await download('who/private', { token: mine });
  const elsewhere = requested(/^cdn:/);
  assert.ok(elsewhere.length > 0);
  for (const { headers } of elsewhere) assert.is(headers.authorization, undefined);
  hub.faults.endless = true;
  await refused(download('who/base'), 'ERR_HUB', /more than 1000 requests/);
});

test('whatever the list of files says, the answer is a model or an error of the Hub, and all that is written is in the cache', async () => {
  const seen = new Set();
  for (let seed = 1; seed <= 120; seed++) {
    const random = new Random(seed);
    hub.faults.listText = (text) => mutateJson(random, text);
    const error = await download('who/base').then(
      () => undefined,
      (reason) => reason,
    );
    seen.add(error?.code);
    assert.ok([undefined, 'ERR_HUB', 'ERR_DOWNLOAD'].includes(error?.code), `seed ${seed}: ${error?.stack}`);
  }
  assert.ok(seen.has(undefined) && seen.has('ERR_HUB'), [...seen].join());
  assert.equal(readdirSync(scratch), ['hub']);
});

test('sizes that are none are refused', async () => {
  hub.faults.list = (files) => files.map((file) => ({ ...file, lfs: undefined, size: -1 }));
  await refused(download('who/base'), 'ERR_HUB', /no size of/);
});

test('offline, the cache is all there is', async () => {
  await refused(download('who/base', { offline: true }), 'ERR_HUB', /not in the cache .*incomplete there.*offline/);
  const directory = await download('who/base');
  process.env.HF_HUB_OFFLINE = '1';
  const before = hub.requests.length;
  assert.is(await downloadModel('who/base'), directory);
  assert.is(hub.requests.length, before);
  rmSync(join(directory, 'preprocessor_config.json'));
  const warnings = [];
  await downloadModel('who/base', { onWarning: (message) => warnings.push(message) });
  assert.match(warnings.join(), /no preprocessor_config\.json of who\/base; audio is normalised/);
  rmSync(join(directory, 'model.safetensors'));
  await refused(downloadModel('who/base'), 'ERR_HUB', /incomplete there/);
});

test('of weights in parts, all must be in the cache', async () => {
  const directory = await download('who/parts');
  assert.is(await download('who/parts', { offline: true }), directory);
  rmSync(join(directory, 'model-00001-of-00002.safetensors'));
  await refused(download('who/parts', { offline: true }), 'ERR_HUB', /incomplete there/);
});

test('when the Hub cannot be reached, what is in the cache serves, and a warning says so', async () => {
  const directory = await download('who/base');
  hub.faults.status = 503;
  const warnings = [];
  assert.is(await download('who/base', { onWarning: (message) => warnings.push(message) }), directory);
  assert.match(warnings.join(), /status 503.*copy in the cache is used/);
  await refused(download('who/parts'), 'ERR_DOWNLOAD', /status 503/);
  await hub.close();
  await refused(download('who/parts'), 'ERR_DOWNLOAD', /Could not get who\/parts .*fetch failed/);
});

test('what the Hub says is not trusted with paths', async () => {
  hub.faults.list = (files) => files.map((file) => ({ ...file, lfs: undefined, oid: '../../../../evil' }));
  await refused(download('who/base'), 'ERR_HUB', /no hash of/);
  for (const revision of ['..', '../x', 'a/../b', '/x', 'x/']) {
    await refused(download('who/base', { revision }), 'ERR_ARGUMENT', /branch, tag or commit/);
  }
  for (const name of ['base', 'a/b/c', '../x', 'a/..', 'a/b--c', 'a b/c', '']) {
    await refused(download(name), 'ERR_ARGUMENT', /OWNER\/NAME/);
  }
  await refused(download('who/base', { endpoint: 'ftp://x' }), 'ERR_ARGUMENT', /http or https address/);
});

test('a repository that holds no model of transformers says what it holds', () =>
  refused(download('who/dataset'), 'ERR_HUB', /no model\.safetensors, but hubert\.pt, config\.json/));

test('the environment is respected: where the cache is, and which Hub', async () => {
  process.env.HF_HUB_CACHE = join(scratch, 'elsewhere');
  process.env.HF_ENDPOINT = `${hub.url}/`;
  assert.is(await downloadModel('who/base'), join(scratch, 'elsewhere', 'models--who--base', 'snapshots', now));
});

test('what is here comes before what is on the Hub', async () => {
  const here = join(scratch, 'who', 'base');
  mkdirSync(here, { recursive: true });
  const back = process.cwd();
  process.chdir(scratch);
  try {
    assert.is(await locateModel('who/base', { endpoint: hub.url }), 'who/base');
    await refused(locateModel('who/base', { revision: 'main' }), 'ERR_ARGUMENT', /file or directory here/);
    assert.is(await locateModel('./who/none'), './who/none');
    await refused(locateModel('who/nine', { endpoint: hub.url }), 'ERR_HUB', /no file or directory who\/nine here/);
    // What the user may not look at is not looked for elsewhere.
    chmodSync(scratch, 0o755);
    chmodSync(join(scratch, 'who'), 0);
    await asOrdinaryUser(() =>
      refused(locateModel('who/base', { endpoint: hub.url }), 'ERR_READ', /permission denied/),
    );
    chmodSync(join(scratch, 'who'), 0o755);
  } finally {
    process.chdir(back);
  }
  assert.equal(hub.requests.length, 1);
});

test('the command line takes a model by its name', async () => {
  const env = { HF_ENDPOINT: hub.url, HF_HOME: scratch };
  const words = [
    'encode',
    join(fixtures, 'audio', 'voice.wav'),
    '--model',
    'who/base',
    '--out',
    scratch,
    '--threads',
    '1',
  ];
  const { code, stderr } = await emoframe(words, { env, cwd: scratch });
  assert.is(code, 0, stderr);
  assert.match(stderr, /download who\/base {2}.*MiB/);
  assert.ok(existsSync(join(scratch, 'voice.npy')));
  const offline = await emoframe([...words, '--on-existing', 'replace', '--revision', 'refs/pr/1'], {
    env: { ...env, HF_HUB_OFFLINE: '1' },
    cwd: scratch,
  });
  assert.is(offline.code, 1);
  assert.match(offline.stderr, /who\/base \(revision refs\/pr\/1\) is not.*ERR_HUB/s);
});

test('the example of the documentation', async () => {
  const example = fileURLToPath(new URL('../../examples/hub-model.js', import.meta.url));
  const voice = join(fixtures, 'audio', 'voice.wav');
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [example, 'who/base', voice], {
    env: { ...process.env, HF_ENDPOINT: hub.url, FORCE_COLOR: '0' },
  });
  assert.is(stdout, '59 frames of 16 numbers\n');
  const [, done, total] = stderr.trim().split('\n').at(-1).split(' ');
  assert.ok(Number(total) > weights.length);
  assert.is(done, total);
});

test.run();
