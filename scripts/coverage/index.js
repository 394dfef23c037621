// How much of lib and native the tests run, in lines and branches; fails below the floors.
//
//   npm run coverage                            all of it: builds, runs the native tests and the TypeScript tests, counts
//   node scripts/coverage/index.js --collected  what "npm test -- --all" has counted on the way: lib by its TypeScript suite, lines
//                                               of the native core by its sanitizer suite
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { percent } from './counts.js';
import { countedInto, coverageOfLib } from './lib.js';
import { coverageOfNative, forget } from './native.js';
import { collected, floors } from './places.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const { values } = parseArgs({ options: { collected: { type: 'boolean', default: false } } });

function run(command, args, env = {}) {
  const options = { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'inherit', 'inherit'] };
  const { status, error } = spawnSync(command, args, options);
  if (error) throw error;
  if (status !== 0) {
    process.stderr.write(`coverage: ${command} ${args.join(' ')} failed (exit code ${status}).\n`);
    process.exit(1);
  }
}

/** Native programs and an addon that count, and everything that runs them. Gives the folder of the build. */
function runEverything() {
  const place = join(root, 'build', 'coverage');
  const build = join(place, 'build');
  const options = ['--CDCMAKE_BUILD_TYPE=Coverage', '--CDEMOFRAME_COVERAGE=ON', '--CDEMOFRAME_CUDA=OFF'];
  run('npx', ['--yes', 'cmake-js@8', 'configure', '--prefer-make', '--out', build, ...options]);
  const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(availableParallelism());
  const targets = ['--target', 'op_table', 'native_tests', 'emoframe'];
  run('cmake', ['--build', build, '--parallel', jobs, ...targets]);
  // The package as it is built for users is looked at by some tests.
  if (!existsSync(join(root, 'build', 'Release', 'emoframe.node'))) run('npm', ['run', '--silent', 'build:addon']);
  run('npm', ['run', '--silent', 'build:ts']);
  forget(build);
  rmSync(collected.lib, { recursive: true, force: true });
  // Threads that count in the same place wait for each other.
  run(join(build, 'op_table'), [], { OMP_NUM_THREADS: '1' });
  run(join(build, 'native_tests'), []);
  // node-gyp-build looks for the addon below the folder that this variable names.
  run(process.execPath, ['node_modules/uvu/bin.js', '--no-color', 'test', '\\.test\\.js$'], {
    ...countedInto(collected.lib),
    EMOFRAME_PREBUILD: place,
    // Of counts that a process did not write to their end, since it was killed: tests ask what stands in stderr.
    GCOV_ERROR_FILE: join(place, 'gcov.log'),
  });
  return build;
}

const build = values.collected ? collected.native : runEverything();
for (const [folder, suite] of [
  [collected.lib, 'TypeScript'],
  [build, 'sanitizers'],
]) {
  if (existsSync(folder)) continue;
  process.stderr.write(
    `coverage: nothing was counted into ${folder}: run "npm test -- --all" first (suite ${suite}).\n`,
  );
  process.exit(1);
}
const lib = coverageOfLib(collected.lib);
const native = coverageOfNative(build, root);

/** The folders below `top`, each with a slash at its end. */
function rooms(counts, top) {
  return [...new Set(counts.files().flatMap((file) => new RegExp(`^${top}/[^/]+/`).exec(file) ?? []))].sort();
}

// Under a sanitizer every check is a branch, and without Node there is no addon.
const rows = [
  ...[...rooms(lib, 'lib'), 'lib/'].map((place) => ({ place, ...lib.below(place) })),
  ...[...rooms(native, 'native'), 'native/'].map((place) => ({ place, ...native.below(place) })),
];
const least = values.collected ? floors.collected : floors.whole;
const sums = { passed: 0, failed: 0 };

/** A figure, what it is of and, where there is one, its floor. */
function cell(place, kind, counts) {
  if (kind === 'branches' && place.startsWith('native/') && values.collected) return '';
  const figure = `${percent(counts).toFixed(2).padStart(6)} % of ${String(counts.total).padStart(6)}`;
  const floor = least[place]?.[kind];
  if (floor === undefined) return figure;
  const held = percent(counts) >= floor;
  sums[held ? 'passed' : 'failed']++;
  return `${figure}, ${held ? 'at least' : 'BELOW'} ${floor}`;
}

process.stdout.write(`${''.padEnd(18)}${'lines'.padEnd(36)}branches\n`);
for (const { place, lines, branches } of rows) {
  const row = `${place.padEnd(18)}${cell(place, 'lines', lines).padEnd(36)}${cell(place, 'branches', branches)}`;
  process.stdout.write(`${row.trimEnd()}\n`);
}
process.stdout.write(`${sums.passed} passed, ${sums.failed} failed\n`);
process.exit(sums.failed === 0 ? 0 : 1);
