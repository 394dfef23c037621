import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { makeFolders, makeFoldersSync } from '../../dist/files/folders.js';

const scratch = mkdtempSync(join(tmpdir(), 'emoframe-folders-'));
test.after(() => rmSync(scratch, { recursive: true }));

test('folders are made with the parents that they lack, and the first of them is told', async () => {
  assert.is(await makeFolders(join(scratch, 'a', 'b', 'c')), join(scratch, 'a'));
  assert.is(await makeFolders(join(scratch, 'a', 'b', 'd')), join(scratch, 'a', 'b', 'd'));
  assert.is(await makeFolders(join(scratch, 'a')), undefined);
  makeFoldersSync(join(scratch, 'e', 'f'));
  makeFoldersSync(join(scratch, 'e'));
  assert.ok(existsSync(join(scratch, 'e', 'f')));
});

test('what is in the way is told as it is', async () => {
  const file = join(scratch, 'file');
  writeFileSync(file, '');
  const codeOf = (work) =>
    Promise.resolve()
      .then(work)
      .catch(({ code }) => code);
  for (const make of [makeFolders, makeFoldersSync]) {
    assert.is(await codeOf(() => make(file)), 'EEXIST');
    assert.is(await codeOf(() => make(join(file, 'in', 'it'))), 'ENOTDIR');
    assert.is(await codeOf(() => make('')), 'ENOENT');
    // As root and as others: the kernel has no such place.
    assert.is(await codeOf(() => make('/proc/self/fd/none/here')), 'ENOENT');
  }
});

test.run();
