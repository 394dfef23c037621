// Makes prebuilds/<platform>-<arch> with prebuildify: the addon, named and tagged as node-gyp-build looks for it, and beside it the shared
// libraries that it needs, with their licences and a bill of materials (build.js, materials.js). It runs on Debian or Ubuntu, whose packages know which licence belongs to
// which library.
//
// By itself it takes what CMake finds, which is enough to try a package. What is published is built with the CUDA 12 toolkit that
// EMOFRAME_CUDA_TOOLKIT names (scripts/cuda-toolkit.js brings one): such kernels run on drivers from 525 on, those of CUDA 13
// from 580 on; and for every GPU that is supported, with PTX for later ones.
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import prebuildify from 'prebuildify';
import { billName, fail, here, output, root } from './common.js';

const stage = join(root, 'build', 'prebuildify');
const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`);

/** The newest version of a family of symbols, such as GLIBC, that a file asks for. */
function newest(family, file) {
  const versions = [...output('objdump', ['-T', file]).matchAll(/\*UND\*.*\(([A-Z]+)_([\d.]+)\)/g)]
    .filter(([, name]) => name === family)
    .map(([, , version]) => version);
  return versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1) ?? 'none';
}

if (process.report.getReport().header.glibcVersionRuntime === undefined)
  fail('prebuilds are made on Linux with glibc; elsewhere the addon is built from source.');
if (process.env.EMOFRAME_CUDA_TOOLKIT === undefined && process.env.npm_command === 'publish')
  fail('what is published is built with CUDA 12: set EMOFRAME_CUDA_TOOLKIT to such a toolkit (docs/install.md).');

rmSync(folder, { recursive: true, force: true });
rmSync(stage, { recursive: true, force: true });
mkdirSync(stage, { recursive: true });
await promisify(prebuildify)({
  name: 'emoframe',
  napi: true,
  tagLibc: true,
  strip: true,
  cwd: stage,
  out: root,
  nodeGyp: join(here, 'build.js'),
  artifacts: join(stage, 'artifacts'),
}).catch((error) => fail(`${error.message}: the lines above say why.`));

for (const name of readdirSync(folder).filter((name) => name !== 'LICENSES' && name !== billName)) {
  const file = join(folder, name);
  const megabytes = (statSync(file).size / 1e6).toFixed(1).padStart(5);
  process.stdout.write(
    `${name.padEnd(20)} ${megabytes} MB, needs GLIBC ${newest('GLIBC', file)}, GLIBCXX ${newest('GLIBCXX', file)}\n`,
  );
}
