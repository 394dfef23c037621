// Every reader of files, fed with broken ones: it must read them or refuse them by an EmoframeError with a documented code
// and a sentence that names the file; it must not crash, hang, flood the memory or leave a file open. Cases follow from a
// seed. What fails is saved, and can be read again with --replay.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { mutate } from './fuzz/mutate.js';
import { ReaderProcess } from './fuzz/process.js';
import { hash, Random } from './fuzz/random.js';
import { place, prepare, readers, seedsOf } from './fuzz/readers.js';

const usage = `usage: node test/slow/fuzz.js [--seconds N] [--seed N] [--reader NAME] [--replay FILE]
readers: ${Object.keys(readers).join(', ')}
`;
/** More failures than this of one reader teach nothing new. */
const mostFailures = 5;

function fail(text) {
  process.stderr.write(text);
  process.exit(2);
}

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '25' },
    seed: { type: 'string', default: '1' },
    reader: { type: 'string' },
    replay: { type: 'string' },
    keep: { type: 'string', default: 'fuzz-failures' },
  },
});
const seconds = Number(values.seconds);
const seed = Number(values.seed);
if (!(seconds > 0) || !Number.isInteger(seed)) fail(usage);
const only = values.replay === undefined ? values.reader : basename(values.replay).split('.')[0];
if (only !== undefined && !Object.hasOwn(readers, only)) fail(usage);
const names = only === undefined ? Object.keys(readers) : [only];
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-fuzz-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

/** The input of case `index`. */
function makeCase(name, seeds, index) {
  const reader = readers[name];
  const random = new Random(hash(seed, name, index));
  const chosen = random.pick(seeds);
  const structured = reader.structured !== undefined && !random.oneIn(3);
  if (!structured) return mutate(random, chosen, seeds, reader.text);
  const changed = reader.structured(random, chosen);
  return random.oneIn(4) ? mutate(random, changed, seeds, reader.text) : changed;
}

function save(name, index, bytes, wrong) {
  mkdirSync(values.keep, { recursive: true });
  const file = join(values.keep, `${name}.${seed}.${index}${extname(readers[name].file)}`);
  writeFileSync(file, bytes);
  process.stdout.write(`${name}: case ${index} ${wrong}\n  again: node test/slow/fuzz.js --replay ${file}\n`);
}

/** Reads broken inputs for so long; gives how many failed. */
async function fuzz(name, milliseconds) {
  const directory = join(scratch, name);
  const reader = readers[name];
  await prepare(reader, directory);
  const seeds = await seedsOf(reader, directory);
  const child = new ReaderProcess(name, directory);
  const codes = new Map();
  let cases = 0;
  let failures = 0;
  try {
    // The valid inputs first: a reader that refuses them all would pass everything else.
    const valid = [];
    for (const bytes of seeds) valid.push(await child.read(await place(reader, directory, bytes)));
    const bad = valid.find(({ wrong }) => wrong !== undefined);
    if (bad !== undefined || valid.every(({ code }) => code !== undefined)) {
      process.stdout.write(`${name}: the valid inputs are not read: ${bad?.wrong ?? valid[0].code}\n`);
      return 1;
    }
    const end = Date.now() + milliseconds;
    while (cases === 0 || (Date.now() < end && failures < mostFailures)) {
      const bytes = makeCase(name, seeds, cases);
      const { code = 'read', wrong } = await child.read(await place(reader, directory, bytes));
      codes.set(code, (codes.get(code) ?? 0) + 1);
      if (wrong !== undefined) {
        failures++;
        save(name, cases, bytes, wrong);
      }
      cases++;
    }
  } finally {
    await child.close();
    rmSync(directory, { recursive: true, force: true });
  }
  const spread = [...codes].sort((a, b) => b[1] - a[1]).map(([code, count]) => `${code} ${count}`);
  process.stdout.write(`${name}: ${cases} cases, ${failures} failed (${spread.join(', ')})\n`);
  return failures;
}

async function replay(name, file) {
  if (!existsSync(file)) fail(`fuzz: there is no file ${file}.\n`);
  const directory = join(scratch, name);
  await prepare(readers[name], directory);
  const child = new ReaderProcess(name, directory);
  const { code, wrong } = await child.read(await place(readers[name], directory, readFileSync(file)));
  await child.close();
  process.stdout.write(`${name}: ${wrong ?? (code === undefined ? 'read' : `refused with ${code}`)}\n`);
  return wrong === undefined ? 0 : 1;
}

let failed = 0;
for (const name of names) {
  const failures =
    values.replay === undefined ? await fuzz(name, (1000 * seconds) / names.length) : await replay(name, values.replay);
  failed += failures === 0 ? 0 : 1;
}
process.stdout.write(`${names.length - failed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
