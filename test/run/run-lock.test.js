// A run directory is worked in by one process at a time, and a process that was killed does not stand in the way.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseConfig, readCorpus, Trainer } from '../../dist/index.js';
import { binding } from '../../dist/model/binding.js';
import { RunLock } from '../../dist/run/lock.js';
import { emoframe } from '../support/cli.js';
import { refused } from '../support/refused.js';
import { tinyConfig, writeTinyCorpus } from '../support/tinyCorpus.js';

const test = suite('run lock');
const dir = mkdtempSync(join(tmpdir(), 'emoframe-run-lock-'));
const manifest = writeTinyCorpus(join(dir, 'corpus'));
const config = parseConfig(tinyConfig);
const open = async (name, more = {}) =>
  Trainer.open({ corpus: await readCorpus(manifest), out: join(dir, name), config, threads: 1, ...more });
const lockOf = (name) => join(dir, name, 'run.lock');

const dist = new URL('../../dist/index.js', import.meta.url).href;
const children = [];

/** Another process that has the run open, and keeps it so. */
async function holder(name) {
  const program = `
    import { parseConfig, readCorpus, Trainer } from ${JSON.stringify(dist)};
    const [manifest, out, config] = process.argv.slice(1);
    const corpus = await readCorpus(manifest);
    const trainer = await Trainer.open({ corpus, out, config: parseConfig(JSON.parse(config)), threads: 1, resume: true });
    console.log('open');
    process.stdin.once('data', async () => {
      await trainer.dispose();
      console.log('disposed');
    });
  `;
  const words = ['--input-type=module', '--eval', program, manifest, join(dir, name), JSON.stringify(tinyConfig)];
  const child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  const [text] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  assert.is(String(text), 'open\n');
  return child;
}

test.after(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

test('what another process has open is refused by name, in a program and on the command line', async () => {
  const child = await holder('held');
  const error = await refused(
    open('held', { resume: true }),
    'ERR_RUN_IN_USE',
    new RegExp(`in use by process ${child.pid} on .+ since .+: wait for it to end`),
  );
  assert.is(error.file, lockOf('held'));
  const settings = join(dir, 'config.json');
  writeFileSync(settings, JSON.stringify(tinyConfig));
  const words = ['run', manifest, '--config', settings, '--out', join(dir, 'held'), '--resume'];
  const { code, stderr } = await emoframe(words);
  assert.is(code, 1);
  assert.match(stderr, /ERR_RUN_IN_USE/);
  // What was refused did not take the lock away.
  await refused(open('held', { resume: true }), 'ERR_RUN_IN_USE', /in use by process/);

  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.ok(existsSync(lockOf('held')));
  const next = await open('held', { resume: true });
  await next.dispose();
  assert.not.ok(existsSync(lockOf('held')));
});

test('a process that disposes of its trainer lets the next one in, while it lives on', async () => {
  const child = await holder('passed-on');
  child.stdin.write('dispose\n');
  await once(child.stdout, 'data');
  const next = await open('passed-on', { resume: true });
  await next.dispose();
});

test('two trainers of one process are kept apart too, until the first is disposed of', async () => {
  const first = await open('own');
  await refused(open('own', { resume: true }), 'ERR_RUN_IN_USE', new RegExp(`process ${process.pid} `));
  await first.dispose();
  await first.dispose();
  const second = await open('own', { resume: true });
  await refused(open('own', { resume: true }), 'ERR_RUN_IN_USE', /in use/);
  await second.dispose();
});

test('an opening that is refused for another reason leaves the run free', async () => {
  await (await open('other')).dispose();
  await refused(open('other', { config: { ...config, seed: 8 } }), 'ERR_RUN_MISMATCH', /config\.seed/);
  assert.not.ok(existsSync(lockOf('other')));
  await (await open('other', { resume: true })).dispose();
});

test('who removes the file of the lock does not let a second process in, and it is made again', async () => {
  const child = await holder('removed');
  rmSync(lockOf('removed'));
  await refused(open('removed', { resume: true }), 'ERR_RUN_IN_USE', /is in use by another process/);
  child.kill('SIGKILL');
  await once(child, 'exit');

  const out = join(dir, 'kept');
  const lock = await RunLock.take(out);
  rmSync(lockOf('kept'));
  lock.keep();
  assert.is(JSON.parse(readFileSync(lockOf('kept'), 'utf8')).pid, process.pid);
  await refused(RunLock.take(out), 'ERR_RUN_IN_USE', new RegExp(`process ${process.pid} `));
  lock.release();
  assert.equal(readdirSync(out), []);
});

test('a process whose lock was removed gives way to one that has the directory since, as from another machine', async () => {
  const out = join(dir, 'elsewhere');
  const lock = await RunLock.take(out);
  rmSync(lockOf('elsewhere'));
  const other = openSync(lockOf('elsewhere'), 'a');
  assert.is(binding().lockFile(other), 'taken');
  // It has the file, and may find that the directory is taken.
  lock.keep();
  writeSync(other, '{"pid":1,"host":"other","since":"now"}\n');
  assert.throws(
    () => lock.keep(),
    ({ code, message }) => code === 'ERR_RUN_IN_USE' && /process 1 on other since now/.test(message),
  );
  lock.release();
  // What is another's stays.
  assert.ok(existsSync(lockOf('elsewhere')));
  closeSync(other);
});

test('a file of the lock that goes away between its opening and its locking is not taken for the lock', async () => {
  const out = join(dir, 'going');
  const addon = binding();
  const { lockFile } = addon;
  let times = 0;
  addon.lockFile = (descriptor) => {
    if (times++ === 0) rmSync(lockOf('going'));
    return lockFile(descriptor);
  };
  const lock = await RunLock.take(out).finally(() => {
    addon.lockFile = lockFile;
  });
  const named = openSync(lockOf('going'), 'r+');
  assert.is(lockFile(named), 'busy');
  closeSync(named);
  lock.release();
});

test('where the file system has no locks, one is warned and goes on', async () => {
  const addon = binding();
  const { lockFile } = addon;
  const warned = once(process, 'warning');
  addon.lockFile = () => 'unsupported';
  const lock = await RunLock.take(join(dir, 'lockless')).finally(() => {
    addon.lockFile = lockFile;
  });
  assert.match((await warned)[0].message, /run\.lock cannot be locked/);
  lock.release();
});

test("a run that ends by an abort, and dispose in its middle, leave the run free; a stranger's folder gets no lock", async () => {
  const trainer = await open('aborted');
  const controller = new AbortController();
  const onProgress = () => controller.abort();
  await refused(trainer.run({ folds: ['s1'], signal: controller.signal, onProgress }), 'ERR_ABORTED', /stopped/);
  await trainer.dispose();
  await (await open('aborted', { resume: true })).dispose();
  await refused(open('corpus'), 'ERR_RUN_EXISTS', /is not a run/);
  assert.not.ok(existsSync(lockOf('corpus')));
});

test.run();
