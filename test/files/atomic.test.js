import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { directoryExists, recoverDirectory, writeDirectoryAtomic, writeFileAtomic } from '../../dist/files/atomic.js';
import { refused } from '../support/refused.js';

let scratch;
test.before.each(() => {
  scratch = mkdtempSync(join(tmpdir(), 'emoframe-atomic-'));
});
test.after.each(() => rmSync(scratch, { recursive: true, force: true }));

const put = (directory, files) => {
  mkdirSync(directory, { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
};
const fill = (files) => async (directory) => put(directory, files);
const contents = (directory) =>
  Object.fromEntries(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), 'utf8')]));

test('a file is written, replaced, and nothing else is left', async () => {
  const path = join(scratch, 'deep', 'down', 'file.txt');
  await writeFileAtomic(path, 'one');
  await writeFileAtomic(path, Buffer.from('two'));
  assert.equal(contents(join(scratch, 'deep', 'down')), { 'file.txt': 'two' });
});

test('a directory is written, replaced whole, and nothing else is left', async () => {
  const path = join(scratch, 'deep', 'model');
  await writeDirectoryAtomic(path, fill({ a: '1', b: '1' }));
  await writeDirectoryAtomic(path, fill({ a: '2', b: '2', c: '2' }));
  assert.equal(contents(path), { a: '2', b: '2', c: '2' });
  assert.equal(readdirSync(join(scratch, 'deep')), ['model']);
});

test('an empty directory is replaced', async () => {
  const path = join(scratch, 'model');
  mkdirSync(path);
  await writeDirectoryAtomic(path, fill({ a: '1' }));
  assert.equal(contents(path), { a: '1' });
});

test('a failure while filling leaves the old directory and no temporaries', async () => {
  const path = join(scratch, 'model');
  await writeDirectoryAtomic(path, fill({ a: '1' }));
  const failing = writeDirectoryAtomic(path, async (directory) => {
    put(directory, { a: '2' });
    throw new RangeError('stop here');
  });
  await failing.then(
    () => assert.unreachable('the failure was hidden'),
    (error) => assert.instance(error, RangeError),
  );
  assert.equal(contents(path), { a: '1' });
  assert.equal(readdirSync(scratch), ['model']);
});

test("someone else's files are never replaced, unless named", async () => {
  const path = join(scratch, 'home');
  put(path, { a: 'mine', 'thesis.tex': 'mine' });
  await refused(writeDirectoryAtomic(path, fill({ a: '1' })), 'ERR_WRITE', /home holds thesis\.tex/);
  assert.equal(contents(path), { a: 'mine', 'thesis.tex': 'mine' });
  await writeDirectoryAtomic(path, fill({ a: '1' }), { replaces: ['thesis.tex'] });
  assert.equal(contents(path), { a: '1' });
});

test('a full disk and a path through a file are refused with the path', async () => {
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  const path = join(scratch, 'model');
  const error = await refused(
    writeDirectoryAtomic(path, () => Promise.reject(full)),
    'ERR_WRITE',
    /disk is full/,
  );
  assert.is(error.file, path);
  assert.is(error.cause, full);
  writeFileSync(join(scratch, 'file'), '');
  await refused(writeFileAtomic(join(scratch, 'file', 'x'), ''), 'ERR_WRITE', /file\/x/);
  mkdirSync(join(scratch, 'directory', 'inside'), { recursive: true });
  await refused(writeFileAtomic(join(scratch, 'directory'), ''), 'ERR_WRITE', /is a directory/);
});

test('after a crash between the two renames the new directory is brought to its place', async () => {
  const path = join(scratch, 'model');
  put(join(scratch, '.model.ready'), { a: 'new' });
  put(join(scratch, '.model.old'), { a: 'old' });
  await recoverDirectory(path);
  assert.equal(contents(path), { a: 'new' });
  await writeDirectoryAtomic(path, fill({ a: 'newer' }));
  assert.equal(contents(path), { a: 'newer' });
  assert.equal(readdirSync(scratch), ['model']);
});

test('when only the old directory is there it is brought back', async () => {
  put(join(scratch, '.model.old'), { a: 'old' });
  assert.is(await directoryExists(join(scratch, 'model')), true);
  assert.equal(contents(join(scratch, 'model')), { a: 'old' });
});

test('what was never written stays missing', async () => {
  assert.is(await directoryExists(join(scratch, 'model')), false);
});

