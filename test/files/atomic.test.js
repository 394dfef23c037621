import { spawn } from 'node:child_process';
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

test('leftovers of writers that are gone are removed, those of living ones are not', async () => {
  const gone = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => gone.on('exit', resolve));
  put(join(scratch, `.model.new-${gone.pid}-0123abcd`), { a: 'half' });
  put(join(scratch, `.model.new-${process.pid}-0123abcd`), { a: 'half' });
  put(join(scratch, `.model.new-${process.ppid}-0123abcd`), { a: 'half' });
  writeFileSync(join(scratch, '.model.new-notes'), 'mine');
  let other;
  await writeDirectoryAtomic(join(scratch, 'model'), async (directory) => {
    put(directory, { a: '1' });
    // A second writer in this process, of a file of the same name's family, must not take ours for a leftover.
    other = writeFileAtomic(join(scratch, 'model.json'), '{}');
    await other;
  });
  assert.equal(readdirSync(scratch).sort(), [
    `.model.new-${process.ppid}-0123abcd`,
    '.model.new-notes',
    'model',
    'model.json',
  ]);
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

test('a link to a directory stays a link, and what it points to is replaced', async () => {
  const real = join(scratch, 'elsewhere', 'model');
  put(real, { a: '1' });
  const link = join(scratch, 'link');
  symlinkSync(real, link);
  await writeDirectoryAtomic(link, fill({ a: '2' }));
  assert.equal(contents(real), { a: '2' });
  assert.ok(lstatSync(link).isSymbolicLink());
});

test.run();
