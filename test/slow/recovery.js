// That the tables of native cases go on after a case that faults, crashes or hangs, with the right counts: on the CPU and on the
// emulation of a GPU. Ends with `N passed, N failed`.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const build = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'build');
const expected = [
  /a fault: .*(Segmentation fault|The device failed)/,
  /a crash: .*Segmentation fault/,
  /a hang: not done/,
];
const counts = { passed: 0, failed: 0 };
for (const program of ['op_table', 'op_table_simt']) {
  const { status, stdout } = spawnSync(join(build, program), ['--family', 'planted', '--limit', '2'], {
    encoding: 'utf8',
  });
  const failures = (stdout ?? '').split('\n').filter((line) => line.startsWith('FAIL '));
  const reported = failures.length === expected.length && failures.every((line, index) => expected[index].test(line));
  const holds = reported && status === 1 && /^3 passed, 3 failed$/m.test(stdout);
  counts[holds ? 'passed' : 'failed']++;
  process.stdout.write(`${holds ? 'ok    ' : 'FAILED'} ${program}\n${holds ? '' : stdout}`);
}
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed\n`);
process.exit(counts.failed === 0 ? 0 : 1);
