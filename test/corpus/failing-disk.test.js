// That a disk fails to say what is there is no sign that nothing is: a corpus is then not read as a smaller one, and the cause is named.
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { audioFiles } from '../../dist/cli/audioFiles.js';
import { findManifests } from '../../dist/corpus/manifests.js';
import { readCorpus } from '../../dist/index.js';
import { whileFailing } from '../support/failingCall.js';

const test = suite('corpora on a failing disk');
const directory = mkdtempSync(join(tmpdir(), 'emoframe-failing-disk-'));
const folder = join(directory, 'corpus');
const audio = join(folder, 'b.wav');
test.before(() => {
  mkdirSync(folder);
  for (const name of ['a.wav', 'b.wav']) writeFileSync(join(folder, name), '');
  const rows = ['a.wav', 'b.wav', 'c.wav', `${'long'.repeat(100)}.wav`].map((name) => ({ audio: name, label: 'x' }));
  writeFileSync(join(folder, 'manifest.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
});
test.after(() => rmSync(directory, { recursive: true, force: true }));

/** Does `work` while one call of the file system fails on a path. */
async function failing(name, path, work) {
  const error = await whileFailing(fs, name, (given) => given === path, work);
  assert.is(error.code, 'ERR_READ', error.stack);
  assert.is(error.message.startsWith(`Could not read ${path}: EIO`), true, error.message);
}

test('of an utterance', () => failing('stat', audio, () => readCorpus(folder)));
test('of a corpus', () => failing('stat', folder, () => readCorpus(folder)));
test('of a folder where manifests are looked for', async () => {
  const stats = statSync(folder);
  await failing('readdir', folder, () => findManifests(folder, stats));
});
test('of a folder of audio', () => failing('stat', folder, () => audioFiles([folder])));

test('what is not there, or has a name that leads nowhere, is a problem of its row', async () => {
  const { utterances, problems } = await readCorpus(folder);
  assert.is(utterances.length, 2);
  assert.equal(
    problems.map(({ row }) => row),
    [3, 4],
  );
});

test('a corpus that links lead in a circle to is not said to be absent', async () => {
  const circle = join(directory, 'circle');
  symlinkSync(circle, circle);
  try {
    await readCorpus(circle);
    assert.unreachable('it was read');
  } catch ({ code, message }) {
    assert.is(code, 'ERR_READ');
    assert.match(message, /ELOOP/);
  }
});

test.run();
