// Runs tests: the op table and the model on the native side, then the TypeScript tests. The last line counts all of them:
// `N passed, N failed`.
//
//   npm test                    all but the slow suites
//   npm test -- --all           all
//   npm test -- PATTERN         suites by name, slow ones too, and TypeScript tests by path: a regular expression
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { countedInto } from './coverage/lib.js';
import { collected } from './coverage/places.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** What is said of suites that run at once: the output of each by itself and in their order, that of the foremost as it comes. */
class InOrder {
  #waiting = [];

  /** A place behind those opened before: `write` its output, then `end` it. */
  open() {
    const place = { text: '', ended: false };
    this.#waiting.push(place);
    return {
      write: (chunk) => {
        place.text += chunk;
        this.#show();
      },
      end: () => {
        place.ended = true;
        this.#show();
      },
    };
  }

  #show() {
    for (;;) {
      const [foremost] = this.#waiting;
      if (foremost === undefined) return;
      process.stdout.write(foremost.text);
      foremost.text = '';
      if (!foremost.ended) return;
      this.#waiting.shift();
    }
  }
}

/** Runs a command, giving its output to `write` as it comes, and returns its exit code and output. */
function run(command, args, write, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, GOMP_SPINCOUNT: process.env.GOMP_SPINCOUNT ?? '20000', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', write);
    }
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output }));
  });
}

/** Counts of a suite; a suite that ends badly without saying so counts as one failure. */
function count(name, { code, output }, pattern) {
  const match = [...output.matchAll(pattern)].at(-1);
  const total = match ? Number(match.groups.passed) : 0;
  let failed =
    match?.groups.failed === undefined ? Number(match?.groups.total ?? 0) - total : Number(match.groups.failed);
  if (code !== 0 && failed === 0) failed = 1;
  const none = !match || (total === 0 && failed === 0);
  if (none) failed = Math.max(failed, 1);
  return { passed: total, failed, note: none ? `test: ${name} ran no test (exit code ${code}).\n` : '' };
}

const counted = /^(?<passed>\d+) passed, (?<failed>\d+) failed$/gm;
const uvu = /Total: +(?<total>\d+)\s+Passed: +(?<passed>\d+)/g;
const node = process.execPath;
// Each says how many passed and failed. Those of `all` take minutes: CI runs them, and `npm test -- --all`.
const suites = [
  { name: 'op table', command: ['build/op_table'] },
  { name: 'emulation of a GPU', command: ['build/simt_tests'] },
  { name: 'probe', command: [node, 'test/slow/probe.js'] },
  { name: 'native model', command: ['build/native_tests'] },
  { name: 'recovery', command: [node, 'test/slow/recovery.js'] },
  { name: 'graphs of real steps', command: ['build/null_tests'] },
  {
    name: 'TypeScript',
    command: [node, 'node_modules/uvu/bin.js', '--no-color', 'test', '\\.test\\.js$'],
    pattern: uvu,
  },
];
const all = [
  { name: 'op table on the emulation', command: ['build/op_table_simt'] },
  // Without those that take many passes: the emulation is some thousand times slower than a GPU.
  {
    name: 'model on the emulation',
    command: [
      'build/native_tests_simt',
      ...['Gradients', 'gradientsOf', 'gradientsUnder', 'trainingLowers', 'lloyd', 'kmeansGives'].map(
        (name) => `-${name}`,
      ),
    ],
  },
  { name: 'install', command: [node, 'test/slow/install.js'] },
  { name: 'long audio', command: [node, 'test/slow/long-audio.js'] },
  { name: 'API reference', command: [node, 'scripts/docs/generate.js', '--check'] },
  { name: 'ONNX schema', command: [node, 'scripts/onnx/generate.js', '--check'] },
  { name: 'exports in ONNX Runtime', command: [node, 'test/slow/onnx.js'] },
  { name: 'sanitizers', command: [node, 'test/slow/sanitize.js'] },
  { name: 'coverage', command: [node, 'scripts/coverage/index.js', '--collected'], alone: true },
  { name: 'fuzzing', command: [node, 'test/slow/fuzz.js'] },
  { name: 'kills', command: [node, 'test/slow/kill.js'] },
  { name: 'faults', command: [node, 'test/slow/faults.js'] },
  // The strict bound is for quiet machines: see docs/threads.md.
  { name: 'event loop', command: [node, 'test/slow/eventLoop.js', '--limit', '60'], alone: true },
  { name: 'lifetimes', command: [node, 'test/slow/lifetime.js'] },
  {
    name: 'long life',
    command: [node, 'test/slow/soak.js', '--loads', '200', '--predictions', '10000', '--runs', '0', '--parts', '20'],
  },
  { name: 'planned memory', command: [node, 'test/slow/memory-plan.js'] },
  { name: 'many files', command: [node, 'test/slow/load.js'] },
  { name: 'large corpus', command: [node, 'test/slow/scan.js'] },
];

