// Makes prebuilds/<platform>-<arch>: the addon, the shared libraries that it needs apart from glibc's own, and their licences.
// It runs on Debian or Ubuntu, whose packages know which licence belongs to which library.
//
// By itself it takes what CMake finds, which does to try a package. What is published is built with the CUDA 12 toolkit that
// EMOFRAME_CUDA_TOOLKIT names (scripts/cuda-toolkit.js brings one): such kernels run on drivers from 525 on, those of CUDA 13
// from 580 on; and for every GPU that is supported, with PTX for later ones.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const toolkit = process.env.EMOFRAME_CUDA_TOOLKIT;
const build = toolkit === undefined ? 'build' : join('build', 'release');
const built = join(root, build, 'prebuild', 'emoframe.glibc.node');
const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`);
const licences = join(folder, 'LICENSES');
// glibc is the user's: its parts must be of one version with the system's loader.
const glibc = /^(linux-vdso|ld-linux|lib(c|m|dl|pthread|rt|resolv|util|anl))[.-]/;

function fail(text) {
  process.stderr.write(`prebuild: ${text}\n`);
  process.exit(1);
}

function output(command, args) {
  const { error, status, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (error) fail(`${command} cannot be run: ${error.message}`);
  if (status !== 0) fail(`${[command, ...args].join(' ')} failed:\n${stdout}${stderr}`);
  return stdout;
}

/** Every library that the loader brings in with a file, by soname with the file itself, glibc's left out. */
function librariesOf(file) {
  const found = new Map();
  for (const line of output('ldd', [file]).split('\n')) {
    const [, soname, path] = /^\s*(\S+) => (.*?)(?: \(0x[0-9a-f]+\))?$/.exec(line) ?? [];
    if (soname === undefined || glibc.test(soname)) continue;
    if (!existsSync(path)) fail(`${soname}, which the addon needs, is not installed here.`);
    found.set(soname, realpathSync(path));
  }
  return found;
}

/** The Debian package of a library, with its version and licence. */
function packageOf(library) {
  // A package may know its file by the path that it had before /lib became a link to /usr/lib.
  const paths = [library, library.replace(/^\/usr(?=\/lib)/, '')];
  const { stdout } = spawnSync('dpkg-query', ['--search', ...paths], { encoding: 'utf8' });
  if (!stdout) fail(`no Debian package is known to own ${library}, so its licence is not known either.`);
  const owner = stdout.split(':', 1)[0];
  const field = (name) => output('dpkg-query', ['--show', `--showformat=\${${name}}`, owner]);
  const source = field('source:Package');
  const version = field('source:Version');
  return { source, version, text: readFileSync(`/usr/share/doc/${owner}/copyright`, 'utf8') };
}

/** Writes the licences of bundled libraries, the common ones that they refer to, and which is whose. */
function writeLicences(libraries) {
  mkdirSync(licences);
  const common = new Set();
  const rows = [];
  for (const [soname, path] of libraries) {
    const { source, version, text } = packageOf(path);
    writeFileSync(join(licences, `${source}.txt`), text);
    for (const [, name] of text.matchAll(/\/usr\/share\/common-licenses\/([\w.-]*\w)/g)) common.add(name);
    rows.push(`${soname}: ${source} ${version}`);
  }
  for (const name of common) copyFileSync(join('/usr/share/common-licenses', name), join(licences, `${name}.txt`));
  const about = [
    'The shared libraries of this prebuild are the distribution’s own, unchanged. Each comes from the source package named here,',
    'of which the licence lies beside this file and the source is at https://snapshot.debian.org or launchpad.net/ubuntu. The',
    'addon itself holds parts of libstdc++, under the GCC Runtime Library Exception.',
  ];
  writeFileSync(join(licences, 'README.txt'), `${about.join('\n')}\n\n${rows.join('\n')}\n`);
}

/** The compiler of a CUDA 12 toolkit. */
function compilerOf(folder) {
  const nvcc = join(folder, 'bin', 'nvcc');
  if (!existsSync(nvcc)) fail(`EMOFRAME_CUDA_TOOLKIT is ${folder}, where there is no bin/nvcc.`);
  const version = /release (\d+\.\d+)/.exec(output(nvcc, ['--version']))?.[1];
  if (!version?.startsWith('12.')) fail(`${nvcc} is of CUDA ${version}: expected one of CUDA 12.`);
  return nvcc;
}

/** The newest version of a family of symbols, such as GLIBC, that a file asks for. */
function newest(family, file) {
  const versions = [...output('objdump', ['-T', file]).matchAll(/\*UND\*.*\(([A-Z]+)_([\d.]+)\)/g)]
    .filter(([, name]) => name === family)
    .map(([, , version]) => version);
  return versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1) ?? 'none';
}

if (process.report.getReport().header.glibcVersionRuntime === undefined)
  fail('prebuilds are made on Linux with glibc; elsewhere the addon is built from source.');
if (toolkit === undefined && process.env.npm_command === 'publish')
  fail('what is published is built with CUDA 12: set EMOFRAME_CUDA_TOOLKIT to such a toolkit (docs/install.md).');
const nvcc = toolkit === undefined ? undefined : compilerOf(toolkit);
const command = ['run', '--silent', 'build:addon', '--', '--target', 'emoframe_prebuild', '--out', build];
if (nvcc !== undefined) {
  const options = {
    EMOFRAME_CUDA: 'ON',
    EMOFRAME_CUDA_RELEASE: 'ON',
    EMOFRAME_TESTS: 'OFF',
    CMAKE_CUDA_COMPILER: nvcc,
  };
  command.push(...Object.entries(options).map(([name, value]) => `--CD${name}=${value}`));
}
if (spawnSync('npm', command, { cwd: root, stdio: ['ignore', 2, 2] }).status !== 0) fail('the addon did not build.');

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const libraries = librariesOf(built);
const addon = join(folder, basename(built));
copyFileSync(built, addon);
output('strip', ['--strip-unneeded', addon]);
for (const [soname, path] of libraries) copyFileSync(path, join(folder, soname));
writeLicences(libraries);

for (const name of [basename(built), ...libraries.keys()]) {
  const file = join(folder, name);
  const megabytes = (statSync(file).size / 1e6).toFixed(1).padStart(5);
  process.stdout.write(
    `${name.padEnd(20)} ${megabytes} MB, needs GLIBC ${newest('GLIBC', file)}, GLIBCXX ${newest('GLIBCXX', file)}\n`,
  );
}
