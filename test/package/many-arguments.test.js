// A call takes some hundred thousand arguments: a longer list that is spread into one ends in "Maximum call stack size exceeded".
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'acorn';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { largestOf, smallestOf } from '../../dist/lists.js';
import { attentionLine } from '../../dist/report/lanes.js';

const [compiled, source] = ['dist', 'lib'].map((folder) => fileURLToPath(new URL(`../../${folder}`, import.meta.url)));
/** Calls that take a list of any length as arguments. */
const takesMany = new Set([
  'push',
  'unshift',
  'max',
  'min',
  'hypot',
  'fromCharCode',
  'fromCodePoint',
  'of',
  'splice',
  'apply',
]);

function* nodesOf(value) {
  if (typeof value !== 'object' || value === null) return;
  if (typeof value.type === 'string') yield value;
  for (const inside of Object.values(value)) yield* nodesOf(inside);
}

test('no call that takes any number of arguments is given a list as these', () => {
  const found = [];
  for (const file of readdirSync(compiled, { recursive: true }).filter((name) => name.endsWith('.js'))) {
    // Compiled from what is no longer there.
    if (!existsSync(join(source, file.replace(/js$/, 'ts')))) continue;
    const text = readFileSync(join(compiled, file), 'utf8');
    if (!text.includes('(...') && !text.includes(', ...') && !text.includes('.apply(')) continue;
    for (const node of nodesOf(parse(text, { ecmaVersion: 'latest', sourceType: 'module', allowHashBang: true }))) {
      if (node.type !== 'CallExpression' || node.callee.type !== 'MemberExpression') continue;
      const { name } = node.callee.property;
      const spread = node.arguments.some(({ type }) => type === 'SpreadElement');
      if (takesMany.has(name) && (spread || name === 'apply'))
        found.push(`${file}: ${text.slice(node.start, node.end)}`);
    }
  }
  assert.equal(found, []);
});

test('lists of any length have a largest and a smallest value, and are drawn', () => {
  const values = Array.from({ length: 500_000 }, (_, i) => Math.sin(i));
  values[70_000] = 5;
  values[80_000] = -5;
  assert.equal([largestOf(values), smallestOf(values)], [5, -5]);
  assert.equal([largestOf([]), smallestOf([])], [-Infinity, Infinity]);
  assert.is(attentionLine(values).highest, 2_500_000);
});

test.run();
