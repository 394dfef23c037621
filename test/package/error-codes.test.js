// Every code that can be thrown is documented, every documented code can be thrown, and each is asserted by a test.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { errorCodes } from '../../dist/errors.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const self = fileURLToPath(import.meta.url);
/** Codes of Node's own errors, which this package only reads. */
const nodes = /^ERR_PARSE_ARGS_/;

const filesIn = (folder, pattern) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((name) => pattern.test(name) && !name.startsWith('fixtures'))
    .map((name) => join(root, folder, name))
    .filter((file) => file !== self);

const withoutComments = (text) => text.replace(/\/\*.*?\*\//gs, '').replace(/(^|[^:])\/\/.*$/gm, '$1');

/** Codes in some files, after `strip`, each with a file that has it. */
function codesIn(files, strip = withoutComments) {
  const found = new Map();
  for (const file of files) {
    for (const [code] of strip(readFileSync(file, 'utf8')).matchAll(/\bERR_[A-Z]+(?:_[A-Z]+)*\b/g)) {
      if (!nodes.test(code)) found.set(code, file.slice(root.length));
    }
  }
  return found;
}

// The list of all codes throws none.
const list = join(root, 'lib', 'errors.ts');
const sources = filesIn('lib', /\.ts$/).filter((file) => file !== list);
const thrown = codesIn([...sources, ...filesIn('native', /\.(cpp|h|cu|cuh)$/)]);
const table = readFileSync(join(root, 'docs', 'errors.md'), 'utf8');
const documented = new Map(
  [...table.matchAll(/^\| `(ERR_[A-Z_]+)` \| (.+) \|$/gm)].map(([, code, meaning]) => [code, meaning]),
);
// A title promises; only what is passed to an assertion counts.
const withoutTitles = (text) => withoutComments(text).replace(/\btest\(\s*(['"`]).*?\1/g, 'test(');
const asserted = codesIn([...filesIn('test', /\.test\.js$/), ...filesIn('test', /\.cpp$/)], withoutTitles);

test('the sources throw codes, and the table has rows', () => {
  assert.ok(thrown.size > 30, [...thrown.keys()].join());
  assert.ok(documented.size > 30, [...documented.keys()].join());
});

test('every code that is thrown is documented', () => {
  assert.equal(
    [...thrown].filter(([code]) => !documented.has(code)),
    [],
  );
});

test('every code that is documented is thrown', () => {
  assert.equal(
    [...documented.keys()].filter((code) => !thrown.has(code)),
    [],
  );
});

test("the type of an error's code has every documented code, but for what is no EmoframeError", () => {
  assert.equal([...errorCodes, 'ERR_UNEXPECTED'].sort(), [...documented.keys()]);
});

test('every documented code is asserted by a test', () => {
  assert.equal(
    [...documented.keys()].filter((code) => !asserted.has(code)),
    [],
  );
});

test('the table is in order, has each code once, and says something of each', () => {
  const rows = [...table.matchAll(/^\| `(ERR_[A-Z_]+)`/gm)].map(([, code]) => code);
  assert.equal(rows, [...new Set(rows)].sort());
  for (const [code, meaning] of documented) assert.ok(meaning.length > 20, code);
});

test.run();
