// What a TypeScript user's compiler says of the package: its declarations are checked too (no skipLibCheck), beside nothing but
// those of Node, so that none of them needs a dependency's.
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const test = suite('types');
const root = fileURLToPath(new URL('../..', import.meta.url));
const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const user = mkdtempSync(join(tmpdir(), 'emoframe-types-'));

test.before(() => {
  const installed = join(user, 'node_modules', 'emoframe');
  const declarations = readdirSync(join(root, 'dist'), { recursive: true }).filter((name) => /\.d\.c?ts$/.test(name));
  for (const file of ['package.json', 'binding.d.ts', ...declarations.map((name) => join('dist', name))]) {
    mkdirSync(dirname(join(installed, file)), { recursive: true });
    cpSync(join(root, file), join(installed, file));
  }
  mkdirSync(join(user, 'node_modules', '@types'));
  for (const name of ['@types/node', 'undici-types'])
    symlinkSync(join(root, 'node_modules', name), join(user, 'node_modules', name));
  cpSync(join(root, 'test', 'types'), join(user, 'types'), { recursive: true });
});

test.after(() => rmSync(user, { recursive: true, force: true }));

const common = '--noEmit --strict --target es2022 --lib es2023,esnext.disposable --types node --skipLibCheck false';
for (const [module, resolution, ...files] of [
  ['node16', 'node16', 'module.mts', 'commonJs.cts'],
  ['nodenext', 'nodenext', 'module.mts', 'commonJs.cts'],
  ['esnext', 'bundler', 'module.mts'],
  ['commonjs', 'bundler', 'commonJs.cts'],
]) {
  for (const exact of [[], ['--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess']]) {
    test(`${files.join(' and ')} with module ${module}, resolution ${resolution} ${exact.join(' ')}`, async () => {
      const options = [...common.split(' '), '--module', module, '--moduleResolution', resolution, ...exact];
      const paths = files.map((file) => join('types', file));
      await promisify(execFile)(process.execPath, [compiler, ...options, ...paths], { cwd: user }).catch(({ stdout }) =>
        assert.unreachable(stdout),
      );
    });
  }
}

test.run();
