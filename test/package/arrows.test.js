// The folders of lib import each other one way, as docs/architecture.md draws them.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const lib = fileURLToPath(new URL('../../lib', import.meta.url));
const folders = readdirSync(lib, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? entry.name : []));

/** The folders whose files a folder imports, for types alone too. */
function importsOf(folder) {
  const found = new Set();
  for (const file of readdirSync(join(lib, folder), { recursive: true }).filter((name) => name.endsWith('.ts'))) {
    for (const [, path] of readFileSync(join(lib, folder, file), 'utf8').matchAll(/\bfrom '(\.[^']+)'/g)) {
      const [target] = join(folder, file, '..', path).split('/');
      if (target !== folder && folders.includes(target)) found.add(target);
    }
  }
  return found;
}
const imports = new Map(folders.map((folder) => [folder, importsOf(folder)]));

function below(folder, found = new Set()) {
  for (const next of imports.get(folder)) {
    if (found.has(next)) continue;
    found.add(next);
    below(next, found);
  }
  return found;
}

test('no folder needs one that needs it', () => {
  assert.ok([...imports.values()].reduce((sum, { size }) => sum + size, 0) > 50);
  assert.equal(
    folders.filter((folder) => below(folder).has(folder)),
    [],
  );
});

test('reports and exports read runs without the code that makes them', () => {
  for (const reader of ['report', 'export']) {
    for (const maker of ['pipeline', 'stages']) assert.not.ok(below(reader).has(maker), `${reader} needs ${maker}`);
  }
});

test.run();
