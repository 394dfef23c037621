// Whatever a path leads to, reading it ends: pipes, sockets, devices and folders are refused without a wait, of a file without an
// end no more is read than it has when it is opened, and a disk that does not answer is not waited for.
import { execFile, execFileSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  constants,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { audioFiles } from '../../dist/cli/audioFiles.js';
import { OpenFile, readLines, readParts } from '../../dist/files/read.js';
import {
  AudioPool,
  loadAudio,
  loadPretrained,
  readConfig,
  readCorpus,
  readFolds,
  readNpy,
  readSafetensors,
  writeNpy,
} from '../../dist/index.js';
import { refused } from '../support/refused.js';

const test = suite('regular files');
const voice = new URL('../fixtures/audio/voice.wav', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'emoframe-regular-'));
const pipes = [];
const server = createServer();

/** A pipe that nobody writes to: to open it for reading would wait for ever. */
function pipe(name) {
  const path = join(folder, name);
  execFileSync('mkfifo', [path]);
  pipes.push(path);
  return path;
}

test.before(() => new Promise((resolve) => server.listen(join(folder, 'socket.wav'), resolve)));
test.after(async () => {
  // Lets go whoever waits for one, so that a failure ends too.
  for (const path of pipes) closeSync(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

async function refusalOf(call) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve(new Error('it waits')), 5000);
  });
  const ended = call.then(
    () => new Error('it was read'),
    (error) => error,
  );
  const error = await Promise.race([ended, late]);
  clearTimeout(timer);
  return error;
}

test('audio that is no file is refused by name and kind, and what comes after it is read', async () => {
  const link = join(folder, 'link.wav');
  symlinkSync(pipe('pipe.wav'), link);
  const kinds = [
    [link, /pipe/],
    [pipe('other.wav'), /pipe/],
    [join(folder, 'socket.wav'), /socket/],
    ['/dev/zero', /device/],
    [folder, /directory/],
  ];
  const pool = new AudioPool({ threads: 2 });
  try {
    for (const [path, kind] of kinds) {
      for (const load of [loadAudio, (file) => pool.load(file)]) {
        const error = await refusalOf(load(path));
        assert.is(error.code, 'ERR_AUDIO', String(error));
        assert.ok(error.message.includes(path), error.message);
        assert.match(error.message, kind);
        assert.is(error.file, path);
      }
    }
    assert.is((await pool.load(voice)).length, 19200);
  } finally {
    await pool.close();
  }
});

test('a file of the system that says it is empty is', async () => {
  for (const path of [
    '/proc/self/status',
    '/proc/self/mem',
    '/proc/self/pagemap',
    '/sys/kernel/mm/transparent_hugepage/enabled',
  ]) {
    const error = await refusalOf(loadAudio(path));
    assert.match(error.code, /^ERR_(AUDIO|AUDIO_FORMAT|FILE_NOT_FOUND)$/, `${path}: ${error}`);
  }
});

test('every other file of a user that is a pipe is refused by name', async () => {
  mkdirSync(join(folder, 'model'));
  const config = pipe('model/config.json');
  mkdirSync(join(folder, 'weights'));
  const fixture = new URL('../fixtures/encode/base/', import.meta.url).pathname;
  copyFileSync(join(fixture, 'config.json'), join(folder, 'weights', 'config.json'));
  const weights = pipe('weights/pytorch_model.bin');
  const reads = [
    [readSafetensors, pipe('a.safetensors')],
    [readNpy, pipe('a.npy')],
    [readConfig, pipe('config.json')],
    [readFolds, pipe('folds.json')],
    [(path) => loadPretrained(path), pipe('model.pt')],
    // It counts as missing.
    [() => loadPretrained(join(folder, 'model')), dirname(config)],
    [() => loadPretrained(join(folder, 'weights')), dirname(weights)],
    [(path) => audioFiles([], path), pipe('list.txt')],
    [(path) => readCorpus(path), pipe('corpus.jsonl')],
    [(path) => readCorpus(path), pipe('corpus.csv')],
    [(path) => readCorpus(path), pipe('corpus.scp')],
  ];
  for (const name of ['manifest.jsonl', 'manifest.csv']) {
    mkdirSync(join(folder, `corpus-${name}`));
    const path = pipe(`corpus-${name}/${name}`);
    reads.push([() => readCorpus(join(folder, `corpus-${name}`)), path]);
  }
  for (const [read, path] of reads) {
    const error = await refusalOf(read(path));
    assert.is(error.name, 'EmoframeError', `${path}: ${error}`);
    assert.ok(error.message.includes(path), `${path}: ${error.message}`);
  }
});

