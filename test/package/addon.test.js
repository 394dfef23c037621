import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { emoframe } from '../support/cli.js';

const test = suite('addon');
const missing = /^emoframe: The native addon did not load\. [^\n]*npm run build:addon[^\n]* \(ERR_ADDON\)\n$/;

test('doctor shows which addon is loaded and where it came from', async () => {
  const { code, stdout } = await emoframe(['doctor', '--json']);
  assert.is(code, 0);
  const { addon } = JSON.parse(stdout);
  // This checkout's own build goes before a prebuild.
  assert.is(addon.origin, 'source');
  assert.match(addon.file, /build\/Release\/emoframe\.node$/);
  assert.match((await emoframe(['doctor'])).stdout, `built from source, ${addon.file}`);
});

test('where no prebuild fits, the message names the platform and how to build', async () => {
  const env = { PREBUILDS_ONLY: '1', LIBC: 'musl' };
  const { code, stdout, stderr } = await emoframe(['doctor', '--json'], { env });
  assert.is(code, 1);
  assert.match(stderr, missing);
  assert.match(stderr, /platform=linux arch=\w+ .*libc=musl/);
  assert.is(JSON.parse(stdout).problem.code, 'ERR_ADDON');
});

test('an addon that does not load is named, with the reason', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'emoframe-addon-'));
  try {
    const file = join(dir, 'build', 'Release', 'emoframe.node');
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, 'not a library');
    const { code, stderr } = await emoframe(['doctor'], { env: { EMOFRAME_PREBUILD: dir } });
    assert.is(code, 1);
    assert.match(stderr, missing);
    assert.match(stderr, `${file} does not load: ${file}: `);
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('require and import give the same package', async () => {
  const required = createRequire(import.meta.url)('emoframe');
  const imported = await import('emoframe');
  assert.equal(Object.keys(required).sort(), Object.keys(imported).sort());
  assert.is(required.EmoframeError, imported.EmoframeError);
  assert.throws(
    () => required.Engine.create({ threads: -1 }),
    (error) => error instanceof imported.EmoframeError && error.code === 'ERR_ARGUMENT',
  );
});

test.run();
