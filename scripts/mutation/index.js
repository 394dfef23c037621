// Plants mistakes in a room and asks its tests whether they notice (README.md beside this file has the results). A mistake that survives is a
// test that is missing, or one that cannot be noticed.
//
//   npm run mutate -- checkpoint                          100 mistakes, the same ones for the same sources
//   npm run mutate -- native/model --sample 400 --seed 2
//   npm run mutate -- audio --out results.jsonl           a line for each mistake
//   npm run mutate -- audio --tests '^audio/(parts|decode)'   other test files than the room's
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Random } from '../../test/slow/fuzz/random.js';
import { rooms } from './rooms.js';

const here = dirname(fileURLToPath(import.meta.url));
const { values, positionals } = parseArgs({
  options: {
    sample: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    tests: { type: 'string' },
    out: { type: 'string' },
  },
  allowPositionals: true,
});
const [name] = positionals;
const count = Number(values.sample);
const seed = Number(values.seed);
if (!Object.hasOwn(rooms, name ?? '') || positionals.length > 1 || !(count > 0) || !Number.isInteger(seed)) {
  process.stderr.write('usage: npm run mutate -- ROOM [--sample N] [--seed N] [--tests PATTERN] [--out FILE]\n');
  process.stderr.write(`rooms: ${Object.keys(rooms).join(', ')}\n`);
  process.exit(2);
}

const say = (text) => process.stderr.write(`${text}\n`);
const native = name.startsWith('native/');
if (native && values.tests !== undefined) {
  process.stderr.write('mutate: --tests chooses among the test files of a room of lib.\n');
  process.exit(2);
}
const room = { ...rooms[name], ...(values.tests !== undefined && { tests: values.tests }) };
if (!native && !existsSync(join(here, 'node_modules'))) {
  const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: here,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status !== 0) process.exit(1);
}

/** All of the items in an order that the seed gives. */
function shuffled(items) {
  const random = new Random(seed);
  const left = [...items];
  for (let i = left.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [left[i], left[j]] = [left[j], left[i]];
  }
  return left;
}

const folder = mkdtempSync(join(tmpdir(), 'emoframe-mutants-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
const outcomes = { killed: 0, survived: 0, unreached: 0 };
function each(mutant) {
  outcomes[mutant.outcome]++;
  if (values.out !== undefined) appendFileSync(values.out, `${JSON.stringify(mutant)}\n`);
  if (mutant.outcome === 'killed') return;
  say(`${mutant.outcome}: ${mutant.file}:${mutant.line} (${mutant.kind})\n  - ${mutant.before}\n  + ${mutant.after}`);
}
const mutate = native ? (await import('./native.js')).mutateNative : (await import('./lib.js')).mutateLib;
const all = await mutate({ folder, room, count, inOrder: shuffled, say, each });
const tried = outcomes.killed + outcomes.survived + outcomes.unreached;
say(
  `${name}: ${tried} of ${all} mistakes: ${Object.entries(outcomes)
    .map(([what, n]) => `${n} ${what}`)
    .join(', ')}`,
);