test('what is added to a file while it is read is not read', async () => {
  const path = join(folder, 'growing.txt');
  writeFileSync(path, 'one\n');
  const grow = () => appendFileSync(path, 'more\n');
  const file = await OpenFile.open(path, (reason) => new Error(reason));
  grow();
  const bytes = new Uint8Array(100);
  assert.is(await file.readUpTo(bytes, 0), 4);
  await file.close();
  let size = 0;
  for await (const part of readParts(path)) {
    size += part.length;
    grow();
  }
  assert.is(size, 9);
  const lines = [];
  for await (const { line } of readLines(path)) {
    lines.push(line);
    if (lines.length < 100) grow();
  }
  assert.equal(lines, ['one', 'more', 'more']);
});

test('letters that a part of a file cuts through stay whole', async () => {
  const path = join(folder, 'long.txt');
  writeFileSync(path, `${'x'.repeat((1 << 20) - 1)}é\nlast ü`);
  const lines = [];
  for await (const { line } of readLines(path)) lines.push(line.slice(-6));
  assert.equal(lines, ['xxxxxé', 'last ü']);
});

test('a disk that does not answer is not waited for, and its files are closed when it answers', async () => {
  // Where a file called stalled.wav is opened, the system is asked for a pipe instead, for which a thread waits as for a dead mount.
  const [stalled, silent] = [join(folder, 'stalled.wav'), pipe('silent')];
  copyFileSync(voice, stalled);
  const hook = `data:text/javascript,${encodeURIComponent(`
    import files from 'node:fs/promises';
    import { syncBuiltinESMExports } from 'node:module';
    const { open } = files;
    files.open = (path, ...rest) => (path === ${JSON.stringify(stalled)} ? open(${JSON.stringify(silent)}) : open(path, ...rest));
    syncBuiltinESMExports();
    const { setInterval } = globalThis;
    globalThis.setInterval = (call, milliseconds) => setInterval(call, milliseconds / 200);
  `)}`;
  const dist = new URL('../../dist/', import.meta.url).href;
  const program = `
    import { closeSync, constants, openSync, readdirSync } from 'node:fs';
    import { AudioPool } from '${dist}audio/pool.js';
    import { loadAudio } from '${dist}audio/load.js';
    const [stalled, silent, voice] = process.argv.slice(1);
    const pool = new AudioPool({ threads: 1 });
    await pool.load(voice);
    await loadAudio(voice);
    const before = readdirSync('/proc/self/fd').length;
    const refusals = [];
    for (const load of [loadAudio, (path) => pool.load(path)]) {
      await load(stalled).catch(({ code, message }) => refusals.push({ code, message }));
    }
    const { length } = await pool.load(voice);
    for (let i = 0; i < 100; i++) {
      closeSync(openSync(silent, constants.O_RDWR | constants.O_NONBLOCK));
      await new Promise((resolve) => setTimeout(resolve, 10));
      if (readdirSync('/proc/self/fd').length === before) break;
    }
    const left = readdirSync('/proc/self/fd').length - before;
    await pool.close();
    console.log(JSON.stringify({ refusals, length, left }));
  `;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', hook, '--input-type=module', '-e', program, stalled, silent, voice],
    { timeout: 20000, killSignal: 'SIGKILL', env: { ...process.env, NODE_OPTIONS: `--import ${hook}` } },
  );
  const { refusals, length, left } = JSON.parse(stdout);
  assert.is(refusals.length, 2);
  for (const { code, message } of refusals) {
    assert.is(code, 'ERR_AUDIO');
    assert.ok(message.includes(stalled) && message.includes('did not answer for 60 seconds'), message);
  }
  assert.is(length, 19200);
  assert.is(left, 0);
});

test('a name that no file can have is that of no file', async () => {
  const name = join(folder, 'a\0b');
  for (const read of [loadPretrained, readCorpus, readFolds, readNpy, readSafetensors])
    assert.is((await refused(read(name), 'ERR_FILE_NOT_FOUND', /There is no /)).file, name);
  await refused(loadAudio(name), 'ERR_AUDIO', /a\\u0000b/);
  await refused(writeNpy(name, new Float32Array(1), [1]), 'ERR_WRITE', /Could not write .*null bytes/);
});

test.run();
