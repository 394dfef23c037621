// Packs build/gpu-check.tar.xz: all that scripts/gpu-check/run and rebuild need on a machine with CUDA, Python, PyTorch and
// transformers, but no Node, no oneDNN and no network. Of this machine: its Node, its oneDNN, and what is built here.
//   --architectures LIST   that kernels are built for (90a: an H100 or H200); 80 too with "80;90a"
//   --minutes N            of the demo's corpus, which is synthesised here for `run demo` there; 0: none (4)
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describeBuild } from './manifest.js';

const { values } = parseArgs({
  options: { architectures: { type: 'string', default: '90a' }, minutes: { type: 'string', default: '4' } },
});
const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const build = join(root, 'build', 'gpu');
const folder = join(root, 'build', 'gpu-check');
const archive = `${folder}.tar.xz`;
const mostBytes = 60 * 2 ** 20;
const libraries = `prebuilds/${process.platform}-${process.arch}`;
const programs = ['op_table', 'native_tests', 'profile', 'probe', 'emoframe_prebuild'];

const execute = (command, args, options = {}) =>
  execFileSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], ...options });
const toStderr = { stdio: ['ignore', 2, 2] };

function commit() {
  const changed = execute('git', ['status', '--porcelain', '--untracked-files=no']).trim() !== '';
  return { commit: execute('git', ['rev-parse', 'HEAD']).trim(), changed };
}

/** Builds the programs in a folder of their own: another one may be built for other devices. */
function compile() {
  const cmakeJs = ['--yes', `cmake-js@${devDependencies['cmake-js']}`, '--out', build];
  const definitions = {
    CMAKE_BUILD_TYPE: 'Release',
    CMAKE_EXPORT_COMPILE_COMMANDS: 'ON',
    EMOFRAME_CUDA: 'ON',
    // Without PTX: these kernels are for the one machine.
    EMOFRAME_CUDA_ARCHITECTURES: values.architectures
      .split(';')
      .map((one) => `${one}-real`)
      .join(';'),
  };
  const words = Object.entries(definitions).map(([name, value]) => `--CD${name}=${value}`);
  execute('npx', [...cmakeJs, 'configure', '--prefer-make', ...words], toStderr);
  const targets = execute('cmake', ['--build', build, '--target', 'help']);
  const missing = [...programs, 'probe_simt'].filter(
    (target) => !new RegExp(`^\\.\\.\\. ${target}$`, 'm').test(targets),
  );
  if (missing.length > 0)
    throw new Error(`CMakeLists.txt has no target ${missing.join(', ')}, which the first call needs.`);
  const parallel = process.env.CMAKE_BUILD_PARALLEL_LEVEL ? [] : ['--parallel'];
  execute('cmake', ['--build', build, ...parallel, '--target', ...programs, 'probe_simt'], toStderr);
}

/** The packages that this one needs, and those that they need; not what only compilers and readers look at. */
function copyDependencies() {
  const listed = execute('npm', ['ls', '--omit=dev', '--all', '--parseable']).trim().split('\n').slice(1);
  for (const path of new Set(listed)) {
    const filter = (file) => !/\.(map|md|ts|cts|mts)$|\/src(\/|$)/.test(relative(path, file));
    cpSync(path, join(folder, relative(root, path)), { recursive: true, filter });
  }
}

/** The shared libraries of the addon, those of glibc left out, where it and all programs look for them. */
function copyLibraries(addon) {
  for (const line of execute('ldd', [addon]).split('\n')) {
    const [, soname, path] = /^\s*(\S+) => (\/\S+)/.exec(line) ?? [];
    if (!soname || /^(ld-linux|lib(c|m|dl|pthread|rt))[.-]/.test(soname)) continue;
    copyFileSync(realpathSync(path), join(folder, libraries, soname));
    symlinkSync(join('..', libraries, soname), join(folder, 'bin', soname));
  }
}

execute('npm', ['run', '--silent', 'build:ts'], toStderr);
compile();
rmSync(folder, { recursive: true, force: true });
for (const path of ['bin', libraries]) mkdirSync(join(folder, path), { recursive: true });
for (const path of [
  'package.json',
  'dist',
  'native',
  'test/ops',
  'test/native',
  'test/probe',
  'bench',
  'scripts/gpu-check',
])
  cpSync(join(root, path), join(folder, path), {
    recursive: true,
    filter: (file) => !/\/(node_modules|results|__pycache__)$|\.[cm]?[jt]s\.map$/.test(file),
  });
copyDependencies();
const headers = 'node_modules/node-api-headers/include';
cpSync(join(root, headers), join(folder, headers), { recursive: true });
for (const name of ['oneapi', ...execute('sh', ['-c', 'cd /usr/include && ls -d dnnl*']).trim().split('\n')])
  cpSync(join('/usr/include', name), join(folder, 'include', name), { recursive: true });

const manifest = describeBuild(root, build, programs, libraries);
for (const { built, object } of manifest.objects) {
  mkdirSync(dirname(join(folder, object)), { recursive: true });
  copyFileSync(built, join(folder, object));
  execute('strip', ['--strip-debug', join(folder, object)]);
}
for (const link of manifest.links) {
  const addon = link.target === 'emoframe_prebuild';
  link.output = join(addon ? libraries : 'bin', basename(link.built));
  copyFileSync(link.built, join(folder, link.output));
  execute('strip', ['--strip-unneeded', join(folder, link.output)]);
}
manifest.architectures = values.architectures.split(';');
writeFileSync(join(folder, 'objects', 'manifest.json'), JSON.stringify(manifest));
copyLibraries(join(build, 'prebuild', 'emoframe.glibc.node'));
copyFileSync(realpathSync(process.execPath), join(folder, 'bin', 'node'));
execute('strip', ['--strip-unneeded', join(folder, 'bin', 'node')]);
execute(join(build, 'probe_simt'), ['--write', join(folder, 'bin', 'probe.bin')], toStderr);
// A variant that no longer fits the sources is found here, not where time is short.
execute('python3', ['scripts/gpu-check/rebuild', '--check'], { cwd: folder, ...toStderr });
if (Number(values.minutes) > 0) {
  const demo = join(root, 'build', `gpu-check-corpus-${values.minutes}`);
  if (!existsSync(demo)) {
    const { makeDemoCorpus } = await import('../../dist/demo/corpus.js');
    await makeDemoCorpus(demo, { seed: 1, minutes: Number(values.minutes) });
  }
  cpSync(demo, join(folder, 'corpus'), { recursive: true });
}
writeFileSync(join(folder, 'commit.json'), `${JSON.stringify({ ...commit(), minutes: Number(values.minutes) })}\n`);

// All programs hold the same kernels: with a dictionary that reaches from one to the next they are packed once.
execute('tar', [
  '--sort=name',
  '--owner=0',
  '--group=0',
  '--numeric-owner',
  '--use-compress-program=xz --lzma2=preset=1,dict=192MiB',
  '-cf',
  archive,
  '-C',
  dirname(folder),
  'gpu-check',
]);
rmSync(folder, { recursive: true });
const { size } = statSync(archive);
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
console.log(
  `${relative(process.cwd(), archive)}: ${(size / 2 ** 20).toFixed(1)} MiB, emoframe ${version} for sm_${values.architectures.replaceAll(';', ', sm_')}`,
);
if (size > mostBytes) throw new Error(`Expected at most ${mostBytes / 2 ** 20} MiB.`);