/** The suites that a pattern names: by their own names, or TypeScript tests by their paths. */
function matching(wanted) {
  const test = new RegExp(wanted, 'i');
  const files = readdirSync(join(root, 'test'), { recursive: true }).filter(
    (file) => file.endsWith('.test.js') && test.test(file),
  );
  const chosen = [...suites, ...all].filter(({ name }) => test.test(name));
  const typeScript = suites.find(({ pattern }) => pattern === uvu);
  if (files.length > 0 && !chosen.includes(typeScript)) {
    const escaped = files.map((file) => file.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    const [file, program, color, folder] = typeScript.command;
    chosen.push({ ...typeScript, command: [file, program, color, folder, `^(${escaped.join('|')})$`] });
  }
  return chosen;
}

const { values, positionals } = parseArgs({
  options: { all: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const [wanted, ...more] = positionals;
if (more.length > 0 || (values.all && wanted !== undefined)) {
  process.stderr.write('test: expected --all or one PATTERN, such as "audio|hub".\n');
  process.exit(2);
}
const chosen = wanted !== undefined ? matching(wanted) : values.all ? [...suites, ...all] : suites;
if (chosen.length === 0) {
  const names = [...suites, ...all].map(({ name }) => name).join(', ');
  process.stderr.write(`test: no suite (${names}) and no file below test/ matches ${wanted}.\n`);
}
if (values.all) rmSync(collected.lib, { recursive: true, force: true });
const sums = { passed: 0, failed: chosen.length === 0 ? 1 : 0 };
const shown = new InOrder();

async function runSuite({ name, command, pattern = counted }) {
  const place = shown.open();
  place.write(`\n# ${name}\n`);
  const [file, ...args] = command;
  if (existsSync(resolve(root, file))) {
    const began = performance.now();
    // For the coverage suite.
    const env = values.all && pattern === uvu ? countedInto(collected.lib) : {};
    const { passed, failed, note } = count(name, await run(resolve(root, file), args, place.write, env), pattern);
    place.write(`${note}(${((performance.now() - began) / 1000).toFixed(0)} s)\n`);
    sums.passed += passed;
    sums.failed += failed;
  } else {
    place.write(`test: ${file} is missing: run "npm run compile" first.\n`);
    sums.failed++;
  }
  place.end();
}

// Few suites keep two cores busy all the time, so two run at once; those that watch the clock, or count what the others
// covered, run alone at the end.
const together = chosen.filter(({ alone }) => !alone);
const lane = async () => {
  while (together.length > 0) await runSuite(together.shift());
};
await Promise.all(availableParallelism() > 1 ? [lane(), lane()] : [lane()]);
for (const suite of chosen.filter(({ alone }) => alone)) await runSuite(suite);

process.stdout.write(`\n${sums.passed} passed, ${sums.failed} failed\n`);
process.exit(sums.failed === 0 ? 0 : 1);
