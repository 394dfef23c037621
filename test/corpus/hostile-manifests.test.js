// Manifests of strangers: a row takes time by its length, and a corpus that is being read can be given up.
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readCorpus } from '../../dist/index.js';
import { refused } from '../support/refused.js';
import { longestTurn } from '../support/turns.js';

const test = suite('corpus: hostile manifests');
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-hostile-'));
const many = 400_000;
const row = (fields) => `${JSON.stringify({ audio: 'a.wav', ...fields })}\n`;
writeFileSync(join(scratch, 'a.wav'), '');

/** Files whose name says what they are, as a dataset or by themselves. */
const files = {
  'spaces.scp': `a b${' '.repeat(many)}c d\n`,
  'end.scp': `a b c${' '.repeat(many)}\n`,
  'words.scp': `${'a '.repeat(many)}\n`,
  'word.scp': `a b ${'c'.repeat(many)}\n`,
  'commas.scp': `a,${','.repeat(many)}\n`,
  'columns.csv': `audio,${'a,'.repeat(50_000)}\n${'a\n'.repeat(2000)}`,
  'fields.csv': `audio\n${`${'a,'.repeat(1000)}\n`.repeat(100)}`,
  'spaces.csv': `audio\n"${' '.repeat(many)}"${' '.repeat(many)}x\n`,
  'quotes.csv': `audio\n"${'""'.repeat(many)}\n`,
  'lines.jsonl': `${'\n'.repeat(4 * many)}x`,
  'deep.jsonl': '['.repeat(many),
  'values.jsonl': row({ segments: Array.from({ length: 90_000 }, () => ({ start: 1, end: 0 })) }),
  'infinite.jsonl': row({ start: 0, end: 1 }).replace('1}', '1e999}'),
  'objects.jsonl':
    row({ label: { toString: 1 } }) + row({ id: { toString: 1 } }) + row({ values: { a: { valueOf: 1 } } }),
};
for (const [name, text] of Object.entries(files)) {
  test(`${name} is refused in a moment`, async () => {
    const file = join(scratch, name);
    writeFileSync(file, text);
    const turn = await longestTurn(() => refused(readCorpus(file), 'ERR_CORPUS', /^[^\n]{1,2100}$/));
    assert.ok(turn < 250, `the event loop waited ${turn} ms`);
  });
}

const datasets = {
  iemocap: [
    'Session1/dialog/EmoEvaluation/Ses01F_impro01.txt',
    `[]\tSes01F_S${'_F'.repeat(many)}]\n[${' '.repeat(many)}\n`,
  ],
  'msp-improv': ['Evalution.txt', `UTD-IMPROV-S01A-F01-P-FM01.avi; N; ${'A:1'.repeat(many)}\n`],
  'msp-podcast': [
    'Labels/labels_consensus.json',
    JSON.stringify({ 'a.wav': { EmoClass: { toString: 1 }, Split_Set: { toString: 1 }, SpkrID: [[{}]] } }),
  ],
  zed: ['ZED.json', '{"a":{"wav":"a.wav","emotion":[{"emo":"a","start":0,"end":1e999}]}}'],
  emobox: [
    'fold_1/emovdb_train_fold_1.jsonl',
    `${JSON.stringify({ key: 'a', emo: 'b', wav: `${'bea/'.repeat(many)}a` })}\n`,
  ],
};
for (const [name, [path, text]] of Object.entries(datasets)) {
  test(`an annotation file of ${name} that is not one is refused in a moment`, async () => {
    const folder = join(scratch, name);
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), text);
    writeFileSync(join(folder, 'a.wav'), '');
    const reading = () =>
      refused(readCorpus(folder, { dataset: name }), 'ERR_CORPUS', /no utterance of|cannot be used/);
    const turn = await longestTurn(reading);
    assert.ok(turn < 250, `the event loop waited ${turn} ms`);
  });
}

test('an abort ends the reading of a manifest, whatever is in it', async () => {
  for (const [name, text] of [
    ['empty.jsonl', '\n'.repeat(32 << 20)],
    ['long.jsonl', `[${'1,'.repeat(400_000)}1]\n`.repeat(20)],
    ['empty.csv', `audio\n${'\n'.repeat(16 << 20)}`],
    ['empty.scp', '\n'.repeat(32 << 20)],
  ]) {
    const file = join(scratch, name);
    writeFileSync(file, text);
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 5);
    await refused(readCorpus(file, { signal: stop.signal }), 'ERR_ABORTED', /stopped/);
  }
});

test.run();
