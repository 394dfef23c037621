// The API reference, docs/api, from the doc comments of lib. It is made for a release and travels in the package; the
// repository does not hold it. A type that is used in the public interface but not exported, a broken link or any other
// warning of TypeDoc is an error.
//
//   node scripts/docs/generate.js            write docs/api
//   node scripts/docs/generate.js --check    only check whether it can be made
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });

/** Runs a command and returns whether it succeeded; what it says is shown only if it did not. */
function succeeds(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: here, encoding: 'utf8' });
  if (status !== 0) process.stderr.write(`${stdout ?? ''}${stderr ?? ''}`);
  return status === 0;
}

const made = mkdtempSync(join(tmpdir(), 'emoframe-docs-'));
try {
  const out = values.check ? made : join(here, '..', '..', 'docs', 'api');
  const done =
    (existsSync(join(here, 'node_modules')) || succeeds('npm', ['ci', '--no-audit', '--no-fund'])) &&
    succeeds(process.execPath, [
      join('node_modules', 'typedoc', 'bin', 'typedoc'),
      '--options',
      'typedoc.json',
      '--out',
      out,
    ]);
  if (values.check) process.stdout.write(`${done ? '1 passed, 0 failed' : '0 passed, 1 failed'}\n`);
  process.exitCode = done ? 0 : 1;
} finally {
  rmSync(made, { recursive: true, force: true });
}
