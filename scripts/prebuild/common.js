import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const here = dirname(fileURLToPath(import.meta.url));
export const root = join(here, '..', '..');

/** The bill of materials, beside the addon. */
export const billName = 'sbom.cdx.json';

export function fail(text) {
  process.stderr.write(`prebuild: ${text}\n`);
  process.exit(1);
}

/** The standard output of a command that must succeed. */
export function output(command, args) {
  const { error, status, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (error) fail(`${command} cannot be run: ${error.message}`);
  if (status !== 0) fail(`${[command, ...args].join(' ')} failed:\n${stdout}${stderr}`);
  return stdout;
}
