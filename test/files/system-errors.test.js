// What the system refuses is told as such whatever Node calls it: some refusals, as that of a quota that is used up, it knows by number
// alone, and calls one thing where it waits and another where it does not.
import fs from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { writeError } from '../../dist/files/atomic.js';
import { readError } from '../../dist/files/read.js';
import { exportModel } from '../../dist/index.js';
import { isLockFile } from '../../dist/run/lock.js';
import { whileFailing } from '../support/failingCall.js';

const test = suite('system errors');
const model = fileURLToPath(new URL('../fixtures/encode/base', import.meta.url));
const forms = (number, syscall) => [
  { code: 'UNKNOWN', message: `UNKNOWN: unknown error, ${syscall}` },
  {
    code: `Unknown system error -${number}`,
    message: `Unknown system error -${number}: Unknown system error -${number}, ${syscall}`,
  },
];
const errorsOf = (name, syscall) =>
  forms(constants.errno[name], syscall).map(({ code, message }) =>
    Object.assign(new Error(message), { code, syscall, errno: -constants.errno[name] }),
  );

test('a quota that is used up is named in words', () => {
  for (const refusal of errorsOf('EDQUOT', 'write')) {
    const error = writeError('a/b', refusal);
    assert.is(error.code, 'ERR_WRITE');
    assert.match(error.message, /^Could not write a\/b: the disk quota is used up;/);
    assert.is(error.cause, refusal);
  }
});

test('what has no words is named as the system names it', () => {
  for (const refusal of errorsOf('ESTALE', 'read')) {
    for (const [error, code] of [
      [readError('a', refusal), 'ERR_READ'],
      [writeError('a', refusal), 'ERR_WRITE'],
    ]) {
      assert.is(error.code, code);
      assert.match(error.message, / a: ESTALE: /);
    }
  }
  const known = Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', errno: -5, syscall: 'read' });
  assert.is(readError('a', known).message, 'Could not read a: EIO: i/o error, read.');
});

test('a mistake of a program is no refusal of the system', () => {
  for (const error of [
    Object.assign(new TypeError('x'), { code: 'ERR_INVALID_ARG_TYPE' }),
    new Error('UNKNOWN: x'),
    'text',
    null,
  ]) {
    assert.is(readError('a', error), error);
    assert.is(writeError('a', error), error);
  }
});

test("a disk that fails while it is looked whose a file is does not make it somebody else's", async () => {
  const directory = fs.mkdtempSync(join(tmpdir(), 'emoframe-system-errors-'));
  try {
    const lock = join(directory, 'run.lock');
    fs.writeFileSync(lock, '{"pid":1}\n');
    const always = () => true;
    const asked = await whileFailing(fs, 'readSync', always, () => isLockFile(lock));
    const out = join(directory, 'export');
    const card = join(out, 'README.md');
    fs.mkdirSync(out);
    fs.writeFileSync(card, '---\ntags:\n- emoframe\n---\n');
    const call = () => exportModel(model, { format: 'hf', out, overwrite: true });
    const exported = await whileFailing(fs.promises, 'open', (path) => path === card, call);
    for (const error of [asked, exported]) {
      assert.is(error.code, 'ERR_READ', error.stack);
      assert.match(error.message, /EIO/);
    }
    assert.equal(fs.readdirSync(out), ['README.md']);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});

test.run();
