// Checks that the C++ sources are as clang-format would leave them; `--write` makes them so.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const sources = ['native', 'test', 'bench']
  .flatMap((folder) => readdirSync(join(root, folder), { recursive: true }).map((name) => join(folder, name)))
  .filter((name) => /\.(cpp|h|cu|cuh)$/.test(name));
const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '--Werror'];
const result = spawnSync(join(root, 'node_modules/.bin/clang-format'), [...mode, ...sources], {
  cwd: root,
  stdio: 'inherit',
});
process.exit(result.status ?? 1);
