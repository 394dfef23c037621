// What a package is made of, as CycloneDX: the npm packages that it needs, as locked; the shared libraries beside the addon; and what is
// linked into it. Versions and licences are those found where it is built.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { output } from './common.js';

/** Identifiers of SPDX by the names that Debian's machine-readable copyright files have for the same licences. */
const spdx = new Map(
  ['Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'MIT', 'Zlib', 'ISC', 'BSL-1.0'].map((id) => [id.toLowerCase(), id]),
);
spdx.set('expat', 'MIT');

/** The licences of a library, as the copyright file of its package says. */
export function licencesOf({ source, text }) {
  // Not machine-readable; the exception is what lets its libraries be part of this package.
  if (text.includes('GCC RUNTIME LIBRARY EXCEPTION'))
    return [{ expression: 'GPL-3.0-or-later WITH GCC-exception-3.1' }];
  const found = new Set();
  for (const paragraph of text.split(/\n\s*\n/)) {
    // What is in the library is of neither the packaging nor the tests.
    const files = /^Files:\s*(.*)$/m.exec(paragraph)?.[1];
    const name = /^License:\s*(\S+)\s*$/m.exec(paragraph)?.[1];
    if (files !== undefined && name !== undefined && !/^(debian|tests)\//.test(files)) found.add(name);
  }
  if (found.size === 0) return [{ license: { name: `as in LICENSES/${source}.txt` } }];
  return [...found].map((name) => {
    const id = spdx.get(name.toLowerCase());
    return { license: id === undefined ? { name } : { id } };
  });
}

/** A shared library of a Debian package, as it is shipped. */
function shippedLibrary(folder, soname, { path, source, version, text }) {
  const sha256 = createHash('sha256').update(readFileSync(path)).digest('hex');
  const distribution = /^ID="?(\w+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'debian';
  return {
    type: 'library',
    'bom-ref': `${folder}/${soname}`,
    name: soname,
    version,
    description: `Of the source package ${source}, unchanged.`,
    hashes: [{ alg: 'SHA-256', content: sha256 }],
    licenses: licencesOf({ source, text }),
    purl: `pkg:deb/${distribution}/${source}@${encodeURIComponent(version)}?arch=source`,
    properties: [{ name: 'emoframe:file', value: `${folder}/${soname}` }],
  };
}

/** What is linked into an addon and thus no file of its own. */
function linkedLibraries(addon) {
  const compilers = [...output('readelf', ['-p', '.comment', addon]).matchAll(/GCC: \([^)]*\) ([\d.]+)/g)];
  const linked = [...new Set(compilers.map(([, version]) => version))].map((version) => ({
    type: 'library',
    'bom-ref': `linked/libstdc++@${version}`,
    name: 'libstdc++',
    version,
    description: 'Parts of it are linked into the addon.',
    licenses: [{ expression: 'GPL-3.0-or-later WITH GCC-exception-3.1' }],
    purl: `pkg:generic/gcc@${version}`,
  }));
  const { builtFor, toolkit } = createRequire(import.meta.url)(addon).describe().cuda;
  if (builtFor.length === 0) return linked;
  return [
    ...linked,
    {
      type: 'library',
      'bom-ref': `linked/cuda-runtime@${toolkit}`,
      name: 'CUDA runtime',
      version: toolkit,
      description: `cudart_static of the CUDA toolkit, linked into the addon; kernels for ${builtFor.join(', ')}.`,
      licenses: [{ license: { name: 'NVIDIA CUDA Toolkit End User License Agreement' } }],
      purl: `pkg:generic/cuda-runtime@${toolkit}`,
    },
  ];
}

/** Leaves out what only development needs. `--omit=dev` would leave out too what development and an optional dependency need. */
function withoutDevelopment(bill) {
  const needless = new Set(
    bill.components
      .filter(({ properties }) => properties.some(({ name }) => name === 'cdx:npm:package:development'))
      .map((one) => one['bom-ref']),
  );
  const kept = (ref) => !needless.has(ref);
  return {
    ...bill,
    components: bill.components.filter((one) => kept(one['bom-ref'])),
    dependencies: bill.dependencies
      .filter(({ ref }) => kept(ref))
      .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter(kept) })),
  };
}

/**
 * The bill of materials of a package.
 *
 * @param folder of the prebuild in the package
 * @param addon the file of the addon, as it was linked
 * @param libraries what lies beside it, by soname: `{ path, source, version, text }`, of its Debian package the source, its version and
 * its copyright file
 */
export function billOfMaterials(folder, addon, libraries) {
  const bill = withoutDevelopment(
    JSON.parse(output('npm', ['sbom', '--sbom-format=cyclonedx', '--sbom-type=library', '--package-lock-only'])),
  );
  const native = [
    ...[...libraries].map(([soname, library]) => shippedLibrary(folder, soname, library)),
    ...linkedLibraries(addon),
  ];
  const { component } = bill.metadata;
  // npm gives the name of the folder.
  component.name = 'emoframe';
  bill.metadata.lifecycles = [{ phase: 'build' }];
  bill.components.push(...native);
  const references = native.map((one) => one['bom-ref']);
  bill.dependencies.find(({ ref }) => ref === component['bom-ref']).dependsOn.push(...references);
  bill.dependencies.push(...references.map((ref) => ({ ref, dependsOn: [] })));
  return bill;
}
