// Every link in the repository's pages leads to a file that is there, and to a heading that it has.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const root = fileURLToPath(new URL('../..', import.meta.url));
const filesIn = (folder, pattern) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((name) => pattern.test(name))
    .map((name) => join(root, folder, name));

// docs/api is generated, and TypeDoc checks its links itself.
const pages = [
  ...['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', join('bench', 'README.md')].map((name) =>
    join(root, name),
  ),
  ...filesIn('docs', /^(?!api\/).*\.md$/),
];
const textOf = (page) => readFileSync(page, 'utf8').replace(/^```.*?^```/gms, '');

/** The anchors of a page, as GitHub makes them of headings, and those that are written out. */
function anchorsOf(page) {
  const anchors = new Set();
  for (const [, heading] of textOf(page).matchAll(/^#+ +(.+)$/gm)) {
    const shown = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const anchor = shown.replace(/[^\p{L}\p{N}_ -]/gu, '').replaceAll(' ', '-');
    let again = 0;
    while (anchors.has(again === 0 ? anchor : `${anchor}-${again}`)) again++;
    anchors.add(again === 0 ? anchor : `${anchor}-${again}`);
  }
  for (const [, id] of textOf(page).matchAll(/<a id="([^"]+)">/g)) anchors.add(id);
  return anchors;
}

/** What is wrong with a link from a file, if anything. */
function broken(from, link) {
  const [path, anchor] = link.split('#');
  const target = path === '' ? from : resolve(dirname(from), decodeURIComponent(path));
  const where = `${relative(root, from)}: ${link}`;
  if (relative(root, target).startsWith('..') || !existsSync(target)) return `${where} (no such file)`;
  return anchor !== undefined && !anchorsOf(target).has(anchor) ? `${where} (no such heading)` : undefined;
}

test('links between pages, and from pages to sources, lead somewhere', () => {
  const links = pages.flatMap((page) => [...textOf(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => [page, link]));
  const local = links.filter(([, link]) => !/^[a-z]+:/.test(link));
  assert.ok(local.length > 100, String(local.length));
  assert.equal(
    local.flatMap(([page, link]) => broken(page, link) ?? []),
    [],
  );
});

test('pages that messages, help and comments name are there', () => {
  const sources = [...filesIn('lib', /\.ts$/), ...filesIn('native', /\.(cpp|h|cu|cuh)$/)];
  const named = sources.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/\bdocs\/[\w/-]+\.md(?:#[\w-]+)?/g)].map(([link]) => link),
  );
  assert.ok(named.length > 5, String(named.length));
  assert.equal(
    named.flatMap((link) => broken(join(root, 'README.md'), link) ?? []),
    [],
  );
});

test.run();
