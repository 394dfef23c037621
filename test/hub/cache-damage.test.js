// The Hub's cache among several that download at once, with damaged files, planted links, and answers without end.
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HubClient } from '../../dist/hub/client.js';
import { fetchFile } from '../../dist/hub/fetchFile.js';
import { downloadModel, loadPretrained } from '../../dist/index.js';
import { fileSystemCalls } from '../support/fileSystemCalls.js';
import { filesOf, startHub } from '../support/hubServer.js';
import { refused } from '../support/refused.js';
import { fixtures } from '../support/tinyPredictor.js';

const test = suite('hub: a cache that others use');
const commit = '2'.repeat(40);
const base = filesOf(join(fixtures, 'encode', 'base'));
const weights = base['model.safetensors'];
let hub;
let scratch;
let cacheDir;
let model;

test.before.each(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-hub-cache-'));
  cacheDir = join(scratch, 'hub');
  model = join(cacheDir, 'models--who--base');
  hub = await startHub({ 'who/base': { revisions: { main: commit }, commits: { [commit]: base } } });
});
test.after.each(async () => {
  await hub.close();
  rmSync(scratch, { recursive: true, force: true });
});

const download = (options = {}) => downloadModel('who/base', { endpoint: hub.url, cacheDir, ...options });
const blobs = () => readdirSync(join(model, 'blobs'));
const downloads = () => hub.requests.filter(({ path }) => path.startsWith('cdn:')).length;
const program = new URL('../support/downloads.js', import.meta.url);

test('of many that download a model at once, in one process and in several, one does, and all have it', async () => {
  const processes = Array.from({ length: 3 }, () => fork(program, [hub.url, cacheDir, '4']));
  const outcomes = (await Promise.all(processes.map((child) => once(child, 'message')))).flatMap(([list]) => list);
  const here = await Promise.all(Array.from({ length: 8 }, () => download()));
  const directory = join(model, 'snapshots', commit);
  assert.equal([...new Set([...outcomes, ...here])], [directory]);
  assert.is(outcomes.length, 12);
  assert.is(downloads(), 1);
  assert.ok(readFileSync(join(directory, 'model.safetensors')).equals(weights));
  assert.equal(
    blobs().filter((name) => !/^[0-9a-f]{40,64}$/.test(name)),
    [],
  );
  assert.equal(readdirSync(directory).sort(), Object.keys(base).sort());
});

test('a killed download is taken up by the next: its lock ends with it', async () => {
  hub.faults.cutAfter = [5000, 0, 0, 0, 0];
  const child = fork(program, [hub.url, cacheDir, '1']);
  const partial = () => existsSync(join(model, 'blobs')) && blobs().some((name) => name.endsWith('.incomplete'));
  while (!partial()) await new Promise((resolve) => setTimeout(resolve, 10));
  child.kill('SIGKILL');
  await once(child, 'exit');
  hub.faults.cutAfter = [];
  assert.ok(readFileSync(join(await download(), 'model.safetensors')).equals(weights));
});

/** What a failing disk or a power cut leaves of a file, with the times that it had. */
const damages = {
  zeroed: (file) => {
    const { size, atime, mtime } = statSync(file);
    writeFileSync(file, Buffer.alloc(size));
    utimesSync(file, atime, mtime);
  },
  truncated: (file) => truncateSync(file, 100),
  'changed by a bit': (file) => {
    const bytes = readFileSync(file);
    bytes[bytes.length - 1] ^= 1;
    writeFileSync(file, bytes);
  },
};

for (const [what, damage] of Object.entries(damages)) {
  for (const file of ['model.safetensors', 'config.json']) {
    test(`a ${file} in the cache that is ${what} is downloaded again, and refused offline`, async () => {
      const path = join(await download(), file);
      for (const options of [{}, { revision: commit }]) {
        damage(realpathSync(path));
        await refused(
          download({ ...options, offline: true }),
          'ERR_HUB',
          new RegExp(`${file} does not have the bytes`),
        );
        assert.is(await download(options), join(model, 'snapshots', commit));
        assert.ok(readFileSync(path).equals(base[file]));
        assert.is(await download({ ...options, offline: true }), join(model, 'snapshots', commit));
      }
      damage(realpathSync(path));
      hub.faults.status = 503;
      await refused(download(), 'ERR_DOWNLOAD', /status 503/);
    });
  }
}

test('what was looked at once is not read again while it stays as it is, in other processes too', async () => {
  const directory = await download();
  const marks = readdirSync(join(model, '.verified')).sort();
  assert.equal(marks, blobs().sort());
  // A mark for a state that a damaged file has: whoever believes it has not read the file.
  const blob = realpathSync(join(directory, 'model.safetensors'));
  damages.zeroed(blob);
  const { size, mtimeNs, ctimeNs, ino } = statSync(blob, { bigint: true });
  const mark = join(
    model,
    '.verified',
    marks.find((name) => blob.endsWith(name)),
  );
  writeFileSync(mark, `${size} ${mtimeNs} ${ctimeNs} ${ino}\n`);
  const [outcome] = await once(fork(program, [hub.url, cacheDir, '1', commit]), 'message');
  assert.equal(outcome, [directory]);
  rmSync(mark);
  await once(fork(program, [hub.url, cacheDir, '1', commit]), 'message');
  assert.ok(readFileSync(blob).equals(weights));
});

