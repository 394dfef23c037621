import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readNpy, writeNpy } from '../../dist/index.js';
import { refused } from '../support/refused.js';

const fixtures = fileURLToPath(new URL('../fixtures/checkpoints/', import.meta.url));
const { npy: expected } = JSON.parse(readFileSync(join(fixtures, 'expected.json')));
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-npy-'));

for (const name of ['float32', 'float64']) {
  test(`NumPy's ${name} is read as float32`, async () => {
    const { data, shape } = await readNpy(join(fixtures, `${name}.npy`));
    assert.instance(data, Float32Array);
    assert.equal(shape, expected[name].shape);
    const weighted = data.reduce((sum, value, i) => sum + value * ((i % 97) + 1), 0);
    assert.ok(Math.abs(weighted - expected[name].weighted) < 1e-5);
  });
}

test("NumPy's int32 is read", async () => {
  assert.equal(await readNpy(join(fixtures, 'int32.npy')), { data: Int32Array.of(3, -4, 5), shape: [3] });
});

test('the bytes written are those that NumPy writes', async () => {
  for (const name of ['float32.npy', 'int32.npy']) {
    const { data, shape } = await readNpy(join(fixtures, name));
    await writeNpy(join(scratch, name), data, shape);
    assert.ok(readFileSync(join(scratch, name)).equals(readFileSync(join(fixtures, name))), name);
  }
});

test('arrays without axes, and without elements, come back', async () => {
  const path = join(scratch, 'x.npy');
  await writeNpy(path, Float32Array.of(2), []);
  assert.equal(await readNpy(path), { data: Float32Array.of(2), shape: [] });
  await writeNpy(path, new Float32Array(0), [0, 768]);
  assert.equal(await readNpy(path), { data: new Float32Array(0), shape: [0, 768] });
});

test('a shape that does not hold the values is not written', () =>
  refused(writeNpy(join(scratch, 'y.npy'), new Float32Array(5), [2, 3]), 'ERR_TENSOR', /\[2, 3\].*5 values/));

test('what cannot be read is refused', async () => {
  await refused(readNpy(join(fixtures, 'fortran.npy')), 'ERR_NPY', /Fortran.*ascontiguousarray/);
  await refused(readNpy(join(fixtures, 'int64.npy')), 'ERR_NPY', /<i8.*float32 or int32/);
  await refused(readNpy(join(fixtures, 'expected.json')), 'ERR_NPY', /does not begin/);
  await refused(readNpy(join(scratch, 'none.npy')), 'ERR_FILE_NOT_FOUND', /none\.npy/);
});

/** A file of one float32 with these extents. */
function withShape(extents) {
  const header = Buffer.from(`{'descr': '<f4', 'fortran_order': False, 'shape': (${extents}), }\n`, 'latin1');
  const length = Buffer.from(Uint16Array.of(header.length).buffer);
  return Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), length, header, Buffer.alloc(4)]);
}
const none = (extents) => withShape(extents).subarray(0, -4);

const whole = readFileSync(join(fixtures, 'float32.npy'));
const spoilt = [
  ['cut short', () => whole.subarray(0, whole.length - 1), /does not fit/],
  ['too long', () => Buffer.concat([whole, Buffer.of(0)]), /does not fit/],
  ['cut in its header', () => whole.subarray(0, 60), /header is cut short/],
  ['of three bytes', () => whole.subarray(0, 3), /does not begin/],
  ['of a version to come', () => Buffer.concat([whole.subarray(0, 6), Buffer.of(9), whole.subarray(7)]), /version 9/],
  [
    'with a header of 4 GB',
    () => Buffer.concat([whole.subarray(0, 6), Buffer.of(2, 0, 255, 255, 255, 255), whole.subarray(12)]),
    /header has 4294967295 bytes/,
  ],
  [
    'with an expression as header',
    () => Buffer.from(whole.toString('latin1').replace('False', 'print'), 'latin1'),
    /plain array/,
  ],
  [
    'with a size beyond all',
    () =>
      Buffer.from(
        whole.toString('latin1').replace(`(6, 4), }${' '.repeat(16)}`, '(99999999999999999, 4), }'),
        'latin1',
      ),
    /does not fit/,
  ],
  ['of no elements, with a size beyond all', () => none('0, 9007199254740993'), /does not fit/],
  ['with more axes than an array has', () => withShape('1, '.repeat(65)), /65 dimensions, more than 64/],
];
test('as many axes as NumPy has are read', async () => {
  const path = join(scratch, 'axes.npy');
  writeFileSync(path, withShape('1, '.repeat(64)));
  assert.is((await readNpy(path)).shape.length, 64);
});
for (const [what, make, pattern] of spoilt) {
  test(`a file ${what} is refused`, async () => {
    const path = join(scratch, 'spoilt.npy');
    writeFileSync(path, make());
    await refused(readNpy(path), 'ERR_NPY', pattern);
  });
}

test.run();