test('a reader that comes between the two renames does not disturb the writer', async () => {
  const path = join(scratch, 'model');
  await writeDirectoryAtomic(path, fill({ a: '0' }));
  let reading = true;
  const reader = (async () => {
    for (let reads = 0; reading; reads++) {
      await recoverDirectory(path);
      if (reads % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  for (let generation = 1; generation <= 30; generation++) {
    await writeDirectoryAtomic(path, fill({ a: String(generation) }));
    assert.equal(contents(path), { a: String(generation) });
  }
  reading = false;
  await reader;
});

/** A thread that writes one file or directory many times over, and tells how often it did, and what went wrong. */
const writerProgram = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { mkdir, writeFile } = require('node:fs/promises');
  const { join } = require('node:path');
  import(workerData.module).then(async ({ writeFileAtomic, writeDirectoryAtomic }) => {
    const outcome = { written: 0, failures: [] };
    for (let n = 0; n < workerData.times; n++) {
      const text = String(workerData.number * 1000 + n).repeat(100);
      const write = workerData.directory
        ? writeDirectoryAtomic(workerData.path, async (folder) => {
            for (const name of ['a', 'b']) await writeFile(join(folder, name), text);
          })
        : writeFileAtomic(workerData.path, text);
      await write.then(() => outcome.written++, (error) => outcome.failures.push(error.message));
    }
    parentPort.postMessage(outcome);
  });`;
const module = new URL('../../dist/files/atomic.js', import.meta.url).href;

async function writeInThreads(path, directory, times) {
  const outcomes = [1, 2].map(async (number) => {
    const worker = new Worker(writerProgram, { eval: true, workerData: { module, path, directory, times, number } });
    const [outcome] = await once(worker, 'message');
    return outcome;
  });
  for (const { written, failures } of await Promise.all(outcomes)) {
    assert.equal(failures, []);
    assert.is(written, times);
  }
}

test('two threads that write one file do not take the temporaries of each other for leftovers', async () => {
  const path = join(scratch, 'file');
  await writeInThreads(path, false, 40);
  assert.equal(readdirSync(scratch), ['file']);
  assert.match(readFileSync(path, 'utf8'), /^(\d{4})\1{99}$/);
});

test('two threads that write one directory each put a whole one there', async () => {
  const path = join(scratch, 'model');
  await writeInThreads(path, true, 15);
  assert.equal(readdirSync(scratch), ['model']);
  const { a, b } = contents(path);
  assert.is(a, b);
});

test('what a killed writer left is removed by the next, whatever process has its number now', async () => {
  put(join(scratch, `.model.new-${process.ppid}-0123abcd`), { a: 'of an earlier version' });
  put(join(scratch, '.model.new-0123456789abcdef'), { a: 'half' });
  writeFileSync(join(scratch, '.model.json.new-0123456789abcdef'), 'half');
  writeFileSync(join(scratch, '.model.new-notes'), 'mine');
  await writeDirectoryAtomic(join(scratch, 'model'), async (directory) => {
    put(directory, { a: '1' });
    // A second writer in this process, of a file of the same name's family, must not take ours for a leftover.
    await writeFileAtomic(join(scratch, 'model.json'), '{}');
  });
  assert.equal(readdirSync(scratch).sort(), ['.model.new-notes', 'model', 'model.json']);
});

test('killed at any moment, a writer leaves a whole directory', async () => {
  const path = join(scratch, 'model');
  const module = new URL('../../dist/files/atomic.js', import.meta.url).href;
  const program = `
    import { writeDirectoryAtomic } from ${JSON.stringify(module)};
    import { writeFile } from 'node:fs/promises';
    import { join } from 'node:path';
    for (let generation = Number(process.argv[1]); ; generation++) {
      await writeDirectoryAtomic(${JSON.stringify(path)}, async (directory) => {
        for (const name of ['a', 'b', 'c']) await writeFile(join(directory, name), String(generation));
      });
      if (generation % 1000 === 0) process.stdout.write('.');
    }`;
  let last = -1;
  for (let round = 0; round < 8; round++) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, String(round * 1000)]);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await new Promise((resolve) => setTimeout(resolve, 3 + round * 7));
    child.kill('SIGKILL');
    await new Promise((resolve) => child.on('exit', resolve));
    await recoverDirectory(path);
    const { a, b, c } = contents(path);
    assert.ok(a === b && b === c && Number(a) > last, `${a} ${b} ${c} after ${last}`);
    last = Number(a);
  }
  await writeDirectoryAtomic(path, async (directory) => {
    for (const name of ['a', 'b', 'c']) await writeFile(join(directory, name), 'end');
  });
  assert.equal(readdirSync(scratch), ['model']);
});

test('a link is replaced, and what it leads to stays; one that the user named is followed', async () => {
  const real = join(scratch, 'elsewhere', 'model');
  const link = join(scratch, 'link');
  for (const followLink of [false, true]) {
    put(real, { a: '1' });
    symlinkSync(real, link);
    await writeDirectoryAtomic(link, fill({ a: '2' }), { followLink });
    assert.equal(contents(link), { a: '2' });
    assert.equal(contents(real), { a: followLink ? '2' : '1' });
    assert.is(lstatSync(link).isSymbolicLink(), followLink);
    rmSync(link, { recursive: true });

    const file = join(real, 'a');
    writeFileSync(file, '1');
    symlinkSync(file, link);
    await writeFileAtomic(link, '2', { followLink });
    assert.is(readFileSync(link, 'utf8'), '2');
    assert.is(readFileSync(file, 'utf8'), followLink ? '2' : '1');
    assert.is(lstatSync(link).isSymbolicLink(), followLink);
    rmSync(link);
  }
});

test("someone else's file in a folder of ours is never lost with it", async () => {
  const path = join(scratch, 'model');
  const withClusters = async (directory) => put(join(directory, 'clusters'), { a: '1' });
  await writeDirectoryAtomic(path, withClusters);
  await writeDirectoryAtomic(path, withClusters);
  writeFileSync(join(path, 'clusters', 'notes.txt'), 'mine');
  for (const replaces of [[], ['clusters', 'clusters/a']])
    await refused(writeDirectoryAtomic(path, fill({ b: '1' }), { replaces }), 'ERR_WRITE', /model holds clusters/);
  assert.is(readFileSync(join(path, 'clusters', 'notes.txt'), 'utf8'), 'mine');
  rmSync(join(path, 'clusters', 'notes.txt'));
  await writeDirectoryAtomic(path, fill({ b: '1' }), { replaces: ['clusters', 'clusters/a'] });
  assert.equal(contents(path), { b: '1' });
});

test.run();
