// The API reference, docs/api, from the doc comments of lib.
//
//   node scripts/docs/generate.js            write it
//   node scripts/docs/generate.js --check    only tell whether it is up to date
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));
const reference = join(here, '..', '..', 'docs', 'api');
const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });

function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: here, encoding: 'utf8' });
  if (status === 0) return;
  process.stderr.write(`${stdout ?? ''}${stderr ?? ''}`);
  process.exit(1);
}

/** Every file below a folder with its text. */
function contents(dir) {
  if (!existsSync(dir)) return new Map();
  const files = readdirSync(dir, { recursive: true }).map((name) => join(dir, name));
  return new Map(
    files.filter((file) => statSync(file).isFile()).map((file) => [relative(dir, file), readFileSync(file, 'utf8')]),
  );
}

if (!existsSync(join(here, 'node_modules'))) run('npm', ['ci', '--no-audit', '--no-fund']);
const made = mkdtempSync(join(tmpdir(), 'emoframe-docs-'));
try {
  const out = values.check ? made : reference;
  run(process.execPath, [join('node_modules', 'typedoc', 'bin', 'typedoc'), '--options', 'typedoc.json', '--out', out]);
  if (values.check) {
    const [old, now] = [contents(reference), contents(made)];
    const stale = [...new Set([...old.keys(), ...now.keys()])].filter((name) => old.get(name) !== now.get(name));
    if (stale.length > 0) process.stderr.write(`docs/api is out of date (${stale.join(', ')}): run npm run docs.\n`);
    process.stdout.write(`${stale.length === 0 ? '1 passed, 0 failed' : '0 passed, 1 failed'}\n`);
    process.exitCode = stale.length === 0 ? 0 : 1;
  }
} finally {
  rmSync(made, { recursive: true, force: true });
}
