// The op table, the native model tests and the inputs kept of the native fuzz targets under AddressSanitizer (with its leak check)
// and UndefinedBehaviorSanitizer, in a build folder of their own (CMakePresets.json). The first finding ends the test program and so
// fails its suite. On the way they count which lines of the model run, for scripts/coverage.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { forget } from '../../scripts/coverage/native.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const folder = join(root, 'build', 'sanitizers');

function run(command, args, options) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, ...options });
  if (result.error) throw result.error;
  return result;
}

function build() {
  const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(availableParallelism());
  const steps = [
    ['--preset', 'sanitizers'],
    ['--build', folder, '--parallel', jobs],
  ];
  for (const step of steps) {
    const { status, stdout, stderr } = run('cmake', step);
    if (status === 0) continue;
    process.stderr.write(`${stdout}${stderr}\nsanitize: the build failed: the lines above say why.\n`);
    process.exit(1);
  }
}

const environment = {
  ...process.env,
  GOMP_SPINCOUNT: '20000',
  ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1',
  UBSAN_OPTIONS: 'print_stacktrace=1',
};

build();
forget(folder);
const sums = { passed: 0, failed: 0 };
const programs = { op_table: [], native_tests: [], fuzz_replay: ['test/fuzz/corpora/native'] };
for (const [name, args] of Object.entries(programs)) {
  process.stdout.write(`${name}\n`);
  const { status, stdout } = run(join(folder, name), args, {
    env: environment,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const counted = /^(\d+) passed, (\d+) failed$/m.exec(stdout);
  sums.passed += Number(counted?.[1] ?? 0);
  // A finding, a leak at the end included, shows in the exit code alone.
  sums.failed += Number(counted?.[2] ?? 0) || (status === 0 ? 0 : 1);
  if (status !== 0) process.stdout.write(stdout);
}
process.stdout.write(`${sums.passed} passed, ${sums.failed} failed\n`);
process.exit(sums.failed === 0 ? 0 : 1);
