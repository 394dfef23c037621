#!/usr/bin/env node
// prebuildify runs this in place of node-gyp, in a folder of its own: it builds the addon of a prebuild with cmake-js and leaves it in
// build/Release there, and in `artifacts` the shared libraries that it needs apart from glibc's own, with their licences
// and a bill of materials.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { billName, fail, output, root } from './common.js';
import { librariesOf } from './libraries.js';
import { billOfMaterials } from './materials.js';

const toolkit = process.env.EMOFRAME_CUDA_TOOLKIT;
const folder = join(root, toolkit === undefined ? 'build' : join('build', 'release'));
const built = join(folder, 'prebuild', 'emoframe.glibc.node');
const artifacts = resolve('artifacts');
const licences = join(artifacts, 'LICENSES');

/** Writes the licences of bundled libraries, the common ones that they refer to, and which is whose. */
function writeLicences(libraries) {
  mkdirSync(licences, { recursive: true });
  const common = new Set();
  const rows = [];
  for (const [soname, { source, version, text }] of libraries) {
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

const command = ['run', '--silent', 'build:addon', '--', '--target', 'emoframe_prebuild', '--out', folder];
if (toolkit !== undefined) {
  const options = {
    EMOFRAME_CUDA: 'ON',
    EMOFRAME_CUDA_RELEASE: 'ON',
    EMOFRAME_TESTS: 'OFF',
    CMAKE_CUDA_COMPILER: compilerOf(toolkit),
  };
  command.push(...Object.entries(options).map(([name, value]) => `--CD${name}=${value}`));
}
if (spawnSync('npm', command, { cwd: root, stdio: ['ignore', 2, 2] }).status !== 0) fail('the addon did not build.');

const libraries = librariesOf(built);
writeLicences(libraries);
for (const [soname, { path }] of libraries) copyFileSync(path, join(artifacts, soname));
const bill = billOfMaterials(`prebuilds/${process.platform}-${process.arch}`, built, libraries);
writeFileSync(join(artifacts, billName), `${JSON.stringify(bill, null, 2)}\n`);
mkdirSync(join('build', 'Release'), { recursive: true });
copyFileSync(built, join('build', 'Release', 'emoframe.node'));
