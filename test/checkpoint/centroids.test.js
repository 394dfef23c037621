// Centroids from the files that people have: NumPy's, safetensors, and k-means models of scikit-learn as joblib saved them. The
// fixtures are made by scripts/oracle/checkpoint_kinds.py.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readCentroidFile } from '../../dist/checkpoint/centroids.js';
import { readNpy, writeNpy, writeSafetensors } from '../../dist/index.js';
import { refused } from '../support/refused.js';

const kmeans = fileURLToPath(new URL('../fixtures/kinds/kmeans/', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'emoframe-centroids-'));
test.after(() => rmSync(scratch, { recursive: true, force: true }));

const forms = {
  'mini.bin': 'a MiniBatchKMeans as joblib saves it today',
  'before.bin': 'one as joblib saved it before 1.2, as hubert_base_ls960_L9_km500.bin',
  'mini.zlib.bin': 'one compressed with zlib',
  'mini.gz.bin': 'one compressed with gzip',
  'fortran.bin': 'a matrix in Fortran order',
  'mini.npy': 'a .npy',
  'mini.safetensors': 'a .safetensors',
  'full.joblib': 'a KMeans in float64, with the labels of its frames and a random state',
  'pickled.pkl': 'the same, saved by pickle',
};
for (const [name, what] of Object.entries(forms)) {
  test(`${what} gives its centroids`, async () => {
    const truth = await readNpy(join(kmeans, /^(?:full|pickled)/.test(name) ? 'full.npy' : 'mini.npy'));
    const { data, shape } = await readCentroidFile(join(kmeans, name));
    assert.equal(shape, truth.shape);
    assert.equal(data, truth.data);
  });
}

test('a hostile model is refused by the name of what it asks for, and does nothing', async () => {
  await refused(readCentroidFile(join(kmeans, 'hostile.bin')), 'ERR_PICKLE', /posix\.system/);
  assert.is(existsSync('/tmp/emoframe-hostile-pickle'), false);
});

test('what is not a fitted model is refused', async () => {
  const read = (name) => readCentroidFile(join(kmeans, name));
  await refused(read('unfitted.bin'), 'ERR_CHECKPOINT', /no cluster_centers_; was the model fitted/);
  await refused(read('vector.bin'), 'ERR_CHECKPOINT', /shape \[16\], not \[K, C\]/);
  await refused(read('objects.bin'), 'ERR_CHECKPOINT', /of a type that cannot be read/);
  await refused(read('mini.xz.bin'), 'ERR_CHECKPOINT', /neither a pickle nor one compressed with zlib or gzip/);
  await refused(read('none.bin'), 'ERR_FILE_NOT_FOUND', /none\.bin/);
});

test('a matrix of another kind, or with NaN, is refused', async () => {
  const path = join(scratch, 'centroids.npy');
  await writeNpy(path, new Int32Array(6), [2, 3]);
  await refused(readCentroidFile(path), 'ERR_TENSOR', /no matrix of floats/);
  await writeNpy(path, new Float32Array(6), [6]);
  await refused(readCentroidFile(path), 'ERR_TENSOR', /no matrix of floats/);
  await writeNpy(path, Float32Array.of(0, 1, NaN, 3), [2, 2]);
  await refused(readCentroidFile(path), 'ERR_NOT_FINITE', /centroids/);
  const two = join(scratch, 'two.safetensors');
  const matrix = { shape: [1, 2], data: Float32Array.of(1, 2) };
  await writeSafetensors(two, [
    { name: 'a', ...matrix },
    { name: 'b', ...matrix },
  ]);
  await refused(readCentroidFile(two), 'ERR_TENSOR', /no matrix of floats/);
  assert.equal((await readCentroidFile(join(kmeans, 'mini.safetensors'))).shape, [5, 16]);
});

test('a file cut short anywhere is refused, and one that decompresses without end is stopped', async () => {
  for (const name of ['mini.bin', 'before.bin', 'mini.gz.bin']) {
    const whole = readFileSync(join(kmeans, name));
    const path = join(scratch, name);
    for (let length = 0; length < whole.length; length += 37) {
      writeFileSync(path, whole.subarray(0, length));
      const error = await readCentroidFile(path).then(
        () => undefined,
        (reason) => reason,
      );
      assert.ok(['ERR_CHECKPOINT', 'ERR_PICKLE'].includes(error?.code), `${name} at ${length}: ${error?.stack}`);
    }
  }
  const bomb = join(scratch, 'bomb.bin');
  writeFileSync(bomb, gzipSync(Buffer.alloc(257 << 20), { level: 1 }));
  await refused(readCentroidFile(bomb), 'ERR_CHECKPOINT', /does not decompress to at most 268435456 bytes/);
});

test.run();
