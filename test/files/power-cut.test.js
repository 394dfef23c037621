// What a power cut can take: bytes of a file, and names in a directory, that were not forced to disk. Here every call to the
// file system is seen in its order, and at each rename and each removal it is asked what a cut at that moment would leave.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fileSystemCalls } from '../support/fileSystemCalls.js';

const test = suite('power cut');
let scratch;
test.before.each(() => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-power-'));
});
test.after.each(() => rmSync(scratch, { recursive: true, force: true }));

const module = (name) => JSON.stringify(new URL(`../../dist/${name}.js`, import.meta.url).href);

/** Sentences about what a power cut could take that the program believes to be safe. */
function losses(calls) {
  /** Files and directories with something that is not on disk yet. */
  const unsafe = new Set();
  const found = [];
  const inside = (path, directory) => path === directory || path.startsWith(`${directory}/`);
  for (const { call, path, to } of calls) {
    // A lock means nothing after a power cut.
    if (path.endsWith('.lock')) continue;
    if (call === 'open' || call === 'write' || call === 'writeFile') {
      unsafe.add(path);
      if (call === 'open') unsafe.add(dirname(path));
    } else if (call === 'mkdir') {
      unsafe.add(dirname(path));
    } else if (call === 'sync') {
      unsafe.delete(path);
    } else if (call === 'rename') {
      for (const part of unsafe) if (inside(part, path)) found.push(`${part} is put in its place before it is on disk`);
      unsafe.add(dirname(path));
      unsafe.add(dirname(to));
    } else if (call === 'rm') {
      // Leftovers of names that are not there may go at any time; what was replaced only when what replaces it is safe.
      if (/\/(\.[^/]*\.old|step-\d+)$/.test(path) && unsafe.has(dirname(path)))
        found.push(`${path} is removed before what takes its place is on disk`);
    }
  }
  for (const path of unsafe) found.push(`${path} is never forced to disk`);
  return found;
}

test('a new training state is on disk before it bears its name, and an older one is removed only then', () => {
  const directory = join(scratch, 'checkpoint');
  const calls = fileSystemCalls(
    `import { saveStep } from ${module('training/savedSteps')};
     import { storedForm } from ${JSON.stringify(new URL('../support/storedTensors.js', import.meta.url).href)};
     const data = Float32Array.of(1, 2);
     const save = (step) => saveStep(process.argv[1], storedForm({
       step, tensors: [{ name: 'a', shape: [2], data }], moments: [{ name: 'a', m: data, v: data }], state: {},
     }));
     for (const step of [1, 2]) await save(step);
     startCounting();
     for (const step of [3, 4]) await save(step);`,
    [directory],
  );
  const indexOf = (call, path) => calls.findIndex((found) => found.call === call && (found.to ?? found.path) === path);
  assert.ok(indexOf('rename', join(directory, 'step-3')) < indexOf('rm', join(directory, 'step-2')));
  for (const name of ['model.safetensors', 'moments.safetensors', 'state.json'])
    assert.ok(
      calls.some(({ call, path }) => call === 'sync' && path.endsWith(`/${name}`)),
      name,
    );
  assert.equal(losses(calls), []);
});

test('a directory that takes the place of another is on disk before the other is removed', () => {
  const calls = fileSystemCalls(
    `import { writeDirectoryAtomic } from ${module('files/atomic')};
     import { writeFile, mkdir } from 'node:fs/promises';
     const fill = (text) => async (directory) => {
       await mkdir(directory + '/inner');
       await writeFile(directory + '/inner/file', text);
     };
     await writeDirectoryAtomic(process.argv[1], fill('old'));
     startCounting();
     await writeDirectoryAtomic(process.argv[1], fill('new'));`,
    [join(scratch, 'model')],
  );
  assert.ok(calls.some(({ call, path }) => call === 'sync' && /\/inner\/file$/.test(path)));
  assert.ok(calls.some(({ call, path }) => call === 'rm' && /\.model\.old$/.test(path)));
  assert.equal(losses(calls), []);
});

test('the folders that a file is the first in are on disk too', () => {
  const calls = fileSystemCalls(
    `import { writeFileAtomic } from ${module('files/atomic')};
     startCounting();
     await writeFileAtomic(process.argv[1] + '/a/b/c/file', 'text');`,
    [scratch],
  );
  assert.equal(losses(calls), []);
  const synced = calls.filter(({ call }) => call === 'sync').map(({ path }) => path);
  for (const folder of ['', 'a', 'a/b', 'a/b/c']) assert.ok(synced.includes(join(scratch, folder)), `/${folder}`);
});

