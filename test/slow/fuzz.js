// Every reader of files, fed with broken ones: it must read them or refuse them by an EmoframeError with a documented code
// and a sentence that names the file; it must not crash, hang, flood the memory or leave a file open. Without options, the
// inputs that are kept (test/fuzz/corpora) are read; with --seconds, new ones are made of what reached new branches.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { readGrown, readKept, writeKept } from './fuzz/kept.js';
import { fewestOf } from './fuzz/minimize.js';
import { fuzzFor, ReaderProcess } from './fuzz/process.js';
import { hash } from './fuzz/random.js';
import { place, prepare, readers, seedsOf } from './fuzz/readers.js';

const usage = `usage: node test/slow/fuzz.js [--seconds N] [--seed N] [--blind] [--reader NAME] [--replay FILE] [--minimize]
readers: ${Object.keys(readers).join(', ')}
`;
/** More failures of one kind teach nothing new. */
const mostFailures = 3;

function fail(text) {
  process.stderr.write(text);
  process.exit(2);
}

const { values } = parseArgs({
  options: {
    seconds: { type: 'string' },
    seed: { type: 'string', default: '1' },
    blind: { type: 'boolean', default: false },
    reader: { type: 'string' },
    replay: { type: 'string' },
    minimize: { type: 'boolean', default: false },
    grown: { type: 'string', default: 'fuzz-corpora' },
    failures: { type: 'string', default: 'fuzz-failures' },
  },
});
const seconds = Number(values.seconds ?? 0);
const seed = Number(values.seed);
if (!(seconds >= 0) || !Number.isInteger(seed)) fail(usage);
const only = values.replay === undefined ? values.reader : basename(values.replay).split('.')[0];
if (only !== undefined && !Object.hasOwn(readers, only)) fail(usage);
const names = only === undefined ? Object.keys(readers) : [only];
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-fuzz-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

function save(name, bytes, wrong) {
  mkdirSync(values.failures, { recursive: true });
  const file = join(
    values.failures,
    `${name}.${hash(bytes.toString('latin1')).toString(16)}${extname(readers[name].file)}`,
  );
  writeFileSync(file, bytes);
  process.stdout.write(`${name}: ${wrong}\n  again: node test/slow/fuzz.js --replay ${file}\n`);
}

/** Counts that `fuzzFor` gave, as a line. */
function lineOf({ executed, edges, features, inputs, codes }) {
  const spread = Object.entries(codes).sort((a, b) => b[1] - a[1]);
  return `${executed} inputs, ${edges} branches, ${features} features, ${inputs} in the corpus (${spread.map(([code, count]) => `${code} ${count}`).join(', ')})`;
}

/** Reads new inputs for so long; gives how many failed. */
async function fuzz(name, milliseconds) {
  const directory = join(scratch, name);
  const failures = new Map();
  const failed = (wrong, bytes) => {
    const kind = wrong.split('\n')[0].replace(/\d+/g, 'N').slice(0, 160);
    failures.set(kind, (failures.get(kind) ?? 0) + 1);
    const input = bytes ?? readFileSync(join(directory, readers[name].file));
    if (failures.get(kind) <= mostFailures) save(name, input, wrong);
  };
  const end = Date.now() + milliseconds;
  let executed = 0;
  let last;
  for (let starts = 0; starts < 20 && (starts === 0 || (last.ended && Date.now() < end - 3000)); starts++) {
    rmSync(directory, { recursive: true, force: true });
    await prepare(readers[name], directory);
    const { blind } = values;
    const task = { name, directory, seed: seed + 1000 * starts, folder: join(values.grown, name), blind };
    last = await fuzzFor(end - Date.now(), task, failed);
    executed += last.executed;
  }
  rmSync(directory, { recursive: true, force: true });
  process.stdout.write(`${name}: ${lineOf({ ...last, executed })}, ${failures.size} kinds of failures\n`);
  // One that did not even begin has shown nothing.
  return executed === 0 ? 1 : failures.size;
}

/** Reads the valid inputs and those that are kept, or one that failed; gives how many fail. */
async function replay(child, name, file) {
  const directory = join(scratch, name);
  const reader = readers[name];
  await prepare(reader, directory);
  const valid = file === undefined ? await seedsOf(reader, directory) : [];
  const inputs = file === undefined ? [...valid, ...readKept(name)] : [readFileSync(file)];
  const codes = new Set();
  let failures = 0;
  for (const [i, bytes] of inputs.entries()) {
    const { code = 'read', wrong } = await child.read(name, directory, await place(reader, directory, bytes));
    // A reader that refuses all would pass everything.
    if (i === valid.length - 1 && !codes.has('read') && code !== 'read') failures++;
    codes.add(code);
    if (wrong === undefined) continue;
    failures++;
    save(name, bytes, wrong);
  }
  rmSync(directory, { recursive: true, force: true });
  const kept = inputs.length > valid.length;
  process.stdout.write(`${name}: ${inputs.length} inputs, ${failures} failed (${[...codes].join(', ')})\n`);
  return kept ? failures : 1;
}

/** Keeps, of the inputs kept before and of those found since, few small ones that reach all that these do. */
async function minimize(name) {
  const directory = join(scratch, name);
  await prepare(readers[name], directory);
  const inputs = [...readKept(name), ...readGrown(join(values.grown, name))];
  const kept = await fewestOf(name, directory, inputs);
  writeKept(name, kept);
  rmSync(directory, { recursive: true, force: true });
  process.stdout.write(`${name}: ${kept.length} of ${inputs.length} inputs kept\n`);
  return 0;
}

if (values.replay !== undefined && !existsSync(values.replay)) fail(`fuzz: there is no file ${values.replay}.\n`);
let failed = 0;
const child = new ReaderProcess();
for (const name of names) {
  let failures;
  if (values.minimize) failures = await minimize(name);
  else if (seconds > 0) failures = await fuzz(name, (1000 * seconds) / names.length);
  else failures = await replay(child, name, values.replay);
  failed += failures === 0 ? 0 : 1;
}
await child.close();
process.stdout.write(`${names.length - failed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
