import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { emotionNames, emotionOf } from '../../dist/corpus/emotions.js';

test('one emotion in any case, form, abbreviation and language', () => {
  for (const label of ['angry', 'Anger', 'ANG', ' ang ', '生气', '生气/angry', 'Ärger', 'ira', 'ＡＮＧＲＹ'])
    assert.is(emotionOf(label), 'angry', label);
  assert.is(emotionOf('pleasant_surprise'), 'surprised');
  assert.is(emotionOf('中立/neutral'), 'neutral');
  assert.is(emotionOf('难过 (sad)'), 'sad');
});

test('what is not known, or means two things, is no emotion', () => {
  for (const label of ['LABEL_0', '<unk>', '', 'angry/sad', 'constructor', '__proto__', 'not angry'])
    assert.is(emotionOf(label), undefined, label);
});

test('every name stands for one emotion', () => {
  const seen = new Map();
  for (const [emotion, names] of Object.entries(emotionNames)) {
    for (const name of [emotion, ...names]) {
      assert.is(emotionOf(name), emotion, name);
      assert.not.ok(seen.has(name), `${name} is there twice`);
      seen.set(name, emotion);
    }
  }
});

test('the labels of every dataset that is read name an emotion', () => {
  for (const label of [
    'ang',
    'dis',
    'exc',
    'fea',
    'fru',
    'hap',
    'neu',
    'oth',
    'sad',
    'sur',
    'bored',
    'calm',
    'contempt',
  ])
    assert.ok(emotionOf(label), label);
  for (const label of ['fearful', 'surprised', 'joy', 'sadness', 'surprise', 'excited', 'anxious', 'amused'])
    assert.ok(emotionOf(label), label);
});

test('docs/models.md has the table', () => {
  const docs = readFileSync(new URL('../../docs/models.md', import.meta.url), 'utf8');
  for (const [emotion, names] of Object.entries(emotionNames))
    assert.ok(docs.includes(`| \`${emotion}\` | ${names.join(', ')} |`), emotion);
});

test.run();