test("a stage's training states go only when the mark that it is done is on disk", () => {
  const stage = join(scratch, 'tapt');
  const calls = fileSystemCalls(
    `import { finishStage } from ${module('run/stageResult')};
     import { FoldPaths } from ${module('run/paths')};
     import { mkdirSync } from 'node:fs';
     mkdirSync(process.argv[1] + '/tapt/checkpoint/step-2', { recursive: true });
     startCounting();
     await finishStage({ paths: new FoldPaths(process.argv[1]), stage: 'tapt', startedAt: Date.now() }, { loss: 1 });`,
    [scratch],
  );
  const indexOf = (call, path) => calls.findIndex((found) => found.call === call && (found.to ?? found.path) === path);
  const marked = indexOf('rename', join(stage, 'done.json'));
  const removed = indexOf('rm', join(stage, 'checkpoint'));
  const forced = calls.findIndex(({ call, path }, at) => at > marked && call === 'sync' && path === stage);
  assert.ok(marked >= 0 && forced > marked && removed > forced, `${marked} ${forced} ${removed}`);
  assert.ok(indexOf('rename', join(stage, 'metrics.json')) < marked);
});

test('a log that loses rows is written anew beside itself, never in its place', () => {
  const log = join(scratch, 'log.jsonl');
  const calls = fileSystemCalls(
    `import { JsonlLog } from ${module('log/jsonl')};
     const log = JsonlLog.open(process.argv[1]);
     for (const step of [1, 2, 3]) log.write({ step });
     startCounting();
     await log.retain(({ step }) => step < 3);
     await log.close();`,
    [log],
  );
  const changing = calls.filter(({ call, path }) => path === log && ['write', 'writeFile', 'truncate'].includes(call));
  assert.equal(changing, []);
  const replaced = calls.findIndex(({ call, to }) => call === 'rename' && to === log);
  const { path: temporary } = calls[replaced];
  assert.ok(calls.findIndex(({ call, path }) => call === 'sync' && path === temporary) < replaced);
  assert.equal(
    readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).step),
    [1, 2],
  );
});

/** A program's outcome where forcing folders to disk, and locks, are answered as some file systems do. */
function onOtherFileSystems(program, args) {
  const answers = `
    import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    import { binding } from ${module('model/binding')};
    const { open } = fs.promises;
    const refuse = (code) => Promise.reject(Object.assign(new Error(code + ': as it is'), { code }));
    export const file = { sync: undefined };
    export let folders = '';
    export const answer = (code) => { folders = code; };
    fs.promises.open = async (...args) => {
      const handle = await open(...args);
      const { sync } = handle;
      const isFolder = (await handle.stat()).isDirectory();
      handle.sync = () => (isFolder ? refuse(folders) : file.sync ? refuse(file.sync) : sync.call(handle));
      return handle;
    };
    syncBuiltinESMExports();
    binding().lockFile = () => 'unsupported';`;
  const { status, stderr, stdout } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', `${answers}\n${program}`, ...args],
    { encoding: 'utf8' },
  );
  return { status, stderr, stdout };
}

test('a file system that cannot force folders to disk, and has no locks, is written to; a disk that fails is told of', () => {
  const { status, stderr, stdout } = onOtherFileSystems(
    `const { writeFileAtomic, writeDirectoryAtomic } = await import(${module('files/atomic')});
     const { writeFile } = await import('node:fs/promises');
     const fill = async (directory) => { await writeFile(directory + '/a', 'text'); };
     for (const code of ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'EBADF', 'EISDIR', 'ENOSYS']) {
       answer(code);
       await writeFileAtomic(process.argv[1] + '/' + code + '/b/file', 'text');
       for (const round of [1, 2]) await writeDirectoryAtomic(process.argv[1] + '/' + code + '/model', fill);
     }
     for (const code of ['EIO', 'ENOSPC']) {
       file.sync = code;
       await writeFileAtomic(process.argv[1] + '/' + code, 'text').catch((error) => console.log(error.code, code));
     }`,
    [scratch],
  );
  assert.is(status, 0, stderr);
  assert.is(stdout, 'ERR_WRITE EIO\nERR_WRITE ENOSPC\n');
  const codes = ['EBADF', 'EINVAL', 'EISDIR', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'];
  assert.equal(readdirSync(scratch).sort(), codes);
  for (const code of codes) assert.equal(readdirSync(join(scratch, code)).sort(), ['b', 'model']);
});

test.run();
