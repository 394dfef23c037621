// Mistakes in a room of lib: Stryker's instrumenter writes all of them into one copy of the sources, where an environment variable
// chooses one. The copy is compiled once, every test file says once which mutants it reaches, and then each mutant of the sample is
// tried against the files that reach it until one fails, those first that have killed the most in the least time.
import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createInstrumenter, disableTypeChecks } from '@stryker-mutator/instrumenter';
import { run } from './process.js';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
/** Texts are left alone: they are mostly messages, and the tests ask for their codes and for what they name. */
const left = ['StringLiteral'];

/** Replaces the folder's lib by one with all mistakes in the room, none of them active. */
async function instrument(folder, sources) {
  const names = sources.flatMap((source) =>
    readdirSync(join(root, source), { recursive: true })
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
      .map((name) => join(source, name)),
  );
  const files = names.sort().map((name) => ({ name, mutate: true, content: readFileSync(join(root, name), 'utf8') }));
  const quiet = () => {};
  const logger = { isDebugEnabled: () => false, debug: quiet, info: quiet, warn: quiet, error: quiet };
  const options = { plugins: null, excludedMutations: left, ignorers: [], noHeader: false };
  const instrumenter = createInstrumenter(injectorOf(logger));
  const result = await instrumenter.instrument(files, options);
  for (const file of result.files) {
    const { content } = await disableTypeChecks(file, { plugins: null });
    writeFileSync(join(folder, file.name), content);
  }
  const contents = new Map(files.map(({ name, content }) => [name, content.split('\n')]));
  return result.mutants
    .filter(({ status }) => status !== 'Ignored')
    .map(({ id, fileName, location, mutatorName, replacement }) => ({
      id,
      file: fileName,
      line: location.start.line + 1,
      kind: mutatorName,
      before: textAt(contents.get(fileName), location),
      after: replacement.replaceAll(/\s+/g, ' '),
    }));
}

/** The first line of what a mutant replaces. */
function textAt(lines, { start, end }) {
  return start.line === end.line
    ? lines[start.line].slice(start.column, end.column)
    : `${lines[start.line].slice(start.column)} …`;
}

/** As much of a container of dependencies as the instrumenter asks for. */
function injectorOf(logger) {
  const values = new Map([['logger', logger]]);
  const injector = {
    provideValue(name, value) {
      values.set(name, value);
      return injector;
    },
    injectClass: (Class) => new Class(...Class.inject.map((name) => values.get(name))),
  };
  return injector;
}

/** A copy of the package in which the room is full of mistakes. */
async function prepare(folder, sources) {
  for (const name of readdirSync(root))
    if (!['build', 'dist', 'node_modules', '.git'].includes(name))
      cpSync(join(root, name), join(folder, name), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  mkdirSync(join(folder, 'build', 'Release'), { recursive: true });
  linkOrCopy(join('build', 'Release', 'emoframe.node'), folder);
  const mutants = await instrument(folder, sources);
  const { output } = await run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], {
    cwd: folder,
    seconds: 600,
  });
  if (!existsSync(join(folder, 'dist', 'index.js'))) throw new Error(`mutate: the mutants do not compile:\n${output}`);
  return mutants;
}

function linkOrCopy(name, folder) {
  try {
    linkSync(join(root, name), join(folder, name));
  } catch {
    cpSync(join(root, name), join(folder, name));
  }
}

/** Runs a test file, up to where it writes `until`, and removes what it leaves when it is stopped there. */
async function test(folder, file, env, seconds, until) {
  const temporary = join(folder, 'tmp');
  mkdirSync(temporary);
  const exactly = `^${file.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`;
  const result = await run(process.execPath, ['node_modules/uvu/bin.js', '--no-color', 'test', exactly], {
    cwd: folder,
    env: { ...env, TMPDIR: temporary },
    seconds,
    until,
  });
  rmSync(temporary, { recursive: true, force: true });
  return result;
}

/** A test program that ends without its count has not passed: Node also ends well when nothing is left to wait for. */
function passes({ code, output }) {
  return code === 0 && /^ +Total: +[1-9]/m.test(output);
}

/** What uvu writes for a test that failed. */
const failed = '✘';

/** Seconds per mutant that a test file kills, so far. */
const costOf = ({ seconds, tried, killed }) => (seconds * (tried + 2)) / (killed + 1);

/** Tries the sample and says of each mutant what became of it: `killed`, `survived`, or `unreached` by any test of the room. */
export async function mutateLib({ folder, room, count, inOrder, say, each }) {
  const mutants = await prepare(folder, room.sources);
  const pattern = new RegExp(room.tests);
  const files = readdirSync(join(folder, 'test'), { recursive: true })
    .filter((file) => file.endsWith('.test.js') && pattern.test(file))
    .sort();
  const tests = [];
  for (const file of files) {
    const out = join(folder, 'build', `${file.replaceAll('/', '.')}.reached`);
    const begun = Date.now();
    const env = { EMOFRAME_REACHED: out, NODE_OPTIONS: `--require=${join(here, 'cover.cjs')}` };
    const result = await test(folder, file, env, 1800);
    const seconds = (Date.now() - begun) / 1000;
    if (!passes(result)) {
      say(`${file} fails without any mistake and is left out:\n${result.output}`);
      continue;
    }
    const reached = new Set(existsSync(out) ? readFileSync(out, 'utf8').split('\n') : []);
    say(`${file}: ${seconds.toFixed(1)} s, reaches ${reached.size} mutants`);
    tests.push({ file, seconds, reached, tried: 0, killed: 0 });
  }
  for (const { id, ...mutant } of inOrder(mutants).slice(0, count)) {
    const reaching = tests.filter(({ reached }) => reached.has(id)).sort((a, b) => costOf(a) - costOf(b));
    let outcome = reaching.length === 0 ? 'unreached' : 'survived';
    let by;
    for (const used of reaching) {
      const { file, seconds } = used;
      // Far above the first run's time, which other work on the machine may have shortened or lengthened.
      const result = await test(folder, file, { __STRYKER_ACTIVE_MUTANT__: id }, 60 + 10 * seconds, failed);
      used.tried++;
      if (passes(result)) continue;
      used.killed++;
      outcome = 'killed';
      by = result.late ? `${file} (time)` : file;
      break;
    }
    each({ ...mutant, outcome, by });
  }
  return mutants.length;
}
