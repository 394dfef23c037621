// Mistakes in a room of native, one at a time in a copy of the sources: an operator, a number, a condition or a statement of one line
// is changed, the programs are built again, and the tests run until one fails.
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './process.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** As clang-format sets them: operators stand between blanks, brackets of templates do not. */
const operators = {
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '==': ['!='],
  '!=': ['=='],
  '&&': ['||'],
  '||': ['&&'],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '+=': ['-=', '='],
  '-=': ['+='],
};

/** The line without its comment and with texts blanked, so that neither is changed; nothing of preprocessor lines. */
function code(line) {
  if (/^\s*(#|\/\/)/.test(line)) return '';
  return line.replaceAll(/"(\\.|[^"\\])*"|'(\\.|[^'\\])'/g, (text) => ' '.repeat(text.length)).replace(/\/\/.*$/, '');
}

/** All mistakes that can be made in a line: what the whole line becomes. */
function mistakesOf(line) {
  const text = code(line);
  const made = [];
  const change = (kind, at, length, by) => made.push({ kind, after: line.slice(0, at) + by + line.slice(at + length) });
  for (const { index, 1: operator } of text.matchAll(/(?<= )([<>=!&|+\-*/]{1,2})(?= )/g))
    for (const by of operators[operator] ?? []) change('operator', index, operator.length, by);
  for (const { index, 0: number } of text.matchAll(/(?<![\w.])\d+(?![\w.])/g))
    change('number', index, number.length, String(Number(number) + 1));
  const condition = /^(\s*(?:\} else )?(?:if|while) \()(.*)\)( \{| return.*;| continue;| break;)\s*$/.exec(text);
  if (condition) change('condition', condition[1].length, condition[2].length, `!(${condition[2]})`);
  // A call or an assignment, not a declaration.
  if (/^\s+[\w.:[\]>()*-]+(\(.*\)| [+*/-]?= .*);\s*$/.test(text) && !/^\s*(return|throw|using|delete)\b/.test(text))
    made.push({ kind: 'statement', after: `${/^\s*/.exec(line)[0]};` });
  return made;
}

/** All mistakes that can be made in the files of a room. */
function mutantsOf(sources) {
  const mutants = [];
  for (const folder of sources) {
    for (const name of readdirSync(join(root, folder)).sort()) {
      if (!/\.(cpp|h)$/.test(name)) continue;
      const file = join(folder, name);
      readFileSync(join(root, file), 'utf8')
        .split('\n')
        .forEach((before, i) => {
          for (const { kind, after } of mistakesOf(before)) mutants.push({ file, line: i + 1, kind, before, after });
        });
    }
  }
  return mutants;
}

/** OpenMP's threads leave the processor to others as they wait for each other. */
const env = { OMP_WAIT_POLICY: 'passive' };

async function prepare(folder, room) {
  const made = ['build', 'node_modules', '.git'];
  for (const name of readdirSync(root))
    if (!made.includes(name)) cpSync(join(root, name), join(folder, name), { recursive: true });
  mkdirSync(join(folder, 'build'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const options = ['--CDCMAKE_BUILD_TYPE=Release', '--CDEMOFRAME_CUDA=OFF'];
  const command = ['--yes', 'cmake-js@8', 'configure', '--prefer-make', ...options];
  const { code, output } = await run('npx', command, { cwd: folder, seconds: 600 });
  if (code !== 0) throw new Error(`mutate: the copy cannot be configured:\n${output}`);
  if (!(await builds(folder, room))) throw new Error('mutate: the copy does not build without any mistake');
  if (!room.targets.includes('emoframe')) return;
  const built = await run('npm', ['run', '--silent', 'build:ts'], { cwd: folder, seconds: 600 });
  if (built.code !== 0) throw new Error(`mutate: lib does not build:\n${built.output}`);
}

async function builds(folder, { targets }) {
  const { code } = await run('cmake', ['--build', 'build', '--target', ...targets], { cwd: folder, seconds: 3600 });
  return code === 0;
}

/**
 * Tries mistakes until the sample is full and says of each what became of it: `killed` or `survived`. Those that do not compile are
 * not counted, nor are those that compile to the same programs, which nothing could notice. The quickest tests come first, and what
 * they say first of a failure ends them.
 */
export async function mutateNative({ folder, room, count, inOrder, say, each }) {
  await prepare(folder, room);
  const tests = [];
  for (const [command, ...args] of room.tests) {
    const begun = Date.now();
    const { code, output } = await run(command, args, { cwd: folder, env, seconds: 3600 });
    if (code !== 0) throw new Error(`mutate: ${command} ${args.join(' ')} fails without any mistake:\n${output}`);
    tests.push({ command, args, seconds: (Date.now() - begun) / 1000 });
    say(`${command} ${args.join(' ')}: ${tests.at(-1).seconds.toFixed(1)} s`);
  }
  tests.sort((a, b) => a.seconds - b.seconds);
  const programs = () => room.programs.map((program) => readFileSync(join(folder, program)));
  const right = programs();
  const mutants = mutantsOf(room.sources);
  let tried = 0;
  for (const mutant of inOrder(mutants)) {
    if (tried === count) break;
    const path = join(folder, mutant.file);
    const original = readFileSync(path, 'utf8');
    const lines = original.split('\n');
    lines[mutant.line - 1] = mutant.after;
    writeFileSync(path, lines.join('\n'));
    const built = await builds(folder, room);
    const same = built && programs().every((program, i) => program.equals(right[i]));
    if (built && !same) {
      tried++;
      let outcome = 'survived';
      let by;
      for (const { command, args, seconds } of tests) {
        const result = await run(command, args, { cwd: folder, env, seconds: 60 + 10 * seconds, until: room.failure });
        if (result.code === 0) continue;
        outcome = 'killed';
        by = `${[command, ...args].join(' ')}${result.late ? ' (time)' : ''}`;
        break;
      }
      each({ ...mutant, before: mutant.before.trim(), after: mutant.after.trim(), outcome, by });
    }
    writeFileSync(path, original);
  }
  await builds(folder, room);
  return mutants.length;
}
