import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Engine } from '../../dist/index.js';
import { defaultThreads, quotaThreads } from '../../dist/model/threads.js';

const test = suite('processor quota');
let dir;
test.before(() => {
  dir = mkdtempSync(join(tmpdir(), 'emoframe-quota-'));
});
test.after(() => rmSync(dir, { recursive: true, force: true }));

let made = 0;
/** `quotaThreads` of a system whose control groups are made of these files. */
function quotaIn(membership, files) {
  const root = join(dir, String(made++));
  for (const [name, content] of Object.entries({ membership, ...files })) {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
  return quotaThreads({ membership: join(root, 'membership'), root });
}

test('a container of version 2 sees its quota at the root, rounded up', () => {
  assert.is(quotaIn('0::/\n', { 'cpu.max': '150000 100000\n' }), 2);
  assert.is(quotaIn('0::/\n', { 'cpu.max': '20000 100000\n' }), 1);
  assert.is(quotaIn('0::/docker/1234\n', { 'cpu.max': '300000 100000\n' }), 3);
});

test('the least quota of a group and of those that hold it counts', () => {
  const files = { 'a/cpu.max': '200000 100000\n', 'a/b/cpu.max': '500000 100000\n', 'c/cpu.max': '100000 100000\n' };
  assert.is(quotaIn('0::/a/b\n', files), 2);
});

test('version 1 has two files', () => {
  const quota = (value) => ({ 'cpu/x/cpu.cfs_quota_us': value, 'cpu/x/cpu.cfs_period_us': '50000\n' });
  assert.is(quotaIn('4:memory:/x\n3:cpu,cpuacct:/x\n0::/\n', quota('200000\n')), 4);
  assert.is(quotaIn('3:cpu,cpuacct:/x\n', quota('-1\n')), undefined);
});

test('without a quota, or without control groups, there is no limit', () => {
  assert.is(quotaIn('0::/a\n', { 'a/cpu.max': 'max 100000\n' }), undefined);
  assert.is(quotaIn('', {}), undefined);
  assert.is(quotaThreads({ membership: join(dir, 'none'), root: dir }), undefined);
});

test('an engine that is left to choose takes at least one thread and no more than the quota', () => {
  const threads = defaultThreads();
  assert.ok(threads >= 1 && threads <= (quotaThreads() ?? threads), `${threads}`);
});

test('a number of threads that is none is refused as it was given', () => {
  for (const threads of [-1, 1.5, Number.NaN, 1025])
    assert.throws(
      () => Engine.create({ threads }),
      (error) => error.code === 'ERR_ARGUMENT' && error.message.endsWith(`for threads but received ${threads}.`),
    );
});

test.run();