test('a link that somebody put into the cache leads no download elsewhere', async () => {
  const victim = join(scratch, 'victim');
  const folder = join(scratch, 'folder');
  const untouched = () => {
    assert.is(readFileSync(victim, 'utf8'), 'mine');
    assert.equal(readdirSync(folder), []);
  };
  writeFileSync(victim, 'mine');
  mkdirSync(folder);
  const names = new Map(Object.entries(base).map(([name]) => [name, undefined]));
  await download();
  for (const name of names.keys()) names.set(name, realpathSync(join(model, 'snapshots', commit, name)));
  const blob = names.get('model.safetensors');
  const plant = (path, target = victim) => {
    rmSync(path, { recursive: true, force: true });
    mkdirSync(join(path, '..'), { recursive: true });
    symlinkSync(target, path);
  };
  // In the place of a file: removed.
  for (const planted of [
    [blob],
    [`${blob}.incomplete`, blob],
    [join(model, 'refs', 'main')],
    [join(model, 'snapshots', commit, 'config.json')],
    [join(model, '.verified', blob.split('/').at(-1)), blob],
    [join(model, '.no_exist', commit, 'processor_config.json')],
  ]) {
    const [path, removed] = planted;
    if (removed !== undefined) rmSync(removed);
    plant(path);
    assert.ok((await loadPretrained(await download())).tensors.size > 0, path);
    untouched();
    assert.not.ok(existsSync(path) && lstatSync(path).isSymbolicLink() && realpathSync(path) === victim, path);
  }
  // In the place of a lock, or of a folder: refused.
  const lock = join(cacheDir, '.locks', 'models--who--base', `${blob.split('/').at(-1)}.lock`);
  for (const [path, target] of [
    [join(model, 'blobs'), folder],
    [join(model, 'snapshots', commit), folder],
    [join(model, 'snapshots'), folder],
    [lock, victim],
    [join(cacheDir, '.locks'), folder],
    [model, folder],
  ]) {
    rmSync(cacheDir, { recursive: true, force: true });
    plant(path, target);
    await refused(download(), 'ERR_WRITE', /link/);
    untouched();
  }
  // The cache itself may lie elsewhere.
  rmSync(cacheDir, { recursive: true, force: true });
  symlinkSync(folder, cacheDir);
  await download();
  assert.ok(readdirSync(folder).includes('models--who--base'));
});

test('answers about a model are read only so far, whatever they are compressed to', async () => {
  const zeros = gzipSync(Buffer.alloc(256 << 20));
  for (const status of [200, 500]) {
    Object.assign(hub.faults, { packed: zeros, packedStatus: status });
    await refused(download(), 'ERR_HUB', /more than 16 MiB/);
  }
  Object.assign(hub.faults, { packed: gzipSync('['.repeat(8 << 20)), packedStatus: 200 });
  await refused(download(), 'ERR_HUB', /not JSON \(It nests more than 100 deep/);
  for (const { path, headers } of hub.requests) assert.is(headers['accept-encoding'], 'identity', path);
});

test('a pipe that somebody put into the cache holds up no download', async () => {
  await download();
  const blob = realpathSync(join(model, 'snapshots', commit, 'model.safetensors'));
  const partial = `${blob}.incomplete`;
  for (const path of [partial, join(model, '.verified', blob.split('/').at(-1))]) {
    if (path === partial) rmSync(blob);
    rmSync(path, { force: true });
    execFileSync('mkfifo', [path]);
    // In another process, as one that waits for a pipe cannot end.
    const child = fork(program, [hub.url, cacheDir, '1', commit]);
    const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
    const [outcome] = await Promise.race([once(child, 'message'), once(child, 'exit')]);
    clearTimeout(late);
    assert.equal(outcome, [join(model, 'snapshots', commit)], path);
    assert.ok(readFileSync(blob).equals(weights));
  }
});

test('an answer without any content is a failure, and not waited for', async () => {
  const hash = 'f'.repeat(40);
  let asked = 0;
  const server = createServer((_, response) => {
    const range = { 'content-range': 'bytes 0-0/8', etag: '"x"' };
    response.writeHead(asked++ === 0 ? 206 : 204, range).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endpoint = `http://127.0.0.1:${server.address().port}`;
  const client = new HubClient('who/base', { endpoint, revision: 'main' }, undefined);
  const file = { path: 'config.json', size: 8, hash };
  const blob = join(model, 'blobs', hash);
  try {
    const fetching = fetchFile(client, file, commit, blob, { pauses: [] });
    const late = pause(10_000, 'waited', { ref: false });
    await refused(Promise.race([fetching, late]), 'ERR_DOWNLOAD', /status 204, which has no content/);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('a file is forced to disk before it takes its place, and its name after', async () => {
  const calls = fileSystemCalls(
    `import { downloadModel } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
     import { filesOf, startHub } from ${JSON.stringify(new URL('../support/hubServer.js', import.meta.url).href)};
     const [directory, cacheDir, commit] = process.argv.slice(1);
     const hub = await startHub({ 'who/base': { revisions: { main: commit }, commits: { [commit]: filesOf(directory) } } });
     startCounting();
     await downloadModel('who/base', { endpoint: hub.url, cacheDir });
     await hub.close();`,
    [join(fixtures, 'encode', 'base'), cacheDir, commit],
  );
  const taken = calls.filter(({ call, path }) => call === 'rename' && path.endsWith('.incomplete'));
  assert.is(taken.length, Object.keys(base).length);
  for (const rename of taken) {
    const before = calls.slice(0, calls.indexOf(rename));
    const last = (name) => before.findLastIndex(({ call, path }) => call === name && path === rename.path);
    assert.ok(last('write') >= 0 && last('sync') > last('write'), rename.path);
    const after = calls.slice(calls.indexOf(rename));
    assert.ok(
      after.some(({ call, path }) => call === 'sync' && path === join(model, 'blobs')),
      'the folder',
    );
  }
});

test.run();
