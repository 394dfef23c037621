// node scripts/cuda-toolkit.js FOLDER: a CUDA 12 compiler in a folder of its own, to build what is published with
// (scripts/prebuild). It is made of the packages of Debian 13 (non-free), which are fetched with apt-get from where this machine
// fetches its own, 1 GB of them, and unpacked, not installed: the machine keeps what it has. NVIDIA's licence lies beside it.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const suite = 'trixie';
const packages = ['nvidia-cuda-toolkit', 'nvidia-cuda-dev'];
// Where nvcc, called as bin/nvcc, finds the rest.
const profile = `TOP = $(_HERE_)/..
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
PATH += $(_HERE_):
INCLUDES += "-I$(TOP)/include" $(_SPACE_)
LIBRARIES =+ $(_SPACE_) "-L$(TOP)/lib64" $(_SPACE_)
`;

function fail(text) {
  process.stderr.write(`cuda-toolkit: ${text}\n`);
  process.exit(1);
}

const [folder, ...rest] = process.argv.slice(2);
if (folder === undefined || rest.length > 0) fail('expected one folder to make the toolkit in.');
const target = resolve(folder);
if (existsSync(target)) fail(`${target} is there already: remove it, or name another.`);

const run = (command, args, options = {}) =>
  execFileSync(command, args, {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    stdio: ['ignore', 'pipe', 'inherit'],
    ...options,
  });
const scratch = mkdtempSync(join(tmpdir(), 'cuda-toolkit-'));
const here = (...names) => join(scratch, ...names);

/** Debian's archive as this machine reaches it. */
function archive() {
  const sites = run('apt-get', ['indextargets', '--format', '$(REPO_URI) $(CODENAME)', 'Created-By: Packages']);
  const [uri] =
    sites
      .split('\n')
      .find((line) => /\/debian\/? [a-z]+$/.test(line))
      ?.split(' ') ?? [];
  return uri ?? fail('apt-get knows no archive of Debian on this machine: unpack a CUDA 12 toolkit of NVIDIA by hand.');
}

try {
  for (const name of ['lists/partial', 'cache/archives/partial', 'files']) mkdirSync(here(name), { recursive: true });
  writeFileSync(here('sources.list'), `deb ${archive()} ${suite} non-free\n`);
  const apt = (args) =>
    run(
      'apt-get',
      [
        ...['-q', '-o', `Dir::Etc::SourceList=${here('sources.list')}`, '-o', 'Dir::Etc::SourceParts=-'],
        ...['-o', `Dir::State::Lists=${here('lists')}`, '-o', `Dir::Cache=${here('cache')}`],
        ...['-o', 'APT::Sandbox::User=root', ...args],
      ],
      { cwd: scratch, stdio: ['ignore', 2, 2] },
    );
  apt(['update']);
  apt(['download', ...packages]);
  const [compiler, development] = packages.map((name) =>
    readdirSync(scratch).find((file) => file.startsWith(`${name}_`)),
  );
  run('dpkg-deb', ['--extract', here(compiler), here('files')]);
  // Of a gigabyte of libraries, the runtime alone.
  const wanted = "'./usr/include/*' '*/libcudart_static.a' '*/libcudadevrt.a'";
  const unpack = `dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --wildcards ${wanted}`;
  run('sh', ['-c', unpack, 'sh', here(development), here('files')]);
  const files = here('files', 'usr');
  const parts = join(files, 'lib', 'nvidia-cuda-toolkit');
  const bin = join(target, 'bin');
  mkdirSync(bin, { recursive: true });
  for (const name of ['bin2c', 'cudafe++', 'cuobjdump', 'fatbinary', 'nvdisasm', 'nvlink', 'ptxas'])
    copyFileSync(join(files, 'bin', name), join(bin, name));
  for (const name of ['nvcc', 'cicc']) copyFileSync(join(parts, 'bin', name), join(bin, name));
  for (const name of readdirSync(bin)) chmodSync(join(bin, name), 0o755);
  writeFileSync(join(bin, 'nvcc.profile'), profile);
  cpSync(join(parts, 'bin', 'crt'), join(bin, 'crt'), { recursive: true });
  cpSync(join(parts, 'libdevice'), join(target, 'nvvm', 'libdevice'), { recursive: true });
  cpSync(join(files, 'include'), join(target, 'include'), {
    recursive: true,
    verbatimSymlinks: false,
    dereference: true,
  });
  mkdirSync(join(target, 'lib64'));
  const libraries = join(files, 'lib', 'x86_64-linux-gnu');
  for (const name of ['libcudart_static.a', 'libcudadevrt.a'])
    copyFileSync(join(libraries, name), join(target, 'lib64', name));
  copyFileSync(join(files, 'share', 'doc', 'nvidia-cuda-toolkit', 'copyright'), join(target, 'LICENSE.txt'));
  process.stdout.write(`${run(join(bin, 'nvcc'), ['--version']).split('\n').at(-3)}\n${target}\n`);
} finally {
  rmSync(scratch, { recursive: true });
}
