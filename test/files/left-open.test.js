// Between opening a file and handing it to whoever closes it, a disk may fail: what was opened is then closed, once. A descriptor that is
// closed twice may by then be another's file.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { AppendFile } from '../../dist/files/appendFile.js';
import { JsonlLog } from '../../dist/log/jsonl.js';
import { TensorBoardLog } from '../../dist/log/tensorboard.js';
import { isLockFile, RunLock } from '../../dist/run/lock.js';

const test = suite('left open');
const names = [
  'openSync',
  'fstatSync',
  'lstatSync',
  'readSync',
  'writeSync',
  'ftruncateSync',
  'fsyncSync',
  'copyFileSync',
  'renameSync',
  'rmSync',
  'closeSync',
];
const real = Object.fromEntries(names.map((name) => [name, fs[name]]));

/** Does `work`, of whose calls the `at`-th fails; gives what it left open, what was closed in vain, and whether the call was reached. */
async function disturbed(at, work) {
  const open = new Set();
  const closedInVain = [];
  let calls = 0;
  for (const name of names) {
    fs[name] = (...given) => {
      const fails = ++calls === at;
      const refusal = () => Object.assign(new Error(`EIO: i/o error, ${name}`), { code: 'EIO', syscall: name });
      if (fails && name !== 'closeSync') throw refusal();
      if (name === 'closeSync' && !open.delete(given[0])) {
        closedInVain.push(given[0]);
        return;
      }
      const result = real[name](...given);
      if (name === 'openSync') open.add(result);
      // A descriptor is gone whatever close answers.
      if (fails) throw refusal();
      return result;
    };
  }
  syncBuiltinESMExports();
  let opened;
  try {
    opened = await work();
  } catch (error) {
    assert.match(error.code, /^ERR_(WRITE|READ)$/, error.stack);
    // A file that is forced to disk first is closed a little later.
    for (let waits = 0; open.size > 0 && waits < 100; waits++) await pause(1);
  } finally {
    Object.assign(fs, real);
    syncBuiltinESMExports();
  }
  const left = opened === undefined ? [...open] : [];
  for (const descriptor of open) real.closeSync(descriptor);
  return { left, closedInVain, reached: calls >= at };
}

let directory;
test.before.each(() => {
  directory = fs.mkdtempSync(join(tmpdir(), 'emoframe-left-open-'));
});
test.after.each(() => fs.rmSync(directory, { recursive: true, force: true }));

const path = () => join(directory, 'file');
const cases = {
  'a log that is new': { work: () => JsonlLog.open(path()) },
  'a log that was cut short': {
    before: () => fs.writeFileSync(path(), '{"step":1}\n{"st'),
    work: () => JsonlLog.open(path()),
  },
  'a log that has another name': {
    before() {
      fs.writeFileSync(path(), '{"step":1}\n');
      fs.linkSync(path(), join(directory, 'other'));
    },
    work: () => JsonlLog.open(path()),
  },
  'a folder in place of a file': { before: () => fs.mkdirSync(path()), work: () => JsonlLog.open(path()) },
  'a file of a name that is free': { work: () => AppendFile.createFirst(path) },
  'an event file': { work: () => TensorBoardLog.open(directory) },
  'the lock of a run': { work: () => RunLock.take(directory) },
  'the lock that a killed run left': {
    before: () => fs.writeFileSync(join(directory, 'run.lock'), '{"pid":1}\n'),
    work: () => RunLock.take(directory),
  },
  "a lock's file that is looked at": {
    before: () => fs.writeFileSync(path(), '{"pid":1}\n'),
    work: () => void isLockFile(path()),
  },
};
for (const [name, { before, work }] of Object.entries(cases)) {
  test(`${name} is closed once, whatever fails`, async () => {
    for (let at = 1; ; at++) {
      fs.rmSync(directory, { recursive: true, force: true });
      fs.mkdirSync(directory);
      before?.();
      const { left, closedInVain, reached } = await disturbed(at, work);
      if (!reached) break;
      assert.equal({ left, closedInVain }, { left: [], closedInVain: [] }, `call ${at}`);
    }
  });
}

test.run();
