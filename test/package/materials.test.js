// The bill of materials that is made with a prebuild: valid, and complete.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { librariesOf } from '../../scripts/prebuild/libraries.js';
import { billOfMaterials, licencesOf } from '../../scripts/prebuild/materials.js';
import { validateBill } from '../support/cycloneDx.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { dependencies, devDependencies, scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
const addon = join(root, 'build', 'Release', 'emoframe.node');

test('the bill of materials is valid CycloneDX, and has all that ships, with versions and licences', () => {
  const libraries = librariesOf(addon);
  const bill = billOfMaterials('prebuilds/here', addon, libraries);
  assert.equal(validateBill(bill), []);
  const { component } = bill.metadata;
  assert.is(component.name, 'emoframe');
  for (const { name, version, licenses } of bill.components) {
    assert.ok(version, name);
    assert.ok(licenses?.length > 0, name);
  }
  // Each once.
  const references = bill.components.map((one) => one['bom-ref']);
  assert.is(new Set(references).size, references.length);
  assert.equal(
    [...new Set(bill.dependencies.map(({ ref }) => ref))].sort(),
    [component['bom-ref'], ...references].sort(),
  );

  const shipped = Object.entries(lock.packages).filter(([path, { dev }]) => path !== '' && !dev);
  const locked = shipped.map(
    ([path, { version }]) => `${path.slice(path.lastIndexOf('node_modules/') + 13)}@${version}`,
  );
  const listed = bill.components.filter(({ purl }) => purl.startsWith('pkg:npm/'));
  assert.equal(listed.map(({ name, version }) => `${name}@${version}`).sort(), [...new Set(locked)].sort());
  for (const name of Object.keys(dependencies))
    assert.ok(
      listed.some((one) => one.name === name),
      name,
    );
  for (const name of ['uvu', 'parse5'])
    assert.not.ok(
      listed.some((one) => one.name === name),
      name,
    );

  const native = bill.components.filter(({ purl }) => !purl.startsWith('pkg:npm/'));
  const needed = bill.dependencies.find(({ ref }) => ref === component['bom-ref']).dependsOn;
  for (const one of native) assert.ok(needed.includes(one['bom-ref']), one.name);
  for (const [soname, { path, source, version }] of libraries) {
    const found = native.find(({ name }) => name === soname);
    assert.is(found.version, version);
    assert.is(found.hashes[0].content, createHash('sha256').update(readFileSync(path)).digest('hex'));
    assert.match(found.purl, new RegExp(`^pkg:deb/\\w+/${source.replace(/[.+]/g, '\\$&')}@`));
  }
  const oneDnn = native.find(({ name }) => name.startsWith('libdnnl'));
  assert.ok(oneDnn.licenses.some(({ license }) => license?.id === 'Apache-2.0'));
  for (const name of ['libgomp.so.1', 'libstdc++'])
    assert.equal(native.find((one) => one.name === name).licenses, [
      { expression: 'GPL-3.0-or-later WITH GCC-exception-3.1' },
    ]);
  const { builtFor, toolkit } = createRequire(import.meta.url)(addon).describe().cuda;
  const runtime = native.filter(({ name }) => name === 'CUDA runtime');
  assert.equal(
    runtime.map(({ version }) => version),
    builtFor.length === 0 ? [] : [toolkit],
  );
});

test('licences are read from the copyright file of a package', () => {
  const text = `Format: x\n\nFiles: *\nLicense: Apache-2.0\n\nFiles:     src/a/*\nCopyright: b\nLicense:   Expat\n\nFiles: debian/*\nLicense: GPL-2\n\nFiles: c\nLicense: Own-Words\n\nLicense: BSD-3-Clause\n Redistribution`;
  assert.equal(licencesOf({ source: 'a', text }), [
    { license: { id: 'Apache-2.0' } },
    { license: { id: 'MIT' } },
    { license: { name: 'Own-Words' } },
  ]);
  assert.equal(licencesOf({ source: 'a', text: 'prose' }), [{ license: { name: 'as in LICENSES/a.txt' } }]);
});

test('the tool that builds the addon is of one version, the locked one, here and for users', () => {
  const version = devDependencies['cmake-js'];
  assert.match(version, /^\d+\.\d+\.\d+$/);
  assert.is(lock.packages['node_modules/cmake-js'].version, version);
  const fetched = Object.values(scripts).flatMap((script) => script.match(/npx \S* ?\S+/g) ?? []);
  assert.equal(fetched, [`npx --yes cmake-js@${version}`]);
});

test.run();
