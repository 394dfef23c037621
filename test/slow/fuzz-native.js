// The native fuzz targets (test/fuzz/native) under Clang's libFuzzer and sanitizers: built, and run for so long. It needs
// Clang with its run-time libraries and OpenMP: apt-get install clang-19 libclang-rt-19-dev libomp-19-dev.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { pack, unpack } from './fuzz/kept.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const program = join(root, 'build', 'fuzz', 'fuzz_native');
const kept = join(root, 'test', 'fuzz', 'corpora', 'native');
const targets = readdirSync(join(root, 'test', 'fuzz', 'native'))
  .filter((file) => /^FUZZ\(/m.test(readFileSync(join(root, 'test', 'fuzz', 'native', file), 'utf8')))
  .map((file) => file.replace('.cpp', ''));

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    target: { type: 'string' },
    minimize: { type: 'boolean', default: false },
    grown: { type: 'string', default: 'fuzz-corpora' },
    failures: { type: 'string', default: 'fuzz-failures' },
  },
});
const chosen = values.target === undefined ? targets : [values.target];
if (!(Number(values.seconds) > 0) || chosen.some((name) => !targets.includes(name))) {
  process.stderr.write(`usage: node test/slow/fuzz-native.js [--seconds N] [--target NAME] [--minimize]
targets: ${targets.join(', ')}\n`);
  process.exit(2);
}

function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (error) throw error;
  return status === 0;
}

const fuzzer = (name, args) =>
  run(program, [`--target=${name}`, ...args], {
    UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    ASAN_OPTIONS: 'detect_leaks=1',
  });

const corpusOf = (name) => join(kept, `${name}.corpus`);

/** The inputs that are kept, as files for libFuzzer. */
function plant(name, folder) {
  mkdirSync(folder, { recursive: true });
  if (!existsSync(corpusOf(name))) return;
  for (const [i, bytes] of unpack(readFileSync(corpusOf(name))).entries())
    writeFileSync(join(folder, `kept-${i}`), bytes);
}

/** Keeps, of all inputs, few small ones that reach what all do. */
function minimize(name, folder) {
  const few = mkdtempSync(join(tmpdir(), 'emoframe-minimize-'));
  const merged = fuzzer(name, ['-merge=1', '-max_len=400', few, folder]);
  const files = readdirSync(few).sort();
  mkdirSync(kept, { recursive: true });
  if (merged) writeFileSync(corpusOf(name), pack(files.map((file) => readFileSync(join(few, file)))));
  rmSync(few, { recursive: true });
  return merged;
}

if (!run('cmake', ['--preset', 'fuzz']) || !run('cmake', ['--build', '--preset', 'fuzz', '--parallel', '2']))
  process.exit(1);
mkdirSync(values.failures, { recursive: true });
let failed = 0;
for (const name of chosen) {
  const folder = join(values.grown, 'native', name);
  plant(name, folder);
  const limits = ['-rss_limit_mb=2048', '-malloc_limit_mb=512', '-timeout=20', '-max_len=400', '-print_final_stats=1'];
  const fuzzed = [
    `-max_total_time=${values.seconds}`,
    `-artifact_prefix=${values.failures}/${name}-`,
    ...limits,
    folder,
  ];
  failed += (values.minimize ? minimize(name, folder) : fuzzer(name, fuzzed)) ? 0 : 1;
}
process.stdout.write(`${chosen.length - failed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
