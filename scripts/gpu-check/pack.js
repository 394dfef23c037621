// Packs build/gpu-check.tar.xz: all that scripts/gpu-check/run needs on a machine with CUDA, Python, PyTorch and transformers, but
// no Node, no oneDNN and no network. Of this machine: its Node, and what is built here for sm_80 and sm_90a.
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const build = join(root, 'build');
const folder = join(build, 'gpu-check');
const archive = `${folder}.tar.xz`;
const mostBytes = 60 * 2 ** 20;

const execute = (command, args, options = {}) =>
  execFileSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], ...options });
const toStderr = { stdio: ['ignore', 2, 2] };

function commit() {
  const changed = execute('git', ['status', '--porcelain', '--untracked-files=no']).trim() !== '';
  return { commit: execute('git', ['rev-parse', 'HEAD']).trim(), changed };
}

/** The packages that this one needs, and those that they need; not what only compilers and readers look at. */
function copyDependencies() {
  const listed = execute('npm', ['ls', '--omit=dev', '--all', '--parseable']).trim().split('\n').slice(1);
  for (const path of new Set(listed)) {
    const filter = (file) => !/\.(map|md|ts|cts|mts)$|\/src(\/|$)/.test(relative(path, file));
    cpSync(path, join(folder, relative(root, path)), { recursive: true, filter });
  }
}

execute('npm', ['run', '--silent', 'build:ts'], toStderr);
execute('npm', ['run', '--silent', 'prebuild'], toStderr);
for (const target of ['op_table', 'bench_ops'])
  execute('npm', ['run', '--silent', 'build:addon', '--', '--target', target], toStderr);
const about = JSON.parse(execute(process.execPath, ['dist/cli/main.js', 'doctor', '--json']));
if (about.cuda.builtFor.length === 0) throw new Error('The addon has no CUDA backend: build where nvcc is found.');

rmSync(folder, { recursive: true, force: true });
mkdirSync(join(folder, 'bin'), { recursive: true });
for (const path of ['package.json', 'dist', 'prebuilds', 'bench', 'scripts/gpu-check'])
  cpSync(join(root, path), join(folder, path), {
    recursive: true,
    filter: (file) => !/\/(node_modules|results|__pycache__)$|\.map$/.test(file),
  });
copyDependencies();
copyFileSync(realpathSync(process.execPath), join(folder, 'bin', 'node'));
for (const name of ['op_table', 'bench_ops.so']) copyFileSync(join(build, name), join(folder, 'bin', name));
// Where both look for their libraries.
const prebuild = join(folder, 'prebuilds', `${process.platform}-${process.arch}`);
for (const name of readdirSync(prebuild).filter((file) => file.includes('.so')))
  symlinkSync(relative(join(folder, 'bin'), join(prebuild, name)), join(folder, 'bin', name));
execute('strip', [
  '--strip-unneeded',
  ...['node', 'op_table', 'bench_ops.so'].map((name) => join(folder, 'bin', name)),
]);
writeFileSync(join(folder, 'commit.json'), `${JSON.stringify(commit())}\n`);

execute('tar', [
  '--sort=name',
  '--owner=0',
  '--group=0',
  '--numeric-owner',
  '--use-compress-program=xz -6',
  '-cf',
  archive,
  '-C',
  build,
  'gpu-check',
]);
rmSync(folder, { recursive: true });
const { size } = statSync(archive);
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
console.log(
  `${relative(process.cwd(), archive)}: ${(size / 2 ** 20).toFixed(1)} MiB, emoframe ${version} for ${about.cuda.builtFor.join(', ')}`,
);
if (size > mostBytes) throw new Error(`Expected at most ${mostBytes / 2 ** 20} MiB.`);
